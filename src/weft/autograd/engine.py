"""Reverse mode on one screen: walk the tape from the newest entry to the oldest, passing gradients along its edges.

Entries carry the order in which they were made, so gradients meet and add up in the same order in every mode.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.autograd import rules
from weft.autograd.node import PyNode, modified, retained
from weft.errors import AutogradError, describe, kind_of
from weft.ops.frontend import called, tensor_of
from weft.ops.registry import OPS

if TYPE_CHECKING:
    from weft import Tensor


def gradients(
    outputs: Sequence[Tensor],
    grads: Sequence[Any],
    inputs: Sequence[Tensor],
    create_graph: bool,
    bounds: Sequence[Tensor] = (),
) -> list[Any]:
    """Gradients of the outputs with respect to the inputs; nothing is stored in ``.grad`` and the graph is kept.

    What the ``bounds`` were computed from is left alone: a gradient that arrives at one of them goes no further.
    """
    targets = _targets(inputs)
    found: list[Any] = [None] * len(inputs)
    ends = {id(t.grad_fn) for t in bounds if t.grad_fn is not None}
    walk(outputs, grads, targets, found, create_graph, retain_graph=True, ends=ends)
    return found


def _targets(inputs: Sequence[Tensor]) -> dict[Any, list[int]]:
    """Where on the tape the inputs are: a leaf, or an entry's output, and which inputs it is."""
    targets: dict[Any, list[int]] = {}
    for k, t in enumerate(inputs):
        rules.refresh_view(t)
        key = ("leaf", id(t)) if t.grad_fn is None else (id(t.grad_fn), t.output_nr)
        targets.setdefault(key, []).append(k)
    return targets


def walk(
    outputs: Sequence[Tensor],
    grads: Sequence[Any],
    targets: dict[Any, list[int]] | None,
    found: list[Any],
    create_graph: bool,
    retain_graph: bool,
    ends: Container[int] = (),
) -> None:
    """Pass gradients from the outputs down the tape: to ``.grad`` of leaves, or into ``found`` where there are targets.

    With targets, entries whose identity is among the ``ends`` pass nothing on.
    """
    recorder = _native.recording()
    if recorder is not None:
        recorder.differentiates = True
    pending: dict[int, tuple[Any, list[Any]]] = {}  # entries by identity, with the gradients of their outputs so far
    heap: list[tuple[int, int]] = []
    wanted = None if targets is None else _leading_to(outputs, targets, ends)

    def arrive(edge: Any, g: Any) -> None:
        if type(edge) is not tuple:
            if targets is None:
                accumulate(edge, g)
            else:
                for k in targets.get(("leaf", id(edge)), ()):
                    found[k] = g if found[k] is None else OPS["add"](found[k], g)
            return
        node, nr = edge
        key = id(node)
        if key in pending:
            slots = pending[key][1]
        else:
            slots = [None] * node.n_outputs
            pending[key] = node, slots
            heapq.heappush(heap, (-node.seq, key))
        slots[nr] = g if slots[nr] is None else OPS["add"](slots[nr], g)

    with _native.GradScope(create_graph):
        for t, g in zip(outputs, grads, strict=True):
            edge = rules.edge_of(t)
            if edge is not None:
                arrive(edge, g)
        while heap:
            _, key = heapq.heappop(heap)
            node, gouts = pending.pop(key)
            python = isinstance(node, PyNode)
            if targets is not None:
                for nr, g in enumerate(gouts):
                    for k in targets.get((key, nr), ()):
                        found[k] = g if found[k] is None else OPS["add"](found[k], g)
                if key not in wanted:  # type: ignore[operator]
                    continue
            elif python or node.extra is not None:
                for nr, reference in retained(node).items():
                    t = reference()
                    if t is not None and gouts[nr] is not None:
                        t.grad = gouts[nr] if t.grad is None else OPS["add"](t.grad, gouts[nr])
            if python or node.released or node.stale() is not None:
                check_saved(node)
            made = node.apply(gouts, create_graph) if python else rules.node_vjp(node, gouts, create_graph)
            edges = node.edges
            if not retain_graph:
                node.release()
            for edge, g in zip(edges, made, strict=True):
                if edge is not None and g is not None:
                    arrive(edge, g)


def accumulate(leaf: Tensor, g: Tensor) -> None:
    """Add a gradient to a leaf's ``.grad``; a first gradient that shares memory is copied, so that it is the leaf's own."""
    before = leaf.grad
    if before is not None:
        leaf.grad = OPS["add"](before, g)
    elif g._storage_refs > 1 or not g.is_contiguous():
        leaf.grad = OPS["copy"](g)
    else:
        leaf.grad = g


