"""Static functions: traced once for each signature, compiled into one program, and replayed."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar
from weakref import WeakSet

from weft import _native
from weft.autograd import engine, rules
from weft.compiler import compile_graph
from weft.errors import TraceError, explain, kind_of
from weft.ir.graph import Graph
from weft.ir.node import make, toposort
from weft.modes import tree
from weft.modes.differentiate import Backward, Part, choices
from weft.modes.replay import Trace, make_replay
from weft.modes.results import Again, Made, Results, ViewOf
from weft.modes.tracing import Argument, GradOf, StaticRecorder
from weft.ops.movement import contiguous_strides
from weft.recent import Recent
from weft.record.canonical import canonical
from weft.record.recorder import leaves, where_in_user_code
from weft.runtime.program import checks

if TYPE_CHECKING:
    from weft import Tensor

_grad_enabled = _native.grad_enabled

#: Signatures of a function whose traces are kept: at least those used last, at most twice as many.
MOST_SIGNATURES = 512

P = ParamSpec("P")
R = TypeVar("R")

#: Traces made in this process.
traces = 0


def _new_locks() -> None:
    """In the child of a fork: a trace that another thread was making goes on in the parent only."""
    for function in list(_functions):
        function._lock = threading.RLock()


_functions: WeakSet[StaticFunction[Any, Any]] = WeakSet()
os.register_at_fork(after_in_child=_new_locks)


class StaticFunction(_native.Replayer, Generic[P, R]):
    """A function that is traced once for each signature and replayed; made by `static`.

    A call is native. It finds the replay of calls that it knows, whose arguments are tensors and numbers; all others it asks
    `replay_of` about.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self._traces: Recent[Any, list[Trace]] = Recent(MOST_SIGNATURES)
        self._last: str | None = None
        self._lock = threading.RLock()
        _functions.add(self)

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __copy__(self) -> StaticFunction[P, R]:
        return self

    def __repr__(self) -> str:
        return f"<static {self.name}, {sum(map(len, self._traces.values()))} traces>"

    def replay_of(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """The replay of a call, traced now if it must be, and the call's tensors and floats. While nothing is recorded."""
        values, structure = tree.flatten((args, kwargs)) if kwargs else tree.flatten_positional(args)
        key, tensors, scalars = self._signature(values, structure)
        trace = self._find(key, tensors)
        if trace is None:
            with self._lock:
                trace = self._find(key, tensors)
                if trace is None:
                    trace = self._trace(key, values, structure)
        return trace.replay, tensors, scalars

    def _find(self, key: Any, tensors: list[Tensor]) -> Trace | None:
        for trace in self._traces.get(key) or ():
            for t in trace.views:
                rules.refresh_view(t)
            if trace.replay.holds(tensors):
                return trace
        return None

    def _signature(self, values: list[Any], structure: Any) -> tuple[Any, list[Tensor], list[float]]:
        tensors: list[Tensor] = []
        scalars: list[float] = []
        key: list[Any] = [structure, _grad_enabled()]
        tensor_class = _native.Tensor
        for v in values:
            if isinstance(v, tensor_class):
                if v._pending is not None:
                    v._pending.recorder.realize(v, v._pending)
                rules.refresh_view(v)
                key += (v._meta_id, v.requires_grad)
                tensors.append(v)
            elif type(v) is float:
                key.append(float)
                scalars.append(v)
            else:
                key.append((type(v), v))
        if len(tensors) > 1:
            ids = [t._storage_id for t in tensors]
            if len(set(ids)) != len(ids):
                key.append(tuple((ids.index(i), t.offset) for i, t in zip(ids, tensors, strict=True)))
        if len(tensors) + len(scalars) < len(values):
            self._check_hashable(values)
        return tuple(key), tensors, scalars

    def _check_hashable(self, values: list[Any]) -> None:
        """Refuse arguments that cannot be compared with those of earlier calls."""
        bad = next((v for v in values if not _hashable(v)), None)
        if bad is not None:
            raise TypeError(
                f"{self.name} is static, so every argument must be a tensor, a number or hashable; a {type(bad).__name__} is "
                "not. Pass arrays as tensors, with weft.from_numpy(array)."
            )

    def _trace(self, key: Any, values: list[Any], structure: Any) -> Trace:
        global traces
        recorder = StaticRecorder(self.name)
        stand_ins: list[Any] = []
        tensors: list[Tensor] = []
        placeholders: list[Tensor] = []
        try:
            with recorder.active():
                for v in values:
                    if isinstance(v, _native.Tensor):
                        t = recorder.argument(len(tensors), v)
                        tensors.append(v)
                        placeholders.append(t)
                        stand_ins.append(t)
                    elif type(v) is float:
                        stand_ins.append(recorder.number())
                    else:
                        stand_ins.append(v)
                args, kwargs = tree.call_arguments(structure, stand_ins)
                result = self.function(*args, **kwargs)
                trace = self._finish(recorder, describe_signature(values), result, tensors, placeholders)
        finally:
            recorder.end()
        traces += 1
        self._traces[key] = [*(self._traces.get(key) or ()), trace]
        return trace

    def _finish(
        self,
        recorder: StaticRecorder,
        signature: str,
        result: Any,
        tensors: list[Tensor],
        placeholders: list[Tensor],
    ) -> Trace:
        values, structure = tree.flatten(result)
        results = Results(recorder, placeholders, values)
        values, outputs = results.values, results.places
        self._refuse_lost_history(recorder, values, outputs)
        grads = []
        for owner, g in recorder.grads.values():
            read = next((found for seen, found in recorder.grads_read if seen is owner), None)
            if g is None or g is not read:
                grads.append((owner, results.place_of_gradient(g)))
        real = [*recorder.cells.values(), *(t._pending for t in placeholders)]
        written = [(c, recorder.ops.get(id(c), "write")) for c in real if c.dirty]
        nodes = toposort([*(c.node for c in results.cells), *(c.node for c, _ in written)])
        inputs, graph = canonical([c.node for c in results.cells], written, recorder.n_scalars)
        executable = compile_graph(graph, self.name)
        attributes_read = list(recorder.attributes_read.values())
        for t, needed in recorder.outside.values():
            if not isinstance(recorder.sources.get(id(t)), GradOf):  # which another may replace
                attributes_read.append((t, "requires_grad", needed))
        apart = [t for t, needed in recorder.outside.values() if needed] if recorder.differentiates else None
        replay = make_replay(
            self.name,
            executable.program,
            len(tensors),
            [recorder.sources[id(t)] for t in inputs],
            outputs,
            results.hidden,
            structure,
            grads,
            recorder.grads_read,
            attributes_read,
            self._backward(recorder, values, outputs, results.hidden, inputs, tensors, placeholders),
            recorder.host,
            apart,
            checks(nodes),
        )
        views = [t for t, _ in recorder.outside.values() if t.base is not None]
        return Trace(self.name, signature, self._why(signature), where_in_user_code(), executable, replay, views)

    def _refuse_lost_history(self, recorder: StaticRecorder, values: list[Any], outputs: list[Any]) -> None:
        """Refuse to give as a result a tensor from outside that was written with values that gradients flow through.

        A replay gives such a tensor its values, and no history (see `StaticRecorder.end`); where it is a result, or a view of
        it is, the gradient of what is computed from that would lack a part.
        """
        for v, output in zip(values, outputs, strict=True):
            if not isinstance(v, _native.Tensor) or isinstance(output, Made | Again) or not engine.graph_is_whole(v):
                continue
            cell = v._pending if v._pending is not None else recorder.cells.get(v._storage_id)
            if cell is not None and cell.recorder is recorder and cell.dirty:
                op = recorder.ops.get(id(cell), "write")
                raise TraceError(
                    f"A result of {self.name}, of shape {list(v.shape)}, is a tensor from outside the function, or a view of "
                    f"one, which {op} modified in place with values that require grad; replays could not keep its history. "
                    "Modify a copy, x.clone(), and return that, or modify it inside weft.no_grad()."
                )

    def _backward(
        self,
        recorder: StaticRecorder,
        values: list[Any],
        outputs: list[Any],
        hidden: int,
        inputs: list[Tensor],
        tensors: list[Tensor],
        placeholders: list[Tensor],
    ) -> Backward | None:
        """The program that takes gradients of the results to gradients of whatever they depend on."""
        carrying = [
            k
            for k, v in enumerate(values)
            if (isinstance(outputs[k], Made) or (isinstance(outputs[k], ViewOf) and not v.symbol.cell.dirty))
            and v.requires_grad
            and engine.graph_is_whole(v)
        ]
        if not carrying:
            return None
        outside = [t for t, needed in recorder.outside.values() if needed]
        for t in inputs:  # what no op but a function of the user met
            if t.requires_grad and id(t) not in recorder.outside and not isinstance(recorder.sources[id(t)], Argument):
                outside.append(t)
        candidates: list[tuple[Any, Any]] = [
            (Argument(k), t) for k, t in enumerate(placeholders) if tensors[k].requires_grad
        ]
        candidates += [(t, t) for t in outside]
        gout_leaves = []
        for k in carrying:
            v = values[k]
            strides = contiguous_strides(tuple(v.shape))
            node = make("input", (), (("gradient", id(recorder), k), strides), tuple(v.shape), v.dtype)
            stand_in = _native.virtual(v.dtype, tuple(v.shape), strides)
            leaves[node] = stand_in
            recorder.kept.append(stand_in)
            gout_leaves.append((recorder.fresh(node), stand_in))

        def part(chosen: Sequence[int], reached: Sequence[tuple[Any, Any]]) -> tuple[list[int], Graph]:
            """Of the tensors reached, those that gradients of the chosen results flow to, and what finds these."""
            outs, gouts = [values[carrying[k]] for k in chosen], [gout_leaves[k][0] for k in chosen]
            found = engine.gradients(outs, gouts, [t for _, t in reached], False, outside)
            targets = [k for k, g in enumerate(found) if g is not None]
            order = [*inputs, *(gout_leaves[k][1] for k in chosen)]
            return targets, canonical([recorder.value(found[k]) for k in targets], [], recorder.n_scalars, order)[1]

        every = tuple(range(len(carrying)))
        reached, graph = part(every, candidates)
        if not reached:
            return None
        candidates = [candidates[k] for k in reached]
        parts = {every: Part(graph, list(range(len(reached))))}
        visible = sum(k < len(values) - hidden for k in carrying)
        for chosen in choices(len(carrying), visible):
            if chosen != every:
                targets, graph = part(chosen, candidates)
                parts[chosen] = Part(graph, targets)
        return Backward(parts, [source for source, _ in candidates], carrying, self.name)

    def _why(self, now: str) -> str:
        """Why a new trace was needed: the first, or what differs from the last signature."""
        before = self._last
        self._last = now
        if before is None:
            return "first call"
        return (
            f"signature changed from ({before}) to ({now})" if before != now else "state outside the arguments changed"
        )

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """A description of the program that a call with these arguments runs; print it.

        It shows each signature and why it was traced, and, for this call's, the graph before and after optimisation, the
        passes, the kernels with their source, and the buffers. Tracing happens if it has not yet; nothing is run.
        """
        from weft.modes.explain import Explanation

        values, structure = tree.flatten((args, kwargs)) if kwargs else tree.flatten_positional(args)
        key, tensors, _ = self._signature(values, structure)
        with self._lock:
            trace = self._find(key, tensors) or self._trace(key, values, structure)
        return Explanation(self.name, [t for ts in self._traces.values() for t in ts], trace)


def _hashable(v: Any) -> bool:
    try:
        hash(v)
    except TypeError:
        return False
    return True


def describe_signature(values: Sequence[Any]) -> str:
    """A signature as words."""
    parts = []
    for v in values:
        if isinstance(v, _native.Tensor):
            layout = "" if v.is_contiguous() else f" strides {list(v.strides)}"
            parts.append(f"{v.dtype.name}{list(v.shape)}{layout}{' requires_grad' if v.requires_grad else ''}")
        else:
            parts.append("float" if type(v) is float else repr(v))
    return ", ".join(parts) + ("" if _native.grad_enabled() else "; no_grad")


def static(function: Callable[P, R]) -> StaticFunction[P, R]:
    """Make a static function: traced once for each signature, compiled into one program, and replayed. Also a decorator.

    A signature is the structure of the arguments, each tensor's dtype, shape, strides and ``requires_grad``, and the
    values of other arguments; Python floats are passed at run time. Tensors that the function reaches in other ways
    (parameters, buffers, random state) are read and written where they are, so a whole training step (forward, backward,
    update, ``zero_grad``) is one program. Other outside values, such as a global number, are fixed when traced.

    The traces of the 512 signatures used last are kept.

    Raises ``TypeError`` for what is no function, and `weft.TraceError` where the function needs a tensor's value in Python.

    Example:
        >>> import weft
        >>> @weft.static
        ... def f(x, scale):
        ...     return (x * scale).sum()
        >>> f(weft.ones((4,)), 2.5).item()
        10.0
    """
    if not callable(function):
        raise explain(TypeError(f"static takes a function, not {kind_of(function)}."), "static", (function,))
    return StaticFunction(function)
