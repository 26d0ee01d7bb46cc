"""What happens to an op that the native fast path does not know yet.

The native runtime looks an eager call up by op, operand metas and attributes. On a miss, or while something is being recorded,
it calls `slow` here: eagerly that builds the call's program and leaves it in the plan cache; under a recorder it adds a
node to the graph. Gradients are recorded on the tape by the same code in both cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weft import _native, dtypes, locks
from weft.autograd import rules
from weft.autograd.node import Kinds, hang, kind_of
from weft.compiler import compile_graph
from weft.dtypes import DType
from weft.errors import EXPLAINED, AutogradError, describe, explain, where_in_user_code
from weft.ir.graph import Graph, Input, Write
from weft.ir.node import Node, const
from weft.ops.frontend import python_number, refused
from weft.ops.registry import OPS, Op, Operand, Weak, cast
from weft.recent import Recent
from weft.record.recorder import SCALAR_DTYPES, PlanRecorder, Recorder, scalar_leaf

if TYPE_CHECKING:
    from weft import Tensor

_lock = locks.shared("plans")
_NUMBERS = (bool, int, float)


def slow(handle: Any, attrs: Any, operands: tuple[Any, ...]) -> Any:
    """Run or record one op."""
    op = OPS[handle.name]
    if not all(isinstance(o, _native.Tensor) or type(o) in _NUMBERS for o in operands):
        absent = [o for o in operands if isinstance(o, rules.Absent)]
        if absent:
            return absent[0]
        plain = [o if isinstance(o, _native.Tensor) else python_number(o) for o in operands]
        if any(hasattr(o, "__array__") for o, p in zip(operands, plain, strict=True) if p is None):
            refused(op.name, operands)
        return NotImplemented if any(p is None for p in plain) else handle(attrs, *plain)
    try:
        recorder = _native.recording()
        if recorder is not None:
            with recorder.lock:
                return record(recorder, op, attrs, operands)
        return eager(op, attrs, operands)
    except EXPLAINED as error:
        raise explain(error, op.name, operands) from None


# Recording


def record(recorder: Recorder, op: Op, attrs: Any, operands: tuple[Any, ...]) -> Any:
    """Add one op to the graph being recorded."""
    refresh_views(operands)
    recorder.met(operands)
    if op.kind == "inplace":
        return record_inplace(recorder, op, attrs, operands)
    if op.function is not None:
        with _native.GradScope(False):
            made = op.function(*operands, attrs=attrs)
        outs = [recorder.fresh(recorder.value(t)) for t in (made if isinstance(made, tuple) else (made,))]
        return attach(op, attrs, operands, outs, isinstance(made, tuple))
    if op.view is not None:
        (t,) = operands
        layout = op.view(tuple(t.shape), tuple(t.strides), attrs)
        if layout is not None:
            if t.symbol is not None and t.symbol.weak:
                return t
            return attach(op, attrs, operands, [recorder.alias(t, (op, attrs), layout)], False)
    weak = weak_result(op, operands)
    if weak is not None:
        if not any(isinstance(o, _native.Tensor) for o in operands):  # nothing to record, in any mode
            with _native.RecordingScope(None):
                return on_numbers(op, operands, weak)
        nodes: list[Operand] = [_strong(operand_of(recorder, o, op), weak) for o in operands]
        return recorder.weak(recorder.build(op, nodes, attrs), weak)
    given = [operand_of(recorder, o, op) for o in operands]
    if given and isinstance(given[0], Weak) and (op.name == "copy" or op.kind not in _FIRST_MAY_BE_NUMBER):
        given[0] = given[0].make(dtypes.of_scalar(given[0].kind()))
    return attach(op, attrs, operands, [recorder.fresh(recorder.build(op, given, attrs))], False)


#: The kinds of op whose first operand may be a Python number.
_FIRST_MAY_BE_NUMBER = ("elementwise", "leaf")


def operand_of(recorder: Recorder, o: Any, op: Op) -> Operand:
    """The node, or the weakly typed number, that stands for an operand of an op."""
    if isinstance(o, _native.Tensor):
        node = recorder.value(o)
        kind = o.symbol.weak if o.symbol is not None else None
        return node if kind is None else Weak(kind, lambda dtype: cast(node, dtype), (kind, node))
    if type(o) is int and not -(1 << 63) <= o < 1 << 64:
        return Weak(int, lambda dtype: _large(o, dtype, op), (int, o))
    # -0.0 equals 0.0, and a NaN nothing
    return Weak(type(o), lambda dtype: const(o, dtype), (float, o.hex()) if type(o) is float else (type(o), o))


def _large(value: int, dtype: DType, op: Op) -> Node:
    """The constant for an integer of more than 64 bits: where a program would refuse it, a recording does."""
    if dtype.kind != "f":
        raise OverflowError(f"{op.name}: the Python integer {value} does not fit in 64 bits.")
    try:
        return const(value, dtype)
    except OverflowError:
        raise OverflowError(f"{op.name}: a Python integer is too large for a float.") from None


def weak_result(op: Op, operands: Sequence[Any]) -> type | None:
    """The class of Python number that an op over nothing but weak scalars gives, or None where a tensor takes part."""
    if op.kind != "elementwise" or op.name in ("cast", "copy"):
        return None
    kinds: list[type] = []
    for o in operands:
        if isinstance(o, _native.Tensor):
            if o.symbol is None or o.symbol.weak is None:
                return None
            kinds.append(o.symbol.weak)
        else:
            kinds.append(type(o))
    if op.gives == "bool":
        return bool
    kind = max(kinds, key=_NUMBERS.index)
    return float if op.gives == "float" else kind


def _strong(o: Operand, kind: type) -> Node:
    """A weak scalar as a node of full precision."""
    assert isinstance(o, Weak)
    return o.make(SCALAR_DTYPES[float if kind is float else o.kind])


def record_inplace(recorder: Recorder, op: Op, attrs: Any, operands: tuple[Any, ...]) -> Any:
    """Give the first operand's memory a new value."""
    t = operands[0]
    if isinstance(t, _native.Tensor) and t.symbol is not None and t.symbol.weak:
        return NotImplemented  # as of the number that it stands for: ``s += 1`` is ``s = s + 1``
    check_inplace(op, operands)
    node = recorder.build(op, [operand_of(recorder, o, op) for o in operands], attrs)
    edges = tape_edges(op, attrs, operands)
    recorder.write(t, node, op.name)
    _native.bump_version(t, op.name)
    return rebase(operands, edges)


