"""Tape entries: the native ones, which record one op, and those written in Python.

The engine asks of an entry: ``op.name``, ``edges``, ``seq``, ``n_outputs``, ``output_metas``, ``released``, ``release()``; and
of a Python one `PyNode.apply`, what to do with gradients, and `PyNode.modified`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.dtypes import DType
from weft.ops.registry import Op

if TYPE_CHECKING:
    from weft import Tensor

#: The shape and type of a tensor.
Kind = tuple[tuple[int, ...], DType]


def kind_of(t: Any) -> Kind | None:
    """The shape and type of a tensor operand; None of a number."""
    return (tuple(t.shape), t.dtype) if isinstance(t, _native.Tensor) else None


@dataclass(slots=True)
class Kinds:
    """What a plan or a tape entry keeps besides the saved values.

    The operands' shapes and types; the symbols of outputs that were saved while recording; the outputs whose gradient is
    retained; a plan's gradient programs, by which operands need gradients and the layouts of what the program reads.
    """

    op: Op
    operands: tuple[Kind | None, ...]
    symbols: tuple[Any, ...] = ()
    retained: dict[int, Any] = field(default_factory=dict)
    gradients: dict[Any, Any] = field(default_factory=dict)


class Named:
    """Stands where a tape entry names its op."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class PyNode:
    """A tape entry written in Python. Subclasses say in `apply` what becomes of gradients."""

    def __init__(self, name: str, edges: Sequence[Any]) -> None:
        self.op = Named(name)
        self.edges = tuple(edges)
        self.seq = _native.next_seq()
        self.n_outputs = 0
        self.output_metas: tuple[Kind | None, ...] = ()
        self.released = False
        self.retained: dict[int, Any] = {}

    def __repr__(self) -> str:
        return f"<{self.op.name} backward>"

    def set_outputs(self, outs: Sequence[Tensor]) -> None:
        """Make this the origin of the floating-point tensors among ``outs``."""
        self.n_outputs = len(outs)
        self.output_metas = tuple(kind_of(t) for t in outs)
        for nr, t in enumerate(outs):
            if t.dtype.kind == "f":
                hang(t, self, nr)

    def modified(self) -> tuple[Tensor, int] | None:
        """The first saved tensor that was modified in place since, and the version it was saved at."""
        return None

    def release(self) -> None:
        """Drop what was saved."""
        self.released = True

    def apply(self, gouts: list[Any], create_graph: bool) -> Sequence[Any]:
        """Gradients of the inputs, given those of the outputs (None for one that got none)."""
        raise NotImplementedError


def hang(t: Tensor, node: Any, nr: int) -> None:
    """Make ``node``'s output ``nr`` the origin of a tensor."""
    t.grad_fn = node
    t.output_nr = nr
    t._epoch = t._storage_epoch


def retained(node: Any) -> dict[int, Any]:
    """The outputs of a tape entry that keep their gradient: number -> weak reference to the tensor."""
    if isinstance(node, PyNode):
        return node.retained
    return node.extra.retained if node.extra is not None else {}


def retain(node: Any, nr: int, reference: Any) -> None:
    """Have an output of a tape entry keep its gradient."""
    if isinstance(node, PyNode):
        node.retained[nr] = reference
        return
    if node.extra is None:
        node.extra = Kinds(node.plan.payload.op, node.plan.payload.operands)
    node.extra.retained[nr] = reference


def operand_kinds(node: Any) -> tuple[Kind | None, ...]:
    """Shapes and types of a native entry's operands, saved or not."""
    return (node.extra if node.extra is not None else node.plan.payload).operands


def modified(node: Any) -> tuple[Tensor, int] | None:
    """The first saved tensor of an entry that was modified in place since, and the version it was saved at."""
    if isinstance(node, PyNode):
        return node.modified()
    position = node.stale()
    if position is None:
        return None
    return [*node.operands, *node.saved_outputs][position], node.versions[position]
