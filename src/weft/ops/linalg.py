"""Public contractions: matrix products over any batch, and what is built on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from weft.errors import ShapeError, kind_of
from weft.ops import contraction as C
from weft.ops import elementwise as E
from weft.ops.einsum import contract, summed_products
from weft.ops.frontend import Tensor, axis_of, integer, public, refused, tensor_of
from weft.ops.movement import as_strided, contiguous_strides, reshape
from weft.ops.reduce import sum as total
from weft.ops.registry import broadcast_shape, composite


@composite("matmul_vector", 2)
def _matmul_vector(a: Any, b: Any, attrs: Any) -> Any:
    """A product in which one operand or both are vectors."""
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(
            "matmul takes tensors of at least one axis; multiply by a number or scalar tensor with * instead."
        )
    if a.shape[-1] != b.shape[-2 if b.ndim >= 2 else -1]:
        raise ShapeError(
            f"matmul cannot multiply shapes {list(a.shape)} and {list(b.shape)}: the inner sizes {a.shape[-1]} and "
            f"{b.shape[-2 if b.ndim >= 2 else -1]} differ."
        )
    row, column = a.ndim == 1, b.ndim == 1
    if row:
        a = reshape(a, attrs=((1, *a.shape),))
    if column:
        b = reshape(b, attrs=((*b.shape, 1),))
    out = C.matmul(a, b)
    shape = list(out.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return reshape(out, attrs=(tuple(shape),))


def multiplied(a: Any, b: Any) -> Any:
    """``a @ b``: the number slot."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return NotImplemented
    if a.ndim >= 2 and b.ndim >= 2:
        return C.matmul.handle(None, a, b)
    return _matmul_vector.handle(None, a, b)


@public("linear algebra")
def matmul(x: Any, y: Any, /) -> Any:
    """The matrix product ``x @ y``.

    Args:
        x: a tensor [..., m, k], or a vector [k].
        y: a tensor [..., k, n], or a vector [k]. Leading axes broadcast.

    Returns:
        A tensor [..., m, n], without the axis that a vector lacks.

    Raises:
        ShapeError: where the inner sizes differ or the leading axes do not broadcast.
        TypeError: for bool.

    Example:
        >>> weft.matmul(weft.tensor([[1.0, 2.0], [3.0, 4.0]]), weft.tensor([1.0, 1.0]))
        tensor([3., 7.], dtype=float32)
    """
    out = multiplied(x, y)
    return out if out.__class__ is Tensor else refused("matmul", (x, y))


def _exactly(name: str, x: Any, ndim: int) -> Any:
    if tensor_of(x).ndim != ndim:
        axes = f"{ndim} axes" if ndim > 1 else "one axis"
        raise ShapeError(
            f"{name} takes tensors of {axes}, not of shape {list(x.shape)}; matmul takes any number of axes."
        )
    return x


@public("linear algebra")
def mm(x: Any, y: Any, /) -> Any:
    """The product of two matrices [m, k] and [k, n]. See `matmul`.

    Example:
        >>> weft.mm(weft.eye(2), weft.tensor([[1.0], [2.0]]))
        tensor([[1.],
                [2.]], dtype=float32)
    """
    return C.matmul(_exactly("mm", x, 2), _exactly("mm", y, 2))


@public("linear algebra")
def bmm(x: Any, y: Any, /) -> Any:
    """The products of two stacks of matrices [b, m, k] and [b, k, n]. See `matmul`.

    Example:
        >>> weft.bmm(weft.ones((2, 1, 3)), weft.ones((2, 3, 1))).shape
        (2, 1, 1)
    """
    return C.matmul(_exactly("bmm", x, 3), _exactly("bmm", y, 3))


# What follows checks shapes in the composites: once for each kind of call, not in each call.


@composite("dot", 2)
def _dot(x: Any, y: Any, attrs: Any) -> Any:
    _exactly("dot", x, 1)
    _exactly("dot", y, 1)
    _same("dot", x, y, -1)
    return contract(x, y, attrs=_DOT)


@public("linear algebra")
def dot(x: Any, y: Any, /) -> Any:
    """The sum of the products of two vectors [k].

    Example:
        >>> weft.dot(weft.tensor([1.0, 2.0]), weft.tensor([3.0, 4.0]))
        tensor(11., dtype=float32)
    """
    out = _dot.handle(None, x, y)
    return out if out.__class__ is Tensor else refused("dot", (x, y))


_DOT = (((0,), (0,)), ())


def _same(name: str, x: Any, y: Any, axis: int) -> None:
    if x.shape[axis] != y.shape[axis]:
        raise ShapeError(
            f"{name} pairs axis {axis} of shapes {list(x.shape)} and {list(y.shape)}, whose sizes {x.shape[axis]} and "
            f"{y.shape[axis]} differ."
        )


@composite("vdot", 2)
def _vdot(x: Any, y: Any, attrs: Any) -> Any:
    x, y = (reshape(t, attrs=((math.prod(t.shape),),)) for t in (x, y))
    _same("vdot", x, y, 0)
    return contract(x, y, attrs=_DOT)


