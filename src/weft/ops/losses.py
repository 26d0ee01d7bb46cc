"""Public losses: one op each, reduced over all elements or not.

Class labels are compared with the numbers of the classes rather than used to gather, so that a loss and its gradient are a
single pass over each row of logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.errors import ShapeError
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.frontend import number, one_of, public, tensor_of
from weft.ops.indexed import full, iota
from weft.ops.movement import expand, reshape
from weft.ops.nnfunc import again, exponentials, floats, kept_exponentials, log_weights, logistic
from weft.ops.reduce import cast_to, count_of, dropped, floating, kept, over, widened
from weft.ops.registry import Saved, composite

REDUCTIONS = ("mean", "sum", "none")


def _reduced(loss: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss
    axes = tuple(range(loss.ndim))
    total = dropped(over(R.reduce_sum, loss, axes), axes, False)
    return E.divide(total, float(count_of(loss.shape, axes))) if reduction == "mean" else total


def _unreduced(g: Any, shape: Sequence[int], reduction: str) -> Any:
    """The gradient of each element of a loss, given that of the loss."""
    g = widened(g)
    if reduction == "none":
        return g
    if reduction == "mean":
        g = E.divide(g, float(math.prod(shape)))
    return expand(reshape(g, attrs=((1,) * len(shape),)), attrs=(tuple(shape),)) if shape else g


def _class_mask(x: Any, target: Any, axis: int) -> Any:
    """True at each row's class. Negative labels are refused as well as too large ones."""
    n = x.shape[axis]
    label = E.check_index(E.where(E.less(target, 0), n, target), n, attrs=("A class label", n))
    label = reshape(label, attrs=((*target.shape[:axis], 1, *target.shape[axis:]),))
    classes = reshape(iota(attrs=(n,)), attrs=((n,) + (1,) * (x.ndim - axis - 1),))
    return E.equal(classes, label)


def _grad_cross_entropy(g: Any, c: Saved) -> Sequence[Any]:
    axis, reduction, smoothing = c.attrs
    x = widened(c.x)
    shape = tuple(n for d, n in enumerate(x.shape) if d != axis)
    g = kept(_unreduced(g, shape, reduction), x.shape, (axis,))
    e, total = again(x, c.kept)
    p = E.multiply(e, E.reciprocal(total))
    even = smoothing / x.shape[axis]
    # The number for the other classes as a tensor, so that both are rounded to x's type and not to the default one.
    wanted = E.where(_class_mask(x, c.y, axis), 1.0 - smoothing + even, full(even, attrs=((), x.dtype)))
    return E.multiply(g, E.subtract(p, E.cast_(wanted, attrs=x.dtype))), None


def _kept(x: Any, target: Any, attrs: Any) -> tuple[Any, Any]:
    return kept_exponentials(x, attrs[:1])


@composite("cross_entropy", 2, grad=_grad_cross_entropy, keeps=_kept)
def cross_entropy_op(x: Any, target: Any, attrs: Any) -> Any:
    """attrs (axis of the classes, reduction, label smoothing); class labels"""
    axis, reduction, smoothing = attrs
    _, shifted, _, total = exponentials(widened(x), (axis,))
    chosen = over(R.reduce_sum, E.where(_class_mask(x, target, axis), shifted, 0.0), (axis,))
    if smoothing:
        even = E.multiply(over(R.reduce_sum, shifted, (axis,)), smoothing / x.shape[axis])
        chosen = E.add(E.multiply(chosen, 1.0 - smoothing), even)
    # in this order the scheduler meets the sum of exponentials first, and the choice joins its kernel
    loss = dropped(E.add(E.negative(chosen), E.log(total)), (axis,), False)
    return cast_to(_reduced(loss, reduction), x.dtype)


