"""Public functions that read and write at positions: along an axis, of true elements, of classes."""

from __future__ import annotations

from typing import Any

from weft import dtypes
from weft.errors import ShapeError
from weft.ops import elementwise as E
from weft.ops import indexed as X
from weft.ops.frontend import Tensor, axis_of, integer, public, tensor_of
from weft.ops.indexing import (
    along_add,
    along_get,
    along_set,
    getitem,
    index_add_op,
    index_get,
    true_positions,
)
from weft.ops.movement import expand, reshape, slice_
from weft.ops.registry import OPS, broadcast_shape, composite


@public("indexing")
def nonzero(x: Any, as_tuple: bool = True) -> Any:
    """The positions of the elements that are not zero, row by row.

    The number of them depends on the values, so this cannot be used inside a static function.

    Args:
        x: a tensor of at least one axis.
        as_tuple: give one int64 tensor [n] for each axis, as in the array API; else one tensor [n, axes], as in PyTorch.

    Raises:
        TraceError: while a static function is traced.

    Example:
        >>> weft.nonzero(weft.tensor([0, 3, 4]))
        (tensor([1, 2], dtype=int64),)
    """
    from weft.ops.joining import stack

    tensor_of(x)
    if x.ndim == 0:
        raise ShapeError("nonzero takes a tensor of at least one axis.")
    found = true_positions(x if x.dtype is dtypes.bool_ else E.cast_(x, attrs=dtypes.bool_))
    return tuple(found) if as_tuple else stack(found, axis=1)


@public("indexing")
def masked_select(x: Any, mask: Any) -> Any:
    """The elements where a mask of the same shape holds, in one axis: ``x[mask]``.

    Example:
        >>> weft.masked_select(weft.tensor([1, 2, 3]), weft.tensor([True, False, True]))
        tensor([1, 3], dtype=int64)
    """
    return getitem(tensor_of(x), tensor_of(mask, "mask"))


@public("indexing")
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The elements at positions along an axis; with axis None, of the flattened tensor.

    Args:
        x: a tensor.
        indices: an integer tensor of any shape, which takes the axis's place. Negative positions count from the end.
        axis: the axis.

    Raises:
        IndexError: for a position outside the axis.

    Example:
        >>> weft.take(weft.tensor([5, 6, 7]), weft.tensor([2, 0]))
        tensor([7, 5], dtype=int64)
    """
    tensor_of(x)
    if axis is None:
        x, axis = reshape(x, attrs=((x.size,),)), 0
    d = axis_of(axis, x.ndim)
    return index_get(x, tensor_of(indices, "indices"), attrs=((d,), d, (d,)))


@public("indexing")
def index_select(x: Any, axis: int, index: Any) -> Any:
    """`take` with PyTorch's name and order of arguments.

    Example:
        >>> weft.index_select(weft.tensor([5, 6, 7]), 0, weft.tensor([2, 0]))
        tensor([7, 5], dtype=int64)
    """
    return take(x, index, axis)


def _like(index: Any, x: Any) -> Any:
    if tensor_of(index, "index").ndim != x.ndim:
        raise ShapeError(f"The index needs as many axes as the tensor: {x.ndim}, not {index.ndim}.")
    return index


def _inside(index: Any, x: Any, axis: int) -> Any:
    for d in range(x.ndim):
        if d != axis and index.shape[d] > x.shape[d]:
            raise ShapeError(
                f"The index has shape {list(index.shape)}, which is larger than shape {list(x.shape)} along axis {d}."
            )
    return index


@public("indexing")
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """For every other position, the elements that ``indices`` names along an axis; other axes broadcast.

    Args:
        x: a tensor.
        indices: an integer tensor with as many axes as x.
        axis: the axis.

    Raises:
        IndexError: for a position outside the axis.
        ShapeError: where the other axes do not broadcast.

    Example:
        >>> weft.take_along_axis(weft.tensor([[1, 2], [3, 4]]), weft.tensor([[1], [0]]), 1)
        tensor([[2],
                [3]], dtype=int64)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    _like(indices, x)
    rest = broadcast_shape(
        "take_along_axis", [tuple(1 if a == d else n for a, n in enumerate(t.shape)) for t in (x, indices)]
    )
    mine = (*rest[:d], x.shape[d], *rest[d + 1 :])
    other = (*rest[:d], indices.shape[d], *rest[d + 1 :])
    x = x if tuple(x.shape) == mine else expand(x, attrs=(mine,))
    indices = indices if tuple(indices.shape) == other else expand(indices, attrs=(other,))
    return along_get(x, indices, attrs=(d,))


