"""From a graph to a program that runs."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft import _native, config
from weft.ir.graph import Graph

if TYPE_CHECKING:
    from weft.codegen import Compiled
    from weft.passes.schedule import Schedule

#: Programs built so far in this process.
programs = 0


@dataclass(slots=True)
class Executable:
    """A compiled graph. ``program`` is what runs; the rest tells how it came about."""

    program: Any
    graph: Graph
    optimised: Graph
    #: (pass, nodes after it, milliseconds); the last rows are scheduling and compiling, without a node count (-1).
    passes: list[tuple[str, int, float]]
    kernels: list[Compiled]
    schedule: Schedule

    @property
    def launches(self) -> int:
        """What a run launches: kernels, and products, each with its epilogue."""
        return len(self.schedule.launches)

    @property
    def temporary_bytes(self) -> int:
        """Bytes that a run needs besides its results."""
        return self.schedule.arena


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Scheduling makes many small objects, for which the collector would walk the whole heap again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_collector_paused()
def compile_graph(graph: Graph, name: str = "") -> Executable:
    """Optimise, schedule and compile a graph.

    Args:
        graph: what to compute.
        name: what profiles and messages call the program.
    """
    global programs
    # The compiler proper is imported by the first call that needs it, not by `import weft`.
    from weft.passes.pipeline import optimise
    from weft.passes.schedule import schedule
    from weft.runtime.program import assemble

    settings = config.current()
    if settings.verify:
        from weft.ir.verify import verify

        verify(graph)
    with _native.RecordingScope(None):  # the values of constants, which a function being traced may not ask for itself
        optimised, log = optimise(graph)
    if settings.verify and log:
        verify(optimised)
    start = time.perf_counter()
    plan = schedule(optimised)
    scheduled = time.perf_counter()
    log.append(("schedule", -1, (scheduled - start) * 1e3))
    program, kernels = assemble(plan, name)
    log.append(("compile", -1, (time.perf_counter() - scheduled) * 1e3))
    programs += 1
    executable = Executable(program, graph, optimised, log, kernels, plan)
    if settings.show:
        _show(executable, name, settings.show)
    return executable


def _show(executable: Executable, name: str, what: tuple[str, ...]) -> None:
    from weft.ir.printer import text

    say = sys.stderr.write
    if "graph" in what:
        say(f"graph {name}\n{text(executable.graph)}\noptimised\n{text(executable.optimised)}\n")
    if "passes" in what:
        for row, nodes, ms in executable.passes:
            say(f"{row:12} {'' if nodes < 0 else nodes:>6} {ms:9.3f} ms\n")
    if "schedule" in what:
        say(f"schedule {name}\n{executable.schedule}\n")
    if "kernels" in what:
        for kernel in executable.kernels:
            say(f"{kernel.source}\n")
