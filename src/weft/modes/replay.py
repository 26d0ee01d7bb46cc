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
    views: Sequence[Tensor]  # met outside: views, which may get another place on the tape


def make_replay(
    name: str,
    program: _native.Program,
    arguments: int,
    sources: Sequence[Any],
    outputs: Sequence[Any],
    hidden: int,
    structure: Any,
    grads: Sequence[tuple[Any, Any]],
    grads_read: Sequence[tuple[Any, Tensor | None]],
    attributes_read: Sequence[tuple[Any, str, Any]],
    backward: Backward | None,
    host: Sequence[Callable[[], float]],
    apart: Sequence[Tensor] | None,
    checks: Sequence[tuple[Any, Where]],
) -> _native.Replay:
    """What calls of a traced signature run.

    ``arguments``: how many tensors they are given. ``sources``: where the program's inputs come from. ``outputs``: the
    values in the result, whose containers ``structure`` tells, then ``hidden`` bases of these. ``grads``: (tensor or Argument,
    the gradient that a call assigns to it). ``grads_read``: (the same, what was found). ``attributes_read``: (object,
    attribute, its value when traced). ``host``: numbers read at each call. ``apart``: the tensors from outside to which
    gradients flow, None where none are found. ``checks`` of indices: what, and where recorded.
    """
    found = {id(owner): g for owner, g in grads_read}
    # A gradient that is None before and after a call need not be assigned.
    grads = [(o, g) for o, g in grads if g is not None or found.get(id(o), o) is not None]
    needed = [s.source if isinstance(s, ViewOf) else s for s in (*sources, *outputs, *(g for _, g in grads))]
    kept = {id(s.owner) for s in needed if isinstance(s, GradOf)}
    layout_of = {id(owner): None if g is None else g._layout for owner, g in grads_read}

    def place_of_input(source: Any) -> _native.Place:
        kind, what, *_ = _place(source)
        return kind, what, layout_of[id(source.owner)] if isinstance(source, GradOf) else None, 0, NO_BASE

    return _native.Replay(
        program,
        arguments=arguments,
        inputs=[place_of_input(s) for s in sources],
        outputs=[_place(result) for result in outputs],
        hidden=hidden,
        structure=structure,
        grads=[(_owner(o), None if g is None else _place(g)) for o, g in grads],
        replaced=[_owner(o) for o, _ in grads if id(o) not in kept],
        attributes=attributes_read,
        grads_read=[(_owner(o), layout_of[id(o)]) for o, _ in grads_read],
        host=host,
        apart=apart,
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
        return "gradient", _owner(result.owner), None, 0, NO_BASE
    return "fixed", result, None, 0, NO_BASE


def _owner(owner: Any) -> _native.Owner:
    """Whose gradient it is, as `_native.Replay` takes it."""
    return owner.index if isinstance(owner, Argument) else owner


def _shared(name: str, written: Tensor, other: Tensor | None) -> TraceError:
    """The error of a call in which a tensor that the program writes shares memory with another of its inputs.

    ``other`` is None: of a call that cannot find the gradient of an argument, because that was computed outside, or reaches the
    function in another way too.
    """
    if other is None and written.grad_fn is not None:
        return TraceError(
            f"An argument of {name}, of shape {list(written.shape)}, was computed from tensors that require grad. The function "
            "assigns its gradient, and gradients cannot go on from there. Pass x.detach().requires_grad_(), or call backward "
            "outside."
        )
    if other is None:
        return TraceError(
            f"A tensor of shape {list(written.shape)} that requires grad reaches {name} twice, as an argument and in another "
            "way. The function finds gradients, of which each would lack the other's part. Pass x.detach().requires_grad_()."
        )
    return TraceError(
        f"Tensors of shapes {list(written.shape)} and {list(other.shape)} used by {name} share memory, and the function "
        "modifies one of them in place. Pass one of them as a copy, x.clone()."
    )
