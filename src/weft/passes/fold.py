"""Constant folding: expensive ops on constants are computed now, by the kernels that would have computed them.

Cheap ones stay: inside a kernel they cost nothing, and folding one would mean compiling a kernel for it alone.
"""

from __future__ import annotations

from weft.ir.graph import Graph
from weft.ir.node import Node, const, make, rewrite
from weft.ops.registry import OPS
from weft.passes.classify import EXPENSIVE

_known: dict[Node, Node] = {}


def fold(roots: list[Node]) -> list[Node]:
    """Replace expensive elementwise nodes of one element whose operands are constants."""
    return rewrite(roots, _rule)


def _rule(node: Node) -> Node | None:
    if node.size != 1 or not node.inputs or node.op not in OPS or node.op == "check_index":
        return None
    record = OPS[node.op]
    if record.kind != "elementwise" or record.cost < EXPENSIVE or not all(constant(x) for x in node.inputs):
        return None
    found = _known.get(node)
    if found is None:
        value = const(_computed(node), node.dtype)
        found = (
            value if not node.shape else make("reshape", (value,), (node.shape,), node.shape, node.dtype, node.where)
        )
        _known[node] = found
    return found


def constant(node: Node) -> bool:
    """Whether a node of one element depends on constants alone."""
    todo, seen = [node], {node}
    while todo:
        x = todo.pop()
        if x.op != "const" and (x.op not in OPS or OPS[x.op].kind not in ("movement", "elementwise") or x.size != 1):
            return False
        new = [i for i in x.inputs if i not in seen]
        seen.update(new)
        todo += new
    return True


def _computed(node: Node) -> bool | int | float:
    from weft.passes.schedule import schedule
    from weft.runtime.program import assemble

    program, _ = assemble(schedule(Graph((), (), (node,))), "fold")
    (out,) = program.run([], [])
    return out.item()
