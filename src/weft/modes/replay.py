"""A traced call of a static function, and how it is replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.compiler import Executable
from weft.errors import TraceError
from weft.ir.node import Where
from weft.modes.differentiate import Backward
from weft.modes.results import NO_BASE, Again, Made, ViewOf
from weft.modes.tracing import Argument, GradOf
from weft.runtime.program import recorded_at

if TYPE_CHECKING:
    from weft import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One traced signature: what `explain` tells of it, and what calls run."""

    name: str
    signature: str
    reason: str
    where: Any
    executable: Executable
    replay: _native.Replay


def make_replay(
    name: str,
    program: _native.Program,
    arguments: int,
    sources: Sequence[Any],
    outputs: Sequence[Any],
    hidden: int,
    structure: Any,
    grads: Sequence[tuple[Tensor, Any]],
    grads_read: Sequence[tuple[Tensor, Tensor | None]],
    attributes_read: Sequence[tuple[Any, str, Any]],
    backward: Backward | None,
    host: Sequence[Callable[[], float]],
    checks: Sequence[tuple[Any, Where]],
) -> _native.Replay:
    """What calls of a traced signature run.

    ``arguments``: how many tensors they are given. ``sources``: where the program's inputs come from. ``outputs``: the
    values in the result, whose containers ``structure`` tells, then ``hidden`` bases of these. ``grads``: the gradients that a
    call assigns. ``grads_read``: those it found. ``attributes_read``: (object, attribute, its value when traced). ``host``:
    numbers read at each call. ``checks`` of indices: what, and where recorded.
    """
    found = {id(t): g for t, g in grads_read}
    # A gradient that is None before and after a call need not be assigned.
    grads = [(t, g) for t, g in grads if g is not None or found.get(id(t), t) is not None]
    needed = [s.source if isinstance(s, ViewOf) else s for s in (*sources, *outputs, *(g for _, g in grads))]
    kept = {id(s.tensor) for s in needed if isinstance(s, GradOf)}

    layouts = [(t, None if g is None else g._layout) for t, g in grads_read]
    layout_of = {id(t): layout for t, layout in layouts}

    def place_of_input(source: Any) -> _native.Place:
        kind, what, *_ = _place(source)
        return kind, what, layout_of[id(what)] if kind == "gradient" else None, 0, NO_BASE

    return _native.Replay(
        program,
        arguments=arguments,
        inputs=[place_of_input(s) for s in sources],
        outputs=[_place(result) for result in outputs],
        hidden=hidden,
        structure=structure,
        grads=[(t, None if g is None else _place(g)) for t, g in grads],
        replaced=[t for t, _ in grads if id(t) not in kept],
        attributes=attributes_read,
        grads_read=layouts,
        host=host,
        shared=partial(_shared, name),
        failed=partial(recorded_at, checks=checks) if checks else None,
        attach=None if backward is None else backward.attach,
    )


def _place(result: Any) -> _native.Place:
    """Where an input or a result of a call is found, as `_native.Replay` takes it."""
    if isinstance(result, Made):
        return "made", result.index, result.layout, result.delta, result.base
    if isinstance(result, ViewOf):
        kind, what, *_ = _place(result.source)
        return kind, what, result.layout, result.delta, result.base
    if isinstance(result, Again):
        return "again", result.index, None, 0, NO_BASE
    if isinstance(result, Argument):
        return "argument", result.index, None, 0, NO_BASE
    if isinstance(result, GradOf):
        return "gradient", result.tensor, None, 0, NO_BASE
    return "fixed", result, None, 0, NO_BASE


def _shared(name: str, written: Tensor, other: Tensor) -> TraceError:
    """The error of a call in which a tensor that the program writes shares memory with another of its inputs."""
    return TraceError(
        f"Tensors of shapes {list(written.shape)} and {list(other.shape)} used by {name} share memory, and the function "
        "modifies one of them in place. Pass one of them as a copy, x.clone()."
    )
