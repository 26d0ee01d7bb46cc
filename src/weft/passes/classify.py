"""What the scheduler asks about a node: how it is treated, what it costs, which reductions it is made from."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from weft.ir.node import Node
from weft.ops.registry import OPS

LEAVES = frozenset(("input", "const", "scalar", "iota"))
UPDATES = frozenset(("assign", "scatter_add", "scatter_set"))
#: Cost from which a value is not computed twice.
EXPENSIVE = 8
#: What a position in memory that is computed costs to read again.
GATHER_COST = 8
#: Of the reductions under a value, how many are remembered.
MAX_BENEATH = 4


def kind_of(node: Node) -> str:
    """How the scheduler treats a node: leaf, movement, elementwise, gather, reduction, scan, update, or as its own kind."""
    op = node.op
    if op in LEAVES:
        return "leaf"
    kind = OPS[op].kind
    if kind == "indexed":
        return "gather" if op == "gather" else "update" if op in UPDATES else op
    return kind


def reduced_length(node: Node) -> int:
    """The number of elements that each element of a reduction is made from."""
    lo, hi = node.attrs
    n = 1
    for s in node.inputs[0].shape[lo:hi]:
        n *= s
    return n


def reduction_form(node: Node) -> str:
    """ "inner" if nothing kept follows the reduced axes, else "outer"; it fixes the order of the reduction."""
    n = 1
    for s in node.shape[node.attrs[1] :]:
        n *= s
    return "inner" if n == 1 else "outer"


class Costs:
    """Facts about the nodes of a graph, operands before users.

    ``kind[node]`` is its `kind_of`. ``of[node]`` is (cost, loads): what an element costs to compute from what is likely to be
    memory, in flops and in loads. Likely to be memory is what is ``stored``, and what is expensive and has several users.
    ``beneath[node]`` are reductions that a node is made from by elementwise ops and movements.
    """

    def __init__(self, order: Iterable[Node], users: Mapping[Node, int], stored: Container[Node]) -> None:
        self.kind: dict[Node, str] = {}
        self.of: dict[Node, tuple[int, int]] = {}
        self.beneath: dict[Node, tuple[Node, ...]] = {}
        self._seen: dict[Node, tuple[int, int]] = {}  # as ``of``, from its users' point of view
        for node in order:
            self.kind[node] = kind = kind_of(node)
            weight = self._add(node, kind)
            self.of[node] = (0, 1) if node in stored else weight
            shared = weight[0] >= EXPENSIVE and users[node] > 1 and kind != "movement"
            self._seen[node] = (0, 1) if shared else self.of[node]

    def _add(self, node: Node, kind: str) -> tuple[int, int]:
        beneath: tuple[Node, ...] = ()
        if kind == "leaf":
            weight = (0, int(node.op == "input"))
        elif kind == "movement":
            x = node.inputs[0]
            cost, loads = self._seen[x]
            weight = (cost, 0 if x.size < node.size else loads)
            beneath = self.beneath[x]
        elif kind == "elementwise" or kind == "gather":
            cost, loads = (OPS[node.op].cost, 0) if kind == "elementwise" else (GATHER_COST, 1)
            for x in node.inputs if kind == "elementwise" else node.inputs[1:]:
                c, n = self._seen[x]
                cost, loads = cost + c, loads + n
                beneath += self.beneath[x]
            weight = (min(cost, 1000), min(loads, 1000))
            beneath = beneath[:MAX_BENEATH]
        else:
            weight = (0, 1)
            if kind == "reduction":
                beneath = (node,)
        self.beneath[node] = beneath
        return weight
