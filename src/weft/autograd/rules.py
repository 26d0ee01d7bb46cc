"""How one op's gradient is computed: by its own rule, or, for a composite without one, through its function.

A tape entry (`_native.GradNode`) holds the op, its attributes, and those operands and outputs that the rule reads. Which those
are is found once for each kind of call, by recording the rule over placeholders and looking at what its graph uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.autograd.node import Kinds, hang, kind_of, operand_kinds
from weft.compiler import compile_graph
from weft.dtypes import DType
from weft.errors import AutogradError
from weft.ir.graph import Graph, Input
from weft.ir.node import make, toposort
from weft.ops import reduction
from weft.ops.movement import (
    as_strided,
    contiguous_strides,
    expand,
    inverse,
    memory_order,
    permute,
    region,
    reshape,
    slice_,
)
from weft.ops.registry import OPS, Op, Saved
from weft.recent import Recent
from weft.record.recorder import SCALAR_DTYPES, PlanRecorder, View, scalar_leaf

if TYPE_CHECKING:
    from weft import Tensor


_Tensor = _native.Tensor


@dataclass(frozen=True, slots=True)
class Absent:
    """The type and shape of an operand that was not saved, because no gradient that is needed reads its value.

    An op over one gives one again: that is what a rule finds for the gradients that nobody asked for.
    """

    shape: tuple[int, ...]
    dtype: DType
    requires_grad: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _describe(o: Any) -> Any:
    if isinstance(o, _native.Tensor):
        weak = o.symbol is not None and getattr(o.symbol, "weak", None)
        return (o.dtype.code, tuple(o.shape), o.requires_grad, weak)
    return type(o)


_masks: Recent[Any, tuple[int, int]] = Recent(8192)


def saved_masks(op: Op, attrs: Any, operands: Sequence[Any]) -> tuple[int, int]:
    """Bit masks of the operands and of the outputs that the op's gradient reads."""
    key = (op.name, attrs, *map(_describe, operands))
    known = _masks.get(key)
    if known is None:
        needs = tuple(isinstance(o, _native.Tensor) and o.requires_grad for o in operands)
        known = _masks[key] = _find_masks(op, attrs, operands, needs)
    return known


def saves_by_operand(op: Op, attrs: Any, operands: Sequence[Any]) -> list[tuple[int, int]]:
    """For each operand, what its gradient alone reads: what a plan is told, which serves any choice of leaves.

    The second mask is of the op's results and then of what it keeps.
    """
    masks: list[tuple[int, int]] = []
    for i, o in enumerate(operands):
        if not isinstance(o, _native.Tensor) or o.dtype.kind != "f":
            masks.append((0, 0))
            continue
        needs = tuple(k == i for k in range(len(operands)))
        ins, outs = _find_masks(op, attrs, operands, needs)
        if op.keeps is not None:
            # a gradient that is to be differentiated works out again what was kept, from what that is made of
            more, kept = _find_masks(op, attrs, operands, needs, keeping=True)
            ins, outs = ins | more, outs | kept
        masks.append((ins, outs))
    return masks


def _find_masks(
    op: Op, attrs: Any, operands: Sequence[Any], needs: tuple[bool, ...], keeping: bool = False
) -> tuple[int, int]:
    with PlanRecorder().active() as recorder:
        given: list[Any] = []
        for slot, o in enumerate(operands):
            if isinstance(o, _native.Tensor):
                given.append(recorder.placeholder(slot, o))
            else:
                given.append(recorder.weak(scalar_leaf(slot, _scalar_dtype(o)), type(o)))
        with _native.GradScope(False):
            made = _forward(op, attrs, given)
            kept = kept_by(op, attrs, given) if keeping else ()
            first_out = len(operands)
            first_gout = first_out + len(made) + len(kept)

            def inputs(like: Sequence[Any], first: int) -> list[Any]:
                kinds = [(tuple(t.shape), t.dtype) for t in like]
                return [
                    recorder.fresh(make("input", (), (first + k, contiguous_strides(shape)), shape, dtype))
                    for k, (shape, dtype) in enumerate(kinds)
                ]

            outs, gouts = inputs(made, first_out), inputs(made, first_gout)
            found = inputs(kept, first_out + len(made)) if keeping else None
            grads = vjp(op, attrs, given, outs, gouts, needs, found)
        roots = [recorder.value(g) for g in grads if g is not None]
    operand_mask = out_mask = 0
    for node in toposort(roots):
        if node.op == "input":
            slot = node.attrs[0]
            if slot < first_out:
                operand_mask |= 1 << slot
            elif slot < first_gout:
                out_mask |= 1 << (slot - first_out)
    return operand_mask, out_mask


