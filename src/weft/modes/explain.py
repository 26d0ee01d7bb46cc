"""What a static function does, in words: signatures, graphs, passes, kernels."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from weft.ir.printer import text

if TYPE_CHECKING:
    from weft.codegen import Compiled
    from weft.ir.graph import Graph
    from weft.modes.static import Trace


class Explanation:
    """The program that a call of a static function runs, and how it came about. Print it, or read its parts.

    ``signatures`` tells of every signature traced so far: (signature, why it was traced, file and line of the call).
    """

    def __init__(self, name: str, traces: Sequence[Trace], trace: Trace) -> None:
        self.name = name
        self.trace = trace
        self.signatures = [(t.signature, t.reason, t.where) for t in traces]
        self._number = next(k for k, t in enumerate(traces) if t is trace)

    @property
    def executable(self) -> Any:
        """The compiled program with everything known of it (`weft.compiler.Executable`)."""
        return self.trace.executable

    @property
    def graph(self) -> Graph:
        """What was recorded."""
        return self.executable.graph

    @property
    def optimised(self) -> Graph:
        """The graph after all passes."""
        return self.executable.optimised

    @property
    def passes(self) -> list[tuple[str, int, float]]:
        """(pass, nodes after it, milliseconds) in order; -1 nodes where there is no graph any more."""
        return self.executable.passes

    @property
    def kernels(self) -> list[Compiled]:
        """The kernels that the program calls; each has a ``name`` and a ``source``."""
        return self.executable.kernels

    @property
    def launches(self) -> int:
        """Kernels and matrix products launched by a call."""
        return self.executable.launches

    def sections(self) -> list[tuple[str, str]]:
        """The explanation as (title, text) pairs."""
        signatures = []
        for k, (signature, reason, where) in enumerate(self.signatures):
            mark = "*" if k == self._number else " "
            at = f", called at {where[0]}:{where[1]}" if where else ""
            signatures.append(f"{mark} ({signature})\n    {reason}{at}")
        passes = []
        for name, nodes, ms in self.passes:
            passes.append(f"{name:<12} {f'{nodes} nodes' if nodes >= 0 else '':>12} {ms:9.2f} ms")
        e = self.executable
        from_disk = sum(k.from_disk for k in e.kernels)
        kernels = "\n\n".join(k.source for k in e.kernels)
        return [
            (f"Signatures ({len(self.signatures)}; * is this call's)", "\n".join(signatures)),
            (f"Graph as recorded ({len(self.graph.nodes)} nodes)", text(self.graph)),
            (f"Graph after optimisation ({len(self.optimised.nodes)} nodes)", text(self.optimised)),
            ("Passes", "\n".join(passes)),
            ("Program", str(e.schedule)),
            (f"Kernels ({len(e.kernels)}, {from_disk} of them loaded from disk)", kernels),
        ]

    def __str__(self) -> str:
        parts = [f"static {self.name}"]
        for title, content in self.sections():
            parts.append(f"{title}\n" + "\n".join("  " + line if line else "" for line in content.splitlines()))
        return "\n\n".join(parts) + "\n"

    def __repr__(self) -> str:
        return f"<explanation of {self.name}: {self.launches} launches, {len(self.kernels)} kernels>"

    def _repr_html_(self) -> str:
        parts = [
            f"<details><summary>{escape(title)}</summary><pre>{escape(content)}</pre></details>"
            for title, content in self.sections()
        ]
        return f"<p><b>static {escape(self.name)}</b></p>" + "".join(parts)


__all__ = ["Explanation"]
