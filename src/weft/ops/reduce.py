"""Public reductions over any axes.

Axes that are not adjacent are reduced a run at a time, the last first. 16-bit types are reduced in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.dtypes import DType
from weft.errors import ShapeError
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.frontend import axes_of, axis_of, dtype_of, number, public, tensor_of
from weft.ops.movement import expand, reshape
from weft.ops.registry import Op, Saved, composite

Axes = tuple[int, ...]


def over(op: Op, x: Any, axes: Axes) -> Any:
    """A reduction primitive over increasing axes, which stay with size 1."""
    axes_left = list(axes)
    while axes_left:
        hi = axes_left.pop() + 1
        lo = hi - 1
        while axes_left and axes_left[-1] == lo - 1:
            lo = axes_left.pop()
        x = op(x, attrs=(lo, hi))
    return x


def dropped(x: Any, axes: Axes, keepdims: bool) -> Any:
    """A reduced tensor without its reduced axes, unless they are to be kept."""
    if keepdims or not axes:
        return x
    return reshape(x, attrs=(tuple(n for d, n in enumerate(x.shape) if d not in axes),))


def kept(g: Any, shape: Sequence[int], axes: Axes) -> Any:
    """The gradient of a reduction with the reduced axes there again, of size 1."""
    return reshape(g, attrs=(tuple(1 if d in axes else n for d, n in enumerate(shape)),))


def widened(x: Any) -> Any:
    """A 16-bit tensor in float32; any other as it is."""
    return E.cast_(x, attrs=dtypes.float32) if x.dtype.is_half else x


def cast_to(x: Any, dtype: DType) -> Any:
    """The tensor in a type."""
    return x if x.dtype is dtype else E.cast_(x, attrs=dtype)


def floating(dtype: DType) -> DType:
    """The type, or for integers and bool the default floating type."""
    return dtype if dtype.kind == "f" else dtypes.default_float


def count_of(shape: Sequence[int], axes: Axes) -> int:
    """The number of elements along these axes."""
    return math.prod(shape[d] for d in axes)


def _grad_sum(g: Any, c: Saved) -> Sequence[Any]:
    shape = tuple(c.x.shape)
    return (expand(kept(g, shape, c.attrs[0]), attrs=(shape,)),)


@composite("sum", 1, grad=_grad_sum)
def _sum(x: Any, attrs: Any) -> Any:
    axes, keepdims, dtype = attrs
    total = over(R.reduce_sum, cast_to(x, dtype.compute), axes)
    return cast_to(dropped(total, axes, keepdims), dtype)


@composite("prod", 1)
def _prod(x: Any, attrs: Any) -> Any:
    axes, keepdims, dtype = attrs
    total = over(R.reduce_prod, cast_to(x, dtype.compute), axes)
    return cast_to(dropped(total, axes, keepdims), dtype)


def _grad_mean(g: Any, c: Saved) -> Sequence[Any]:
    shape, axes = tuple(c.x.shape), c.attrs[0]
    g = E.divide(widened(kept(g, shape, axes)), float(count_of(shape, axes)))
    return (expand(g, attrs=(shape,)),)


@composite("mean", 1, grad=_grad_mean)
def _mean(x: Any, attrs: Any) -> Any:
    axes, keepdims, dtype = attrs
    total = over(R.reduce_sum, cast_to(x, dtype.compute), axes)
    return cast_to(dropped(E.divide(total, float(count_of(x.shape, axes))), axes, keepdims), dtype)


def deviations(x: Any, axes: Axes) -> Any:
    """x minus its mean, in its computing type."""
    x = widened(x)
    return E.subtract(x, E.divide(over(R.reduce_sum, x, axes), float(count_of(x.shape, axes))))


def _divisor(shape: Sequence[int], axes: Axes, correction: float) -> float:
    n = count_of(shape, axes) - correction
    return n if n > 0 else 0.0


def _grad_var(g: Any, c: Saved) -> Sequence[Any]:
    axes, _, correction = c.attrs
    scale = E.divide(widened(kept(g, c.x.shape, axes)), _divisor(c.x.shape, axes, correction))
    return (E.multiply(E.add(scale, scale), deviations(c.x, axes)),)


def squared_deviations(x: Any, axes: Axes) -> Any:
    """The sum of (x - mean)**2 over increasing axes, in one pass: within runs of adjacent axes, and then between them."""
    if not axes:
        return R.reduce_m2(x, attrs=(x.ndim, x.ndim))
    hi = lo = len(axes) - 1
    while lo and axes[lo - 1] == axes[lo] - 1:
        lo -= 1
    run = (axes[lo], axes[hi] + 1)
    inside = R.reduce_m2(x, attrs=run)
    if not lo:
        return inside
    n = float(count_of(x.shape, axes[lo:]))
    means = E.divide(R.reduce_sum(x, attrs=run), n)
    return E.add(over(R.reduce_sum, inside, axes[:lo]), E.multiply(squared_deviations(means, axes[:lo]), n))


def _variance(x: Any, axes: Axes, correction: float) -> Any:
    return E.divide(squared_deviations(widened(x), axes), _divisor(x.shape, axes, correction))


@composite("var", 1, grad=_grad_var)
def _var(x: Any, attrs: Any) -> Any:
    axes, keepdims, correction = attrs
    return cast_to(dropped(_variance(x, axes, correction), axes, keepdims), x.dtype)


def _grad_std(g: Any, c: Saved) -> Sequence[Any]:
    axes, _, correction = c.attrs
    out = widened(kept(c.out, c.x.shape, axes))
    zero = E.equal(out, 0)
    scale = E.divide(widened(kept(g, c.x.shape, axes)), E.multiply(out, _divisor(c.x.shape, axes, correction)))
    return (E.multiply(E.where(zero, 0.0, scale), deviations(c.x, axes)),)


@composite("std", 1, grad=_grad_std)
def _std(x: Any, attrs: Any) -> Any:
    axes, keepdims, correction = attrs
    return cast_to(dropped(E.sqrt(_variance(x, axes, correction)), axes, keepdims), x.dtype)


def _grad_extreme(g: Any, c: Saved) -> Sequence[Any]:
    """Equal extremes share the gradient."""
    axes = c.attrs[0]
    winners = E.equal(c.x, kept(c.out, c.x.shape, axes))
    share = over(R.reduce_sum, E.cast_(winners, attrs=dtypes.float32), axes)
    g = E.divide(widened(kept(g, c.x.shape, axes)), share)
    return (E.where(winners, g, 0.0),)


@composite("max", 1, grad=_grad_extreme)
def _max(x: Any, attrs: Any) -> Any:
    axes, keepdims = attrs
    return dropped(over(R.reduce_max, x, axes), axes, keepdims)


@composite("min", 1, grad=_grad_extreme)
def _min(x: Any, attrs: Any) -> Any:
    axes, keepdims = attrs
    return dropped(over(R.reduce_min, x, axes), axes, keepdims)


@composite("any", 1)
def _any(x: Any, attrs: Any) -> Any:
    axes, keepdims = attrs
    return dropped(over(R.reduce_any, cast_to(x, dtypes.bool_), axes), axes, keepdims)


@composite("all", 1)
def _all(x: Any, attrs: Any) -> Any:
    axes, keepdims = attrs
    return dropped(over(R.reduce_all, cast_to(x, dtypes.bool_), axes), axes, keepdims)


@composite("count_nonzero", 1)
def _count_nonzero(x: Any, attrs: Any) -> Any:
    axes, keepdims = attrs
    counts = over(R.reduce_sum, cast_to(cast_to(x, dtypes.bool_), dtypes.int64), axes)
    return dropped(counts, axes, keepdims)


@composite("position_of_max", 1)
def _position_of_max(x: Any, attrs: Any) -> Any:
    lo, hi, keepdims = attrs
    return dropped(R.argmax(x, attrs=(lo, hi)), tuple(range(lo, hi)), keepdims)


@composite("position_of_min", 1)
def _position_of_min(x: Any, attrs: Any) -> Any:
    lo, hi, keepdims = attrs
    return dropped(R.argmin(x, attrs=(lo, hi)), tuple(range(lo, hi)), keepdims)


# Public functions


def accumulator(dtype: DType) -> DType:
    """The type a sum of these is given in: integers widen to 64 bits, as in the array API."""
    if dtype.kind == "f":
        return dtype
    return dtypes.uint64 if dtype.kind == "u" else dtypes.default_int


@public("reductions")
def sum(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Any:
    """The sum over one axis, several, or all.

    Args:
        x: a tensor of any type.
        axis: an axis, a tuple of axes, or None for all. ``dim`` is the same.
        keepdims: keep the reduced axes with size 1. ``keepdim`` is the same.
        dtype: the type to sum in and give. By default that of x; for bool and integers 64 bits.

    Returns:
        A tensor of x's shape without the reduced axes. The sum of no elements is 0.

    Raises:
        ShapeError: where an axis does not exist.

    Example:
        >>> weft.sum(weft.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        tensor([4., 6.], dtype=float32)
    """
    tensor_of(x)
    return _sum(x, attrs=(axes_of(axis, x.ndim), bool(keepdims), dtype_of(dtype, accumulator(x.dtype))))


@public("reductions")
def prod(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Any:
    """The product over one axis, several, or all. Args, result and errors are those of `sum`.

    Example:
        >>> weft.prod(weft.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor(24., dtype=float32)
    """
    tensor_of(x)
    return _prod(x, attrs=(axes_of(axis, x.ndim), bool(keepdims), dtype_of(dtype, accumulator(x.dtype))))


@public("reductions")
def mean(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Any:
    """The mean over one axis, several, or all; NaN for no elements.

    Args are those of `sum`; integers and bool give the default floating type.

    Example:
        >>> weft.mean(weft.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
        tensor([1.5, 3.5], dtype=float32)
    """
    tensor_of(x)
    return _mean(x, attrs=(axes_of(axis, x.ndim), bool(keepdims), dtype_of(dtype, floating(x.dtype))))


def _correction(correction: float | None, unbiased: bool | None) -> float:
    if unbiased is not None:
        if correction is not None:
            raise TypeError("unbiased=True is another name of correction=1, and both were given; pass one of them.")
        return float(bool(unbiased))
    return 0.0 if correction is None else float(number(correction, "correction"))


@public("reductions")
def var(
    x: Any, axis: Any = None, keepdims: bool = False, *, correction: float | None = None, unbiased: bool | None = None
) -> Any:
    """The variance over one axis, several, or all: squared deviations, summed and divided by ``n - correction``.

    The default correction is 0, as in the array API and NumPy (PyTorch's is 1: pass ``correction=1`` or ``unbiased=True``).

    Args:
        x: a tensor.
        axis, keepdims: as for `sum`.
        correction: what is subtracted from the number of elements.
        unbiased: True for a correction of 1, False for 0.

    Raises:
        ShapeError: where an axis does not exist.

    Example:
        >>> weft.var(weft.tensor([1.0, 3.0]))
        tensor(1., dtype=float32)
    """
    x = cast_to(tensor_of(x), floating(x.dtype))
    return _var(x, attrs=(axes_of(axis, x.ndim), bool(keepdims), _correction(correction, unbiased)))


@public("reductions")
def std(
    x: Any, axis: Any = None, keepdims: bool = False, *, correction: float | None = None, unbiased: bool | None = None
) -> Any:
    """The standard deviation: the square root of `var`, with the same arguments.

    Example:
        >>> weft.std(weft.tensor([1.0, 3.0]))
        tensor(1., dtype=float32)
    """
    x = cast_to(tensor_of(x), floating(x.dtype))
    return _std(x, attrs=(axes_of(axis, x.ndim), bool(keepdims), _correction(correction, unbiased)))


def not_empty(name: str, x: Any, axes: Axes) -> Axes:
    """Axes along which there is something to choose from."""
    empty = [d for d in axes if x.shape[d] == 0]
    if empty and 0 not in (n for d, n in enumerate(x.shape) if d not in axes):
        raise ShapeError(f"The {name} of no elements is undefined: axis {empty[0]} of shape {list(x.shape)} is empty.")
    return axes


@public("reductions", "amax")
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element over one axis, several, or all; NaN where there is one.

    As in the array API the values alone are given; `argmax` gives the positions. The larger of two tensors is `maximum`.

    Args:
        x: a tensor of any type, with at least one element along the reduced axes.
        axis, keepdims: as for `sum`.

    Raises:
        ShapeError: where an axis does not exist or has no elements.

    Example:
        >>> weft.max(weft.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
        tensor([5., 4.], dtype=float32)
    """
    return _max(x, attrs=(not_empty("max", tensor_of(x), axes_of(axis, x.ndim)), bool(keepdims)))


@public("reductions", "amin")
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element over one axis, several, or all; NaN where there is one. As `max`.

    Example:
        >>> weft.min(weft.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
        tensor([1., 3.], dtype=float32)
    """
    return _min(x, attrs=(not_empty("min", tensor_of(x), axes_of(axis, x.ndim)), bool(keepdims)))


@public("reductions")
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether any element is true (not zero), over one axis, several, or all; False for no elements.

    Example:
        >>> weft.any(weft.tensor([[True, False], [False, False]]), axis=1)
        tensor([ True, False], dtype=bool)
    """
    return _any(tensor_of(x), attrs=(axes_of(axis, x.ndim), bool(keepdims)))


@public("reductions")
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether every element is true (not zero), over one axis, several, or all; True for no elements.

    Example:
        >>> weft.all(weft.tensor([[True, False], [True, True]]), axis=1)
        tensor([False,  True], dtype=bool)
    """
    return _all(tensor_of(x), attrs=(axes_of(axis, x.ndim), bool(keepdims)))


@public("reductions")
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The number of elements that are not zero, over one axis, several, or all.

    Example:
        >>> weft.count_nonzero(weft.tensor([1, 0, 2]))
        tensor(2, dtype=int64)
    """
    return _count_nonzero(tensor_of(x), attrs=(axes_of(axis, x.ndim), bool(keepdims)))


def _arg(name: str, op: Op, x: Any, axis: Any, keepdims: bool) -> Any:
    tensor_of(x)
    if x.ndim == 0:
        if axis is not None:
            axis_of(axis, 1)
        return op(reshape(x, attrs=((1,),)), attrs=(0, 1, False))
    not_empty(name, x, axes_of(axis, x.ndim))
    lo, hi = (0, x.ndim) if axis is None else (axis_of(axis, x.ndim), axis_of(axis, x.ndim) + 1)
    return op(x, attrs=(lo, hi, bool(keepdims)))


@public("reductions")
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The position of the largest element along an axis, or in the flattened tensor. The first among equals; NaN wins.

    Args:
        x: a tensor with at least one element along the axis.
        axis: an axis, or None for the position among all elements in row-major order.
        keepdims: keep the axis with size 1.

    Returns:
        An int64 tensor.

    Raises:
        ShapeError: where the axis does not exist or has no elements.

    Example:
        >>> weft.argmax(weft.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
        tensor([1, 1], dtype=int64)
    """
    return _arg("argmax", _position_of_max, x, axis, keepdims)


@public("reductions")
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The position of the smallest element. As `argmax`.

    Example:
        >>> weft.argmin(weft.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1)
        tensor([0, 0], dtype=int64)
    """
    return _arg("argmin", _position_of_min, x, axis, keepdims)
