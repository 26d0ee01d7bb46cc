"""Gradients through a static function's results: a second program, over the inputs of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.autograd import rules
from weft.autograd.node import PyNode
from weft.compiler import Executable, compile_graph
from weft.errors import TraceError
from weft.ir.graph import Graph
from weft.modes.tracing import Argument
from weft.ops.registry import OPS

if TYPE_CHECKING:
    from weft import Tensor


#: Of up to so many results that carry gradients, every choice has a program of its own.
MANY_RESULTS = 3


@dataclass(slots=True, eq=False)
class Part:
    """What some of the results' gradients make: a program over the inputs and these, compiled when first needed."""

    graph: Graph
    targets: list[int]  # those of the `Backward` that get a gradient
    program: Executable | None = None


@dataclass(slots=True, eq=False)
class Backward:
    """How gradients pass through a static function's outputs: a second program, over the inputs of the first.

    An output that gets no gradient is not part of it, as in an eager call: zero times an infinite derivative is no zero, and a
    tensor that nothing flows to has no gradient. So there are several programs; of more than `MANY_RESULTS` results, one for
    each alone, for all and for all that the caller sees. For other choices, gradients that there are not count as zeros.
    """

    parts: dict[tuple[int, ...], Part]  # by the numbers, among `outputs`, of those that have gradients
    targets: list[Any]  # the tensors that get gradients: Argument or the tensor itself
    outputs: list[int]  # positions among the results that carry a gradient
    name: str

    def attach(
        self,
        outs: list[Any],
        inputs: list[Any],
        versions: list[int],
        scalars: list[float],
        tensors: Sequence[Tensor],
    ) -> None:
        """Hang the results of a call from one tape entry. ``versions``: those of the inputs before it."""
        targets = [tensors[t.index] if isinstance(t, Argument) else t for t in self.targets]
        edges = tuple(rules.edge_of(t) for t in targets)
        if not any(e is not None for e in edges):
            return
        node = StaticNode(edges, self, inputs, versions, scalars)
        node.set_outputs([outs[k] for k in self.outputs])


class StaticNode(PyNode):
    """The tape entry of a static function's call."""

    def __init__(self, edges: Any, owner: Backward, inputs: Any, versions: Any, scalars: Any) -> None:
        super().__init__(owner.name, edges)
        self.owner = owner
        self.inputs = inputs
        self.saved_versions = versions
        self.scalars = scalars

    def modified(self) -> tuple[Tensor, int] | None:
        for t, version in zip(self.inputs, self.saved_versions, strict=True):
            if t._version != version:
                return t, version
        return None

    def release(self) -> None:
        self.inputs = []
        super().release()

    def apply(self, gouts: list[Any], create_graph: bool) -> list[Any]:
        if create_graph or _native.recording() is not None:
            raise TraceError(
                f"Gradients of gradients through {self.op.name} are not recorded; compute them inside the static function."
            )
        part = self.owner.parts.get(tuple(k for k, g in enumerate(gouts) if g is not None))
        if part is None:
            gouts = [rules.zeros(m) if g is None else g for g, m in zip(gouts, self.output_metas, strict=True)]
            part = self.owner.parts[tuple(range(len(gouts)))]
        given = [g if g.is_contiguous() else OPS["copy"](g) for g in gouts if g is not None]
        if part.program is None:
            part.program = compile_graph(part.graph, f"{self.op.name}.grad")
        made: list[Any] = [None] * len(self.owner.targets)
        for k, g in zip(part.targets, part.program.program.run([*self.inputs, *given], self.scalars), strict=True):
            made[k] = g
        return made


def choices(count: int, visible: int) -> list[tuple[int, ...]]:
    """Which of so many results gradients may come from; the first ``visible`` of them are seen by the caller."""
    every = range(count)
    if count <= MANY_RESULTS:
        return [chosen for k in every for chosen in combinations(every, k + 1)]
    return list(dict.fromkeys([*((k,) for k in every), tuple(range(visible)), tuple(every)]))
