"""Public functions that join tensors, repeat their elements, or fill up around them: they make new tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.errors import ShapeError, describe
from weft.ir.node import Node, Where, const, make
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, axis_of, integer, number, public, sizes_of, tensor_of
from weft.ops.indexed import assign, full
from weft.ops.movement import contiguous_strides, expand, reshape
from weft.ops.registry import Op, Operand, Saved, broadcast, cast, common_dtype, composite, register
from weft.ops.shape import sliced

# Joining


def _build_concat(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (axis,) = attrs
    dtype = common_dtype(operands)
    parts = [cast(o, dtype) for o in operands]
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    strides = contiguous_strides(shape)
    out = broadcast(const(0, dtype), tuple(shape), where)
    offset = 0
    for p in parts:
        if p.size:
            out = make("assign", (out, p), (offset, strides), tuple(shape), dtype, where)
        offset += p.shape[axis] * strides[axis]
    return out


def _grad_concat(g: Any, c: Saved) -> Sequence[Any]:
    (axis,) = c.attrs
    out, start = [], 0
    for o in c.operands:
        n = o.shape[axis]
        out.append(sliced(g, axis, start, n))
        start += n
    return out


#: attrs (axis,): any number of tensors one after another
joined = register(Op("concat", "indexed", -1, _build_concat, grad=_grad_concat, takes="all"))


def _tensors(tensors: Any, name: str) -> list[Any]:
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"{name} takes a list or tuple of tensors.")
    listed = [tensor_of(t, "Each element") for t in tensors]
    if not listed:
        raise ShapeError(f"{name} takes at least one tensor.")
    return listed


def _join(parts: list[Any], axis: int) -> Any:
    """Concatenate, at most seven at a time: a call has up to eight operands on the fast path."""
    while len(parts) > 1:
        groups = [parts[k : k + 7] for k in range(0, len(parts), 7)]
        parts = [joined(*group, attrs=(axis,)) if len(group) > 1 else group[0] for group in groups]
    return parts[0]


@public("shape", "cat", "concatenate", method=False)
def concat(tensors: Any, axis: int | None = 0) -> Any:
    """Tensors one after another along an axis; with axis None, flattened first.

    Args:
        tensors: a list or tuple of tensors whose shapes differ at most along the axis.
        axis: the axis.

    Returns:
        A new tensor, of the type the tensors promote to.

    Raises:
        ShapeError: for no tensors, or where other sizes differ.

    Example:
        >>> weft.concat([weft.tensor([1, 2]), weft.tensor([3])])
        tensor([1, 2, 3], dtype=int64)
    """
    parts = _tensors(tensors, "concat")
    if axis is None:
        parts, axis = [reshape(t, attrs=((t.size,),)) for t in parts], 0
    first = parts[0]
    d = axis_of(axis, first.ndim)
    for k, t in enumerate(parts):
        if t.ndim != first.ndim or any(t.shape[a] != first.shape[a] for a in range(first.ndim) if a != d):
            raise ShapeError(
                f"concat joins tensors whose shapes agree outside axis {d}; tensor {k} has shape {list(t.shape)} and the first "
                f"{list(first.shape)}."
            )
    return E.copy(first) if len(parts) == 1 else _join(parts, d)


@public("shape", method=False)
def stack(tensors: Any, axis: int = 0) -> Any:
    """Tensors of one shape along a new axis.

    Args:
        tensors: a list or tuple of tensors of the same shape.
        axis: the place of the new axis.

    Raises:
        ShapeError: for no tensors, or where shapes differ.

    Example:
        >>> weft.stack([weft.tensor([1, 2]), weft.tensor([3, 4])])
        tensor([[1, 2],
                [3, 4]], dtype=int64)
    """
    parts = _tensors(tensors, "stack")
    shape = tuple(parts[0].shape)
    for k, t in enumerate(parts):
        if tuple(t.shape) != shape:
            raise ShapeError(
                f"stack takes tensors of one shape; tensor {k} has {list(t.shape)} and the first {list(shape)}."
            )
    d = axis_of(axis, len(shape) + 1)
    if 1 < len(parts) <= 7:
        return stacked(*parts, attrs=(d,))
    parts = _with_axis(parts, d)
    return E.copy(parts[0]) if len(parts) == 1 else _join(parts, d)


def _with_axis(parts: Sequence[Any], axis: int) -> list[Any]:
    """Tensors of one shape with a new axis of size 1."""
    shape = tuple(parts[0].shape)
    return [reshape(t, attrs=((*shape[:axis], 1, *shape[axis:]),)) for t in parts]


@composite("stacked", -1)
def stacked(*parts: Any, attrs: Any) -> Any:
    (axis,) = attrs
    return joined(*_with_axis(parts, axis), attrs=(axis,))


# Repeating and filling up


@composite("tile", 1)
def _tile(x: Any, attrs: Any) -> Any:
    (counts,) = attrs
    shape = x.shape
    x = reshape(x, attrs=(tuple(s for n in shape for s in (1, n)),))
    x = expand(x, attrs=(tuple(s for k, n in zip(counts, shape, strict=True) for s in (k, n)),))
    return reshape(E.copy(x), attrs=(tuple(k * n for k, n in zip(counts, shape, strict=True)),))


@public("shape")
def tile(x: Any, *counts: Any) -> Any:
    """The whole tensor repeated along each axis: a new tensor. `repeat` is the same with PyTorch's name.

    Example:
        >>> weft.tile(weft.tensor([1, 2]), 2)
        tensor([1, 2, 1, 2], dtype=int64)
    """
    repeats = sizes_of(counts)
    if any(k < 0 for k in repeats):
        raise ShapeError(f"tile repeats each axis 0 times or more, not {list(repeats)}.")
    tensor_of(x)
    repeats = (1,) * (x.ndim - len(repeats)) + repeats
    x = reshape(x, attrs=((1,) * (len(repeats) - x.ndim) + tuple(x.shape),))
    return _tile(x, attrs=(repeats,))


@public("shape", package=False)
def repeat(x: Any, *counts: Any) -> Any:
    """The whole tensor repeated along each axis, as PyTorch's ``Tensor.repeat``. See `tile`.

    Example:
        >>> weft.tensor([1, 2]).repeat(2)
        tensor([1, 2, 1, 2], dtype=int64)
    """
    return tile(x, *counts)


@composite("repeat_interleave", 1)
def _repeat_interleave(x: Any, attrs: Any) -> Any:
    count, axis = attrs
    shape = tuple(x.shape)
    x = reshape(x, attrs=((*shape[: axis + 1], 1, *shape[axis + 1 :]),))
    x = expand(x, attrs=((*shape[: axis + 1], count, *shape[axis + 1 :]),))
    return reshape(E.copy(x), attrs=((*shape[:axis], shape[axis] * count, *shape[axis + 1 :]),))


@public("shape")
def repeat_interleave(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Each element repeated, along one axis or in the flattened tensor.

    Example:
        >>> weft.repeat_interleave(weft.tensor([1, 2]), 2)
        tensor([1, 1, 2, 2], dtype=int64)
    """
    tensor_of(x)
    if axis is None:
        x, axis = reshape(x, attrs=((x.size,),)), 0
    return _repeat_interleave(x, attrs=(integer(repeats, "repeats"), axis_of(axis, x.ndim)))