# Running eagerly


def eager(op: Op, attrs: Any, operands: tuple[Any, ...]) -> Any:
    """Run one op, building its plan where there is none."""
    for o in operands:
        if isinstance(o, _native.Tensor):
            settle(o)
    refresh_views(operands)
    if op.kind == "inplace":
        return eager_inplace(op, attrs, operands)
    kind = weak_result(op, operands)
    if kind is not None:
        return on_numbers(op, operands, kind)
    if not 0 < len(operands) <= MOST_OPERANDS:
        return eager_wide(op, attrs, operands)
    with _lock:
        plan = op.handle.find_plan(attrs, operands) or build_plan(op, attrs, operands)
        if plan.differentiable and not plan.grad_ready and needs_grad(operands):
            plan.set_saves(rules.saves_by_operand(op, attrs, operands), keeping_program(op, attrs, operands))
    return plan.run(operands)


def keeping_program(op: Op, attrs: Any, operands: Sequence[Any]) -> Any:
    """The program of a call that is recorded on the tape, where it is to keep more than its result."""
    if op.keeps is None:
        return None
    return compile_graph(plan_graph(op, attrs, operands, keeping=True), op.name).program


def on_numbers(op: Op, operands: Sequence[Any], kind: type) -> Any:
    """An elementwise op over nothing but Python numbers, as a Python number: what a recording computes for weak scalars."""
    tensors = [OPS["full"](o, attrs=((), SCALAR_DTYPES[float if kind is float else type(o)])) for o in operands]
    return kind(op(*tensors).item())


#: Operands that the native plan cache takes.
MOST_OPERANDS = 8
_wide: Recent[Any, Any] = Recent(1024)


