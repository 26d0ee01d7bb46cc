"""Scaled dot-product attention: one primitive for the output, and one for each of its three gradients.

A primitive runs in blocks of query rows and never holds all the scores (`native/attention/attention.h`). The gradient
primitives of one call have the same operands; where several are in one program they are computed together. Their own
gradients, and that of a floating-point mask, are made of other ops, which do hold all the scores.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft import dtypes
from weft.errors import ShapeError
from weft.ir.node import Node, Where, make
from weft.ops import contraction as C
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.frontend import number, public, tensor_of
from weft.ops.indexed import iota
from weft.ops.movement import reshape
from weft.ops.random import dropout
from weft.ops.reduce import cast_to, over, widened
from weft.ops.registry import Op, Operand, Saved, broadcast, broadcast_shape, cast, composite, register

# attrs of the primitives: (whether causal, the bits of the scale as a float64)


def bits_of(number: float) -> int:
    """A float64's bits: what tells -0.0 from 0.0 among attributes."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits


def number_of(bits: int) -> float:
    """The float64 that has these bits."""
    number: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return number


def _operands(given: Sequence[Operand], masked: bool) -> tuple[list[Node], tuple[int, ...]]:
    """The operands in the type that is computed in, broadcast to one batch: that batch, too. The mask is the last one."""
    nodes = [n for n in given if isinstance(n, Node)]
    assert len(nodes) == len(given)
    q, k = nodes[:2]
    compute = q.dtype.compute
    mask = nodes.pop() if masked else None
    batch = broadcast_shape("attention", [n.shape[:-2] for n in [*nodes, *([mask] if mask else [])]])
    out = [broadcast(cast(n, compute), batch + n.shape[-2:]) for n in nodes]
    if mask is not None:
        if mask.dtype is not dtypes.bool_:
            mask = cast(mask, compute)
        out.append(broadcast(mask, (*batch, q.shape[-2], k.shape[-2])))
    return out, batch