def _leading_to(outputs: Sequence[Tensor], targets: dict[Any, list[int]], ends: Container[int]) -> set[int]:
    """The tape entries from which a target can be reached by way of entries that are no ends."""
    wanted: set[int] = set()
    state: dict[int, bool] = {}
    stack = [(t.grad_fn, False) for t in outputs if t.grad_fn is not None]
    while stack:
        node, done = stack.pop()
        if done:
            for edge in node.edges:
                if edge is None:
                    continue
                if isinstance(edge, _native.Tensor):
                    hit = ("leaf", id(edge)) in targets
                else:
                    hit = (id(edge[0]), edge[1]) in targets or id(edge[0]) in wanted
                if hit:
                    wanted.add(id(node))
                    break
        elif id(node) not in state and id(node) not in ends:
            state[id(node)] = True
            stack.append((node, True))
            stack.extend((e[0], False) for e in node.edges if isinstance(e, tuple))
    return wanted


def graph_is_whole(t: Tensor) -> bool:
    """Whether backward can still go from a tensor to the leaves: nothing on the way was freed."""
    stack, seen = [t.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        if node.released:
            return False
        seen.add(id(node))
        stack.extend(e[0] for e in node.edges if isinstance(e, tuple))
    return t.grad_fn is not None


def check_saved(node: Any) -> None:
    """Refuse to go through an entry whose saved values are gone or were modified in place."""
    if node.released:
        raise AutogradError(
            f"The graph behind {node.op.name} was freed by an earlier backward; pass retain_graph=True to the first call "
            "to go through it twice."
        )
    stale = modified(node)
    if stale is not None:
        t, version = stale
        raise AutogradError(
            f"The gradient of {node.op.name} needs a tensor of shape {list(t.shape)} that {t._last_op} has since modified in "
            f"place (it was saved at version {version} and is now at version {t._version}); modify a copy, x.clone(), instead."
        )


@called
def backward(t: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Accumulate the gradient of a tensor into the ``.grad`` of the leaves it was computed from."""
    tensor_of(t, "t")
    create_graph = bool(create_graph)
    if not t.requires_grad:
        raise AutogradError(
            "backward needs a tensor that requires grad; this one was computed from none that does (or under no_grad)."
        )
    walk([t], [start(t, gradient)], None, [], create_graph, create_graph if retain_graph is None else retain_graph)


def start(t: Tensor, gradient: Any) -> Any:
    """The gradient that backward begins with: the one given, or 1 for a single element."""
    if gradient is None:
        if t.size != 1:
            raise AutogradError(
                f"backward of a tensor of shape {list(t.shape)} needs the gradient to begin with; only a single element has a "
                "default, 1."
            )
        return OPS["full"](1, attrs=(tuple(t.shape), t.dtype))
    if not isinstance(gradient, _native.Tensor):
        raise TypeError(f"The gradient given to backward must be a tensor, not {kind_of(gradient)}.")
    if tuple(gradient.shape) != tuple(t.shape):
        raise AutogradError(
            f"The gradient given to backward has shape {list(gradient.shape)}, but the tensor has shape {list(t.shape)}."
        )
    return gradient


def listed(tensors: Any, name: str) -> list[Tensor]:
    """One tensor or several, as a list."""
    listed = list(tensors) if isinstance(tensors, Iterable) and not isinstance(tensors, _native.Tensor) else [tensors]
    for t in listed:
        if not isinstance(t, _native.Tensor):
            raise TypeError(f"{name} must be a tensor or a list of tensors, not {describe(tensors)}.")
    return listed


@called
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Gradients of outputs with respect to inputs, as a tuple with one tensor for each input; no ``.grad`` is touched.

    Args:
        outputs: tensors that require grad.
        inputs: tensors that the outputs were computed from.
        grad_outputs: the gradient to begin with at each output; needed for those of more than one element.
        retain_graph: keep what the graph has saved, for another pass; by default as ``create_graph``.
        create_graph: record the gradient computation, so that its result can be differentiated.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Raises:
        AutogradError: where there is no graph, it was freed, or an input is not part of it.

    Example:
        >>> import weft
        >>> x = weft.tensor(3.0, requires_grad=True)
        >>> (g,) = weft.grad(x * x, x, create_graph=True)
        >>> weft.grad(g, x)[0].item()
        2.0
    """
    outputs = listed(outputs, "outputs")
    inputs = listed(inputs, "inputs")
    if grad_outputs is None or isinstance(grad_outputs, _native.Tensor):
        grad_outputs = [grad_outputs] * len(outputs)
    elif not isinstance(grad_outputs, list | tuple) or len(grad_outputs) != len(outputs):
        raise TypeError(
            f"grad_outputs must be a list of {len(outputs)}, one for each output, not {describe(grad_outputs)}."
        )
    for t in (*outputs, *inputs):
        if not t.requires_grad:
            raise AutogradError(
                f"grad needs tensors that require grad; one of shape {list(t.shape)} was given that does not."
            )
    create_graph = bool(create_graph)
    targets = _targets(inputs)
    found: list[Any] = [None] * len(inputs)
    starts = [start(t, g) for t, g in zip(outputs, grad_outputs, strict=True)]
    walk(outputs, starts, targets, found, create_graph, create_graph if retain_graph is None else retain_graph)
    for k, g in enumerate(found):
        if g is None and not allow_unused:
            raise AutogradError(
                f"The outputs do not depend on input {k}, of shape {list(inputs[k].shape)}; pass allow_unused=True to get "
                "None for it."
            )
    return tuple(found)