def eager_wide(op: Op, attrs: Any, operands: tuple[Any, ...]) -> Any:
    """Run an op of no operands, or of more than the plan cache takes."""
    key = (op.name, attrs, tuple([o._meta_id if isinstance(o, _native.Tensor) else type(o) for o in operands]))
    with _lock:
        program = _wide.get(key)
        if program is None:
            program = _wide[key] = compile_graph(plan_graph(op, attrs, operands), op.name).program
    tensors = [o for o in operands if isinstance(o, _native.Tensor)]
    outs = program.run(tensors, [o for o in operands if not isinstance(o, _native.Tensor)])
    return attach(op, attrs, operands, outs, len(outs) > 1)


def settle(t: Tensor) -> None:
    """Make a tensor's memory hold its value, and forget what recordings knew of it."""
    cell = t._pending
    if cell is not None:
        cell.recorder.realize(t, cell)
    if t.symbol is not None and t._pending is None:
        t.symbol = None


def refresh_views(operands: Sequence[Any]) -> None:
    """Give operands that are views of what was modified in place since their places on the tape."""
    for o in operands:
        if isinstance(o, _native.Tensor):
            rules.refresh_view(o)


def needs_grad(operands: Sequence[Any]) -> bool:
    """Whether a call with these operands goes on the tape."""
    return _native.grad_enabled() and any(isinstance(o, _native.Tensor) and o.requires_grad for o in operands)


def build_plan(op: Op, attrs: Any, operands: Sequence[Any]) -> Any:
    """Compile the program of an eager call and put it in the plan cache."""
    differentiable = op.grad is not None or op.function is not None
    tensors = [o for o in operands if isinstance(o, _native.Tensor)]
    payload = Kinds(op, tuple(kind_of(o) for o in operands))
    if op.view is not None:
        layout = op.view(tuple(tensors[0].shape), tuple(tensors[0].strides), attrs)
        if layout is not None:
            shape, strides, offset = layout
            plan = _native.Plan("view", None, [((tensors[0].dtype, shape, strides), offset)], differentiable, payload)
            op.handle.add_plan(attrs, operands, plan)
            return plan
    graph = plan_graph(op, attrs, operands)
    kind = "inplace" if op.kind == "inplace" else "program"
    plan = _native.Plan(kind, compile_graph(graph, op.name).program, None, differentiable, payload)
    op.handle.add_plan(attrs, operands, plan)
    return plan


def plan_graph(op: Op, attrs: Any, operands: Sequence[Any], keeping: bool = False) -> Graph:
    """The graph of one call, with a slot for each tensor and each number among its operands.

    Its results are the op's, and then, where ``keeping``, what the op keeps for its gradient.
    """
    inputs: list[Input] = []
    scalars: list[dtypes.DType] = []
    with PlanRecorder().active() as recorder:
        given: list[Any] = []
        for o in operands:
            if isinstance(o, _native.Tensor):
                given.append(recorder.placeholder(len(inputs), o))
                inputs.append(Input(tuple(o.shape), tuple(o.strides), o.dtype))
            else:
                slot = len(scalars)
                scalars.append(SCALAR_DTYPES[type(o)])
                given.append(Weak(type(o), _scalar_maker(slot, scalars)))
        if op.function is not None:
            if scalars:
                raise TypeError(f"{op.name} takes tensors, not Python numbers.")
            with _native.GradScope(False):
                made = op.function(*given, attrs=attrs)
                kept = rules.kept_by(op, attrs, given) if keeping else ()
            nodes = [recorder.value(t) for t in (*(made if isinstance(made, tuple) else (made,)), *kept)]
        else:
            assert op.build is not None
            nodes = [
                op.build(
                    [recorder.value(o) if not isinstance(o, Weak) else o for o in given], attrs, where_in_user_code()
                )
            ]
    if op.kind == "inplace":
        return Graph(tuple(inputs), tuple(scalars), (), (Write(0, nodes[0], op.name),))
    return Graph(tuple(inputs), tuple(scalars), tuple(nodes))


def _scalar_maker(slot: int, scalars: list[dtypes.DType]) -> Any:
    def make_scalar(dtype: dtypes.DType) -> Node:
        scalars[slot] = dtype
        return scalar_leaf(slot, dtype)

    return make_scalar