def _build_attention(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    given, batch = _operands(operands, len(operands) == 4)
    q, _, v = given[:3]
    first = operands[0]
    assert isinstance(first, Node)
    node = make("attention", given, attrs, (*batch, q.shape[-2], v.shape[-1]), q.dtype, where)
    return cast(node, first.dtype)


def _build_gradient(name: str, of: int) -> Callable[[Sequence[Operand], Any, Where], Node]:
    """Of operand number ``of``: q, k, v. Operands: q, k, v, the gradient of the output, and the mask if there is one."""

    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        given, batch = _operands(operands, len(operands) == 5)
        return make(name, given, attrs, batch + given[of].shape[-2:], given[of].dtype, where)

    return build


# The same, from other ops


def _total(x: Any) -> Any:
    """The sum of each row."""
    return over(R.reduce_sum, x, (x.ndim - 1,))


def _grad_weights(g: Any, c: Saved) -> Sequence[Any]:
    gy = E.multiply(g, c.out)
    return (E.subtract(gy, E.multiply(c.out, _total(gy))),)


@composite("attention_weights", 1, grad=_grad_weights)
def _softmax(scores: Any, attrs: Any) -> Any:
    """Softmax of rows; zeros where all of a row is -inf."""
    top = over(R.reduce_max, scores, (scores.ndim - 1,))
    e = E.exp_nonpositive(E.subtract(scores, E.where(E.equal(top, -math.inf), 0.0, top)))
    total = _total(e)
    return E.multiply(e, E.reciprocal(E.where(E.equal(total, 0), 1.0, total)))


def _weights(q: Any, k: Any, mask: Any, attrs: Any) -> Any:
    """All the weights [..., L, S]."""
    causal, scale = attrs
    scores = E.multiply(C.matmul(q, C.transpose_last(k)), number_of(scale))
    if mask is not None:
        hidden = mask.dtype is dtypes.bool_
        scores = E.where(mask, scores, -math.inf) if hidden else E.add(scores, widened(mask))
    if causal:
        rows, keys = scores.shape[-2:]
        seen = E.greater_equal(reshape(iota(attrs=(rows,)), attrs=((rows, 1),)), iota(attrs=(keys,)))
        scores = E.where(seen, scores, -math.inf)
    return _softmax(scores)


def _slopes(weights: Any, g: Any, v: Any) -> tuple[Any, Any]:
    """The gradients of the weights, less what their sum of 1 takes, and of the scores."""
    of_weights = C.matmul(g, C.transpose_last(v))
    centred = E.subtract(of_weights, _total(E.multiply(weights, of_weights)))
    return centred, E.multiply(weights, centred)


def _grad_attention(g: Any, c: Saved) -> Sequence[Any]:
    q, k, v, *rest = c.operands
    found: list[Any] = [
        op(q, k, v, g, *rest, attrs=c.attrs) if need else None
        for op, need in zip((attention_dq, attention_dk, attention_dv), c.needs, strict=False)
    ]
    if rest:
        mask_slopes = None
        if c.needs[3]:
            q, k, v, g = (widened(x) for x in (q, k, v, g))
            mask_slopes = _slopes(_weights(q, k, rest[0], c.attrs), g, v)[1]
        found.append(mask_slopes)
    return found


def _grad_gradient(of: int) -> Callable[[Any, Saved], Sequence[Any]]:
    """The gradient of the gradient of operand number ``of``.

    With weights P, g the output's gradient, dP = g v^T and dS = P (dP - rowsum(P dP)), the gradients of q, k and v are
    s dS k, s dS^T q and P^T g. Given h, the gradient of one of them, go back from there to dS and P, to dP and the scores.
    """

    def rule(h: Any, c: Saved) -> Sequence[Any]:
        q, k, v, g, *rest = (widened(x) if x.dtype.kind == "f" else x for x in c.operands)
        scale = number_of(c.attrs[1])
        weights = _weights(q, k, rest[0] if rest else None, c.attrs)
        t = C.transpose_last
        if of == 2:
            through = C.matmul(g, t(h))
            dv, dg = None, C.matmul(weights, h)
        else:
            of_weights = C.matmul(g, t(v))
            centred, slopes = _slopes(weights, g, v)
            to_slopes = E.multiply(C.matmul(h, t(k)) if of == 0 else C.matmul(q, t(h)), scale)
            mean = _total(E.multiply(weights, to_slopes))
            to_of_weights = E.multiply(weights, E.subtract(to_slopes, mean))
            through = E.subtract(E.multiply(to_slopes, centred), E.multiply(mean, of_weights))
            dv, dg = C.matmul(t(to_of_weights), g), C.matmul(to_of_weights, v)
        scores = E.multiply(weights, E.subtract(through, _total(E.multiply(weights, through))))
        scaled = E.multiply(scores, scale)
        dq, dk = C.matmul(scaled, k), C.matmul(t(scaled), q)
        if of == 0:
            dk = E.add(dk, C.matmul(t(E.multiply(slopes, scale)), h))
        elif of == 1:
            dq = E.add(dq, C.matmul(E.multiply(slopes, scale), h))
        return (dq, dk, dv, dg, *([scores] if rest else []))

    return rule


# NumPy's versions


def _reference_weights(q: np.ndarray, k: np.ndarray, mask: np.ndarray | None, attrs: Any) -> np.ndarray:
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * q.dtype.type(number_of(attrs[1]))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if attrs[0]:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def _reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, *mask: np.ndarray, attrs: Any) -> np.ndarray:
    return np.matmul(_reference_weights(q, k, mask[0] if mask else None, attrs), v)


def _reference_gradient(of: int) -> Callable[..., np.ndarray]:
    def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray, *mask: np.ndarray, attrs: Any) -> Any:
        weights = _reference_weights(q, k, mask[0] if mask else None, attrs)
        if of == 2:
            return np.matmul(np.swapaxes(weights, -1, -2), g)
        slopes = np.matmul(g, np.swapaxes(v, -1, -2))
        slopes = weights * (slopes - (weights * slopes).sum(axis=-1, keepdims=True)) * number_of(attrs[1])
        return np.matmul(slopes, k) if of == 0 else np.matmul(np.swapaxes(slopes, -1, -2), q)

    return reference


