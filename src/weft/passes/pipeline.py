"""The passes over a graph, in order. Each takes the graph's roots and returns roots of equal value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from weft import config
from weft.ir.graph import Graph
from weft.ir.node import Node, toposort
from weft.passes.expand import expand_late
from weft.passes.fold import fold
from weft.passes.products import turn_products
from weft.passes.simplify import simplify

Pass = Callable[[list[Node]], list[Node]]
#: name, pass. Common subexpressions vanish as nodes are made, and dead code because only what the roots need is walked.
PASSES: list[tuple[str, Pass]] = [
    ("simplify", simplify),
    ("turn_products", turn_products),
    ("expand_late", expand_late),
    ("fold", fold),
]


def optimise(graph: Graph) -> tuple[Graph, list[tuple[str, int, float]]]:
    """The graph after every pass that is not switched off, with a log: (pass, nodes after it, milliseconds)."""
    settings = config.current()
    roots = graph.roots
    log: list[tuple[str, int, float]] = []
    for name, run in PASSES:
        if name in settings.skip_passes:
            continue
        start = time.perf_counter()
        roots = run(roots)
        took = (time.perf_counter() - start) * 1e3
        log.append((name, len(toposort(roots)), took))
    outputs = len(graph.outputs)
    writes = tuple(replace(w, value=r) for w, r in zip(graph.writes, roots[outputs:], strict=True))
    return replace(graph, outputs=tuple(roots[:outputs]), writes=writes), log
