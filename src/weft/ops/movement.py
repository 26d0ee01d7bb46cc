"""Movement primitives: they change where an element is found, never its value.

Called eagerly they give views; in a graph they become index maps. Each record's ``view`` is the layout rule that serves
both: (shape, strides, attrs) -> (shape, strides, offset), in elements, or None where strides cannot say it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from weft.errors import ShapeError
from weft.ir.node import Node, Where, make
from weft.ops.registry import Op, Operand, Saved, View, register

Layout = tuple[tuple[int, ...], tuple[int, ...], int]


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def reshape_strides(shape: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides under which a strided layout reads as ``new``, or None where that needs a copy."""
    if 0 in shape:
        return contiguous_strides(new)
    runs: list[list[int]] = []  # merged runs of axes, as [size, innermost stride]
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * s:
            runs[-1] = [runs[-1][0] * n, s]
        else:
            runs.append([n, s])
    out = [0] * len(new)
    d = len(new) - 1
    for size, stride in reversed(runs):
        while size > 1:
            if d < 0:
                return None
            n = new[d]
            if size % n:
                return None
            out[d] = stride
            stride *= n
            size //= n
            d -= 1
    step = 1
    for k in range(len(new) - 1, -1, -1):  # size-1 axes get the stride a contiguous layout would give them
        if new[k] == 1:
            out[k] = step
        step = max(out[k], 1) * new[k]
    return tuple(out)