def _grad_soft_cross_entropy(g: Any, c: Saved) -> Sequence[Any]:
    axis, reduction = c.attrs
    x, t = widened(c.x), widened(c.y)
    shape = tuple(n for d, n in enumerate(x.shape) if d != axis)
    g = kept(_unreduced(g, shape, reduction), x.shape, (axis,))
    top, total = c.kept
    e, _ = again(x, c.kept)
    p = E.multiply(e, E.reciprocal(total))
    gx = E.subtract(E.multiply(p, over(R.reduce_sum, t, (axis,))), t)
    return E.multiply(g, gx), E.negative(E.multiply(g, E.subtract(E.subtract(x, top), E.log(total))))


@composite("soft_cross_entropy", 2, grad=_grad_soft_cross_entropy, keeps=_kept)
def soft_cross_entropy_op(x: Any, target: Any, attrs: Any) -> Any:
    """attrs (axis of the classes, reduction); class probabilities"""
    axis, reduction = attrs
    wide = widened(x)
    logp = log_weights(wide, (axis,))
    loss = dropped(E.negative(over(R.reduce_sum, E.multiply(widened(target), logp), (axis,))), (axis,), False)
    return cast_to(_reduced(loss, reduction), x.dtype)


@public("neural networks", method=False)
def cross_entropy(x: Any, target: Any, *, reduction: str = "mean", label_smoothing: float = 0.0) -> Any:
    """The cross entropy between unnormalised logits and targets: ``-log_softmax(x)`` at the target.

    Args:
        x: logits [n, classes], [n, classes, ...] or [classes].
        target: class labels, an integer tensor of x's shape without the classes; or probabilities, a floating-point
            tensor of x's shape.
        reduction: "mean" over all targets, "sum", or "none".
        label_smoothing: the part of each target that is spread evenly over the classes.

    Raises:
        IndexError: for a label below 0 or not below the number of classes.
        ShapeError: where the shapes do not fit.

    Example:
        >>> weft.cross_entropy(weft.tensor([[0.0, 0.0]]), weft.tensor([1]))
        tensor(0.6931472, dtype=float32)
    """
    x = floats(x)
    tensor_of(target, "target")
    one_of(reduction, "reduction", REDUCTIONS)
    if x.ndim == 0:
        raise ShapeError("cross_entropy takes logits of at least one axis, the classes.")
    label_smoothing = number(label_smoothing, "label_smoothing")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}.")
    axis = 0 if x.ndim == 1 else 1
    if target.dtype.kind == "f":
        if tuple(target.shape) != tuple(x.shape):
            raise ShapeError(
                f"Target probabilities have the shape of the logits, {list(x.shape)}, not {list(target.shape)}; "
                "labels are integers."
            )
        if label_smoothing:
            target = E.add(E.multiply(target, 1.0 - label_smoothing), label_smoothing / x.shape[axis])
        return soft_cross_entropy_op(x, target, attrs=(axis, reduction))
    wanted = tuple(n for d, n in enumerate(x.shape) if d != axis)
    if target.dtype.kind == "b" or tuple(target.shape) != wanted:
        raise ShapeError(
            f"Labels for logits of shape {list(x.shape)} are integers of shape {list(wanted)}, not "
            f"{target.dtype.name} of shape {list(target.shape)}."
        )
    return cross_entropy_op(x, target, attrs=(axis, reduction, float(label_smoothing)))


