"""Graphs and schedules as pictures, drawn by Graphviz where it is installed.

Colours are CSS classes: leaf, elementwise, movement, reduction, matmul, and result for what leaves the program.
"""

from __future__ import annotations

import re
import shutil
import textwrap

from weft.ir import kernel as K
from weft.ir.graph import Graph
from weft.ir.node import Node, const_value
from weft.ops.registry import OPS
from weft.passes.attention import Attention
from weft.passes.schedule import KernelCall, Schedule

#: Nodes that are drawn inside the nodes that use them.
_SMALL = ("const", "scalar")


def graphviz_missing() -> str | None:
    """What keeps Graphviz from drawing here, or None."""
    try:
        import graphviz  # noqa: F401
    except ImportError:
        return "the Python package graphviz is not installed (pip install 'weft[viz]')"
    return None if shutil.which("dot") else "Graphviz's program dot is not installed"


def drawn(source: str) -> str | None:
    """What ``graph_dot`` or ``schedule_dot`` gives, as SVG; None without Graphviz."""
    if graphviz_missing() is not None:
        return None
    import graphviz

    made = graphviz.Source(source).pipe(format="svg", encoding="utf-8")
    made = re.sub(r"<title>[^<]*</title>\n?", "", made[made.index("<svg") :])
    return re.sub(r' (fill|stroke)="[^"]*"', "", made)  # the page's style sheet colours it


_HEAD = [
    "digraph {",
    'graph [bgcolor="transparent", ranksep=0.3, nodesep=0.15]',
    'node [shape=box, style=rounded, fontname="sans-serif", fontsize=11, height=0.3, margin="0.1,0.04"]',
    "edge [arrowsize=0.5]",
]


def graph_dot(graph: Graph) -> str:
    """A graph in Graphviz's language: operands above users."""
    results: dict[Node, list[str]] = {}
    for k, node in enumerate(graph.outputs):
        results.setdefault(node, []).append(f"output {k}")
    for w in graph.writes:
        results.setdefault(w.value, []).append(f"{w.op} input {w.slot}")
    lines = _HEAD.copy()
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


def schedule_dot(schedule: Schedule) -> str:
    """What runs, in Graphviz's language: a box for each launch, numbered in order, and an arrow for each buffer it reads."""
    lines = _HEAD.copy()
    writer: dict[int, str] = {}  # what gave each buffer its present content
    for k, launch in enumerate(schedule.launches):
        titles: list[str] = []
        reads: list[int] = []
        writes: list[int] = []
        css = ""
        for instr in launch:
            if isinstance(instr, KernelCall):
                kernel = instr.kernel
                loops = "×".join(str(n) for n in instr.params[: len(kernel.dims)])
                titles.append(f"{f'{k} ' if not titles else '+'} {kernel.form} kernel, {loops}")
                titles += textwrap.wrap(" ".join(instr.nodes), 34, max_lines=4, placeholder=" ...")
                css = css or ("elementwise" if kernel.form == "map" else "reduction")
                used = [(instr.buffers[i.buffer][0], i) for i in kernel.body if hasattr(i, "buffer")]
                reads += [b for b, i in used if isinstance(i, K.Load | K.LoadAt) and b not in writes]
                writes += [b for b, i in used if isinstance(i, K.Store | K.StoreAt)]
            elif isinstance(instr, Attention):
                shape = "×".join(str(n) for n in (*instr.batch, *instr.sizes))
                titles.append(f"{k}  attention, {shape}")
                css = "matmul"
                reads += [m[0] for m in (instr.q, instr.k, instr.v, instr.g, instr.mask) if m is not None]
                writes += [b for b in instr.results if b is not None]
            else:
                shape = "×".join(str(n) for n in (*instr.batch, instr.m, instr.k, instr.n))
                titles.append(f"{'+' if instr.along else f'{k} '} matrix product, {shape}")
                css = "matmul"
                reads += [instr.a[0], instr.b[0]]
                writes += [instr.c[0]]
        name = f"r{k}"
        for b in dict.fromkeys(reads):
            if b not in writer:
                kind, slot = schedule.buffers[b]
                if kind != "input":
                    continue
                source = schedule.graph.inputs[slot]
                writer[b] = f"b{b}"
                label = f"input {slot}\\n{source.dtype.name}{list(source.shape)}"
                lines.append(f'b{b} [label="{label}", class="leaf"]')
            lines.append(f"{writer[b]} -> {name}")
        kept = [f"{kind} {n}" for kind, n in (schedule.buffers[b] for b in dict.fromkeys(writes)) if kind != "temp"]
        label = "\\n".join([*titles, *([f"writes {', '.join(kept)}"] if kept else [])])
        lines.append(f'{name} [label="{label}", class="{css}{" result" if kept else ""}"]')
        writer.update(dict.fromkeys(writes, name))
    return "\n".join([*lines, "}"])


def _kind(node: Node) -> str:
    if node.op in OPS:
        kind = OPS[node.op].kind
        return {"indexed": "movement", "attention": "matmul"}.get(kind, kind)
    return "leaf"


def _label(node: Node) -> str:
    shape = f"{node.dtype.name}{list(node.shape)}"
    if node.op == "input":
        return f"input {node.attrs[0]}\\n{shape}"
    small = [_small(i) for i in node.inputs if i.op in _SMALL]
    return f"{node.op}{'(' + ', '.join(small) + ')' if small else ''}\\n{shape}"


def _small(node: Node) -> str:
    return f"number {node.attrs[0]}" if node.op == "scalar" else f"{const_value(node):g}"


__all__ = ["drawn", "graph_dot", "graphviz_missing", "schedule_dot"]