def _forward(op: Op, attrs: Any, operands: Sequence[Any]) -> list[Any]:
    if op.kind == "inplace":
        return [operands[0]]
    made = op.function(*operands, attrs=attrs) if op.function is not None else op.handle(attrs, *operands)
    return list(made) if isinstance(made, tuple) else [made]


def _scalar_dtype(o: Any) -> DType:
    return SCALAR_DTYPES[type(o)]


# The tape entry


@dataclass(slots=True)
class Draft:
    """A tape entry for a call that has not happened yet: what is true of the operands before it."""

    op: Op
    attrs: Any
    saved: tuple[Any, ...]
    versions: tuple[Any, ...]
    edges: tuple[Any, ...]
    kinds: tuple[Any, ...]


def draft(op: Op, attrs: Any, operands: Sequence[Any], mask: int) -> Draft:
    """Note what a call with these operands puts on the tape; those in the mask are saved."""
    saved, versions, edges = [], [], []
    for k, o in enumerate(operands):
        tensor = isinstance(o, _native.Tensor)
        keep = tensor and bool(mask >> k & 1)
        saved.append(o if keep or not tensor else None)
        versions.append(o._version if keep else None)
        edges.append(edge_of(o) if tensor else None)
    kinds = tuple(kind_of(o) for o in operands)
    return Draft(op, attrs, tuple(saved), tuple(versions), tuple(edges), kinds)


def record_call(d: Draft, outs: Sequence[Tensor], out_mask: int = 0) -> Any:
    """The tape entry of a call whose outputs are known."""
    saved_outs = tuple(t if out_mask >> k & 1 else None for k, t in enumerate(outs))
    out_versions = tuple(None if t is None else t._version for t in saved_outs)
    return _native.GradNode(
        d.op.handle,
        d.attrs,
        None,
        d.saved,
        d.edges,
        saved_outs,
        (*d.versions, *out_versions),
        len(outs),
        tuple(outs),
        Kinds(d.op, d.kinds, tuple([None if t is None else t.symbol for t in saved_outs])),
    )


def edge_of(t: Tensor) -> Any:
    """Where a tensor's gradient goes: None, the leaf itself, or (tape entry, output number)."""
    if not t.requires_grad:
        return None
    refresh_view(t)
    node = t.grad_fn
    return t if node is None else (node, t.output_nr)


def refresh_view(t: Tensor) -> None:
    """Give a view made before its base was modified in place its new place on the tape."""
    base = t.base
    if base is None or t._epoch == t._storage_epoch:
        return
    if base.grad_fn is None:
        return
    if t.requires_grad and t.grad_fn is None:
        if not _native.grad_enabled():
            return
        raise AutogradError(
            f"A tensor of shape {list(t.shape)} that requires grad is a view of a tensor that was modified in place with "
            "values that require grad, so it is a leaf no more; make it of a copy, with x.clone()."
        )
    _hang_view(t, _ordered(base))


def is_of_leaf(t: Tensor) -> bool:
    """Whether a tensor is a leaf that requires grad or a view of one, which may be a view of a tensor without history."""
    node = t.grad_fn
    while isinstance(node, _native.GradNode) and OPS[node.op.name].view is not None:
        (edge,) = node.edges
        if not isinstance(edge, tuple):
            return True
        node = edge[0]
    return node is None and t.requires_grad


