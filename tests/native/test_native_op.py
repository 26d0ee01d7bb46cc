"""Operation handles: the fast path, its cache, what goes to the slow path, in-place and view plans, the tape."""

import gc
import operator
import sys
import weakref

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D


def test_the_slow_path_is_asked_once_per_layout(slow, tensor):
    a, b = tensor([1, 2]), tensor([10, 20])
    assert (a + b).tolist() == [11.0, 22.0]
    assert len(slow.calls) == 1
    assert slow.calls[0][1:] == (None, (a, b))
    for _ in range(3):
        assert (b + a).tolist() == [11.0, 22.0]
    assert len(slow.calls) == 1
    (tensor([1, 2, 3]) + tensor([1, 2, 3])).tolist()
    assert len(slow.calls) == 2
    assert type(a + b) is N.Tensor


def test_scalars_on_either_side(slow, tensor):
    t, i = tensor([1.0, 2.0]), tensor([1, 2], np.int64)
    for value in (2.5, 3, True):
        assert (t + value).tolist() == [1 + value, 2 + value]
        assert (value + t).tolist() == [1 + value, 2 + value]
    assert len(slow.calls) == 6  # a class of numbers on a side is a layout of its own
    assert (t + 100.5).tolist() == [101.5, 102.5]
    assert (i + 5).tolist() == [6, 7]
    assert (i + (2**64 - 1)).tolist() == [0, 1]
    assert len(slow.calls) == 7
    with pytest.raises(OverflowError, match="does not fit in 64 bits"):
        i + 2**64


def test_other_classes_go_the_slow_path_every_time(slow, tensor):
    t = tensor([1.0])
    for other in ("text", None, [1], 1j, object()):
        with pytest.raises(TypeError):
            t + other
        with pytest.raises(TypeError):
            other + t
    assert len(slow.calls) == 10


def test_subclasses_of_numbers_are_not_taken_by_the_fast_path(slow, tensor, hook):
    hook(N.set_slow_path, lambda handle, attrs, operands: type(operands[1]).__name__)

    class MyFloat(float):
        pass

    assert tensor([1.0]) + MyFloat(2.0) == "MyFloat"
    assert tensor([1.0]) + np.float64(2.0) == "float64"


def test_attributes_are_part_of_the_key(slow, tensor):
    h, t = N.OpHandle("add"), tensor([1.0])
    for attrs in (None, (1, 2), (1, 3), "axis", (1, 2)):
        h(attrs, t, t)
        h(attrs, t, t)
    assert [c[1] for c in slow.calls] == [None, (1, 2), (1, 3), "axis"]
    assert h.plan_count == 4
    assert h.find_plan((1, 2), (t, t)).attrs == (1, 2)
    assert h.find_plan((9,), (t, t)) is None
    with pytest.raises(TypeError, match=r"add: the attributes .* cannot be hashed"):
        h([1], t, t)
    h.clear_plans()
    assert h.plan_count == 0
    h(None, t, t)
    assert len(slow.calls) == 5


