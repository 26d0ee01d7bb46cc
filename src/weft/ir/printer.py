"""Graphs as text: one line for each node, operands before users."""

from __future__ import annotations

from collections.abc import Iterable

from weft.ir.graph import Graph
from weft.ir.node import Node, const_value, toposort


def text(graph: Graph) -> str:
    """A graph, readably.

    A line reads ``%3 = multiply(%1, %2) float32[4, 6]``; attributes follow the operands. The last lines name the outputs and
    the inputs that are written.
    """
    names, lines = _lines(graph.nodes)
    if graph.outputs:
        lines.append("return " + ", ".join(names[n] for n in graph.outputs))
    lines += [f"write input {w.slot} = {names[w.value]} ({w.op})" for w in graph.writes]
    return "\n".join(lines)


def node_text(node: Node) -> str:
    """One node and all that it is made from."""
    return "\n".join(_lines(toposort([node]))[1])


def _lines(nodes: Iterable[Node]) -> tuple[dict[Node, str], list[str]]:
    names: dict[Node, str] = {}
    lines: list[str] = []
    for k, node in enumerate(nodes):
        names[node] = f"%{k}"
        if node.op == "const":
            inside = repr(const_value(node))
        elif node.op in ("input", "scalar"):
            inside = str(node.attrs[0])
            if node.op == "input" and list(node.attrs[1]) != _row_major(node.shape):
                inside += f", strides {list(node.attrs[1])}"
        else:
            inside = ", ".join([*(names[x] for x in node.inputs), *(_attribute(a) for a in node.attrs)])
        shape = ", ".join(str(n) for n in node.shape)
        lines.append(f"{names[node]} = {node.op}({inside}) {node.dtype.name}[{shape}]")
    return names, lines


def _attribute(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _row_major(shape: tuple[int, ...]) -> list[int]:
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.insert(0, step)
        step *= n
    return strides