def inverse(perm: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes one."""
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> tuple[tuple[int, ...], Any]:
    """How axes are permuted into the order of memory, and the attributes of the `slice` that then turns them all forwards.

    The same slice turns them back.
    """
    perm = tuple(sorted(range(len(shape)), key=lambda d: -abs(strides[d])))
    back = [strides[d] < 0 and shape[d] > 1 for d in perm]
    sizes = tuple(shape[d] for d in perm)
    starts = tuple(n - 1 if turn else 0 for n, turn in zip(sizes, back, strict=True))
    return perm, (starts, tuple(-1 if turn else 1 for turn in back), sizes)


def region(
    shape: Sequence[int], strides: Sequence[int], offset: int, root: Sequence[int], root_strides: Sequence[int]
) -> tuple[int, tuple[int, ...]] | None:
    """Offset and strides of a view among the row-major elements of a root whose axes follow one another in memory.

    ``offset`` is that in memory, from the root's first element. None where the root's axes interleave.
    """
    axes = [(n, s, step) for n, s, step in zip(root, root_strides, contiguous_strides(root), strict=True) if n > 1]
    if any(outer < n * inner for (_, outer, _), (n, inner, _) in pairwise(axes)):
        return None
    if 0 in shape:
        return 0, contiguous_strides(shape)

    def element(place: int) -> int:
        found = 0
        for _, s, step in axes:
            steps, place = divmod(place, s)
            found += steps * step
        return found

    first = element(offset)
    return first, tuple(element(offset + s) - first if n > 1 else 0 for n, s in zip(shape, strides, strict=True))


def _node(op: str, layout: View) -> Any:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        (x,) = operands
        assert isinstance(x, Node)
        viewed = layout(x.shape, contiguous_strides(x.shape), attrs)
        assert viewed is not None  # a contiguous operand can be viewed as anything
        shape = viewed[0]
        if shape == x.shape and _is_identity(op, attrs, x.ndim):
            return x
        return make(op, (x,), attrs, shape, x.dtype, where)

    return build


def _is_identity(op: str, attrs: Any, ndim: int) -> bool:
    if op == "permute":
        return attrs[0] == tuple(range(ndim))
    if op == "slice":
        return all(s == 0 for s in attrs[0]) and all(s == 1 for s in attrs[1])
    return op in ("reshape", "expand")


def _view_reshape(shape: tuple[int, ...], strides: tuple[int, ...], attrs: Any) -> Layout | None:
    (new,) = attrs
    out = reshape_strides(shape, strides, new)
    return None if out is None else (new, out, 0)


def _view_permute(shape: tuple[int, ...], strides: tuple[int, ...], attrs: Any) -> Layout:
    (perm,) = attrs
    return tuple(shape[p] for p in perm), tuple(strides[p] for p in perm), 0


def _view_expand(shape: tuple[int, ...], strides: tuple[int, ...], attrs: Any) -> Layout:
    (new,) = attrs
    for old, n in zip(shape, new, strict=True):
        if old not in (1, n):
            raise ShapeError(f"expand cannot grow shape {list(shape)} to {list(new)}: only axes of size 1 grow.")
    return new, tuple(0 if a != b else s for a, b, s in zip(shape, new, strides, strict=True)), 0


def _view_slice(shape: tuple[int, ...], strides: tuple[int, ...], attrs: Any) -> Layout:
    starts, steps, sizes = attrs
    offset = sum(a * s for a, s, n in zip(starts, strides, sizes, strict=True) if n)
    return sizes, tuple(k * s for k, s in zip(steps, strides, strict=True)), offset


def _view_as_strided(shape: tuple[int, ...], strides: tuple[int, ...], attrs: Any) -> Layout | None:
    offset, new_strides, new_shape = attrs
    if strides != contiguous_strides(shape):
        return None
    return new_shape, new_strides, offset


def _grad_reshape(g: Any, c: Saved) -> Sequence[Any]:
    return (reshape(g, attrs=(tuple(c.x.shape),)),)


def _grad_permute(g: Any, c: Saved) -> Sequence[Any]:
    (perm,) = c.attrs
    return (permute(g, attrs=(inverse(perm),)),)


def _grad_expand(g: Any, c: Saved) -> Sequence[Any]:
    return (g,)  # the engine sums a gradient to its operand's shape


def _grad_region(g: Any, c: Saved) -> Sequence[Any]:
    """Zeros with the gradient put where the view was taken."""
    from weft.ops.indexed import assign, zeros_like

    shape = tuple(c.x.shape)
    layout = c_view(c, shape)
    return (assign(zeros_like(c.x), g, attrs=(layout[2], layout[1])),)


def c_view(c: Saved, shape: tuple[int, ...]) -> Layout:
    """The layout of a slice or as_strided of a contiguous tensor of the given shape."""
    rule = _view_slice if len(c.attrs) == 3 and isinstance(c.attrs[0], tuple) else _view_as_strided
    layout = rule(shape, contiguous_strides(shape), c.attrs)
    assert layout is not None
    return layout


def _ref_as_strided(x: np.ndarray, attrs: Any) -> np.ndarray:
    offset, strides, shape = attrs
    flat = np.ascontiguousarray(x).reshape(-1)
    index = np.full(shape, offset, dtype=np.int64)
    for d, (n, s) in enumerate(zip(shape, strides, strict=True)):
        index += (np.arange(n) * s).reshape((-1,) + (1,) * (len(shape) - d - 1))
    return flat[index]


def _ref_slice(x: np.ndarray, attrs: Any) -> np.ndarray:
    starts, steps, sizes = attrs
    for d, (a, k, n) in enumerate(zip(starts, steps, sizes, strict=True)):
        x = np.take(x, a + k * np.arange(n), axis=d)
    return x


def _movement(name: str, view: View, grad: Any, reference: Any) -> Op:
    return register(Op(name, "movement", 1, _node(name, view), grad=grad, reference=reference, view=view))


#: attrs (shape,)
reshape = _movement("reshape", _view_reshape, _grad_reshape, lambda x, attrs: x.reshape(attrs[0]))
#: attrs (permutation,)
permute = _movement("permute", _view_permute, _grad_permute, lambda x, attrs: x.transpose(attrs[0]))
#: attrs (shape,): axes of size 1 grow
expand = _movement("expand", _view_expand, _grad_expand, lambda x, attrs: np.broadcast_to(x, attrs[0]))
#: attrs (starts, steps, sizes), one of each per axis; steps may be negative
slice_ = _movement("slice", _view_slice, _grad_region, _ref_slice)
#: attrs (offset, strides, shape) over the operand's row-major elements
as_strided = _movement("as_strided", _view_as_strided, _grad_region, _ref_as_strided)