def rebase_view(t: Tensor, base: Tensor, node: Any) -> None:
    """A view was modified in place: its base is now its old value with the region replaced."""
    hang(t, node, 0)
    whole = _ordered(base)
    replaced = record_call(draft(OPS["assign"], _region(t, whole), (whole, t), 0), [whole])
    base._storage_epoch += 1
    hang(whole, replaced, 0)
    if whole is not base:
        perm, flip = memory_order(base.shape, base.strides)
        _move(_move(whole, slice_, flip), permute, (inverse(perm),), base)
    _hang_view(t, whole)


def _hang_view(t: Tensor, whole: Tensor) -> None:
    attrs = (*_region(t, whole), tuple(t.shape))
    hang(t, record_call(draft(as_strided, attrs, (whole,), 0), [t]), 0)


def _ordered(base: Tensor) -> Tensor:
    """A tensor, or a view of it, whose axes lie in memory in their order and forwards.

    Where a view lies in memory says for such a tensor where it lies among its row-major elements, which is what the tape names.
    """
    if base.is_contiguous():
        return base
    perm, flip = memory_order(base.shape, base.strides)
    return _move(_move(base, permute, (perm,)), slice_, flip)


def _region(t: Tensor, whole: Tensor) -> tuple[int, tuple[int, ...]]:
    """Offset and strides of a view among the row-major elements of what `_ordered` gave."""
    found = region(t.shape, t.strides, t.offset - whole.offset, whole.shape, whole.strides)
    if found is None:
        raise AutogradError(
            f"A tensor of shape {list(whole.shape)} and strides {list(whole.strides)}, whose axes interleave in memory, was "
            "modified in place through a view; its history cannot be told. Make it of a copy, x.contiguous(), first."
        )
    return found


def _move(x: Tensor, op: Op, attrs: Any, out: Tensor | None = None) -> Tensor:
    """A view of a tensor with its place on the tape, or ``out``, which is that view, given this place."""
    if out is None:
        assert op.view is not None
        layout = op.view(tuple(x.shape), tuple(x.strides), attrs)
        assert layout is not None
        out = _native.strided(x, *layout)
    if x.requires_grad:
        hang(out, record_call(draft(op, attrs, (x,), 0), [out]), 0)
    return out


# The gradient itself


def kept_by(op: Op, attrs: Any, operands: Sequence[Any]) -> tuple[Any, ...]:
    """What an op keeps for its gradient, by running ops."""
    return () if op.keeps is None else op.keeps(*operands, attrs=attrs)


def vjp(
    op: Op,
    attrs: Any,
    operands: Sequence[Any],
    outs: Sequence[Any],
    gouts: Sequence[Any],
    needs: tuple[bool, ...],
    kept: Sequence[Any] | None = None,
) -> list[Any]:
    """Gradients of the operands, as tensors of their shapes and types (None where not needed), by running ops.

    What the op keeps is worked out from the operands where it is not given.
    """
    if op.grad is not None:
        out = outs[0] if outs else None
        kept = kept_by(op, attrs, operands) if kept is None else tuple(kept)
        saved = Saved(tuple(operands), out, attrs, needs, kept)
        made = op.grad(gouts[0] if len(gouts) == 1 else tuple(gouts), saved)
        return [fit(g, o) if need and g is not None else None for g, o, need in zip(made, operands, needs, strict=True)]
    return composite_vjp(op, attrs, operands, gouts, needs)


def composite_vjp(
    op: Op, attrs: Any, operands: Sequence[Any], gouts: Sequence[Any], needs: tuple[bool, ...]
) -> list[Any]:
    """Differentiate a composite by running its function under a tape of its own."""
    from weft.autograd.engine import gradients

    create_graph = _native.grad_enabled()
    inner = [_inner(o, need, create_graph) for o, need in zip(operands, needs, strict=True)]
    with _native.GradScope(True):
        assert op.function is not None
        made = op.function(*inner, attrs=attrs)
    outs = list(made) if isinstance(made, tuple) else [made]
    pairs = [(o, g) for o, g in zip(outs, gouts, strict=True) if g is not None and o.requires_grad]
    wanted = [o for o, need in zip(inner, needs, strict=True) if need]
    found = iter(gradients([o for o, _ in pairs], [g for _, g in pairs], wanted, create_graph))
    return [next(found) if need else None for need in needs]