def test_wrong_calls_of_a_handle(slow, tensor):
    t, h = tensor([1.0]), N.OpHandle("add", 2, 7)
    assert (h.name, h.n_operands, h.flags, repr(h)) == ("add", 2, 7, "<OpHandle add>")
    with pytest.raises(TypeError, match=r"handle\(attrs, \*operands\)"):
        h()
    with pytest.raises(TypeError, match="without keywords"):
        h(None, t, t, key=1)
    with pytest.raises(TypeError, match="add takes 2 operands, not 1"):
        h(None, t)
    plan = slow.plan("add", (t, t))
    for operands, message in [
        ((), "1 to 8"),
        ((t,) * 9, "1 to 8"),
        ((t, "x"), "is for tensors"),
        ([t], "as a tuple"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            h.add_plan(None, operands, plan)
    with pytest.raises(TypeError, match="takes a Plan"):
        h.add_plan(None, (t, t), 3)
    with pytest.raises(TypeError):
        N.OpHandle(3)
    h.payload = slow
    assert h.payload is slow


def test_no_operands_or_more_than_eight_go_the_slow_path(tensor, hook):
    t, h = tensor([1.0]), N.OpHandle("many")
    hook(N.set_slow_path, lambda handle, attrs, operands: len(operands))
    assert [h(None, *[t] * n) for n in (0, 9, 20)] == [0, 9, 20]
    hook(N.set_slow_path, None)
    with pytest.raises(RuntimeError, match="many: there is no plan for these operands and no slow path"):
        h(None, t)


def test_recorded_operands_and_recording_threads_go_the_slow_path(slow, tensor, hook):
    a, b = tensor([1.0]), tensor([2.0])
    a + b
    hook(N.set_slow_path, lambda handle, attrs, operands: "slow")
    assert (a + b).tolist() == [3.0]
    N.recording_push(object())
    assert a + b == "slow"
    N.recording_pop()
    a.symbol = 1
    assert a + b == "slow"
    a.symbol = None
    b._pending = 1
    assert a + b == "slow"
    b._pending = None
    assert (a + b).tolist() == [3.0]


def test_errors_of_the_slow_path_pass_through(slow, tensor, hook):
    def fail(handle, attrs, operands):
        raise ZeroDivisionError(handle.name)

    hook(N.set_slow_path, fail)
    with pytest.raises(ZeroDivisionError, match="add"):
        tensor([1.0]) + 1


def test_inplace_plans(slow, tensor):
    t = original = tensor([1.0, 2.0])
    view = N.alias(t)
    t += 2.5
    assert t is original
    assert (t.tolist(), t._version, t._last_op) == ([3.5, 4.5], 1, "add_")
    t += tensor([1.0, 1.0])
    t += t
    assert (view.tolist(), view._version) == ([9.0, 11.0], 3)
    assert len(slow.calls) == 2


def test_inplace_leaves_hard_cases_to_the_slow_path(slow, tensor, hook):
    h = N.OpHandle("add_", 2)
    t = tensor([1.0, 2.0, 3.0])
    head, tail = N.strided(t, (2,), (1,)), N.strided(t, (2,), (1,), 1)
    h(None, head, tensor([0.0, 0.0]))
    plan = h.find_plan(None, (head, tail))
    assert plan.kind == "inplace"
    hook(N.set_slow_path, lambda handle, attrs, operands: "slow")
    assert h(None, head, tail) == "slow"  # reads what it writes
    with pytest.raises(RuntimeError, match="add_: an operand overlaps"):
        plan.run((head, tail))
    assert h(None, head, head) is head  # the same elements: fine
    fixed = np.zeros(2, np.float32)
    fixed.flags.writeable = False
    assert h(None, N.from_numpy(fixed), head) == "slow"
    other = tensor([1.0, 1.0])
    other.requires_grad = True
    assert h(None, head, other) == "slow"
    assert h(None, other, head) == "slow"
    N.set_grad_enabled(False)
    try:
        assert h(None, head, other) is head
    finally:
        N.set_grad_enabled(True)


def test_view_plans(slow, tensor):
    h, t = N.OpHandle("tail"), tensor([[1, 2], [3, 4], [5, 6]])
    view = h(None, t)
    again = h(None, view)
    assert (view.tolist(), again.tolist()) == ([[3.0, 4.0], [5.0, 6.0]], [[5.0, 6.0]])
    assert view.base is t
    assert again.base is t
    assert view._storage_id == t._storage_id
    t.requires_grad = True
    view = h(None, t)
    assert view.requires_grad
    assert view.grad_fn.edges == (t,)
    assert view.grad_fn.versions == (0, 0)
    bad = N.Plan("view", None, [((D.float32, (9,), (1,)), 0)])
    with pytest.raises(ValueError, match="outside the memory"):
        bad.run((t,))
    with pytest.raises(TypeError, match="Tensor as first operand"):
        bad.run((3,))


def test_plans_refuse_wrong_arguments(kit, tensor):
    t = tensor([1.0])
    program = kit.binary("add_f32", t)
    for args in [
        ("what", program), ("program", None), ("program", 3), ("view", None, []), ("view", None, [3]), (3, program),
        *(("view", None, [((D.float32, (1,), (1,)), far)]) for far in (2**63 - 1, -(2**63))),
        ("view", None, [((D.float32, (1,)), 0)]), ("view", None, [((D.float32, (1,), (1,)), "0")]),
    ]:  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            N.Plan(*args)
    plan = N.Plan("program", program, None, False, "mine")
    assert (plan.kind, plan.program, plan.payload, plan.op, plan.differentiable) == (
        "program",
        program,
        "mine",
        None,
        False,
    )
    assert plan.run((t, t)).tolist() == [2.0]
    for operands in ((), (t,), (t, t, t), (t, 1.0), (t, "x"), (t,) * 9):
        with pytest.raises((ValueError, TypeError)):
            plan.run(operands)
    plan.payload = None
    assert plan.payload is None


def test_several_outputs_are_a_tuple(kit, tensor):
    t = tensor([1.0, 2.0])
    program = N.Program(
        {
            "name": "two",
            "inputs": 1,
            "buffers": [("input", 0), ("output", 0), ("output", 1)],
            "instrs": [kit.kernel("neg_f32", 2, [0, 1]), kit.kernel("add_f32", 2, [0, 0, 2])],
            "outputs": [("fresh", b, D.float32.code, (2,), (1,), 0) for b in (1, 2)],
        }
    )
    h, plan = N.OpHandle("two"), N.Plan("program", program, None, True)
    plan.set_saves([(0, 0b10)])
    h.add_plan(None, (t,), plan)
    out = h(None, t)
    assert isinstance(out, tuple)
    assert [o.tolist() for o in out] == [[-1.0, -2.0], [2.0, 4.0]]
    t.requires_grad = True
    first, second = h(None, t)
    node = first.grad_fn
    assert node is second.grad_fn
    assert (first.output_nr, second.output_nr, node.n_outputs) == (0, 1, 2)
    assert node.saved_outputs[0] is None
    assert node.saved_outputs[1].tolist() == [2.0, 4.0]
    assert node.operands == (None,)


def test_a_recorded_call_keeps_values_for_its_gradient(kit, tensor):
    t = tensor([1.0, 2.0])

    def program(results):
        return N.Program(
            {
                "name": "keeping",
                "inputs": 1,
                "buffers": [("input", 0), *(("output", k) for k in range(results))],
                "instrs": [kit.kernel("neg_f32", 2, [0, 1]), kit.kernel("add_f32", 2, [0, 0, 2])][:results],
                "outputs": [("fresh", 1 + k, D.float32.code, (2,), (1,), 0) for k in range(results)],
            }
        )

    h, plan = N.OpHandle("keeping"), N.Plan("program", program(1), None, True)
    plan.set_saves([(0b1, 0b10)], program(2))
    h.add_plan(None, (t,), plan)
    assert h(None, t).tolist() == [-1.0, -2.0]
    t.requires_grad = True
    out = h(None, t)
    node = out.grad_fn
    assert out.tolist() == [-1.0, -2.0]
    assert (node.n_outputs, node.saved_outputs, node.versions) == (1, (None,), (0, None))
    assert [k.tolist() for k in node.kept] == [[2.0, 4.0]]
    assert node.kept_metas == ((D.float32, (2,), (1,)),)
    node.release()
    assert node.kept == (None,)
    other = tensor([1.0, 2.0])
    other.requires_grad = True
    plan.set_saves([(0b1, 0b1)], program(2))
    assert h(None, other).grad_fn.kept == (None,)
    with pytest.raises(ValueError, match="fewer results"):
        N.Plan("program", program(2), None, True).set_saves([], program(1))
    with pytest.raises(TypeError, match="by a Program, not 3"):
        plan.set_saves([], 3)


def test_the_tape(slow, tensor):
    a, b = tensor([1.0, 2.0]), tensor([3.0, 4.0])
    a.requires_grad = True
    c = a + b
    node = c.grad_fn
    assert c.requires_grad
    assert not c.is_leaf
    assert node.name == "add"
    assert node.edges == (a, None)
    assert node.operands == (a, b)
    assert node.needs == (True, False)
    assert node.versions == (0, 0, 0)
    assert node.output_metas == ((D.float32, (2,), (1,)),)
    (saved,) = node.saved_outputs
    assert saved._storage_id == c._storage_id
    assert not saved.requires_grad
    d = c + 2.5
    assert d.grad_fn.edges == ((node, 0), None)
    assert d.grad_fn.operands == (c, 2.5)
    assert d.grad_fn.seq > node.seq
    assert d.grad_fn.plan.kind == "program"
    assert not (a < b).requires_grad
    N.set_grad_enabled(False)
    try:
        assert not (a + b).requires_grad
    finally:
        N.set_grad_enabled(True)
    assert node.stale() is None
    N.bump_version(b, "mul_")
    assert node.stale() == 1
    N.bump_version(a, "mul_")
    assert node.stale() == 0
    node.release()
    assert node.released
    assert node.operands == (None, None)
    assert node.saved_outputs == (None,)
    assert node.stale() is None


def test_a_plan_without_saves_asks_the_slow_path(kit, tensor, hook):
    a, h = tensor([1.0]), N.OpHandle("add")
    plan = N.Plan("program", kit.binary("add_f32", a), None, True)
    h.add_plan(None, (a, a), plan)
    asked = []

    def get_ready(handle, attrs, operands):
        asked.append(handle)
        plan.set_saves([])
        return plan.run(operands)

    hook(N.set_slow_path, get_ready)
    assert h(None, a, a).tolist() == [2.0]
    assert asked == []
    a.requires_grad = True
    with pytest.raises(RuntimeError, match="add: the plan was not told what to save"):
        plan.run((a, a))
    assert h(None, a, a).grad_fn.operands == (None, None)
    assert h(None, a, a).requires_grad
    assert asked == [h]
    other = N.Plan("program", kit.binary("add_f32", a), None, False)
    h.add_plan(None, (a, a), other)
    assert not h(None, a, a).requires_grad  # not differentiable


def test_handles_and_plans_are_collected(kit, tensor):
    class Box:
        pass

    t, h, box = tensor([1.0]), N.OpHandle("add"), Box()
    plan = N.Plan("program", kit.binary("add_f32", t), None, False, box)
    h.add_plan(None, (t, t), plan)
    h.payload = box
    box.handle, box.plan = h, plan
    gone = weakref.ref(h), weakref.ref(box)
    h(None, t, t)
    del h, plan, box
    gc.collect()
    assert [g() for g in gone] == [None, None]


def test_many_layouts_and_attributes_start_over(slow, tensor):
    h, t = N.OpHandle("add"), tensor([1.0, 2.0])
    plan = slow.plan("add", (t, t))
    for i in range(20_000):
        h.add_plan(i, (t, t), plan)
    assert h.plan_count < 20_000
    assert h("new", t, t).tolist() == [2.0, 4.0]


def test_calls_leak_nothing(slow, tensor):
    a, b, scalar = tensor(np.ones(100)), tensor(np.ones(100)), 1e300
    a.requires_grad = True
    a + b, a + scalar, b + b
    slow.calls.clear()
    gc.collect()  # or tensors that other tests left in cycles could be freed before the second count
    counts = [sys.getrefcount(o) for o in (a, b, scalar, slow, N.Tensor)]
    live = N.memory_stats()["live_bytes"]
    for _ in range(1000):
        a + b
        b + b
        a + scalar
        c = a + b
        c.grad_fn.release()
        with pytest.raises(TypeError):
            b + "x"
        b += 0.5
    del c
    slow.calls.clear()
    gc.collect()
    assert [sys.getrefcount(o) for o in (a, b, scalar, slow, N.Tensor)] == counts
    assert N.memory_stats()["live_bytes"] == live


def test_operators_without_a_callable(tensor, hook):
    for name in ("__add__", "__neg__", "__getitem__", "__setitem__", "__eq__"):
        hook(N.set_slot, name, None)
    t = tensor([1.0])
    with pytest.raises(TypeError):
        t + t
    with pytest.raises(TypeError, match="__neg__"):
        operator.neg(t)
    with pytest.raises(TypeError, match="__getitem__"):
        t[0]
    with pytest.raises(TypeError, match="__setitem__"):
        t[0] = 1
    with pytest.raises(TypeError, match="cannot be deleted"):
        del t[0]
    assert (t == t) is True
    assert (t == 3) is False


def test_matrix_products_go_past_the_slot(tensor, hook):
    matrix, vector, slow = tensor([[1.0]]), tensor([1.0]), []
    hook(N.set_slot, "__matmul__", lambda a, b: ("slot", a, b))
    hook(N.set_slow_path, lambda handle, attrs, operands: slow.append((handle.name, attrs, operands)))
    hook(N.set_matrix_product, N.OpHandle("product", 2))
    assert (matrix @ matrix) is None
    assert slow == [("product", None, (matrix, matrix))]
    for a, b in ((matrix, vector), (vector, matrix), (matrix, 3), (3, matrix)):
        assert operator.matmul(a, b) == ("slot", a, b)
    hook(N.set_matrix_product, None)
    assert (matrix @ matrix) == ("slot", matrix, matrix)
    with pytest.raises(TypeError, match="takes an OpHandle or None"):
        N.set_matrix_product(3)


def test_operators_with_python_callables(tensor, hook):
    t = tensor([1.0])
    binary = [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "lshift",
        "rshift",
        "and",
        "or",
        "xor",
    ]
    others = ["divmod", "neg", "pos", "abs", "invert", "lt", "le", "eq", "ne", "gt", "ge"]
    for name in [*binary, *[f"i{n}" for n in binary], *others]:
        hook(N.set_slot, f"__{name}__", lambda *args, name=name: (name, *args))
    hook(N.set_copying, None)  # or simple views would be made
    hook(N.set_slot, "__getitem__", lambda t, key: ("get", key))
    hook(N.set_slot, "__setitem__", lambda t, key, value: stored.append((key, value)))
    stored = []
    for name, symbol in zip(binary, ["+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "^"], strict=True):
        assert eval(f"t {symbol} 3", {"t": t}) == (name, t, 3)
        assert eval(f"3 {symbol} t", {"t": t}) == (name, 3, t)
        scope = {"t": t}
        exec(f"t {symbol}= 3", scope)
        assert scope["t"] == (f"i{name}", t, 3)
    for name, symbol in [("lt", "<"), ("le", "<="), ("eq", "=="), ("ne", "!="), ("gt", ">"), ("ge", ">=")]:
        assert eval(f"t {symbol} 3", {"t": t}) == (name, t, 3)
    assert (-t, +t, abs(t), ~t, divmod(t, 2)) == (("neg", t), ("pos", t), ("abs", t), ("invert", t), ("divmod", t, 2))
    assert t[1:2, None] == ("get", (slice(1, 2), None))
    t[0] = 5
    assert stored == [(0, 5)]
    with pytest.raises(TypeError, match="third argument"):
        pow(t, 2, 3)