@public("linear algebra")
def vdot(x: Any, y: Any, /) -> Any:
    """The sum of the products of the elements of two tensors of any shapes, row by row, with equally many elements.

    Example:
        >>> weft.vdot(weft.tensor([[1.0, 2.0]]), weft.tensor([3.0, 4.0]))
        tensor(11., dtype=float32)
    """
    out = _vdot.handle(None, x, y)
    return out if out.__class__ is Tensor else refused("vdot", (x, y))


@public("linear algebra")
def vecdot(x: Any, y: Any, /, *, axis: int = -1) -> Any:
    """The sums of the products of vectors along an axis. The other axes broadcast.

    Args:
        x, y: tensors.
        axis: the axis of the vectors, from -1 down to minus the smaller number of axes.

    Raises:
        ShapeError: where the vectors' sizes differ or other axes do not broadcast.

    Example:
        >>> weft.vecdot(weft.tensor([[1.0, 2.0], [3.0, 4.0]]), weft.tensor([1.0, 1.0]))
        tensor([3., 7.], dtype=float32)
    """
    ndim = min(tensor_of(x).ndim, tensor_of(y, "y").ndim)
    axis = axis_of(axis, ndim) - ndim if integer(axis, "axis") < 0 or x.ndim == y.ndim else 0
    if axis == 0:
        raise ShapeError(
            f"vecdot counts its axis from the last, -1 to {-ndim}, where tensors have {x.ndim} and {y.ndim} axes."
        )
    _same("vecdot", x, y, axis)
    broadcast_shape("vecdot", [tuple(x.shape), tuple(y.shape)])
    term = (..., *range(1, -axis + 1))
    return summed_products(((term, term), (..., *term[2:])), x, y)


@composite("outer", 2)
def _outer(x: Any, y: Any, attrs: Any) -> Any:
    _exactly("outer", x, 1)
    _exactly("outer", y, 1)
    return contract(x, y, attrs=_OUTER)


@public("linear algebra")
def outer(x: Any, y: Any, /) -> Any:
    """The matrix [m, n] of the products of the elements of two vectors [m] and [n].

    Example:
        >>> weft.outer(weft.tensor([1.0, 2.0]), weft.tensor([3.0, 4.0]))
        tensor([[3., 4.],
                [6., 8.]], dtype=float32)
    """
    out = _outer.handle(None, x, y)
    return out if out.__class__ is Tensor else refused("outer", (x, y))


_OUTER = (((0,), (1,)), (0, 1))


@composite("inner", 2)
def _inner(x: Any, y: Any, attrs: Any) -> Any:
    if 0 in (x.ndim, y.ndim):
        return E.multiply(x, y)
    _same("inner", x, y, -1)
    return contract(x, y, attrs=_paired((x.ndim - 1,), (y.ndim - 1,), x.ndim, y.ndim))


@public("linear algebra")
def inner(x: Any, y: Any, /) -> Any:
    """The sums of products over the last axes of two tensors; the product, if one of them has no axes.

    Returns:
        A tensor of x's other axes followed by y's.

    Raises:
        ShapeError: where the last axes have different sizes.

    Example:
        >>> weft.inner(weft.tensor([[1.0, 2.0], [3.0, 4.0]]), weft.tensor([1.0, 1.0]))
        tensor([3., 7.], dtype=float32)
    """
    out = _inner.handle(None, x, y)
    return out if out.__class__ is Tensor else refused("inner", (x, y))


@public("linear algebra")
def tensordot(x: Any, y: Any, /, axes: Any = 2) -> Any:
    """The sum of products over pairs of axes.

    Args:
        x, y: tensors.
        axes: how many of x's last and y's first axes are paired, or two lists of axes, one for each tensor.

    Returns:
        A tensor of x's other axes followed by y's.

    Raises:
        ShapeError: where paired axes have different sizes.

    Example:
        >>> weft.tensordot(weft.ones((2, 3)), weft.ones((3, 4)), axes=1).shape
        (2, 4)
    """
    tensor_of(x)
    tensor_of(y, "y")
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ShapeError(f"tensordot cannot pair {axes} axes of tensors with {x.ndim} and {y.ndim} axes.")
        mine, other = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    else:
        if not isinstance(axes, list | tuple) or len(axes) != 2:
            raise ValueError("axes must be a number of axes or two lists of axes, one for each tensor.")
        mine, other = (
            tuple(axis_of(d, t.ndim) for d in (a if isinstance(a, list | tuple) else [a]))
            for t, a in zip((x, y), axes, strict=True)
        )
        if len(mine) != len(other) or len(set(mine)) != len(mine) or len(set(other)) != len(other):
            raise ShapeError(
                f"tensordot pairs distinct axes, as many of one tensor as of the other, not {mine} and {other}."
            )
    if any(x.shape[a] != y.shape[b] for a, b in zip(mine, other, strict=True)):
        raise ShapeError(
            f"tensordot pairs axes {list(mine)} and {list(other)} of shapes {list(x.shape)} and {list(y.shape)}, whose sizes "
            "differ."
        )
    return contract(x, y, attrs=_paired(mine, other, x.ndim, y.ndim))