@public("shape")
def roll(x: Any, shifts: Any, axis: Any = None) -> Any:
    """Elements shifted along axes, those pushed out coming in at the other end; with axis None, of the flattened tensor.

    Example:
        >>> weft.roll(weft.tensor([1, 2, 3]), 1)
        tensor([3, 1, 2], dtype=int64)
    """
    tensor_of(x)
    if axis is None:
        return reshape(roll(reshape(x, attrs=((x.size,),)), shifts, 0), attrs=(tuple(x.shape),))
    moves = shifts if isinstance(shifts, list | tuple) else (shifts,)
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    if len(moves) != len(axes):
        raise ShapeError(f"roll takes one shift for each axis, not {len(moves)} for {len(axes)}.")
    for shift, a in zip(moves, axes, strict=True):
        d = axis_of(a, x.ndim)
        n = x.shape[d]
        k = integer(shift, "A shift") % n if n else 0
        if k:
            x = joined(sliced(x, d, n - k, k), sliced(x, d, 0, n - k), attrs=(d,))
    return x


@composite("pad", 1)
def _pad(x: Any, attrs: Any) -> Any:
    widths, value = attrs
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    strides = contiguous_strides(shape)
    offset = sum(a * s for (a, _), s in zip(widths, strides, strict=True))
    return assign(full(value, attrs=(shape, x.dtype)), x, attrs=(offset, strides))


@public("shape", method=False)
def pad(x: Any, widths: Any, value: float = 0) -> Any:
    """A border of one value around a tensor.

    Args:
        x: a tensor.
        widths: a pair (before, after) for each axis, as in NumPy; or PyTorch's flat list, from the last axis backwards.
        value: what the border holds.

    Raises:
        ShapeError: where the widths do not fit the axes or are negative.

    Example:
        >>> weft.pad(weft.tensor([1, 2]), [(1, 1)])
        tensor([0, 1, 2, 0], dtype=int64)
    """
    tensor_of(x)
    if not isinstance(widths, list | tuple) or not all(isinstance(w, int) or _is_pair(w) for w in widths):
        raise TypeError(f"pad takes a list of widths, or of pairs (before, after), not {describe(widths)}.")
    pairs = list(widths)
    if pairs and all(isinstance(w, int) for w in pairs):
        if len(pairs) % 2 or len(pairs) > 2 * x.ndim:
            raise ShapeError(
                f"pad takes two widths for each padded axis, not {len(pairs)} for a tensor of {x.ndim} axes."
            )
        flat = [(pairs[k], pairs[k + 1]) for k in range(0, len(pairs), 2)]
        pairs = [(0, 0)] * (x.ndim - len(flat)) + flat[::-1]
    elif any(isinstance(w, int) for w in pairs):
        raise TypeError(f"pad takes a list of widths, or of pairs (before, after), not both: {describe(widths)}.")
    pairs = [(integer(a, "A width"), integer(b, "A width")) for a, b in pairs]
    if len(pairs) != x.ndim or any(a < 0 or b < 0 for a, b in pairs):
        raise ShapeError(f"pad takes a pair of widths, 0 or more, for each of {x.ndim} axes, not {pairs}.")
    return _pad(x, attrs=(tuple(pairs), number(value, "value")))


def _is_pair(widths: Any) -> bool:
    return isinstance(widths, list | tuple) and len(widths) == 2
