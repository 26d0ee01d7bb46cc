"""How one op's gradient is computed: by its own rule, or, for a composite without one, through its function.

A tape entry (`_native.GradNode`) holds the op, its attributes, and those operands and outputs that the rule reads. Which those
are is found once for each kind of call, by recording the rule over placeholders and looking at what its graph uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.compiler import compile_graph
from weft.dtypes import DType
from weft.ir.graph import Graph, Input
from weft.ir.node import make, toposort
from weft.modes.recording import PlanRecorder, Recorder, scalar_leaf
from weft.ops import reduction
from weft.ops.movement import as_strided, contiguous_strides, expand, reshape
from weft.ops.registry import OPS, Op, Saved

if TYPE_CHECKING:
    from weft import Tensor


@dataclass(frozen=True, slots=True)
class Absent:
    """The type and shape of an operand that was not saved; a rule may look at nothing else of it."""

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


_masks: dict[Any, tuple[int, int]] = {}


def saved_masks(op: Op, attrs: Any, operands: Sequence[Any]) -> tuple[int, int]:
    """Bit masks of the operands and of the outputs that the op's gradient reads."""
    key = (op.name, attrs, *map(_describe, operands))
    known = _masks.get(key)
    if known is None:
        known = _masks[key] = _find_masks(op, attrs, operands)
    return known


def _find_masks(op: Op, attrs: Any, operands: Sequence[Any]) -> tuple[int, int]:
    with PlanRecorder() as recorder:
        given: list[Any] = []
        for slot, o in enumerate(operands):
            if isinstance(o, _native.Tensor):
                given.append(recorder.placeholder(slot, o))
            else:
                given.append(recorder.weak(scalar_leaf(slot, _scalar_dtype(o)), type(o)))
        enabled = _native.grad_enabled()
        _native.set_grad_enabled(False)
        try:
            made = _forward(op, attrs, given)
            shapes = [(tuple(t.shape), t.dtype) for t in made]
            first_out = len(operands)
            outs = [
                recorder.fresh(make("input", (), (first_out + k, contiguous_strides(shape)), shape, dtype))
                for k, (shape, dtype) in enumerate(shapes)
            ]
            first_gout = first_out + len(outs)
            gouts = [
                recorder.fresh(make("input", (), (first_gout + k, contiguous_strides(shape)), shape, dtype))
                for k, (shape, dtype) in enumerate(shapes)
            ]
            needs = tuple(isinstance(o, _native.Tensor) and o.requires_grad for o in operands)
            grads = vjp(op, attrs, given, outs, gouts, needs)
        finally:
            _native.set_grad_enabled(enabled)
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
    from weft.modes.dispatch import _SCALAR_DTYPES

    return _SCALAR_DTYPES[type(o)]


# The tape entry


def make_node(op: Op, attrs: Any, operands: Sequence[Any], mask: int) -> Any:
    """A tape entry for a call with these operands, before its outputs are known."""
    saved, versions, edges, metas = [], [], [], []
    for k, o in enumerate(operands):
        if not isinstance(o, _native.Tensor):
            saved.append(o)
            versions.append(None)
            edges.append(None)
            metas.append(None)
            continue
        keep = bool(mask >> k & 1)
        saved.append(o if keep else None)
        versions.append(o._version if keep else None)
        edges.append(edge_of(o))
        metas.append((tuple(o.shape), o.dtype))
    return _native.GradNode(op.handle, attrs, tuple(saved), tuple(versions), tuple(edges), tuple(metas))


def finish_node(node: Any, outs: Sequence[Tensor], out_mask: int = 0) -> None:
    """Tell a tape entry its outputs, of which it keeps those in the mask."""
    node.set_outputs(tuple(outs), out_mask)


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
    _hang_view(t, base)


def _hang_view(t: Tensor, base: Tensor) -> None:
    attrs = (t.offset - base.offset, tuple(t.strides), tuple(t.shape))
    node = make_node(as_strided, attrs, (base,), 0)
    finish_node(node, [t])
    t._set_grad_fn(node, 0)
    t._epoch = t._storage_epoch


def rebase_view(t: Tensor, base: Tensor, node: Any) -> None:
    """A view was modified in place: its base is now its old value with the region replaced."""
    t._set_grad_fn(node, 0)
    attrs = (t.offset - base.offset, tuple(t.strides))
    replaced = make_node(OPS["assign"], attrs, (base, t), 0)
    finish_node(replaced, [base])
    base._set_grad_fn(replaced, 0)
    base._bump_epoch()
    _hang_view(t, base)


# The gradient itself


def vjp(
    op: Op,
    attrs: Any,
    operands: Sequence[Any],
    outs: Sequence[Any],
    gouts: Sequence[Any],
    needs: tuple[bool, ...],
) -> list[Any]:
    """Gradients of the operands, as tensors of their shapes and types (None where not needed), by running ops."""
    if op.grad is not None:
        out = outs[0] if outs else None
        made = op.grad(gouts[0] if len(gouts) == 1 else tuple(gouts), Saved(tuple(operands), out, attrs, needs))
        return [fit(g, o) if need and g is not None else None for g, o, need in zip(made, operands, needs, strict=True)]
    return composite_vjp(op, attrs, operands, gouts, needs)


