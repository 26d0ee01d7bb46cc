"""``x[key]`` and ``x[key] = value`` by NumPy's rules.

A key is read in two steps. Integers, slices, None and Ellipsis give a view; integer arrays and masks then pick elements of
that view. The ops here take index tensors as operands and build the index of every axis inside the kernel, so that
``x[:, index]`` moves only what it picks.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft import _native, dtypes
from weft.errors import ShapeError, TraceError
from weft.ir.node import Node, Where, const, make
from weft.ops import elementwise as E
from weft.ops import indexed as X
from weft.ops.frontend import Tensor
from weft.ops.movement import contiguous_strides, reshape, reshape_strides, slice_
from weft.ops.nodes import positions, reshaped
from weft.ops.reduce import count_nonzero
from weft.ops.registry import Op, Operand, Saved, broadcast, broadcast_shape, cast, composite, inplace, register

# The ops: attrs (axes, place, names) pick along some axes, whose index dimensions come at ``place`` among the others;
# ``names`` are the numbers by which messages call the axes


def _checked(i: Operand, n: int, axis: int, where: Where) -> Node:
    """An index as int64 positions, checked against the size of its axis."""
    if not isinstance(i, Node):
        raise IndexError(f"A Python {i.kind.__name__} cannot pick elements; integers and integer tensors can.")
    if i.dtype.kind not in "iu":
        raise IndexError(f"An index must be of an integer type or bool, not {i.dtype.name}.")
    i = E.signed_index(i)
    return make("check_index", (i, broadcast(const(n, dtypes.int64), i.shape)), (axis, n), i.shape, dtypes.int64, where)


Positions = tuple[tuple[int, ...], list[Node]]


def _inhabited(out: tuple[int, ...], shape: tuple[int, ...], axes: Sequence[int], names: Sequence[int]) -> None:
    """Refuse to pick something along an axis without elements: kernels read position 0 for a wrong one, and it is not there."""
    for d, name in zip(axes, names, strict=True):
        if shape[d] == 0 and 0 not in out:
            raise IndexError(f"An index is out of range for axis {name}, which has size 0.")


def _picked(shape: tuple[int, ...], index: Sequence[Operand], attrs: Any, where: Where) -> Positions:
    """The shape of what is picked, and its position along every axis of ``shape``."""
    axes, place, names = attrs
    checked = [_checked(i, shape[d], name, where) for i, d, name in zip(index, axes, names, strict=True)]
    common = broadcast_shape("Indexing", [i.shape for i in checked])
    rest = [d for d in range(len(shape)) if d not in axes]
    out = tuple(shape[d] for d in rest[:place]) + common + tuple(shape[d] for d in rest[place:])
    _inhabited(out, shape, axes, names)
    nodes: list[Node] = []
    for d, n in enumerate(shape):
        if d in axes:
            i = checked[axes.index(d)]
            padded = (1,) * (len(common) - i.ndim) + i.shape + (1,) * (len(rest) - place)
            nodes.append(broadcast(reshaped(i, padded), out))
        else:
            k = rest.index(d)
            after = len(out) - 1 - (k if k < place else k + len(common))
            nodes.append(broadcast(reshaped(positions(n), (n,) + (1,) * after), out))
    return out, nodes


def _along(shape: tuple[int, ...], indices: Sequence[Operand], attrs: Any, where: Where) -> Positions:
    """The same for one index tensor with as many axes as ``shape``, used along one of them."""
    (axis,) = attrs
    (index,) = indices
    assert isinstance(index, Node)
    out = index.shape
    _inhabited(out, shape, (axis,), (axis,))
    nodes = [
        _checked(index, n, d, where)
        if d == axis
        else broadcast(reshaped(positions(m), (m,) + (1,) * (len(out) - 1 - d)), out)
        for d, (n, m) in enumerate(zip(shape, out, strict=True))
    ]
    return out, nodes


def _build_get(rule: Any) -> Any:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        x, *index = operands
        assert isinstance(x, Node)
        shape, nodes = rule(x.shape, index, attrs, where)
        return make("gather", (x, *nodes), (), shape, x.dtype, where)

    return build


def _fitting(value: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse to assign a value that does not broadcast to the shape of what the key picks."""
    lead = len(shape) - len(value)
    if lead < 0 or any(n not in (1, shape[lead + d]) for d, n in enumerate(value)):
        raise ShapeError(
            f"A value of shape {list(value)} does not fit what the key picks, which has shape {list(shape)}."
        )


def _build_put(rule: Any, scatter: str) -> Any:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        base, value, *index = operands
        assert isinstance(base, Node)
        shape, nodes = rule(base.shape, index, attrs, where)
        value = cast(value, base.dtype)
        while value.ndim > len(shape) and value.shape[0] == 1:
            value = reshaped(value, value.shape[1:])
        _fitting(value.shape, shape)
        return make(scatter, (base, broadcast(value, shape), *nodes), (), base.shape, base.dtype, where)

    return build


