"""Public functions that make tensors: from Python values and arrays, or by a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft import _native, dtypes
from weft.dtypes import DType, as_dtype
from weft.errors import ShapeError, describe, kind_of
from weft.ir.node import Node, Where
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, boolean, dtype_of, integer, number, public, shape_of, tensor_of
from weft.ops.indexed import full as full_op
from weft.ops.nodes import node, positions, reshaped
from weft.ops.registry import Op, Operand, broadcast, cast, composite, register

# From values


def _has(dtype: np.dtype) -> bool:
    """Whether there is a type of this name, also of arrays in another byte order."""
    return dtype in dtypes.BY_NUMPY or dtype.name in dtypes.BY_NAME  # a name takes NumPy a microsecond to make


def _array(data: Any, dtype: DType | None) -> np.ndarray:
    """Nested lists, or anything NumPy takes, as an array in a type that Weft has."""
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError("Nested lists of unequal lengths do not make a tensor.") from None
    if array.dtype.kind in "OSU":
        raise TypeError(
            f"A tensor is made from numbers, equally nested lists of them, or arrays, not from {kind_of(data)}"
            f"{' that holds something else' * (array.ndim > 0)}."
        )
    if not _has(array.dtype):
        raise TypeError(f"Weft has no type {array.dtype.name}; the types are {', '.join(dtypes.BY_NAME)}.")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if dtype is None and not hasattr(data, "dtype"):
        kind = array.dtype.kind
        dtype = dtypes.default_float if kind == "f" or array.size == 0 else dtypes.default_int if kind in "iu" else None
        if kind == "u" and array.dtype == np.uint64:
            raise OverflowError("An integer does not fit int64; pass dtype=weft.uint64.")
    if dtype is not None and dtype.kind in "iu" and array.dtype.kind == "f":
        return _whole(data, array, dtype)
    if dtype is not None and dtype is not dtypes.bfloat16:
        array = array.astype(dtype.numpy, copy=False)
    return array


def _whole(data: Any, array: np.ndarray, dtype: DType) -> np.ndarray:
    """Floats as integers by the rule of `Tensor.to`; integers that NumPy took for floats, to hold them all, as they are."""
    if not hasattr(data, "dtype"):
        given = np.asarray(data, dtype=object)
        if all(isinstance(v, int) for v in given.flat):
            return given.astype(dtype.numpy)
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    with np.errstate(invalid="ignore"):
        kept = np.where((array > low) & (array < high), array, 0).astype(dtype.numpy)
    kept[array <= low] = low
    kept[array >= high] = high
    return kept


def _stands_for(data: Any) -> Any:
    """The class of Python number that a tensor stands for in a recording; None for any other tensor, and for what is none."""
    return data.symbol.weak if isinstance(data, Tensor) and data.symbol is not None else None


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, list | tuple) and any(isinstance(d, Tensor) or _holds_tensors(d) for d in data)


def _nested(data: Any) -> Any:
    """Nested lists that hold tensors, stacked."""
    from weft.ops.joining import stack

    def element(d: Any) -> Any:
        if isinstance(d, Tensor) and _stands_for(d) is None:
            return d
        return _nested(d) if _holds_tensors(d) else tensor(d)

    return stack([element(d) for d in data])


def _require(x: Any, requires_grad: bool) -> Any:
    if boolean(requires_grad, "requires_grad"):
        if x.dtype.kind != "f":
            raise TypeError(f"Only floating-point tensors can require grad, not {x.dtype.name}.")
        x.requires_grad = True
    return x


def _copied(array: np.ndarray) -> Any:
    """A tensor of the array's values in memory of Weft's own, which begins with a cache line. NumPy's begins at any multiple
    of 16 bytes, and vectors that lie across two lines cost a product up to a twentieth of its time."""
    whole, kind = np.ascontiguousarray(array), dtypes.BY_NUMPY.get(array.dtype)
    if kind is None:  # bfloat16, which NumPy has only as a type of another package
        whole, kind = whole.view(np.uint8), dtypes.BY_NAME[array.dtype.name]
    return _native.from_bytes(whole, kind, array.shape)


@public("creation", method=False)
def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, *, device: Any = None) -> Any:
    """A new tensor with these values, which are copied.

    Args:
        data: a number, equally nested lists of numbers (or of tensors), an array, or a tensor.
        dtype: its type. By default an array's own; float32 for Python floats, int64 for ints, bool for bools.
        requires_grad: whether gradients with respect to it are wanted.
        device: None or "cpu".

    Raises:
        TypeError: for other data, or an integer tensor that is to require grad.
        ValueError: for lists of unequal length.

    Example:
        >>> weft.tensor([[1, 2], [3, 4]], dtype=weft.float32)
        tensor([[1., 2.],
                [3., 4.]], dtype=float32)
    """
    check_device(device)
    wanted = None if dtype is None else as_dtype(dtype)
    if _stands_for(data) is not None:
        x = E.cast_(data, attrs=wanted or dtypes.of_scalar(_stands_for(data)()))
    elif isinstance(data, Tensor):
        x = E.copy(data.detach())
        x = x if wanted is None or x.dtype is wanted else E.cast_(x, attrs=wanted)
    elif _holds_tensors(data):
        x = _nested(data)
        x = x if wanted is None or x.dtype is wanted else E.cast_(x, attrs=wanted)
    else:
        array = _array(data, wanted)
        shared = isinstance(data, np.ndarray) or not array.flags.writeable or not array.flags.c_contiguous
        x = _copied(array) if shared else _native.from_numpy(array)
        if wanted is not None and x.dtype is not wanted:
            x = E.cast_(x, attrs=wanted)
        elif _native.recording() is not None:
            x = E.copy(x)  # a constant of the trace, which in-place ops must not change for later replays
    return _require(x, requires_grad)


@public("creation", "as_tensor", method=False)
def asarray(data: Any, dtype: Any = None, *, copy: bool | None = None, device: Any = None) -> Any:
    """A tensor of these values, sharing memory where that is possible.

    Args:
        data: as for `tensor`. A tensor of the right type is given back, an array's memory is shared.
        dtype: as for `tensor`.
        copy: True to copy in any case, False to raise where a copy is needed.

    Raises:
        TypeError: for other data.
        ValueError: for ``copy=False`` where a copy is needed.

    Example:
        >>> weft.asarray([1.0, 2.0])
        tensor([1., 2.], dtype=float32)
    """
    check_device(device)
    if copy:
        return tensor(data, dtype)
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(data, Tensor) and _stands_for(data) is None:
        x = data
    elif isinstance(data, np.ndarray) and _has(data.dtype) and data.dtype.isnative:
        try:
            x = from_numpy(data)
        except ValueError:  # elements that are not aligned
            if copy is False:
                raise
            return tensor(data, wanted)
    elif copy is False:
        raise ValueError("asarray cannot share the memory of Python values, and copy=False forbids copying.")
    else:
        return tensor(data, wanted)
    if wanted is None or x.dtype is wanted:
        return x
    if copy is False:
        raise ValueError(f"{x.dtype.name} values become {wanted.name} in a copy only, and copy=False forbids copying.")
    return E.cast_(x, attrs=wanted)


@public("creation", method=False)
def from_numpy(array: Any) -> Any:
    """A tensor over a NumPy array's memory: a change of one is seen in the other.

    Args:
        array: an array of a type that Weft has. A read-only array gives a tensor that cannot be changed in place.

    Raises:
        TypeError: for anything but an array, or one of another type.
        ValueError: for elements that are not aligned to their size; copy the array first.

    Example:
        >>> import numpy as np
        >>> weft.from_numpy(np.arange(3))
        tensor([0, 1, 2], dtype=int64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy takes a NumPy array, not {type(array).__name__}; use weft.asarray.")
    if not _has(array.dtype) or not array.dtype.isnative:
        raise TypeError(f"Weft has no type {array.dtype}; the types are {', '.join(dtypes.BY_NAME)}.")
    return _native.from_numpy(array)


@public("creation", method=False)
def from_dlpack(x: Any) -> Any:
    """A tensor over the memory of another library's array, through the DLPack protocol.

    Args:
        x: an object with ``__dlpack__`` whose memory is on the CPU.

    Example:
        >>> import numpy as np
        >>> weft.from_dlpack(np.ones(2))
        tensor([1., 1.], dtype=float64)
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack takes an object with __dlpack__, which {kind_of(x)} has not.")
    return _native.from_dlpack(x)


def check_device(device: Any) -> None:
    """Refuse a device that there is not."""
    if device is not None and str(device) not in ("cpu", "cpu:0"):
        raise ValueError(f"This build runs on the CPU; there is no device {describe(device)}.")


# By a rule


def filled(shape: tuple[int, ...], value: Any, dtype: DType, requires_grad: bool = False) -> Any:
    """One value everywhere."""
    return _require(full_op(value, attrs=(shape, dtype)), requires_grad)


@public("creation", method=False)
def empty(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Any:
    """A new tensor whose values are whatever the memory held.

    Args:
        shape: the sizes.
        dtype: its type, float32 by default.

    Example:
        >>> weft.empty(2, 3).shape
        (2, 3)
    """
    check_device(device)
    kind, sizes = dtype_of(dtype, dtypes.default_float), shape_of(shape)
    if _native.recording() is not None:  # memory made now would be one tensor that all replays share
        return filled(sizes, 0, kind, requires_grad)
    return _require(_native.empty(sizes, kind), requires_grad)


@public("creation", method=False)
def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Any:
    """A new tensor of zeros.

    Args:
        shape: the sizes, as ``zeros(2, 3)`` or ``zeros((2, 3))``.
        dtype: its type, float32 by default.

    Raises:
        ShapeError: for a negative size.

    Example:
        >>> weft.zeros(2, dtype=weft.int64)
        tensor([0, 0], dtype=int64)
    """
    check_device(device)
    return filled(shape_of(shape), 0, dtype_of(dtype, dtypes.default_float), requires_grad)


@public("creation", method=False)
def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Any:
    """A new tensor of ones. Args and errors are those of `zeros`.

    Example:
        >>> weft.ones(2)
        tensor([1., 1.], dtype=float32)
    """
    check_device(device)
    return filled(shape_of(shape), 1, dtype_of(dtype, dtypes.default_float), requires_grad)


@public("creation", method=False)
def full(shape: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Any:
    """A new tensor with one value everywhere.

    Args:
        shape: a size or a tuple of sizes.
        fill_value: a number, or a tensor without axes.
        dtype: its type; by default that of the number.

    Example:
        >>> weft.full((2,), 7)
        tensor([7, 7], dtype=int64)
    """
    check_device(device)
    if isinstance(fill_value, Tensor):
        if fill_value.ndim:
            raise ShapeError(f"full takes one number, not a tensor of shape {list(fill_value.shape)}.")
        kind = _stands_for(fill_value)
        default = fill_value.dtype if kind is None else dtypes.of_scalar(kind())
    else:
        fill_value = number(fill_value, "fill_value")
        default = dtypes.of_scalar(fill_value)
    return filled(shape_of((shape,)), fill_value, dtype_of(dtype, default), requires_grad)


@public("creation")
def zeros_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Any:
    """Zeros of another tensor's shape and type.

    Example:
        >>> weft.zeros_like(weft.tensor([1, 2]))
        tensor([0, 0], dtype=int64)
    """
    return filled(tuple(tensor_of(x).shape), 0, dtype_of(dtype, x.dtype), requires_grad)


@public("creation")
def ones_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Any:
    """Ones of another tensor's shape and type.

    Example:
        >>> weft.ones_like(weft.tensor([1, 2]))
        tensor([1, 1], dtype=int64)
    """
    return filled(tuple(tensor_of(x).shape), 1, dtype_of(dtype, x.dtype), requires_grad)


@public("creation")
def full_like(x: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Any:
    """One value everywhere, in another tensor's shape and type.

    Example:
        >>> weft.full_like(weft.tensor([1, 2]), 7)
        tensor([7, 7], dtype=int64)
    """
    tensor_of(x)
    return full(tuple(x.shape), fill_value, dtype=dtype_of(dtype, x.dtype), requires_grad=requires_grad)


@public("creation")
def empty_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Any:
    """As `empty`, in another tensor's shape and type.

    Example:
        >>> weft.empty_like(weft.tensor([1, 2])).shape
        (2,)
    """
    return empty(tuple(tensor_of(x).shape), dtype=dtype_of(dtype, x.dtype), requires_grad=requires_grad)


def _build_arange(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    start, step = operands
    n, dtype, wide = attrs
    return cast(node(E.add, node(E.multiply, positions(n, wide), step), start, where=where), dtype)


#: operands (start, step), attrs (n, type, type to compute in)
arange_op = register(Op("arange", "leaf", 2, _build_arange))


@public("creation", method=False)
def arange(
    start: Any, stop: Any = None, step: Any = 1, *, dtype: Any = None, requires_grad: bool = False, device: Any = None
) -> Any:
    """Numbers from ``start`` (0 if only one is given) up to, not including, ``stop``.

    Args:
        start, stop, step: numbers. Floats are computed as ``start + k * step`` in float64.
        dtype: its type; by default int64 for integers, else float32.

    Raises:
        ValueError: for a step of 0.

    Example:
        >>> weft.arange(2, 8, 2)
        tensor([2, 4, 6], dtype=int64)
    """
    check_device(device)
    if stop is None:
        start, stop = 0, start
    start, stop, step = (number(v, n) for v, n in ((start, "start"), (stop, "stop"), (step, "step")))
    if step == 0:
        raise ValueError("arange cannot go on in steps of 0.")
    floats = any(isinstance(v, float) for v in (start, stop, step))
    n = max(math.ceil((stop - start) / step), 0) if floats else max(-(-(stop - start) // step), 0)
    kind = dtype_of(dtype, dtypes.default_float if floats else dtypes.default_int)
    wide = dtypes.float64 if floats else dtypes.int64
    return _require(arange_op(start, step, attrs=(n, kind, wide)), requires_grad)


def _build_linspace(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    start, stop, step = operands
    n, dtype = attrs
    k = positions(n)
    even = node(E.add, node(E.multiply, cast(k, dtypes.float64), step), start)
    last = node(E.equal, k, n - 1)
    return cast(node(E.where, last, stop, even, where=where), dtype)


#: operands (start, stop, step), attrs (n, type)
linspace_op = register(Op("linspace", "leaf", 3, _build_linspace))


@public("creation", method=False)
def linspace(
    start: float, stop: float, num: int, *, dtype: Any = None, endpoint: bool = True, requires_grad: bool = False
) -> Any:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, both included unless ``endpoint`` is False.

    Example:
        >>> weft.linspace(0.0, 1.0, 3)
        tensor([0. , 0.5, 1. ], dtype=float32)
    """
    n = integer(num, "num")
    if n < 0:
        raise ShapeError(f"linspace gives 0 numbers or more, not {n}.")
    start, stop = float(number(start, "start")), float(number(stop, "stop"))
    step = (stop - start) / max(n - 1 if endpoint else n, 1)
    last = stop if endpoint and n > 1 else start + step * (n - 1) if n > 1 else start
    return _require(linspace_op(start, last, step, attrs=(n, dtype_of(dtype, dtypes.default_float))), requires_grad)


def _grid(n: int, m: int) -> tuple[Node, Node]:
    """The row and the column number of every element of a matrix."""
    return broadcast(reshaped(positions(n), (n, 1)), (n, m)), broadcast(positions(m), (n, m))


def _build_eye(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (k,) = operands
    n, m, dtype = attrs
    row, column = _grid(n, m)
    return cast(node(E.equal, node(E.add, row, k), column, where=where), dtype)


#: operand the diagonal, attrs (rows, columns, type)
eye_op = register(Op("eye", "leaf", 1, _build_eye))


@public("creation", method=False)
def eye(n: int, m: int | None = None, *, k: int = 0, dtype: Any = None, requires_grad: bool = False) -> Any:
    """A matrix with ones on a diagonal and zeros elsewhere.

    Args:
        n, m: the numbers of rows and columns; as many columns as rows by default.
        k: which diagonal: 0 the main one, positive above it.

    Example:
        >>> weft.eye(2)
        tensor([[1., 0.],
                [0., 1.]], dtype=float32)
    """
    rows, columns = shape_of((n, n if m is None else m))
    kind = dtype_of(dtype, dtypes.default_float)
    return _require(eye_op(integer(k, "k"), attrs=(rows, columns, kind)), requires_grad)


def _triangle(x: Any, k: int, lower: bool) -> Any:
    from weft.ops.indexed import iota
    from weft.ops.movement import reshape

    n, m = x.shape[-2:]
    row = reshape(iota(attrs=(n,)), attrs=((n, 1),))
    column = iota(attrs=(m,))
    edge = E.add(row, k)
    return E.where(E.less_equal(column, edge) if lower else E.greater_equal(column, edge), x, 0)


@composite("triangle", 1)
def _triangle_of(x: Any, attrs: Any) -> Any:
    k, lower = attrs
    return _triangle(x, k, lower)


def _matrix(x: Any, name: str) -> Any:
    if tensor_of(x).ndim < 2:
        raise ShapeError(f"{name} takes a tensor of at least two axes, not {x.ndim}.")
    return x


@public("creation")
def tril(x: Any, k: int = 0) -> Any:
    """The elements on and below a diagonal of the last two axes, and zeros above.

    Args:
        x: a tensor of at least two axes.
        k: which diagonal: 0 the main one, positive above it. ``diagonal`` in PyTorch.

    Example:
        >>> weft.tril(weft.ones(2, 2))
        tensor([[1., 0.],
                [1., 1.]], dtype=float32)
    """
    return _triangle_of(_matrix(x, "tril"), attrs=(integer(k, "k"), True))


@public("creation")
def triu(x: Any, k: int = 0) -> Any:
    """The elements on and above a diagonal of the last two axes, and zeros below. As `tril`.

    Example:
        >>> weft.triu(weft.ones(2, 2))
        tensor([[1., 1.],
                [0., 1.]], dtype=float32)
    """
    return _triangle_of(_matrix(x, "triu"), attrs=(integer(k, "k"), False))


@public("creation", method=False)
def meshgrid(*tensors: Any, indexing: str = "xy") -> list[Any]:
    """Coordinate grids of one-dimensional tensors: one tensor for each, expanded to all their sizes.

    Args:
        tensors: vectors.
        indexing: "xy" (the first two axes exchanged, as in NumPy) or "ij".

    Example:
        >>> [g.shape for g in weft.meshgrid(weft.arange(2), weft.arange(3), indexing="ij")]
        [(2, 3), (2, 3)]
    """
    from weft.ops.frontend import one_of
    from weft.ops.movement import reshape
    from weft.ops.shape import expanded, transposed

    one_of(indexing, "indexing", ("xy", "ij"))
    for t in tensors:
        if tensor_of(t, "Each argument").ndim != 1:
            raise ShapeError(f"meshgrid takes tensors of one axis, not of shape {list(t.shape)}.")
    shape = tuple(t.size for t in tensors)
    grids = [
        expanded(reshape(t, attrs=((1,) * d + (t.size,) + (1,) * (len(shape) - 1 - d),)), shape, "meshgrid")
        for d, t in enumerate(tensors)
    ]
    return [transposed(g, 0, 1) for g in grids] if indexing == "xy" and len(shape) > 1 else grids
