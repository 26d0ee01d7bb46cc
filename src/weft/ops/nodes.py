"""Graph nodes written like calls, for ops whose record builds several nodes (indexing, creation, in-place forms)."""

from __future__ import annotations

from typing import Any

from weft.dtypes import DType
from weft.ir.node import Node, Where, const, make
from weft.ops.movement import reshape
from weft.ops.registry import Op, Operand, Weak


def operand(value: Any) -> Operand:
    """A node or weak scalar as it is; a Python number as a weak scalar."""
    if isinstance(value, Node | Weak):
        return value
    return Weak(type(value), lambda dtype: const(value, dtype))


def node(op: Op, *operands: Any, attrs: Any = None, where: Where = None) -> Node:
    """The node of a primitive op over nodes and numbers."""
    assert op.build is not None
    return op.build([operand(o) for o in operands], attrs, where)


def reshaped(x: Node, shape: tuple[int, ...]) -> Node:
    """The node with another shape of the same size."""
    return x if x.shape == shape else make("reshape", (x,), (shape,), shape, x.dtype)


def positions(n: int, dtype: DType | None = None) -> Node:
    """0, 1, ..., n - 1."""
    from weft.dtypes import int64
    from weft.ops.registry import cast

    return cast(make("iota", (), (), (n,), int64), dtype or int64)


__all__ = ["node", "operand", "positions", "reshape", "reshaped"]
