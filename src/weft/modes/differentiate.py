"""Gradients through a static function's results: a second program, over the inputs of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(slots=True, eq=False)
class Backward:
    """How gradients pass through a static function's outputs: a second program, over the inputs of the first."""

    graph: Graph
    program: Executable | None
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
        gouts = [rules.zeros(m) if g is None else g for g, m in zip(gouts, self.output_metas, strict=True)]
        gouts = [g if g.is_contiguous() else OPS["copy"](g) for g in gouts]
        if self.owner.program is None:
            self.owner.program = compile_graph(self.owner.graph, f"{self.op.name}.grad")
        return self.owner.program.program.run([*self.inputs, *gouts], self.scalars)
