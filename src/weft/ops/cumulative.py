"""Public running sums and products."""

from __future__ import annotations

from typing import Any

from weft.errors import ShapeError
from weft.ops.frontend import axis_of, dtype_of, public, tensor_of
from weft.ops.indexed import full
from weft.ops.joining import joined
from weft.ops.movement import reshape
from weft.ops.reduce import accumulator, cast_to
from weft.ops.registry import Op, composite
from weft.ops.scan import scan_prod, scan_sum


@composite("cumsum", 1)
def _cumsum(x: Any, attrs: Any) -> Any:
    axis, dtype = attrs
    return scan_sum(cast_to(x, dtype), attrs=(axis, False))


@composite("cumprod", 1)
def _cumprod(x: Any, attrs: Any) -> Any:
    axis, dtype = attrs
    return scan_prod(cast_to(x, dtype), attrs=(axis, False))


def _running(op: Op, x: Any, axis: Any, dtype: Any) -> Any:
    """Along an axis, or over all elements; a tensor without axes counts as one of one element."""
    dtype = dtype_of(dtype, accumulator(tensor_of(x).dtype))
    if dtype.kind == "b":
        raise TypeError("Running sums and products are numbers, not of type bool.")
    if axis is None or x.ndim == 0:
        d = 0 if axis is None else axis_of(axis, 1)
        x = x if x.ndim == 1 else reshape(x, attrs=((x.size,),))
    else:
        d = axis_of(axis, x.ndim)
    return op(x, attrs=(d, dtype))


@public("reductions")
def cumsum(x: Any, axis: int | None = None, *, dtype: Any = None) -> Any:
    """The running sums along an axis, or over all elements row by row.

    Args:
        x: a tensor of any type.
        axis: an axis, or None for the flattened tensor. ``dim`` is the same.
        dtype: the type to sum in and give. By default that of x; for bool and integers 64 bits.

    Returns:
        A tensor of x's shape; of one axis if axis is None or x has no axes. Floating-point numbers are summed in float64 and
        rounded once each.

    Raises:
        ShapeError: where the axis does not exist.
        TypeError: for the type bool.

    Example:
        >>> weft.cumsum(weft.tensor([1.0, 2.0, 3.0]))
        tensor([1., 3., 6.], dtype=float32)
    """
    return _running(_cumsum, x, axis, dtype)


@public("reductions")
def cumprod(x: Any, axis: int | None = None, *, dtype: Any = None) -> Any:
    """The running products along an axis, or over all elements row by row. Args, result and errors are those of `cumsum`.

    The gradient is right where elements are 0, and takes a time that grows with their number.

    Example:
        >>> weft.cumprod(weft.tensor([1.0, 2.0, 3.0]))
        tensor([1., 2., 6.], dtype=float32)
    """
    return _running(_cumprod, x, axis, dtype)


def _cumulative(name: str, op: Op, start: int, x: Any, axis: Any, dtype: Any, include_initial: bool) -> Any:
    if tensor_of(x).ndim == 0:
        raise ShapeError(f"{name} takes a tensor of at least one axis.")
    if axis is None and x.ndim > 1:
        raise ShapeError(f"{name} needs an axis for a tensor of {x.ndim} axes.")
    d = 0 if axis is None else axis_of(axis, x.ndim)
    out = _running(op, x, d, dtype)
    if not include_initial:
        return out
    edge = full(start, attrs=((*out.shape[:d], 1, *out.shape[d + 1 :]), out.dtype))
    return joined(edge, out, attrs=(d,))


@public("reductions", method=False)
def cumulative_sum(x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """The running sums along an axis, as the array API has them. See `cumsum`.

    Args:
        x: a tensor of at least one axis.
        axis: the axis; needed where there are several.
        dtype: as for `cumsum`.
        include_initial: begin with 0, so that the axis is one longer.

    Raises:
        ShapeError: where the axis does not exist, or is not given and there is not exactly one.
        TypeError: for the type bool.

    Example:
        >>> weft.cumulative_sum(weft.tensor([1, 2, 3]), include_initial=True)
        tensor([0, 1, 3, 6], dtype=int64)
    """
    return _cumulative("cumulative_sum", _cumsum, 0, x, axis, dtype, include_initial)


@public("reductions", method=False)
def cumulative_prod(x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """The running products along an axis, as the array API has them. Args and errors are those of `cumulative_sum`.

    Example:
        >>> weft.cumulative_prod(weft.tensor([2, 3]), include_initial=True)
        tensor([1, 2, 6], dtype=int64)
    """
    return _cumulative("cumulative_prod", _cumprod, 1, x, axis, dtype, include_initial)