@lru_cache(maxsize=256)
def _paired(mine: tuple[int, ...], other: tuple[int, ...], x: int, y: int) -> Any:
    """Subscripts for tensors of ``x`` and ``y`` axes, of which some are paired and summed over."""
    terms = tuple(range(x)), tuple(mine[other.index(d)] if d in other else x + d for d in range(y))
    return terms, tuple(i for i in terms[0] if i not in mine) + tuple(i for i in terms[1] if i >= x)


@public("linear algebra", method=False)
def multi_dot(tensors: Sequence[Any], /) -> Any:
    """The product of several matrices in the order of multiplication that takes the fewest steps.

    Args:
        tensors: at least two matrices; the first and the last may be vectors.

    Raises:
        ShapeError: where neighbours do not fit, or one is neither a matrix nor at the ends a vector.

    Example:
        >>> weft.multi_dot([weft.ones(2, 50), weft.ones(50, 50), weft.ones(50)])
        tensor([2500., 2500.], dtype=float32)
    """
    if not isinstance(tensors, list | tuple):
        raise TypeError(f"tensors must be a list or tuple of tensors, not {kind_of(tensors)}.")
    factors = [tensor_of(t, "Each factor") for t in tensors]
    last = len(factors) - 1
    if last < 1:
        raise ShapeError("multi_dot takes at least two matrices.")
    for k, t in enumerate(factors):
        if t.ndim != 2 and not (t.ndim == 1 and k in (0, last)):
            raise ShapeError(
                f"multi_dot takes matrices, and vectors at the ends, not shape {list(t.shape)} as factor {k}."
            )
        if k and factors[k - 1].shape[-1] != t.shape[0]:
            raise ShapeError(
                f"multi_dot cannot multiply factors {k - 1} and {k}, of shapes {list(factors[k - 1].shape)} and "
                f"{list(t.shape)}: the inner sizes differ."
            )
    terms: list[tuple[int, ...]] = [(k, k + 1) for k in range(last + 1)]
    terms[0], terms[last] = terms[0][-factors[0].ndim :], terms[last][: factors[last].ndim]
    ends = [i for term in terms for i in term]
    return contract(*factors, attrs=(tuple(terms), tuple(i for i in ends if ends.count(i) == 1)))


@public("linear algebra")
def kron(x: Any, y: Any, /) -> Any:
    """The Kronecker product: each element of x replaced by its product with all of y.

    Args:
        x, y: tensors; the one of fewer axes is taken to have axes of size 1 before its own.

    Example:
        >>> weft.kron(weft.tensor([1, 2]), weft.tensor([1, 10]))
        tensor([ 1, 10,  2, 20], dtype=int64)
    """
    return _kron(tensor_of(x), tensor_of(y, "y"))


@composite("kron", 2)
def _kron(x: Any, y: Any, attrs: Any) -> Any:
    """The Kronecker product, each pair of axes apart until the product is made."""
    ndim = max(x.ndim, y.ndim)
    a, b = ((1,) * (ndim - t.ndim) + tuple(t.shape) for t in (x, y))
    x = reshape(x, attrs=(tuple(n for m in a for n in (m, 1)),))
    y = reshape(y, attrs=(tuple(n for m in b for n in (1, m)),))
    return reshape(E.multiply(x, y), attrs=(tuple(m * n for m, n in zip(a, b, strict=True)),))


@public("linear algebra")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of two axes, as the last axis: a view where x is contiguous, else a copy.

    Args:
        x: a tensor of at least two axes.
        offset: which diagonal: 0 the main one, positive above it.
        axis1, axis2: the axes of rows and columns; ``dim1`` and ``dim2`` in PyTorch.

    Raises:
        ShapeError: where an axis does not exist or both are the same.

    Example:
        >>> weft.diagonal(weft.tensor([[1, 2], [3, 4]]))
        tensor([1, 4], dtype=int64)
    """
    rows, columns = axis_of(axis1, tensor_of(x).ndim), axis_of(axis2, x.ndim)
    if rows == columns:
        raise ShapeError(f"A diagonal needs two axes, and axis1 and axis2 are both {rows}.")
    offset = integer(offset, "offset")
    strides = contiguous_strides(x.shape)
    n = max(0, min(x.shape[rows] + min(offset, 0), x.shape[columns] - max(offset, 0)))
    start = (max(offset, 0) * strides[columns] - min(offset, 0) * strides[rows]) if n else 0
    others = [d for d in range(x.ndim) if d not in (rows, columns)]
    shape = (*(x.shape[d] for d in others), n)
    return as_strided(x, attrs=(start, (*(strides[d] for d in others), strides[rows] + strides[columns]), shape))


@public("linear algebra")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a `diagonal`, whose arguments and errors these are, in x's type.

    Example:
        >>> weft.trace(weft.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor(5., dtype=float32)
    """
    return total(diagonal(x, offset, axis1, axis2), axis=-1, dtype=x.dtype)
