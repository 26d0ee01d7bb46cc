"""Public functions that move elements: views of the same memory wherever strides can say it.

Joining functions (`concat`, `stack`) and those that repeat elements make new tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.errors import ShapeError
from weft.ir.node import Node, Where, const, make
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, axes_of, axis_of, integer, public, shape_of, sizes_of, tensor_of
from weft.ops.indexed import assign
from weft.ops.movement import contiguous_strides, expand, permute, reshape, slice_
from weft.ops.registry import Op, Operand, Saved, broadcast, cast, common_dtype, composite, register

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
    start = integer(start, "start")
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
    parts = [reshape(t, attrs=((*shape[:d], 1, *shape[d:]),)) for t in parts]
    return E.copy(parts[0]) if len(parts) == 1 else _join(parts, d)


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
    from weft.ops.indexed import full

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
    pairs = list(widths)
    if pairs and all(isinstance(w, int) for w in pairs):
        if len(pairs) % 2 or len(pairs) > 2 * x.ndim:
            raise ShapeError(
                f"pad takes two widths for each padded axis, not {len(pairs)} for a tensor of {x.ndim} axes."
            )
        flat = [(pairs[k], pairs[k + 1]) for k in range(0, len(pairs), 2)]
        pairs = [(0, 0)] * (x.ndim - len(flat)) + flat[::-1]
    pairs = [(integer(a, "A width"), integer(b, "A width")) for a, b in pairs]
    if len(pairs) != x.ndim or any(a < 0 or b < 0 for a, b in pairs):
        raise ShapeError(f"pad takes a pair of widths, 0 or more, for each of {x.ndim} axes, not {pairs}.")
    return _pad(x, attrs=(tuple(pairs), value))