def composite_vjp(
    op: Op, attrs: Any, operands: Sequence[Any], gouts: Sequence[Any], needs: tuple[bool, ...]
) -> list[Any]:
    """Differentiate a composite by running its function under a tape of its own."""
    from weft.autograd.engine import gradients

    create_graph = _native.grad_enabled()
    inner = [_inner(o, need, create_graph) for o, need in zip(operands, needs, strict=True)]
    _native.set_grad_enabled(True)
    try:
        assert op.function is not None
        made = op.function(*inner, attrs=attrs)
    finally:
        _native.set_grad_enabled(create_graph)
    outs = list(made) if isinstance(made, tuple) else [made]
    pairs = [(o, g) for o, g in zip(outs, gouts, strict=True) if g is not None and o.requires_grad]
    wanted = [o for o, need in zip(inner, needs, strict=True) if need]
    found = iter(gradients([o for o, _ in pairs], [g for _, g in pairs], wanted, create_graph))
    return [next(found) if need else None for need in needs]


def _inner(o: Any, need: bool, create_graph: bool) -> Any:
    """An operand as the start of an inner tape: on its own, or, to be differentiated again, joined to the outer one."""
    if not isinstance(o, _native.Tensor):
        return o
    alias = _native.strided(o, tuple(o.shape), tuple(o.strides), 0)
    alias.symbol = o.symbol
    if need and create_graph and o.requires_grad:
        node = make_node(OPS["cast"], o.dtype, (o,), 0)
        finish_node(node, [alias])
        alias._set_grad_fn(node, 0)
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
    """Gradients of a tape entry's operands, given those of its outputs."""
    op = OPS[node.op.name]
    needs = tuple(e is not None for e in node.edges)
    operands = node.operands
    outs = node.unpack_outputs() if create_graph else node.saved_outputs
    if create_graph or _native.recording() is not None:
        filled = [_fill(o, m) for o, m in zip(operands, node.metas, strict=True)]
        absent_outs = [_fill(o, m) for o, m in zip(outs, node.output_metas, strict=True)]
        gouts = [_zeros(m) if g is None else g for g, m in zip(gouts, node.output_metas, strict=True)]
        return vjp(op, node.attrs, filled, absent_outs, gouts, needs)
    gouts = [_zeros(m) if g is None else g for g, m in zip(gouts, node.output_metas, strict=True)]
    saved = [o for o in (*operands, *outs) if o is not None]
    key = (
        op.name,
        node.attrs,
        needs,
        node.metas,
        tuple([_layout(o) for o in operands]),
        tuple([_layout(o) for o in outs]),
        tuple([_layout(g) for g in gouts]),
    )
    program = _programs.get(key)
    if program is None:
        program = _programs[key] = _compile_vjp(op, node, needs, outs, gouts)
    found = iter(
        program.run(
            [o for o in (*saved, *gouts) if isinstance(o, _native.Tensor)],
            [o for o in saved if not isinstance(o, _native.Tensor)],
        )
    )
    return [next(found) if need else None for need in needs]


_programs: dict[Any, Any] = {}


def _layout(o: Any) -> Any:
    return o._meta_id if isinstance(o, _native.Tensor) else type(o)


def _fill(o: Any, meta: Any) -> Any:
    return Absent(*meta) if o is None else o


def _zeros(meta: Any) -> Any:
    shape, dtype = meta
    return OPS["full"](0, attrs=(shape, dtype))


def _compile_vjp(op: Op, node: Any, needs: tuple[bool, ...], outs: Sequence[Any], gouts: Sequence[Any]) -> Any:
    inputs: list[Input] = []
    scalars: list[DType] = []

    def stand_in(recorder: PlanRecorder, o: Any, meta: Any) -> Any:
        if o is None:
            return Absent(*meta)
        if isinstance(o, _native.Tensor):
            inputs.append(Input(tuple(o.shape), tuple(o.strides), o.dtype))
            return recorder.placeholder(len(inputs) - 1, o)
        scalars.append(_scalar_dtype(o))
        return recorder.weak(scalar_leaf(len(scalars) - 1, scalars[-1]), type(o))

    with PlanRecorder() as recorder:
        given = [stand_in(recorder, o, m) for o, m in zip(node.operands, node.metas, strict=True)]
        given_outs = [stand_in(recorder, o, m) for o, m in zip(outs, node.output_metas, strict=True)]
        given_gouts = [stand_in(recorder, g, None) for g in gouts]
        enabled = _native.grad_enabled()
        _native.set_grad_enabled(False)
        try:
            grads = vjp(op, node.attrs, given, given_outs, given_gouts, needs)
        finally:
            _native.set_grad_enabled(enabled)
        values = []
        for g, need, meta in zip(grads, needs, node.metas, strict=True):
            if need:
                shape, dtype = meta
                values.append(recorder.value(g if g is not None else OPS["full"](0, attrs=(shape, dtype))))
    return compile_graph(Graph(tuple(inputs), tuple(scalars), tuple(values), alias=True), f"{op.name}.grad").program


__all__ = ["Recorder", "finish_node", "make_node", "node_vjp", "rebase_view", "saved_masks", "vjp"]