attention = register(Op("attention", "attention", -1, _build_attention, grad=_grad_attention, reference=_reference))
attention_dq, attention_dk, attention_dv = (
    register(
        Op(
            f"attention_d{letter}",
            "attention",
            -1,
            _build_gradient(f"attention_d{letter}", of),
            grad=_grad_gradient(of),
            reference=_reference_gradient(of),
        )
    )
    for of, letter in enumerate("qkv")
)


# The public function


def _floats(query: Any, key: Any, value: Any) -> None:
    """Check the operands' types, and that they have axes of positions and features."""
    for x, name in ((query, "query"), (key, "key"), (value, "value")):
        if tensor_of(x, name).ndim < 2:
            raise ShapeError(f"The {name} has at least two axes, those of positions and features, not {list(x.shape)}.")
    if not query.dtype.kind == key.dtype.kind == value.dtype.kind == "f":
        raise TypeError(
            f"Attention takes floating-point tensors, not {query.dtype.name}, {key.dtype.name} and {value.dtype.name}; "
            "cast them first, for example with to(weft.float32)."
        )
    if not query.dtype is key.dtype is value.dtype:
        raise TypeError(
            f"The query, key and value have one type, not {query.dtype.name}, {key.dtype.name} and {value.dtype.name}."
        )


def _fitting(query: Any, key: Any, value: Any) -> None:
    """Check the operands' last axes."""
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"The query has {query.shape[-1]} features (shape {list(query.shape)}) and the key {key.shape[-1]} "
            f"(shape {list(key.shape)}); they must agree."
        )
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"The key has {key.shape[-2]} positions (shape {list(key.shape)}) and the value {value.shape[-2]} "
            f"(shape {list(value.shape)}); they must agree."
        )


def _fitting_mask(mask: Any, scores: tuple[int, ...]) -> None:
    """Check a mask's type, and that it broadcasts to the shape of the scores."""
    if mask is None:
        return
    if tensor_of(mask, "attn_mask").dtype.kind not in "bf":
        raise TypeError(
            f"attn_mask is bool (True takes part) or floating-point (added to the scores), not {mask.dtype.name}."
        )
    beside = zip(reversed(mask.shape), reversed(scores), strict=False)
    if mask.ndim > len(scores) or any(n not in (1, size) for n, size in beside):
        raise ShapeError(
            f"attn_mask has shape {list(mask.shape)}, which does not broadcast to the scores' {list(scores)}."
        )


def _scores_shape(query: Any, key: Any, value: Any) -> tuple[int, ...]:
    """The shape of the scores of operands that are to fit together."""
    _fitting(query, key, value)
    leading = [tuple(x.shape[:-2]) for x in (query, key, value)]
    return (*broadcast_shape("scaled_dot_product_attention", leading), query.shape[-2], key.shape[-2])


def _factor(features: int, scale: Any) -> float:
    """What the products of so many features are multiplied by."""
    return (1 / math.sqrt(features) if features else 1.0) if scale is None else float(number(scale, "scale"))


def attention_weights(query: Any, key: Any, mask: Any, causal: bool) -> Any:
    """All the weights [..., L, S] of `scaled_dot_product_attention`, in query's type."""
    _fitting_mask(mask, _scores_shape(query, key, key))
    attrs = (bool(causal), bits_of(_factor(query.shape[-1], None)))
    return cast_to(_weights(widened(query), widened(key), mask, attrs), query.dtype)


