"""Norms of vectors and matrices: reductions of magnitudes, each one pass over memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft.dtypes import DType
from weft.errors import ShapeError, describe, kind_of
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.frontend import axes_of, axis_of, called, dtype_of, public, python_number, shortcut, tensor_of
from weft.ops.indexed import full
from weft.ops.reduce import Axes, cast_to, dropped, floating, kept, not_empty, over, widened
from weft.ops.registry import Saved, composite

# Orders that have a gradient of their own


def _grad_power(g: Any, c: Saved) -> Sequence[Any]:
    """sign(x) * (|x| / norm)**(order - 1), and 0 where x or the norm is 0, with nothing infinite beside it: as PyTorch's."""
    axes, _, order, dtype = c.attrs
    shape = tuple(c.x.shape)
    if order == 0:
        return (full(0, attrs=(shape, dtype.compute)),)
    x = cast_to(c.x, dtype.compute)
    norm = widened(kept(c.out, shape, axes))
    nothing = E.equal(norm, 0)
    norm = E.where(nothing, 1.0, norm)
    if order == 2:
        unit = E.where(nothing, 0.0, E.divide(x, norm))
    else:
        zero = E.equal(x, 0)
        share = E.divide(E.where(zero, 1.0, E.abs_(x)), norm)
        unit = E.where(E.bitwise_or(nothing, zero), 0.0, E.multiply(E.sign(x), E.power(share, order - 1.0)))
    return (E.multiply(widened(kept(g, shape, axes)), unit),)


def _powers(x: Any, order: float) -> Any:
    """|x|**order, without the general power for the orders 3 and 4."""
    if order == 3:
        return E.multiply(E.square(x), E.abs_(x))
    return E.square(E.square(x)) if order == 4 else E.power(E.abs_(x), order)


@composite("power_norm", 1, grad=_grad_power)
def _power_norm(x: Any, attrs: Any) -> Any:
    axes, keepdims, order, dtype = attrs
    x = cast_to(x, dtype.compute)
    if order == 0:
        total = over(R.reduce_sum, E.cast_(E.not_equal(x, 0), attrs=dtype.compute), axes)
    elif order == 2:
        total = E.sqrt(over(R.reduce_sum, E.square(x), axes))
    else:
        total = E.power(over(R.reduce_sum, _powers(x, order), axes), 1.0 / order)
    return cast_to(dropped(total, axes, keepdims), dtype)


#: The reductions of magnitudes that other orders are.
_PLAIN = {1.0: R.reduce_sum, math.inf: R.reduce_max, -math.inf: R.reduce_min}


@composite("plain_norm", 1)
def _plain_norm(x: Any, attrs: Any) -> Any:
    axes, keepdims, order, dtype = attrs
    total = over(_PLAIN[order], E.abs_(cast_to(x, dtype.compute)), axes)
    return cast_to(dropped(total, axes, keepdims), dtype)


@composite("summed_norm", 1)
def _summed_norm(x: Any, attrs: Any) -> Any:
    """The largest or smallest of the sums of magnitudes along an axis."""
    along, across, keepdims, largest, dtype = attrs
    sums = over(R.reduce_sum, E.abs_(cast_to(x, dtype.compute)), (along,))
    total = over(R.reduce_max if largest else R.reduce_min, sums, (across,))
    return cast_to(dropped(total, tuple(sorted((along, across))), keepdims), dtype)


# Arguments


def _type(x: Any, dtype: Any) -> DType:
    """The type that a norm is computed in and given in."""
    dtype = dtype_of(dtype, floating(tensor_of(x).dtype))
    if dtype.kind != "f":
        raise TypeError(f"A norm is floating-point, so its dtype cannot be {dtype.name}.")
    return dtype


def _order(order: Any) -> float:
    """The order of a vector norm."""
    number = python_number(order)
    if number is None or isinstance(number, bool):
        raise TypeError(f"ord of a vector norm must be a number, not {kind_of(order)}.")
    if math.isnan(number):
        raise ValueError("ord of a vector norm must be a number, not NaN.")
    return float(number)


def _vector(x: Any, order: Any, axes: Axes, keepdims: bool, dtype: Any) -> Any:
    order = _order(order)
    dtype = _type(x, dtype)
    if order < 0 or order == math.inf:
        not_empty("norm", x, axes)
    op = _plain_norm if order in _PLAIN else _power_norm
    return op(x, attrs=(axes, bool(keepdims), order, dtype))


_SUMMED = {1: (0, True), -1: (0, False), math.inf: (1, True), -math.inf: (1, False)}


