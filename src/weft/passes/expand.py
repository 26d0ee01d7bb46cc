"""Computing before broadcasting: an elementwise op over expanded operands works on what they were expanded from.

``exp(expand(v))`` becomes ``expand(exp(v))``: the same values, computed once each. Movements of other kinds need no pass:
kernels read through them (`weft.passes.indexmap`).
"""

from __future__ import annotations

from weft.ir.node import Node, make, rewrite
from weft.ops.registry import OPS


def expand_late(roots: list[Node]) -> list[Node]:
    """Move every expand behind the elementwise ops that use it, where all their operands are expanded."""
    return rewrite(roots, _rule)


def _rule(node: Node) -> Node | None:
    if not node.inputs or any(x.op != "expand" for x in node.inputs) or not node.size:
        return None
    if node.op == "check_index" or OPS[node.op].kind != "elementwise":
        return None
    shape = tuple(max(sizes) for sizes in zip(*(x.inputs[0].shape for x in node.inputs), strict=True))
    if shape == node.shape:
        return None
    inputs = [_expanded(x.inputs[0], shape) for x in node.inputs]
    small = make(node.op, inputs, node.attrs, shape, node.dtype, node.where)
    return make("expand", (small,), (node.shape,), node.shape, node.dtype, node.where)


def _expanded(node: Node, shape: tuple[int, ...]) -> Node:
    return node if node.shape == shape else make("expand", (node,), (shape,), shape, node.dtype, node.where)
