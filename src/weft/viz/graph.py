"""Graphs as pictures, drawn by Graphviz where it is installed, and as listings."""

from __future__ import annotations

import re
import shutil

from weft.ir.graph import Graph
from weft.ir.node import Node, const_value
from weft.ops.registry import OPS

#: Nodes that are drawn inside the nodes that use them.
_SMALL = ("const", "scalar")


def graphviz_missing() -> str | None:
    """What keeps Graphviz from drawing here, or None."""
    try:
        import graphviz  # noqa: F401
    except ImportError:
        return "the Python package graphviz is not installed (pip install 'weft[viz]')"
    return None if shutil.which("dot") else "Graphviz's program dot is not installed"


def graph_svg(graph: Graph) -> str | None:
    """The graph as SVG whose colours are CSS classes (leaf, elementwise, movement, reduction, matmul); None without Graphviz."""
    if graphviz_missing() is not None:
        return None
    import graphviz

    made = graphviz.Source(dot(graph)).pipe(format="svg", encoding="utf-8")
    made = re.sub(r"<title>[^<]*</title>\n?", "", made[made.index("<svg") :])
    return re.sub(r' (fill|stroke)="[^"]*"', "", made)  # the page's style sheet colours it


def dot(graph: Graph) -> str:
    """The graph in Graphviz's language: operands above users; results have a thick border."""
    results: dict[Node, list[str]] = {}
    for k, node in enumerate(graph.outputs):
        results.setdefault(node, []).append(f"output {k}")
    for w in graph.writes:
        results.setdefault(w.value, []).append(f"{w.op} input {w.slot}")
    lines = [
        "digraph {",
        'graph [bgcolor="transparent", ranksep=0.3, nodesep=0.15]',
        'node [shape=box, style=rounded, fontname="sans-serif", fontsize=11, height=0.3, margin="0.1,0.04"]',
        "edge [arrowsize=0.5]",
    ]
    names: dict[Node, str] = {}
    for node in graph.nodes:
        if node.op in _SMALL:
            continue
        name = names[node] = f"n{len(names)}"
        label = "\\n".join([_label(node), *results.get(node, ())])
        css = " ".join([_kind(node), *(["result"] if node in results else [])])
        lines.append(f'{name} [label="{label}", class="{css}"]')
        lines += [f"{names[i]} -> {name}" for i in node.inputs if i in names]
    return "\n".join([*lines, "}"])


def _kind(node: Node) -> str:
    if node.op in OPS:
        kind = OPS[node.op].kind
        return {"indexed": "movement"}.get(kind, kind)
    return "leaf"


def _label(node: Node) -> str:
    shape = f"{node.dtype.name}{list(node.shape)}"
    if node.op == "input":
        return f"input {node.attrs[0]}\\n{shape}"
    small = [_small(i) for i in node.inputs if i.op in _SMALL]
    return f"{node.op}{'(' + ', '.join(small) + ')' if small else ''}\\n{shape}"


def _small(node: Node) -> str:
    return f"number {node.attrs[0]}" if node.op == "scalar" else f"{const_value(node):g}"


__all__ = ["dot", "graph_svg", "graphviz_missing"]