def _inner(o: Any, need: bool, create_graph: bool) -> Any:
    """An operand as the start of an inner tape: on its own, or, to be differentiated again, joined to the outer one."""
    if isinstance(o, Absent):  # its value plays no part in the gradient
        o = OPS["full"](0, attrs=(o.shape, o.dtype))
    if not isinstance(o, _native.Tensor):
        return o
    alias = _native.strided(o, tuple(o.shape), tuple(o.strides), 0)
    alias.symbol = o.symbol
    if need and create_graph and o.requires_grad:
        hang(alias, record_call(draft(OPS["cast"], o.dtype, (o,), 0), [alias]), 0)
    elif need:
        alias.requires_grad = True
    return alias


def fit(g: Tensor, like: Any) -> Tensor:
    """A gradient summed over the axes along which its operand was broadcast, and cast to its type."""
    shape = tuple(like.shape)
    if tuple(g.shape) != shape:
        g = sum_to(g, shape)
    if g.dtype is not like.dtype:
        g = OPS["cast"](g, attrs=like.dtype)
    return g


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum a tensor down to a shape that broadcasts to its own; or, where a rule gave less, expand it."""
    ndim = len(shape)
    if g.ndim < ndim:
        g = reshape(g, attrs=((1,) * (ndim - g.ndim) + tuple(g.shape),))
    lead = g.ndim - ndim
    padded = (1,) * lead + shape
    axes = [d for d in range(g.ndim) if padded[d] == 1 and g.shape[d] != 1]
    while axes:  # runs of adjacent axes, last first
        hi = axes[-1] + 1
        lo = hi - 1
        axes.pop()
        while axes and axes[-1] == lo - 1:
            lo = axes.pop()
        g = reduction.reduce_sum(g, attrs=(lo, hi))
    if lead:
        g = reshape(g, attrs=(tuple(g.shape[lead:]),))
    return g if tuple(g.shape) == shape else expand(g, attrs=(shape,))


def node_vjp(node: Any, gouts: list[Any], create_graph: bool) -> list[Any]:
    """Gradients of a native tape entry's operands, given those of its outputs."""
    if len(gouts) > 1:
        gouts = [zeros((m[1], m[0])) if g is None else g for g, m in zip(gouts, node.output_metas, strict=True)]
    if create_graph or _native.recording() is not None:
        return _record_vjp(node, gouts, create_graph)
    operands = node.operands
    tensors = [o for o in (*operands, *node.saved_outputs, *node.kept, *gouts) if isinstance(o, _Tensor)]
    plan = node.plan
    if plan is None:
        program = _vjp_program(node, gouts)
    else:  # what else the program depends on is the plan's own, and which values are saved follows from the needs
        known = plan.payload.gradients
        key = (node.needs, *[t._meta_id for t in tensors])
        program = known.get(key)
        if program is None:
            program = known[key] = _vjp_program(node, gouts)
    made = program.run(tensors, [o for o in operands if o is not None and not isinstance(o, _Tensor)])
    if len(made) == len(operands):
        return made
    found = iter(made)
    return [next(found) if need else None for need in node.needs]