@public("indexing")
def gather(x: Any, axis: int, index: Any) -> Any:
    """``out[i][j] = x[index[i][j]][j]`` for axis 0, and so on for other axes, as in PyTorch.

    Args:
        x: a tensor.
        axis: the axis that the index runs along.
        index: an integer tensor with as many axes as x, not larger along the others.

    Returns:
        A tensor of the index's shape.

    Raises:
        IndexError: for a position outside the axis.
        ShapeError: where the shapes do not fit.

    Example:
        >>> weft.gather(weft.tensor([[1, 2], [3, 4]]), 1, weft.tensor([[1], [0]]))
        tensor([[2],
                [3]], dtype=int64)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return along_get(x, _inside(_like(index, x), x, d), attrs=(d,))


def _source(source: Any, index: Any) -> Any:
    """The part of a source that the index uses."""
    if not isinstance(source, Tensor):
        return source
    _like(index, source)
    if any(n > m for n, m in zip(index.shape, source.shape, strict=True)):
        raise ShapeError(
            f"The index has shape {list(index.shape)}, which is larger than the source's, {list(source.shape)}."
        )
    if tuple(source.shape) == tuple(index.shape):
        return source
    return slice_(source, attrs=((0,) * source.ndim, (1,) * source.ndim, tuple(index.shape)))


@public("indexing")
def scatter(x: Any, axis: int, index: Any, source: Any) -> Any:
    """A copy of x in which the positions that `gather` would read are set; the last of equal positions stays.

    Args:
        x: a tensor.
        axis, index: as for `gather`.
        source: a tensor at least as large as the index, or a number.

    Example:
        >>> weft.scatter(weft.zeros(3), 0, weft.tensor([2, 0]), weft.tensor([5.0, 6.0]))
        tensor([6., 0., 5.], dtype=float32)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return along_set(x, _source(source, index), _inside(_like(index, x), x, d), attrs=(d,))


@public("indexing")
def scatter_add(x: Any, axis: int, index: Any, source: Any) -> Any:
    """A copy of x to which the source is added at the positions that `gather` would read, one after another.

    Args are those of `scatter`.

    Example:
        >>> weft.scatter_add(weft.zeros(2), 0, weft.tensor([0, 0]), weft.tensor([5.0, 6.0]))
        tensor([11.,  0.], dtype=float32)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return along_add(x, _source(source, index), _inside(_like(index, x), x, d), attrs=(d,))


@public("in place", package=False, again=False)
def scatter_(x: Any, axis: int, index: Any, source: Any) -> Any:
    """In place: `scatter`. Gives the tensor itself.

    Example:
        >>> weft.zeros(2).scatter_(0, weft.tensor([1]), 5.0)
        tensor([0., 5.], dtype=float32)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return OPS["along_set_"](x, _source(source, index), _inside(_like(index, x), x, d), attrs=(d,))


@public("in place", package=False, again=False)
def scatter_add_(x: Any, axis: int, index: Any, source: Any) -> Any:
    """In place: `scatter_add`. Gives the tensor itself.

    Example:
        >>> weft.zeros(2).scatter_add_(0, weft.tensor([1, 1]), weft.ones(2))
        tensor([0., 2.], dtype=float32)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return OPS["along_add_"](x, _source(source, index), _inside(_like(index, x), x, d), attrs=(d,))


@public("indexing")
def index_add(x: Any, axis: int, index: Any, source: Any) -> Any:
    """A copy of x to whose slices along an axis those of a source are added, one after another.

    Args:
        x: a tensor.
        axis: the axis.
        index: an integer tensor [n].
        source: a tensor of x's shape, with size n along the axis.

    Example:
        >>> weft.index_add(weft.zeros(2), 0, weft.tensor([0, 0]), weft.ones(2))
        tensor([2., 0.], dtype=float32)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return index_add_op(x, tensor_of(source, "source"), tensor_of(index, "index"), attrs=((d,), d, (d,)))


@public("in place", package=False, again=False)
def index_add_(x: Any, axis: int, index: Any, source: Any) -> Any:
    """In place: `index_add`. Gives the tensor itself.

    Example:
        >>> weft.zeros(2).index_add_(0, weft.tensor([1]), weft.ones(1))
        tensor([0., 1.], dtype=float32)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    return OPS["index_add_"](x, tensor_of(source, "source"), tensor_of(index, "index"), attrs=((d,), d, (d,)))


@composite("one_hot", 1)
def _one_hot(index: Any, attrs: Any) -> Any:
    (n,) = attrs
    index = E.check_index(E.where(E.less(index, 0), n, index), n, attrs=("A class label", n))
    classes = X.iota(attrs=(n,))
    hot = E.equal(reshape(index, attrs=((*index.shape, 1),)), classes)
    return E.cast_(hot, attrs=dtypes.int64)


@public("indexing")
def one_hot(index: Any, num_classes: int) -> Any:
    """A new last axis that holds 1 at the index and 0 elsewhere.

    Args:
        index: an integer tensor of positions from 0 to ``num_classes - 1``.
        num_classes: the size of the new axis.

    Returns:
        An int64 tensor.

    Raises:
        IndexError: for a position outside the classes.

    Example:
        >>> weft.one_hot(weft.tensor([0, 2]), 3)
        tensor([[1, 0, 0],
                [0, 0, 1]], dtype=int64)
    """
    if tensor_of(index, "index").dtype.kind not in "iu":
        raise TypeError(f"one_hot takes an integer tensor, not {index.dtype.name}.")
    return _one_hot(index, attrs=(integer(num_classes, "num_classes"),))
