"""Public functions that move elements: views of the same memory wherever strides can say it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.errors import ShapeError
from weft.ops.frontend import axes_of, axis_of, integer, public, shape_of, sizes_of, tensor_of
from weft.ops.movement import expand, permute, reshape, slice_

# One axis at a time


def sliced(x: Any, axis: int, start: int, size: int, step: int = 1) -> Any:
    """A view of ``size`` positions of one axis."""
    starts, steps, sizes = [0] * x.ndim, [1] * x.ndim, list(x.shape)
    starts[axis], steps[axis], sizes[axis] = start, step, size
    return slice_(x, attrs=(tuple(starts), tuple(steps), tuple(sizes)))


def resolved(x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape for x's elements in which one size may be -1, "what is left"."""
    if -1 not in shape:
        if math.prod(shape) != x.size or any(n < 0 for n in shape):
            raise ShapeError(f"Shape {list(x.shape)} has {x.size} elements, which do not fit shape {list(shape)}.")
        return shape
    known = -math.prod(shape)
    if shape.count(-1) > 1 or any(n < -1 for n in shape):
        raise ShapeError(
            f"One size of a new shape may be -1, and the others are 0 and more; {list(shape)} is not like that."
        )
    if known == 0 or x.size % known:
        raise ShapeError(f"Shape {list(x.shape)} has {x.size} elements, which do not fit shape {list(shape)}.")
    return tuple(x.size // known if n == -1 else n for n in shape)


def _reshape(x: Any, *shape: Any) -> Any:
    """The same elements, row by row, in another shape: a view where strides can say it, else a copy.

    Args:
        x: a tensor.
        shape: the sizes, of which one may be -1: what is left.

    Raises:
        ShapeError: where the number of elements differs.

    Example:
        >>> weft.reshape(weft.tensor([1, 2, 3, 4]), (2, -1))
        tensor([[1, 2],
                [3, 4]], dtype=int64)
    """
    return reshape(x, attrs=(resolved(tensor_of(x), sizes_of(shape)),))


@public("shape")
def view(x: Any, *shape: Any) -> Any:
    """A view of x's memory with another shape; as `reshape`, but an error where that would need a copy.

    Example:
        >>> x = weft.zeros(2, 3)
        >>> x.view(3, 2).data_ptr() == x.data_ptr()
        True
    """
    if len(shape) == 1 and isinstance(shape[0], dtypes.DType | str):
        raise TypeError("view changes the shape only; x.to(dtype) makes a tensor of another type.")
    new = resolved(tensor_of(x), sizes_of(shape))
    assert reshape.view is not None
    if reshape.view(tuple(x.shape), tuple(x.strides), (new,)) is None:
        raise ShapeError(
            f"The strides {list(x.strides)} of shape {list(x.shape)} cannot be viewed as shape {list(new)}; reshape makes a "
            "copy where needed."
        )
    return reshape(x, attrs=(new,))


@public("shape")
def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Any:
    """The axes from ``start_axis`` to ``end_axis`` joined into one (``start_dim`` and ``end_dim`` in PyTorch).

    Example:
        >>> weft.flatten(weft.zeros(2, 3, 4), 1).shape
        (2, 12)
    """
    if tensor_of(x).ndim == 0:
        return reshape(x, attrs=((1,),))
    lo, hi = axis_of(start_axis, x.ndim), axis_of(end_axis, x.ndim) + 1
    if lo >= hi:
        raise ShapeError(f"flatten joins axes from {start_axis} to {end_axis}, but the first comes after the last.")
    return reshape(x, attrs=((*x.shape[:lo], math.prod(x.shape[lo:hi]), *x.shape[hi:]),))


@public("shape")
def ravel(x: Any) -> Any:
    """All elements in one axis, row by row.

    Example:
        >>> weft.ravel(weft.tensor([[1, 2], [3, 4]]))
        tensor([1, 2, 3, 4], dtype=int64)
    """
    return reshape(tensor_of(x), attrs=((x.size,),))


@public("shape")
def unflatten(x: Any, axis: int, shape: Sequence[int]) -> Any:
    """One axis split into several.

    Example:
        >>> weft.unflatten(weft.zeros(2, 12), 1, (3, 4)).shape
        (2, 3, 4)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    part = sizes_of((shape,))
    if -1 in part:
        rest = -math.prod(part)
        part = tuple(x.shape[d] // rest if n == -1 and rest else n for n in part)
    if math.prod(part) != x.shape[d]:
        raise ShapeError(f"Axis {d} of size {x.shape[d]} cannot be split into sizes {list(sizes_of((shape,)))}.")
    return reshape(x, attrs=((*x.shape[:d], *part, *x.shape[d + 1 :]),))


def _permute(x: Any, *axes: Any) -> Any:
    """All axes in another order: a view.

    Args:
        x: a tensor.
        axes: every axis of x once.

    Raises:
        ShapeError: where an axis is missing or named twice.

    Example:
        >>> weft.permute(weft.zeros(2, 3, 4), (2, 0, 1)).shape
        (4, 2, 3)
    """
    return permute(x, attrs=(_order(tensor_of(x), sizes_of(axes, "An axis")),))


def transposed(x: Any, a: int, b: int) -> Any:
    """Two axes exchanged."""
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return permute(x, attrs=(tuple(order),))


@public("shape", "swapaxes", "swapdims")
def transpose(x: Any, *axes: Any) -> Any:
    """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy.

    Args:
        x: a tensor.
        axes: two axes, or one tuple of all axes, or nothing.

    Raises:
        ShapeError: where an axis does not exist.

    Example:
        >>> weft.transpose(weft.zeros(2, 3, 4), 0, 1).shape
        (3, 2, 4)
    """
    tensor_of(x)
    if not axes:
        return permute(x, attrs=(tuple(range(x.ndim))[::-1],))
    if len(axes) == 1 and isinstance(axes[0], list | tuple):
        return permute(x, attrs=(_order(x, axes[0]),))
    if len(axes) != 2:
        raise TypeError(f"transpose takes two axes, or a tuple of all axes, or none; not {len(axes)}.")
    return transposed(x, axis_of(axes[0], x.ndim), axis_of(axes[1], x.ndim))


def _order(x: Any, axes: Sequence[Any]) -> tuple[int, ...]:
    order = tuple(axis_of(a, x.ndim) for a in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"Axes {list(axes)} are not an order of all {x.ndim} axes of shape {list(x.shape)}.")
    return order


@public("shape", "movedim")
def moveaxis(x: Any, source: Any, destination: Any, /) -> Any:
    """Axes moved to other places; the rest keep their order.

    Example:
        >>> weft.moveaxis(weft.zeros(2, 3, 4), 0, -1).shape
        (3, 4, 2)
    """
    tensor_of(x)
    sources = [axis_of(a, x.ndim) for a in (source if isinstance(source, list | tuple) else (source,))]
    places = [axis_of(a, x.ndim) for a in (destination if isinstance(destination, list | tuple) else (destination,))]
    if len(sources) != len(places) or len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise ShapeError(f"moveaxis cannot move axes {sources} to {places}: each needs a place of its own.")
    order = [d for d in range(x.ndim) if d not in sources]
    for place, d in sorted(zip(places, sources, strict=True)):
        order.insert(place, d)
    return permute(x, attrs=(tuple(order),))


@public("shape")
def squeeze(x: Any, axis: Any = None) -> Any:
    """Without axes of size 1: all of them, or those given (an axis of another size is kept, as in PyTorch).

    Example:
        >>> weft.squeeze(weft.zeros(1, 3, 1)).shape
        (3,)
    """
    axes = axes_of(axis, tensor_of(x).ndim)
    return reshape(x, attrs=(tuple(n for d, n in enumerate(x.shape) if n != 1 or d not in axes),))


@public("shape", "expand_dims")
def unsqueeze(x: Any, axis: int = 0) -> Any:
    """With a new axis of size 1 at a place.

    Example:
        >>> weft.unsqueeze(weft.zeros(3), 0).shape
        (1, 3)
    """
    d = axis_of(axis, tensor_of(x).ndim + 1)
    return reshape(x, attrs=((*x.shape[:d], 1, *x.shape[d:]),))


def expanded(x: Any, shape: tuple[int, ...], name: str) -> Any:
    """x seen with a larger shape, which it broadcasts to; -1 keeps a size."""
    lead = len(shape) - x.ndim
    if lead < 0:
        raise ShapeError(f"{name} cannot take shape {list(x.shape)} to {list(shape)}, which has fewer axes.")
    shape = tuple(x.shape[d - lead] if n == -1 and d >= lead else n for d, n in enumerate(shape))
    for d, n in enumerate(shape):
        old = x.shape[d - lead] if d >= lead else 1
        if n < 0 or old not in (1, n):
            raise ShapeError(
                f"{name} cannot take shape {list(x.shape)} to {list(shape)}: axis {d - len(shape)} has size {old}, and only "
                "axes of size 1 grow."
            )
    if lead:
        x = reshape(x, attrs=((1,) * lead + tuple(x.shape),))
    return x if tuple(x.shape) == shape else expand(x, attrs=(shape,))


@public("shape")
def broadcast_to(x: Any, *shape: Any) -> Any:
    """x seen with a larger shape, to which its own broadcasts: a view that repeats elements without copying.

    Args:
        x: a tensor.
        shape: the shape.

    Raises:
        ShapeError: where x's shape does not broadcast to it.

    Example:
        >>> weft.broadcast_to(weft.tensor([1.0, 2.0]), (2, 2))
        tensor([[1., 2.],
                [1., 2.]], dtype=float32)
    """
    return expanded(tensor_of(x), shape_of(shape), "broadcast_to")


@public("shape")
def broadcast_tensors(*tensors: Any) -> list[Any]:
    """Several tensors expanded to the shape they broadcast to.

    Example:
        >>> [t.shape for t in weft.broadcast_tensors(weft.zeros(3, 1), weft.zeros(4))]
        [(3, 4), (3, 4)]
    """
    from weft.ops.registry import broadcast_shape

    shape = broadcast_shape("broadcast_tensors", [tuple(tensor_of(t).shape) for t in tensors])
    return [expanded(t, shape, "broadcast_tensors") for t in tensors]


def _expand(x: Any, *shape: Any) -> Any:
    """As `broadcast_to`; a size of -1 keeps the axis as it is.

    Example:
        >>> weft.expand(weft.zeros(3, 1), -1, 4).shape
        (3, 4)
    """
    return expanded(tensor_of(x), sizes_of(shape), "expand")


for _function, _name, _also in (
    (_reshape, "reshape", ()),
    (_permute, "permute", ("permute_dims",)),
    (_expand, "expand", ()),
):  # the primitives have these names in this file
    _function.__name__ = _function.__qualname__ = _name
    public("shape", *_also)(_function)


@public("shape")
def flip(x: Any, axis: Any = None) -> Any:
    """The order of elements reversed along axes (all by default): a view with negative strides.

    Example:
        >>> weft.flip(weft.tensor([1, 2, 3]))
        tensor([3, 2, 1], dtype=int64)
    """
    axes = axes_of(axis, tensor_of(x).ndim)
    starts = tuple(max(n - 1, 0) if d in axes else 0 for d, n in enumerate(x.shape))
    steps = tuple(-1 if d in axes else 1 for d in range(x.ndim))
    return slice_(x, attrs=(starts, steps, tuple(x.shape)))


@public("shape")
def narrow(x: Any, axis: int, start: int, length: int) -> Any:
    """The positions ``start`` to ``start + length - 1`` of one axis: a view.

    Example:
        >>> weft.narrow(weft.tensor([1, 2, 3, 4]), 0, 1, 2)
        tensor([2, 3], dtype=int64)
    """
    d = axis_of(axis, tensor_of(x).ndim)
    n = x.shape[d]
    start, length = integer(start, "start"), integer(length, "length")
    start += n if start < 0 else 0
    if not (start >= 0 and length >= 0 and start + length <= n):
        raise ShapeError(f"narrow cannot take {length} positions from {start} on of axis {d}, which has size {n}.")
    return sliced(x, d, start, length)


@public("shape")
def split(x: Any, sizes: Any, axis: int = 0) -> list[Any]:
    """Parts of one axis, as views.

    Args:
        x: a tensor.
        sizes: the size of every part (the last may be smaller), or a list of sizes that add up to the axis.
        axis: the axis.

    Raises:
        ShapeError: where the sizes do not add up.

    Example:
        >>> [p.shape for p in weft.split(weft.zeros(5, 2), 2)]
        [(2, 2), (2, 2), (1, 2)]
    """
    d = axis_of(axis, tensor_of(x).ndim)
    n = x.shape[d]
    if isinstance(sizes, list | tuple):
        parts = list(sizes_of((sizes,)))
        if sum(parts) != n or any(p < 0 for p in parts):
            raise ShapeError(f"Sizes {parts} do not add up to {n}, the size of axis {d}.")
    else:
        size = integer(sizes, "The size of a part")
        if size <= 0:
            raise ShapeError(f"The size of a part must be positive, not {size}.")
        parts = [min(size, n - k) for k in range(0, n, size)] or [0]
    out, start = [], 0
    for p in parts:
        out.append(sliced(x, d, start, p))
        start += p
    return out


@public("shape")
def chunk(x: Any, chunks: int, axis: int = 0) -> list[Any]:
    """One axis in at most so many parts of equal size (the last may be smaller), as views.

    Example:
        >>> [p.shape for p in weft.chunk(weft.zeros(5), 2)]
        [(3,), (2,)]
    """
    if integer(chunks, "chunks") <= 0:
        raise ShapeError(f"chunks must be positive, not {chunks}.")
    n = tensor_of(x).shape[axis_of(axis, x.ndim)]
    return split(x, max(-(-n // chunks), 1), axis)


@public("shape", "unstack")
def unbind(x: Any, axis: int = 0) -> list[Any]:
    """One view for each position of an axis, without that axis.

    Example:
        >>> weft.unbind(weft.tensor([[1, 2], [3, 4]]))
        [tensor([1, 2], dtype=int64), tensor([3, 4], dtype=int64)]
    """
    d = axis_of(axis, tensor_of(x).ndim)
    rest = (*x.shape[:d], *x.shape[d + 1 :])
    return [reshape(sliced(x, d, k, 1), attrs=(rest,)) for k in range(x.shape[d])]