def _matrix(x: Any, order: Any, axis: Any, keepdims: bool, dtype: Any) -> Any:
    if tensor_of(x).ndim < 2:
        raise ShapeError(f"A matrix norm takes a tensor of at least two axes, not of shape {list(x.shape)}.")
    if not isinstance(axis, list | tuple) or len(axis) != 2:
        raise ValueError("The axes of a matrix norm are a pair: of the rows and of the columns.")
    rows, columns = (axis_of(d, x.ndim) for d in axis)
    if rows == columns:
        raise ShapeError(f"A matrix norm needs two axes, and both are {rows}.")
    plain = order if isinstance(order, str) else python_number(order)
    if plain == "fro":
        return _vector(x, 2, tuple(sorted((rows, columns))), keepdims, dtype)
    if plain in ("nuc", 2, -2):
        raise NotImplementedError(
            f"A matrix norm of order {order!r} needs singular values, which Weft does not compute; orders 'fro', 1, -1, inf "
            "and -inf do not, and numpy.linalg.norm takes x.numpy()."
        )
    if type(plain) not in (int, float) or plain not in _SUMMED:
        raise ValueError(f"ord of a matrix norm must be 'fro', 1, -1, inf or -inf, not {describe(order)}.")
    which, largest = _SUMMED[plain]
    along, across = (rows, columns) if which == 0 else (columns, rows)
    not_empty("norm", x, (across,))
    return _summed_norm(x, attrs=(along, across, bool(keepdims), largest, _type(x, dtype)))


@public("reductions")
def norm(x: Any, ord: float = 2, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Any:
    """The vector norm of the elements over one axis, several, or all: ``sum(abs(x)**ord)**(1/ord)``.

    It is ``weft.linalg.vector_norm``; ``weft.linalg.norm`` takes two axes for a matrix, as NumPy's does.

    Args:
        x: a tensor.
        ord: any number. 0 counts the elements that are not 0, infinity gives the largest magnitude, minus infinity the
            smallest. ``p`` in PyTorch.
        axis, keepdims: as for `sum`.
        dtype: the floating type to compute in and give. By default that of x; for integers and bool the default one.

    Returns:
        A tensor of x's shape without the reduced axes. Its gradient is 0 where x is, and shared by equal extremes.

    Raises:
        ShapeError: where an axis does not exist, or has no elements and ord is negative or infinite.

    Example:
        >>> weft.norm(weft.tensor([3.0, 4.0]))
        tensor(5., dtype=float32)
    """
    return _vector(x, ord, axes_of(axis, tensor_of(x).ndim), keepdims, dtype)


@public("linear algebra", method=False)
def matrix_norm(
    x: Any, ord: Any = "fro", axis: tuple[int, int] = (-2, -1), keepdims: bool = False, *, dtype: Any = None
) -> Any:
    """The norms of matrices.

    Args:
        x: a tensor of at least two axes.
        ord: "fro" for the square root of the sum of the squares, 1 for the largest sum of magnitudes of a column, -1 for the
            smallest, infinity and minus infinity likewise of a row.
        axis: the axes of rows and columns.
        keepdims: keep these axes with size 1.
        dtype: as for `norm`.

    Raises:
        NotImplementedError: for 2, -2 and "nuc", which need singular values.
        ShapeError: where an axis does not exist, or has no elements to choose from.

    Example:
        >>> weft.matrix_norm(weft.tensor([[1.0, 2.0], [3.0, -4.0]]), 1)
        tensor(6., dtype=float32)
    """
    return _matrix(x, ord, axis, keepdims, dtype)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Any:
    """The norm of a vector or matrix, as in ``numpy.linalg`` and ``torch.linalg``.

    Args:
        x: a tensor.
        ord: as for `vector_norm` or `matrix_norm`; None for the 2-norm of all elements concerned.
        axis: an axis of vectors, or a pair of axes of matrices. None for all axes, which with an ord are one or two.
        keepdims, dtype: as for `vector_norm`.

    Raises:
        ShapeError: where an axis does not exist, or ord is given, axis is not, and x has neither one nor two axes.

    Example:
        >>> weft.linalg.norm(weft.tensor([[1.0, 2.0], [3.0, -4.0]]), weft.inf)
        tensor(7., dtype=float32)
    """
    ndim = tensor_of(x).ndim
    if ord is None:
        return _vector(x, 2, axes_of(axis, ndim), keepdims, dtype)
    if axis is None:
        if ndim not in (1, 2):
            raise ShapeError(f"norm with an ord needs the axis or axes for a tensor of shape {list(x.shape)}.")
        axis = tuple(range(ndim))
    if isinstance(axis, list | tuple) and len(axis) == 2:
        return _matrix(x, ord, axis, keepdims, dtype)
    if isinstance(axis, list | tuple) and len(axis) != 1:
        raise ShapeError(f"norm with an ord takes one axis or two, not {list(axis)}.")
    return _vector(x, ord, axes_of(axis, ndim), keepdims, dtype)


_norm.__name__ = _norm.__qualname__ = "norm"
#: `weft.linalg.norm`.
linalg_norm = shortcut(called(_norm))
