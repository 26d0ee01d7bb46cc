"""The graph's one data structure: an interned, frozen node.

Grammar of a graph, leaves first::

    node  := leaf | elementwise | movement | reduction | scan | indexed | matmul | attention
    leaf  := input(slot, strides)    a tensor handed to the program when it runs
           | scalar(slot)            a Python number handed to the program when it runs
           | const(bits)             a number known now
           | iota                    0, 1, 2, ... (shape (n,), int64)

Shapes are explicit everywhere: the operands of an elementwise node have the node's own shape (`expand` does the
broadcasting), and a reduction keeps its reduced axes with size 1. Equal nodes are the same object, so common
subexpressions need no pass to find them and a node is compared with ``is``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from weakref import ReferenceType, WeakValueDictionary

from weft import locks
from weft.dtypes import DType

#: Where in the user's program a node was recorded: (file, line), or None.
Where = tuple[str, int] | None

_interned: WeakValueDictionary[tuple, Node] = WeakValueDictionary()
#: Its dictionary of weak references: looking a node up there takes half the time.
_references: dict[tuple, ReferenceType[Node]] = _interned.data  # type: ignore[attr-defined]
_lock = locks.shared("nodes")


class Node:
    """One operation in a graph. Make nodes with `make`, never directly."""

    __slots__ = ("__weakref__", "attrs", "dtype", "inputs", "op", "shape", "where")

    op: str
    inputs: tuple[Node, ...]
    attrs: tuple
    shape: tuple[int, ...]
    dtype: DType
    where: Where  # of the first recording; not part of a node's identity

    def __repr__(self) -> str:
        return f"<{self.op} {self.dtype.name}{list(self.shape)}>"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n = 1
        for s in self.shape:
            n *= s
        return n


def make(
    op: str,
    inputs: Sequence[Node],
    attrs: tuple,
    shape: tuple[int, ...],
    dtype: DType,
    where: Where = None,
) -> Node:
    """The node with this operation, operands, attributes, shape and type: the existing one where there is one."""
    inputs = tuple(inputs)
    key = (op, tuple(map(id, inputs)), attrs, shape, dtype.code)
    with _lock:
        reference = _references.get(key)
        node = reference() if reference is not None else None
        if node is None:
            node = object.__new__(Node)
            node.op, node.inputs, node.attrs = op, inputs, attrs
            node.shape, node.dtype, node.where = shape, dtype, where
            _interned[key] = node
        return node


def const(value: bool | int | float, dtype: DType) -> Node:
    """A zero-dimensional constant. Keyed by its bits, so that -0.0 and 0.0 differ and a NaN equals itself."""
    return make("const", (), (_bits(value, dtype),), (), dtype)


def const_value(node: Node) -> bool | int | float:
    """The number that a ``const`` node stands for."""
    (bits,) = node.attrs
    if node.dtype.kind == "f":
        return struct.unpack("<d", struct.pack("<q", bits))[0]
    return bool(bits) if node.dtype.kind == "b" else bits


def _bits(value: bool | int | float, dtype: DType) -> int:
    if dtype.kind == "f":
        return struct.unpack("<q", struct.pack("<d", float(value)))[0]
    if dtype.kind == "b":
        return int(bool(value))
    bits = 8 * dtype.itemsize
    value = int(value) & ((1 << bits) - 1)  # integers wrap
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def toposort(roots: Iterable[Node]) -> list[Node]:
    """Every node that the roots need, operands before users, in an order fixed by the graph alone."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(list(roots))]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            for i in reversed(node.inputs):
                if i not in seen:
                    stack.append((i, False))
    return order


def rewrite(roots: Sequence[Node], rule: Callable[[Node], Node | None]) -> list[Node]:
    """Rebuild the graph bottom up; ``rule`` takes a node and returns its replacement, or None for "unchanged".

    A replacement is offered to the rule again until it is left unchanged.
    """
    new: dict[Node, Node] = {}
    for node in toposort(roots):
        inputs = tuple(new[i] for i in node.inputs)
        now = node
        if inputs != node.inputs:
            now = make(node.op, inputs, node.attrs, node.shape, node.dtype, node.where)
        while (replacement := rule(now)) is not None and replacement is not now:
            now = replacement
        new[node] = now
    return [new[r] for r in roots]


__all__ = ["Node", "Where", "const", "const_value", "make", "rewrite", "toposort"]
