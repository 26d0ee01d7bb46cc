"""The graph of a recording in canonical form: leaves numbered in the order they are met, so equal work gives equal graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from weft import dtypes
from weft.ir.graph import Graph, Input, Write
from weft.ir.node import Node, make, toposort
from weft.record.recorder import Cell, leaves

if TYPE_CHECKING:
    from weft import Tensor


def canonical(
    outputs: Sequence[Node],
    writes: Sequence[tuple[Cell, str]],
    n_scalars: int = 0,
    order: Sequence[Tensor] = (),
    leaves: Mapping[Node, Tensor] = leaves,
) -> tuple[list[Tensor], Graph]:
    """The tensors behind the leaves, by slot (those in ``order`` first), and the graph over them.

    ``leaves``: the tensor behind each leaf.
    """
    tensors: list[Tensor] = []
    slots: dict[int, int] = {}
    inputs: list[Input] = []
    new: dict[Node, Node] = {}

    def slot_of(t: Tensor) -> int:
        slot = slots.get(id(t))
        if slot is None:
            slot = slots[id(t)] = len(tensors)
            tensors.append(t)
            inputs.append(Input(tuple(t.shape), tuple(t.strides), t.dtype))
        return slot

    for t in order:
        slot_of(t)
    for node in toposort([*outputs, *(c.node for c, _ in writes)]):
        if node.op == "input":
            slot = slot_of(leaves[node])
            new[node] = make("input", (), (slot, node.attrs[1]), node.shape, node.dtype, node.where)
        else:
            new[node] = make(node.op, [new[i] for i in node.inputs], node.attrs, node.shape, node.dtype, node.where)
    done = []
    for cell, op in writes:
        assert cell.root is not None
        done.append(Write(slot_of(cell.root), new[cell.node], op))
    scalars = (dtypes.float64,) * n_scalars
    return tensors, Graph(tuple(inputs), scalars, tuple(new[n] for n in outputs), tuple(done))
