"""Primitives that read and write at computed positions, and the leaf and fill ops they build on.

An index operand is an int64 tensor that holds valid positions: `check_index` (in `elementwise`) makes it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weft import dtypes
from weft.errors import ShapeError
from weft.ir.node import Node, Where, make
from weft.ops import elementwise as E
from weft.ops.movement import as_strided
from weft.ops.registry import Op, Operand, Saved, broadcast, cast, register


def _build_iota(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (n,) = attrs
    return make("iota", (), (), (n,), dtypes.int64, where)


def _build_full(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (value,) = operands
    shape, dtype = attrs
    return broadcast(cast(value, dtype), shape, where)


#: attrs (n,): 0, 1, ..., n - 1 as int64
iota = register(Op("iota", "leaf", 0, _build_iota, reference=lambda attrs: np.arange(attrs[0])))
#: attrs (shape, dtype): the operand, a scalar, everywhere
full = register(Op("full", "leaf", 1, _build_full))


def zeros_like(x: Any) -> Any:
    """Zeros of the shape and type of ``x``, of which nothing else is looked at."""
    return full(0, attrs=(tuple(x.shape), x.dtype))


def _index_nodes(operands: Sequence[Operand], shape: tuple[int, ...]) -> list[Node]:
    nodes = []
    for o in operands:
        assert isinstance(o, Node)
        nodes.append(broadcast(cast(o, dtypes.int64), shape))
    return nodes


def _build_gather(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    x, *index = operands
    assert isinstance(x, Node)
    shape = attrs[0]
    return make("gather", (x, *_index_nodes(index, shape)), (), shape, x.dtype, where)


def _build_scatter(name: str) -> Any:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        base, value, *index = operands
        assert isinstance(base, Node)
        shape = attrs[0]
        value = broadcast(cast(value, base.dtype), shape)
        return make(name, (base, value, *_index_nodes(index, shape)), (), base.shape, base.dtype, where)

    return build


def _grad_gather(g: Any, c: Saved) -> Sequence[Any]:
    x, *index = c.operands
    zeros = zeros_like(x)
    return (scatter_add(zeros, g, *index, attrs=c.attrs), *(None for _ in index))


def _grad_scatter_add(g: Any, c: Saved) -> Sequence[Any]:
    _, _, *index = c.operands
    return (g, gather(g, *index, attrs=c.attrs), *(None for _ in index))


def _grad_scatter_set(g: Any, c: Saved) -> Sequence[Any]:
    _, _, *index = c.operands
    zeros = full(0, attrs=(c.attrs[0], g.dtype))
    return (
        scatter_set(g, zeros, *index, attrs=c.attrs),
        gather(g, *index, attrs=c.attrs),
        *(None for _ in index),
    )


def _ref_gather(x: np.ndarray, *index: np.ndarray, attrs: Any = None) -> np.ndarray:
    return x[index] if index else x.copy()


def _ref_scatter_add(base: np.ndarray, value: np.ndarray, *index: np.ndarray, attrs: Any = None) -> np.ndarray:
    out = base.copy()
    np.add.at(out, index, value)
    return out


def _ref_scatter_set(base: np.ndarray, value: np.ndarray, *index: np.ndarray, attrs: Any = None) -> np.ndarray:
    out = base.copy()
    flat = [i.reshape(-1) for i in index]
    for k, v in enumerate(value.reshape(-1)):
        out[tuple(i[k] for i in flat)] = v
    return out


#: operands (x, one index per axis of x), attrs (shape,): out[p] = x[i0[p], i1[p], ...]
gather = register(Op("gather", "indexed", -1, _build_gather, grad=_grad_gather, reference=_ref_gather, takes="all"))
#: operands (base, value, one index per axis), attrs (shape of value,): base[i0[p], ...] += value[p], in order of p
scatter_add = register(
    Op("scatter_add", "indexed", -1, _build_scatter("scatter_add"), grad=_grad_scatter_add, reference=_ref_scatter_add)
)
#: as scatter_add, assigning: the last of equal positions stays
scatter_set = register(
    Op("scatter_set", "indexed", -1, _build_scatter("scatter_set"), grad=_grad_scatter_set, reference=_ref_scatter_set)
)


def _build_assign(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    base, value = operands
    assert isinstance(base, Node)
    offset, strides = attrs[:2]
    value = cast(value, base.dtype)
    return make("assign", (base, value), (offset, strides), base.shape, base.dtype, where)


def _grad_assign(g: Any, c: Saved) -> Sequence[Any]:
    offset, strides = c.attrs[:2]
    shape = tuple(c.y.shape)
    zeros = full(0, attrs=(shape, g.dtype))
    return assign(g, zeros, attrs=(offset, strides)), as_strided(E.copy(g), attrs=(offset, strides, shape))


def _ref_assign(base: np.ndarray, value: np.ndarray, attrs: Any) -> np.ndarray:
    offset, strides = attrs
    out = np.ascontiguousarray(base).copy()
    view = (
        np.lib.stride_tricks.as_strided(out.reshape(-1)[offset:], value.shape, tuple(s * out.itemsize for s in strides))
        if value.size
        else value.copy()
    )
    view[...] = value
    return out


#: operands (base, value), attrs (offset, strides): base with the strided region, over its row-major elements, replaced
assign = register(Op("assign", "indexed", 2, _build_assign, grad=_grad_assign, reference=_ref_assign, takes="all"))


def _build_nonzero(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (mask,) = operands
    assert isinstance(mask, Node)
    if mask.ndim != 1 or mask.dtype is not dtypes.bool_:
        raise ShapeError(f"nonzero takes a one-dimensional bool tensor, not {mask.dtype.name}{list(mask.shape)}.")
    return make("nonzero", (mask,), attrs, attrs, dtypes.int64, where)


#: operand a bool tensor (n,), attrs (count,): the positions of its true elements, of which there are ``count``
nonzero = register(
    Op("nonzero", "indexed", 1, _build_nonzero, reference=lambda x, attrs: np.flatnonzero(x), takes="bool")
)