def _record_vjp(node: Any, gouts: list[Any], create_graph: bool) -> list[Any]:
    """`node_vjp` where its ops are recorded, or go on the tape."""
    operands, outs = node.operands, node.saved_outputs
    kinds = operand_kinds(node)
    filled = [_fill(o, k) for o, k in zip(operands, kinds, strict=True)]
    if create_graph:
        for nr, t in enumerate(outs):
            if t is not None and t.dtype.kind == "f":
                hang(t, node, nr)
    if node.extra is not None:
        for t, symbol in zip(outs, node.extra.symbols, strict=False):
            _find_again(t, symbol)
    filled_outs = [_fill(o, (m[1], m[0])) for o, m in zip(outs, node.output_metas, strict=True)]
    made = vjp(OPS[node.op.name], node.attrs, filled, filled_outs, gouts, node.needs)
    # as `_compile_vjp` does
    return [zeros(kind) if g is None and need else g for g, need, kind in zip(made, node.needs, kinds, strict=True)]


def _vjp_program(node: Any, gouts: list[Any]) -> Any:
    """The program of an entry's gradient: its inputs are the saved operands, outputs and kept values, then the gradients."""
    op, operands, outs, kept, needs = OPS[node.op.name], node.operands, node.saved_outputs, node.kept, node.needs
    kinds = operand_kinds(node)
    key = (
        op.name,
        node.attrs,
        needs,
        kinds,
        tuple([_layout(o) for o in operands]),
        tuple([_layout(o) for o in outs]),
        tuple([_layout(o) for o in kept]),
        tuple([_layout(g) for g in gouts]),
    )
    program = _programs.get(key)
    if program is None:
        made = [
            (value, (meta[1], meta[0]))
            for values, metas in ((outs, node.output_metas), (kept, node.kept_metas))
            for value, meta in zip(values, metas, strict=True)
        ]
        program = _programs[key] = _compile_vjp(op, node.attrs, operands, kinds, made, len(kept), gouts, needs)
    return program


def _find_again(t: Any, symbol: View | None) -> None:
    """Have a recording know a saved output, which is a plain alias of its storage, by the symbol that the output had."""
    if t is not None and symbol is not None and t._pending is symbol.cell:
        t.symbol = symbol


#: Gradients' programs, for tape entries that have no plan to keep them, and for plans that begin.
_programs: Recent[Any, Any] = Recent(4096)


def _layout(o: Any) -> Any:
    return o._meta_id if isinstance(o, _native.Tensor) else type(o)


def _fill(o: Any, meta: Any) -> Any:
    return Absent(*meta) if o is None else o


def zeros(kind: Any) -> Any:
    """A gradient of zeros for an output that nothing used."""
    return OPS["full"](0, attrs=kind)


def _compile_vjp(
    op: Op,
    attrs: Any,
    operands: Sequence[Any],
    kinds: Sequence[Any],
    made: Sequence[tuple[Any, Any]],
    n_kept: int,
    gouts: Sequence[Any],
    needs: tuple[bool, ...],
) -> Any:
    """``made``: the outputs and then the kept values, each with its kind, and None where not saved."""
    inputs: list[Input] = []
    scalars: list[DType] = []

    def stand_in(recorder: PlanRecorder, o: Any, kind: Any) -> Any:
        if o is None:
            return Absent(*kind)
        if isinstance(o, _native.Tensor):
            inputs.append(Input(tuple(o.shape), tuple(o.strides), o.dtype))
            return recorder.placeholder(len(inputs) - 1, o)
        scalars.append(_scalar_dtype(o))
        return recorder.weak(scalar_leaf(len(scalars) - 1, scalars[-1]), type(o))

    with PlanRecorder().active() as recorder, _native.GradScope(False):
        given = [stand_in(recorder, o, k) for o, k in zip(operands, kinds, strict=True)]
        found = [stand_in(recorder, o, k) for o, k in made]
        given_gouts = [stand_in(recorder, g, None) for g in gouts]
        n_outs = len(found) - n_kept
        grads = vjp(op, attrs, given, found[:n_outs], given_gouts, needs, found[n_outs:] if n_kept else None)
        values = [
            recorder.value(g if g is not None else zeros(kind))
            for g, need, kind in zip(grads, needs, kinds, strict=True)
            if need
        ]
    return compile_graph(Graph(tuple(inputs), tuple(scalars), tuple(values), alias=True), f"{op.name}.grad").program