def _family(name: str, rule: Any) -> tuple[Op, Op, Op]:
    """The ops that read, set and add along the indices of a rule, each the other's gradient."""

    def grad_get(g: Any, c: Saved) -> Sequence[Any]:
        x, *index = c.operands
        return add(X.zeros_like(x), g, *index, attrs=c.attrs), *(None for _ in index)

    def grad_set(g: Any, c: Saved) -> Sequence[Any]:
        _, _, *index = c.operands
        return put(g, 0, *index, attrs=c.attrs), get(g, *index, attrs=c.attrs), *(None for _ in index)

    def grad_add(g: Any, c: Saved) -> Sequence[Any]:
        _, _, *index = c.operands
        return g, get(g, *index, attrs=c.attrs), *(None for _ in index)

    get = register(Op(f"{name}_get", "indexed", -1, _build_get(rule), grad=grad_get, takes="all"))
    put = register(Op(f"{name}_set", "indexed", -1, _build_put(rule, "scatter_set"), grad=grad_set, takes="all"))
    add = register(Op(f"{name}_add", "indexed", -1, _build_put(rule, "scatter_add"), grad=grad_add))
    for op in (put, add):
        assert op.build is not None
        inplace(f"{op.name}_", -1, op.build)
    return get, put, add


index_get, index_set, index_add_op = _family("index", _picked)
along_get, along_set, along_add = _family("along", _along)
_PUT = "index_set_"


# Reading a key


def _array(k: Any) -> Any:
    """A key element that picks elements, as a tensor; None for one that gives a view."""
    if isinstance(k, Tensor):
        return k
    if isinstance(k, bool | np.bool_):
        return _native.from_numpy(np.array(k))
    if isinstance(k, slice | int) or k is None or k is Ellipsis:
        return None
    if isinstance(k, np.ndarray | list | tuple | range):
        listed = np.asarray(k)
        if listed.size == 0 and not isinstance(k, np.ndarray):
            listed = listed.astype(np.int64)
        if listed.dtype == object:
            raise IndexError(f"{_shown(k)} cannot index a tensor: its elements are not all integers, or not all bools.")
        return _native.from_numpy(np.array(listed, order="C"))
    try:
        operator.index(k)
    except TypeError:
        raise IndexError(
            f"{_shown(k)} cannot index a tensor; integers, slices, None, ..., and arrays of integers or bools can."
        ) from None
    return None


def _shown(k: Any) -> str:
    return f"A key of type {type(k).__name__}"


