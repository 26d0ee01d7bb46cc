"""A traced call of a static function, and how it is replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.compiler import Executable
from weft.errors import TraceError
from weft.ir.node import Where
from weft.modes import tree
from weft.modes.differentiate import Backward
from weft.modes.tracing import Argument, GradOf
from weft.runtime.program import recorded_at

if TYPE_CHECKING:
    from weft import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """An output that the program makes: which one, and the view of it where it is one."""

    index: int
    layout: tuple[tuple[int, ...], tuple[int, ...], int] | None


@dataclass(frozen=True, slots=True, eq=False)
class ViewOf:
    """An output that is a view of an input tensor."""

    source: Any
    layout: tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(slots=True, eq=False)
class Trace:
    """One traced signature: the program, where its inputs come from, and where its results go."""

    name: str
    signature: str
    reason: str
    where: Any
    executable: Executable
    sources: list[Any]
    outputs: list[Any]
    structure: Any
    grads: list[tuple[Tensor, Any]]
    grads_read: list[tuple[Tensor, Any]]
    attributes_read: list[tuple[Any, str, Any]]  # object, attribute, its value when traced
    written: list[int]  # input slots that the program writes
    backward: Backward | None
    host: list[Callable[[], float]]  # numbers read at each call
    checks: list[tuple[Any, Where]]  # of indices: what, and where recorded
    arguments: list[tuple[int, int]] = field(default_factory=list)  # (input slot, argument)
    template: list[Any] = field(default_factory=list)
    grad_slots: list[tuple[int, Tensor]] = field(default_factory=list)
    steady: list[Any] = field(default_factory=list)  # results that are the same at each call, None for the others:
    direct: list[tuple[int, int]] = field(default_factory=list)  # (position, output of the program)
    other: list[tuple[int, Any]] = field(default_factory=list)  # (position, what `give` takes)
    guarded: bool = False  # whether `holds` has anything to look at
    only: int | None = None  # the program's output that is the whole result, if the result is no more than that
    replaced: list[Tensor] = field(default_factory=list)  # tensors whose .grad a call replaces without a look at it
    calls: int = 0

    def __post_init__(self) -> None:
        self.guarded = bool(self.grads_read or self.attributes_read)
        for slot, source in enumerate(self.sources):
            if isinstance(source, Argument):
                self.arguments.append((slot, source.index))
                self.template.append(None)
            elif isinstance(source, GradOf):
                self.grad_slots.append((slot, source.tensor))
                self.template.append(None)
            else:
                self.template.append(source)
        for k, result in enumerate(self.outputs):
            if isinstance(result, Made) and result.layout is None:
                self.direct.append((k, result.index))
            elif isinstance(result, Made | Argument | ViewOf | GradOf):
                self.other.append((k, result))
        varying = {k for k, _ in (*self.direct, *self.other)}
        self.steady = [None if k in varying else result for k, result in enumerate(self.outputs)]
        if self.structure is tree.LEAF and self.direct:
            self.only = self.direct[0][1]
        # a gradient that is None before and after a call need not be assigned
        none = {id(t) for t, found in self.grads_read if found is None}
        self.grads = [(t, result) for t, result in self.grads if result is not None or id(t) not in none]
        kept = {
            id(s.tensor) for s in (*self.sources, *self.outputs, *(r for _, r in self.grads)) if isinstance(s, GradOf)
        }
        self.replaced = [t for t, _ in self.grads if id(t) not in kept]

    def holds(self) -> bool:
        """Whether what the trace found outside its arguments is still so."""
        for owner, name, value in self.attributes_read:
            if getattr(owner, name) != value:
                return False
        for t, found in self.grads_read:
            now = t.grad
            if (now is None) != (found is None):
                return False
            if now is not None and (now._meta_id != found._meta_id):
                return False
        return True

    def inputs(self, tensors: Sequence[Tensor]) -> list[Any]:
        """The program's input tensors for a call."""
        inputs = self.template.copy()
        for slot, k in self.arguments:
            inputs[slot] = tensors[k]
        for slot, t in self.grad_slots:
            inputs[slot] = t.grad
        return inputs

    def run(self, tensors: Sequence[Any], scalars: list[float]) -> Any:
        """Replay."""
        inputs = self.inputs(tensors)
        if self.written:
            self.check_apart(inputs)
        if self.host:
            scalars = [*scalars, *(float(read()) for read in self.host)]
        self.calls += 1
        versions = [t._version for t in inputs] if self.backward is not None else None
        done: list[Any] = []  # takes the program's results
        for t in self.replaced:  # or old and new gradients would take memory at once
            t.grad = None
        try:
            self.executable.program.run(inputs, scalars, done)
            (made,) = done
            if self.only is not None:
                outs = [made[self.only]]
            else:
                outs = self.steady.copy()
                for k, index in self.direct:
                    outs[k] = made[index]
                for k, result in self.other:
                    outs[k] = self.give(result, made, tensors)
            if self.grads:
                self.give_grads(made, tensors)
        except IndexError as error:
            raise recorded_at(error, self.checks) from None
        except BaseException:
            if done:  # a signal's exception came after the run: what it wrote stays, so its gradients must be there too
                self.give_grads(done[0], tensors)
            raise
        if self.backward is not None and _native.grad_enabled():
            self.backward.attach(self.outputs, outs, inputs, versions, scalars, tensors)
        return outs[0] if self.only is not None else tree.unflatten(self.structure, outs)

    def give_grads(self, made: list[Any], tensors: Sequence[Tensor]) -> None:
        """Assign the gradients that a call leaves."""
        found = [None if result is None else self.give(result, made, tensors) for _, result in self.grads]
        for (t, _), g in zip(self.grads, found, strict=True):
            t.grad = g

    def check_apart(self, inputs: list[Any]) -> None:
        """Refuse a call in which a tensor that the program writes shares memory with another of its inputs."""
        if not _native.share_memory(inputs):
            return
        for slot in self.written:
            for other, t in enumerate(inputs):
                if other != slot and t._storage_id == inputs[slot]._storage_id:
                    raise TraceError(
                        f"Tensors of shapes {list(inputs[slot].shape)} and {list(t.shape)} used by {self.name} "
                        "share memory, and the function modifies one of them in place. Pass one of them as a copy, x.clone()."
                    )

    def give(self, result: Any, made: list[Any], tensors: Sequence[Tensor]) -> Any:
        """One result of a call."""
        if isinstance(result, Made):
            t = made[result.index]
            return t if result.layout is None else _native.strided(t, *result.layout)
        if isinstance(result, Argument):
            return tensors[result.index]
        if isinstance(result, ViewOf):
            source = tensors[result.source.index] if isinstance(result.source, Argument) else result.source
            view = _native.strided(source, *result.layout)
            view.base = source.base if source.base is not None else source
            return view
        if isinstance(result, GradOf):
            return result.tensor.grad
        return result