@public("neural networks", method=False)
def nll_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The negative log-likelihood of labels, given log-probabilities (what `log_softmax` gives).

    Args are those of `cross_entropy`.

    Example:
        >>> weft.nll_loss(weft.tensor([[-0.5, -1.0]]), weft.tensor([1]))
        tensor(1., dtype=float32)
    """
    one_of(reduction, "reduction", REDUCTIONS)
    axis = 0 if tensor_of(x).ndim == 1 else 1
    wanted = tuple(n for d, n in enumerate(x.shape) if d != axis)
    if tensor_of(target, "target").dtype.kind not in "iu" or tuple(target.shape) != wanted:
        raise ShapeError(
            f"Labels for shape {list(x.shape)} are integers of shape {list(wanted)}, not {list(target.shape)}."
        )
    return nll_op(x, target, attrs=(axis, reduction))


@composite("nll_loss", 2)
def nll_op(x: Any, target: Any, attrs: Any) -> Any:
    """attrs (axis of the classes, reduction)"""
    axis, reduction = attrs
    chosen = over(R.reduce_sum, E.where(_class_mask(x, target, axis), widened(x), 0.0), (axis,))
    return cast_to(_reduced(E.negative(dropped(chosen, (axis,), False)), reduction), x.dtype)


def _grad_mse(g: Any, c: Saved) -> Sequence[Any]:
    d = E.subtract(widened(c.x), widened(c.y))
    gx = E.multiply(_unreduced(g, tuple(d.shape), c.attrs[0]), E.add(d, d))
    return gx, E.negative(gx)


@composite("mse_loss", 2, grad=_grad_mse)
def mse_op(x: Any, y: Any, attrs: Any) -> Any:
    """attrs (reduction,)"""
    d = E.subtract(widened(x), widened(y))
    return cast_to(_reduced(E.square(d), attrs[0]), _together(x, y))


@composite("l1_loss", 2)
def l1_op(x: Any, y: Any, attrs: Any) -> Any:
    """attrs (reduction,)"""
    d = E.subtract(widened(x), widened(y))
    return cast_to(_reduced(E.abs_(d), attrs[0]), _together(x, y))


def _together(x: Any, y: Any) -> Any:
    return floating(dtypes.promote(x.dtype, y.dtype))


def _pair(name: str, x: Any, target: Any, reduction: str) -> tuple[Any, Any]:
    one_of(reduction, "reduction", REDUCTIONS)
    if tuple(tensor_of(x).shape) != tuple(tensor_of(target, "target").shape):
        raise ShapeError(
            f"{name} takes two tensors of one shape, not {list(x.shape)} and {list(target.shape)}; reshape one of them first."
        )
    return floats(x), floats(target)


@public("neural networks", "mse", method=False)
def mse_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The squared differences of two tensors of one shape: their mean, their sum, or each.

    Args:
        x, target: tensors of one shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: where the shapes differ.

    Example:
        >>> weft.mse_loss(weft.tensor([1.0, 2.0]), weft.tensor([1.0, 4.0]))
        tensor(2., dtype=float32)
    """
    return mse_op(*_pair("mse_loss", x, target, reduction), attrs=(reduction,))


@public("neural networks", method=False)
def l1_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The absolute differences of two tensors of one shape. As `mse_loss`.

    Example:
        >>> weft.l1_loss(weft.tensor([1.0, 2.0]), weft.tensor([1.0, 4.0]))
        tensor(1., dtype=float32)
    """
    return l1_op(*_pair("l1_loss", x, target, reduction), attrs=(reduction,))


def _grad_bce(g: Any, c: Saved) -> Sequence[Any]:
    x, t = widened(c.x), widened(c.y)
    g = _unreduced(g, tuple(x.shape), c.attrs[0])
    return E.multiply(g, E.subtract(logistic(x), t)), E.negative(E.multiply(g, x))


@composite("binary_cross_entropy_with_logits", 2, grad=_grad_bce)
def bce_op(x: Any, t: Any, attrs: Any) -> Any:
    """attrs (reduction,): ``max(x, 0) - x * t + log1p(exp(-|x|))``"""
    wide, target = widened(x), widened(t)
    loss = E.add(E.subtract(E.maximum(wide, 0), E.multiply(wide, target)), E.log1p(E.exp(E.negative(E.abs_(wide)))))
    return cast_to(_reduced(loss, attrs[0]), _together(x, t))


@public("neural networks", method=False)
def binary_cross_entropy_with_logits(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The cross entropy of ``sigmoid(x)`` against targets from 0 to 1. As `mse_loss`.

    Example:
        >>> weft.binary_cross_entropy_with_logits(weft.tensor([0.0]), weft.tensor([1.0]))
        tensor(0.6931472, dtype=float32)
    """
    return bce_op(*_pair("binary_cross_entropy_with_logits", x, target, reduction), attrs=(reduction,))