def eager_inplace(op: Op, attrs: Any, operands: tuple[Any, ...]) -> Any:
    """Run an in-place op that the fast path refused: new metas, overlapping operands, or a tape to keep."""
    t = operands[0]
    check_inplace(op, operands)
    operands = (t, *(_apart(o, t) for o in operands[1:]))
    edges = tape_edges(op, attrs, operands)
    with _lock:
        plan = op.handle.find_plan(attrs, operands) or build_plan(op, attrs, operands)
    version = t._version
    try:
        plan.run(operands)
        return rebase(operands, edges)
    except BaseException:
        if t._version != version:  # a signal's exception came after the update: the tape must know of it all the same
            rebase(operands, edges)
        raise


def _apart(o: Any, t: Tensor) -> Any:
    """An operand that may share memory with the target, copied unless it is the very same elements."""
    if not isinstance(o, _native.Tensor) or o._storage_id != t._storage_id:
        return o
    if o.offset == t.offset and o.shape == t.shape and o.strides == t.strides:
        return o
    return OPS["copy"](o)


# The tape


def check_inplace(op: Op, operands: Sequence[Any]) -> None:
    """Refuse an in-place update that cannot be made: a leaf that needs its gradient, read-only or overlapping memory."""
    t = operands[0]
    if not isinstance(t, _native.Tensor):
        raise TypeError(f"{op.name} changes its first operand, which must be a tensor, not {type(t).__name__}.")
    if t._readonly:
        raise ValueError(f"{op.name} cannot write to this tensor: its memory is read-only.")
    if any(n > 1 and s == 0 for n, s in zip(t.shape, t.strides, strict=True)):
        raise ValueError(
            f"{op.name} cannot write to an expanded tensor of shape {list(t.shape)}: several of its elements share one place "
            "in memory. Write to a copy, x.clone(), instead."
        )
    if not _native.grad_enabled():
        return
    base = t.base if t.base is not None else t
    if (base.requires_grad and base.is_leaf) or rules.is_of_leaf(t):
        raise AutogradError(
            f"{op.name} would modify a leaf tensor that requires grad in place; do it inside weft.no_grad(), or use "
            "the form that makes a new tensor."
        )
    if base.requires_grad and not t.requires_grad:
        raise AutogradError(
            f"{op.name} would modify a tensor that requires grad through a view that was made inside weft.no_grad() and has "
            "no history; make the view outside, or modify it inside."
        )


def tape_edges(op: Op, attrs: Any, operands: Sequence[Any]) -> rules.Draft | None:
    """What the tape must know of an in-place call, taken before it happens."""
    if not needs_grad(operands):
        return None
    source = op if op.grad is not None else OPS.get(op.name.rstrip("_"), op)
    saves, _ = rules.saved_masks(source, attrs, operands)
    draft = rules.draft(source, attrs, operands, saves)
    if saves & 1:  # the gradient reads the value that is about to be overwritten
        old = OPS["copy"](operands[0])
        draft.saved = (old, *draft.saved[1:])
        draft.versions = (old._version, *draft.versions[1:])
    return draft


def rebase(operands: Sequence[Any], draft: rules.Draft | None) -> Tensor:
    """After an in-place call: the target, and what it is a view of, hang from new places on the tape."""
    t: Tensor = operands[0]
    if draft is None:
        return t
    _, out_mask = rules.saved_masks(draft.op, draft.attrs, operands)
    node = rules.record_call(draft, [t], out_mask)
    if t.base is not None:
        rules.rebase_view(t, t.base, node)
    else:
        t._storage_epoch += 1
        hang(t, node, 0)
    return t


def attach(op: Op, attrs: Any, operands: Sequence[Any], outs: list[Tensor], several: bool) -> Any:
    """Put a recorded call on the tape, and give its result."""
    if (op.grad is not None or op.function is not None) and needs_grad(operands):
        saves, out_saves = rules.saved_masks(op, attrs, operands)
        node = rules.record_call(rules.draft(op, attrs, operands, saves), outs, out_saves)
        for nr, out in enumerate(outs):
            if out.dtype.kind == "f":
                hang(out, node, nr)
    return tuple(outs) if several else outs[0]


__all__ = ["describe", "explain", "needs_grad", "settle", "slow"]