def _grouped(query: Any, key: Any, value: Any, mask: Any, p: float, causal: bool, scale: Any) -> Any:
    """Attention in which several neighbouring heads of the query share one of the key and value.

    Where neither a mask nor causality tells rows apart, these heads become rows of one, which read the keys together; else an
    axis of their own.
    """
    for x, name in ((query, "query"), (key, "key"), (value, "value")):
        if x.ndim < 3:
            raise ShapeError(
                f"With enable_gqa the {name} has an axis of heads before its last two, not {list(x.shape)}."
            )
    heads, shared = query.shape[-3], key.shape[-3]
    if value.shape[-3] != shared or not shared or heads % shared:
        raise ShapeError(
            f"With enable_gqa key and value have the same number of heads, which divides the query's, not {shared} and "
            f"{value.shape[-3]} for {heads} (shapes {list(key.shape)}, {list(value.shape)} and {list(query.shape)})."
        )
    _fitting(query, key, value)
    leading = [tuple(x.shape[:-3]) for x in (query, key, value)]
    batch = broadcast_shape("scaled_dot_product_attention", leading)
    groups, rows = heads // shared, query.shape[-2]
    _fitting_mask(mask, (*batch, heads, rows, key.shape[-2]))
    of_heads = mask is not None and mask.ndim > 2
    if not causal and (mask is None or rows == 1):
        if of_heads and mask.shape[-3] > 1:
            mask = mask.reshape((*mask.shape[:-3], shared, groups, mask.shape[-1]))
        query = query.reshape((*query.shape[:-3], shared, groups * rows, query.shape[-1]))
    else:
        if of_heads:
            mask = mask.unsqueeze(-3) if mask.shape[-3] == 1 else mask.unflatten(-3, (shared, groups))
        query, key, value = query.unflatten(-3, (shared, groups)), key.unsqueeze(-3), value.unsqueeze(-3)
    out = scaled_dot_product_attention(query, key, value, mask, p, causal, scale)
    return out.reshape((*batch, heads, rows, value.shape[-1]))


@public("neural networks", method=False)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """``softmax(query @ key.T * scale + mask) @ value``, in blocks, without holding all the scores at once.

    Memory grows with L + S, not with L * S, also for the gradient (scores are computed again). That is not so with dropout,
    for the gradient of a floating-point mask, and for second derivatives.

    What a query does not see, because of is_causal or of a bool mask, has no influence on its result, nor does the query on the
    gradients of what it does not see, even where something is infinite or NaN (such as keys that were never written). In
    PyTorch it may have: 0 times NaN is NaN. A floating-point mask is added like any number, and with dropout and for second
    derivatives, 0 times a NaN is NaN here too.

    Args:
        query: a floating-point tensor [..., L, E].
        key: a tensor [..., S, E] of the same type.
        value: a tensor [..., S, Ev] of the same type. Leading axes of the three broadcast.
        attn_mask: a tensor that broadcasts to [..., L, S]: bool, where True takes part, or floating-point, which is added
            to the scores.
        dropout_p: the probability with which a weight is dropped; the others are scaled up.
        is_causal: whether position i of the query sees positions 0 to i of the key only (together with attn_mask: both
            hold).
        scale: what the products are multiplied by; ``1 / sqrt(E)`` if None.
        enable_gqa: whether key and value have fewer heads (axis -3) than the query, each of which serves the same number of
            neighbouring ones of the query (grouped-query attention). Keys and values are not copied for that.

    Returns:
        A tensor [..., L, Ev] of query's type. A row that sees nothing gives zeros, as in PyTorch. 16-bit types are computed
        in float32 and rounded once.

    Raises:
        ShapeError: where the shapes do not fit together.
        TypeError: for other types, or several.
        ValueError: for a dropout_p outside of 0 to 1.

    Source: A. Vaswani et al.: Attention Is All You Need, 2017; the gradient in blocks as in T. Dao et al.:
    FlashAttention, 2022.

    Example:
        >>> q, k = weft.tensor([[1.0, 0.0]]), weft.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> weft.scaled_dot_product_attention(q, k, weft.tensor([[1.0], [3.0]]))
        tensor([[2.]], dtype=float32)
    """
    _floats(query, key, value)
    if enable_gqa:
        return _grouped(query, key, value, attn_mask, dropout_p, is_causal, scale)
    _fitting_mask(attn_mask, _scores_shape(query, key, value))
    factor = _factor(query.shape[-1], scale)
    p = number(dropout_p, "dropout_p")
    if not 0 <= p <= 1:
        raise ValueError(f"dropout_p is a probability, from 0 to 1, not {p}.")
    masks = () if attn_mask is None else (attn_mask,)
    attrs = (bool(is_causal), bits_of(factor))
    if not p:
        return attention(query, key, value, *masks, attrs=attrs)
    weights = dropout(_weights(widened(query), widened(key), attn_mask, attrs), p)
    return cast_to(C.matmul(weights, widened(value)), query.dtype)


__all__ = ["attention", "bits_of", "number_of", "scaled_dot_product_attention"]