class Key:
    """A key over a tensor of a certain shape: the view it begins with, and the arrays that pick from that view."""

    __slots__ = ("arrays", "axes", "names", "place", "shape", "sizes", "starts", "steps")

    def __init__(self, shape: tuple[int, ...], key: Any) -> None:
        elements = list(key) if isinstance(key, tuple) else [key]
        found = [_array(k) for k in elements]
        taken = sum(
            a.ndim if a is not None and a.dtype is dtypes.bool_ else 0 if k is None or k is Ellipsis else 1
            for k, a in zip(elements, found, strict=True)
        )
        gaps = [n for n, k in enumerate(elements) if k is Ellipsis]
        if len(gaps) > 1:
            raise IndexError("A key has at most one '...'.")
        if taken > len(shape):
            raise IndexError(f"The key takes {taken} axes, but a tensor of shape {list(shape)} has {len(shape)}.")
        at = gaps[0] if gaps else len(elements)
        fill: list[Any] = [slice(None)] * (len(shape) - taken)
        elements[at : at + 1] = fill
        found[at : at + 1] = [None] * len(fill)

        self.starts: list[int] = []
        self.steps: list[int] = []
        self.sizes: list[int] = []
        self.shape: list[int] = []  # of the view
        self.arrays: list[Any] = []
        self.axes: list[int] = []  # of the view, one for each array
        self.names: list[int] = []  # the same axes as the tensor's own
        self.place = 0
        picks = [n for n, (k, a) in enumerate(zip(elements, found, strict=True)) if a is not None or _is_int(k)]
        together = bool(picks) and picks[-1] - picks[0] == len(picks) - 1
        others = 0
        d = 0
        for n, (k, a) in enumerate(zip(elements, found, strict=True)):
            if together and n == picks[0]:
                self.place = others
            if a is not None:
                if a.dtype is dtypes.bool_ and a.ndim == 0:  # keeps or empties a new axis
                    count = int(k) if isinstance(k, bool) else _true_count(a)
                    self.axes.append(len(self.shape))
                    self.names.append(0)
                    self.shape.append(1)
                    self.arrays.append(_native.from_numpy(np.zeros(count, np.int64)))
                elif a.dtype is dtypes.bool_:
                    for i in _mask_positions(a, shape, d):
                        d = self._pick(shape, d, i)
                else:
                    d = self._pick(shape, d, a)
            elif k is None:
                self.shape.append(1)
                others += 1
            elif isinstance(k, slice):
                start, step, size = _slice(k, shape[d], d)
                self._move(start, step, size)
                self.shape.append(size)
                others += 1
                d += 1
            else:
                self._move(_position(k, shape[d], d), 1, 1)
                d += 1

    def _move(self, start: int, step: int, size: int) -> None:
        self.starts.append(start)
        self.steps.append(step)
        self.sizes.append(size)

    def _pick(self, shape: tuple[int, ...], d: int, index: Any) -> int:
        self._move(0, 1, shape[d])
        self.axes.append(len(self.shape))
        self.names.append(d)
        self.shape.append(shape[d])
        self.arrays.append(index)
        return d + 1

    @property
    def attrs(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """Of the ops that pick from the view."""
        return tuple(self.axes), self.place, tuple(self.names)

    def view(self, x: Any) -> Any:
        """The view of x that the key begins with; x itself where that is all of it."""
        shape = tuple(self.shape)
        whole = self.sizes == list(x.shape) and not any(self.starts) and all(k == 1 for k in self.steps)
        if not whole and _plain(x):
            return self._direct(x, shape)
        if not whole:
            x = slice_(x, attrs=(tuple(self.starts), tuple(self.steps), tuple(self.sizes)))
        return x if tuple(x.shape) == shape else reshape(x, attrs=(shape,))

    def _direct(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The view without an op: a loop over ``x[i]`` leaves no plan behind for each i."""
        strides = []
        offset = 0
        for a, k, n, s in zip(self.starts, self.steps, self.sizes, x.strides, strict=True):
            offset += a * s if n else 0
            strides.append(k * s)
        moved = reshape_strides(tuple(self.sizes), tuple(strides), shape)
        assert moved is not None
        out = _native.strided(x, shape, moved, offset)
        out.base = x.base if x.base is not None else x
        return out


def _is_int(k: Any) -> bool:
    return k is not None and k is not Ellipsis and not isinstance(k, slice)


def _position(k: Any, n: int, axis: int) -> int:
    i = operator.index(k)
    if not -n <= i < n:
        raise IndexError(f"Index {i} is out of range for axis {axis}, which has size {n}.")
    return i + n if i < 0 else i


def _slice(k: slice, n: int, axis: int) -> tuple[int, int, int]:
    try:
        start, stop, step = k.indices(n)
    except TypeError:
        raise IndexError(f"The bounds of a slice of axis {axis} must be integers or None.") from None
    except ValueError:
        raise IndexError(f"The step of a slice of axis {axis} cannot be 0.") from None
    size = len(range(start, stop, step))
    return start, step if size > 1 else 1, size  # a step that is not taken may be of any size


@composite("unravel", 1)
def _unravel(flat: Any, attrs: Any) -> Any:
    """Positions in the flattened tensor as a position along each axis."""
    (shape,) = attrs
    out = []
    for n in reversed(shape):
        out.append(E.remainder(flat, n))
        flat = E.floor_divide(flat, n)
    return tuple(out[::-1]) if len(out) > 1 else out[0]


def _flat_positions(mask: Any) -> Any:
    """The positions where a mask holds, in the flattened tensor."""
    count = _true_count(mask)
    flat = reshape(mask, attrs=((mask.size,),))
    return X.nonzero(flat, attrs=(count,)) if count else _native.empty((0,), dtypes.int64)


def true_positions(mask: Any) -> list[Any]:
    """The positions along each axis where a mask holds, row by row."""
    found = _flat_positions(mask)
    if mask.ndim == 1:
        return [found]
    if found.size == 0 or mask.ndim == 0:
        return [found] * mask.ndim
    return list(_unravel(found, attrs=(tuple(mask.shape),)))


def _true_count(mask: Any) -> int:
    """The number of true elements, which Python needs to know."""
    recorder = _native.recording()
    if recorder is not None and not recorder.values_allowed:
        raise TraceError(
            f"How many elements of the mask are true is not known while {recorder.mode}, and the result's shape depends on it. "
            "Keep the shape: select with weft.where(mask, x, 0), or write with x[mask] = number."
        )
    return int(count_nonzero(mask).item()) if mask.size else 0


def _mask_positions(mask: Any, shape: tuple[int, ...], d: int) -> list[Any]:
    part = shape[d : d + mask.ndim]
    if tuple(mask.shape) != part:
        raise IndexError(f"A mask of shape {list(mask.shape)} does not fit axes of shape {list(part)}.")
    return true_positions(mask)


def _plain(x: Any) -> bool:
    """Whether a view of the tensor can be made without an op: nothing is recorded, on a tape or elsewhere."""
    return x._pending is None and _native.recording() is None and not (x.requires_grad and _native.grad_enabled())


def _simple(x: Any, key: Any) -> Any:
    """The view for a key of nothing but integers and slices, made at once; None for any other, and for wrong ones."""
    shape, strides = x.shape, x.strides
    keys = key if type(key) is tuple else (key,)
    if len(keys) > len(shape):
        return None
    offset = 0
    sizes: list[int] = []
    steps: list[int] = []
    for n, stride, k in zip(shape, strides, keys, strict=False):
        if type(k) is int:
            if not -n <= k < n:
                return None
            offset += (k + n if k < 0 else k) * stride
        elif type(k) is slice:
            try:
                start, stop, step = k.indices(n)
            except (TypeError, ValueError):
                return None
            size = len(range(start, stop, step))
            offset += start * stride if size else 0
            sizes.append(size)
            steps.append(step * stride if size > 1 else stride)
        else:
            return None
    rest = len(keys)
    if 0 in sizes:
        steps, strides = list(contiguous_strides((*sizes, *shape[rest:]))), ()
    out = _native.strided(x, (*sizes, *shape[rest:]), (*steps, *strides[rest:]), offset)
    out.base = x.base if x.base is not None else x
    return out


#: The attributes of ops that pick along the first axis.
_FIRST = ((0,), 0, (0,))


def getitem(x: Any, key: Any) -> Any:
    """``x[key]``."""
    if key.__class__ is Tensor and x.ndim:
        if key.dtype.kind in "iu":
            return index_get(x, key, attrs=_FIRST)
        if key.dtype is dtypes.bool_ and key.shape == x.shape and x.is_contiguous():
            return index_get(reshape(x, attrs=((x.size,),)), _flat_positions(key), attrs=_FIRST)
    if _plain(x):
        simple = _simple(x, key)
        if simple is not None:
            return simple
    k = Key(tuple(x.shape), key)
    y = k.view(x)
    if k.arrays:
        return index_get(y, *k.arrays, attrs=k.attrs)
    return _alias(x) if y is x else y


def _alias(x: Any) -> Any:
    """``x[...]`` is a view too, not x itself."""
    return reshape(x, attrs=(tuple(x.shape),))


def setitem(x: Any, key: Any, value: Any) -> None:
    """``x[key] = value``."""
    from weft.ops.inplace import copy_op, masked_fill_op

    if not isinstance(value, Tensor) and type(value) not in (bool, int, float):
        from weft.ops.creation import asarray
        from weft.ops.frontend import python_number

        number = python_number(value)
        value = asarray(value, dtype=None if hasattr(value, "dtype") else x.dtype) if number is None else number
    mask = None if type(key) in (int, slice) else _single_mask(x, key)
    if mask is not None and (not isinstance(value, Tensor) or value.ndim <= x.ndim - mask.ndim):
        wide = reshape(mask, attrs=((*mask.shape, *(1,) * (x.ndim - mask.ndim)),))
        if isinstance(value, Tensor) and value.dtype is not x.dtype:
            value = E.cast_(value, attrs=x.dtype)
        elif not isinstance(value, Tensor) and not isinstance(value, bool) and x.dtype.kind != "f":
            value = bool(value) if x.dtype.kind == "b" else int(value)
        masked_fill_op(x, wide, value)
        return
    y = _simple(x, key) if _plain(x) else None
    if y is None:
        k = Key(tuple(x.shape), key)
        y = k.view(x)
        if k.arrays:
            _put(y, value, k)
            return
    if isinstance(value, Tensor):
        if value._storage_id == y._storage_id and (value.offset, value._layout) == (y.offset, y._layout):
            return  # x[i] += v ends by storing the view into itself
        while value.ndim > y.ndim and value.shape[0] == 1:
            value = reshape(value, attrs=(tuple(value.shape[1:]),))
        _fitting(tuple(value.shape), tuple(y.shape))
    copy_op(y, value)


def _put(y: Any, value: Any, k: Key) -> None:
    from weft.ops.registry import OPS

    OPS[_PUT](y, value, *k.arrays, attrs=k.attrs)


def _single_mask(x: Any, key: Any) -> Any:
    """The mask of a key that is one mask and nothing else."""
    if isinstance(key, tuple) and len(key) == 1:
        (key,) = key
    if isinstance(key, np.ndarray | list):
        key = _array(key)
    if isinstance(key, Tensor) and key.dtype is dtypes.bool_ and tuple(key.shape) == tuple(x.shape[: key.ndim]):
        return key
    return None
