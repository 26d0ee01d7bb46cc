"""Writes to inputs and updates in place: what may overwrite what, and when."""

from __future__ import annotations

import numpy as np
import pytest

from weft import dtypes
from weft.ir import kernel as K
from weft.ir.node import Node
from weft.passes.schedule import KernelCall, Schedule

from .build import Builder, arrays_for, check, forms, op, total
from .models import transpose


def copies(plan: Schedule) -> int:
    """Kernels that only copy."""
    return sum(isinstance(i, KernelCall) and i.nodes == ["copy"] for i in plan.instrs)


def test_an_update_is_stored_into_the_input_itself() -> None:
    b = Builder()
    x, g = b.input(4, 6), b.input(4, 6)
    plan = check(b.graph(writes=[(x, op("subtract", x, g))]))
    assert forms(plan) == ["map"]
    assert plan.arena == 0
    (call,) = plan.instrs
    assert isinstance(call, KernelCall)
    assert len(call.buffers) == 2  # x is one buffer, loaded and stored


def test_readers_of_the_old_value_come_first() -> None:
    b = Builder()
    x = b.input(4, 4)
    plan = check(b.graph(op("matmul", x, x), writes=[(x, op("exp", x))]))
    assert forms(plan) == ["matmul", "map"]


def test_a_value_read_elsewhere_in_the_input_goes_through_memory() -> None:
    b = Builder()
    x = b.input(4, 4)
    plan = check(b.graph(writes=[(x, op("add", x, transpose(x)))]))
    assert (len(plan.instrs), copies(plan)) == (2, 1)


def test_a_swap() -> None:
    b = Builder()
    x, y = b.input(5), b.input(5)
    check(b.graph(writes=[(x, op("multiply", y, 2.0)), (y, op("multiply", x, 3.0))]))
    check(b.graph(writes=[(x, y), (y, x)]))


def test_its_own_value_is_no_work() -> None:
    b = Builder()
    x = b.input(5)
    assert not check(b.graph(writes=[(x, x)])).instrs


def test_an_output_that_is_written_too() -> None:
    b = Builder()
    x = b.input(5)
    y = op("exp", x)
    assert len(check(b.graph(y, y, writes=[(x, y)])).instrs) == 1


@pytest.mark.parametrize("strides", [(6, 1), (1, 4), (-6, -1), (12, 2)])
def test_any_layout_can_be_written(strides: tuple[int, int]) -> None:
    b = Builder()
    x = b.input(4, 6, strides=strides)
    y = b.input(4, 6)
    check(b.graph(total(y, 0, 1), writes=[(x, op("add", x, y))]))
    check(b.graph(writes=[(x, op("matmul", op("matmul", x, transpose(x)), y))]))
    check(b.graph(writes=[(x, op("assign", x, op("exp", b.input(6)), attrs=(6, (1,))))]))


def test_a_running_statistic() -> None:
    """A reduction's epilogue updates an input that it reads."""
    b = Builder()
    x, running = b.input(20, 6), b.input(6)
    mean = op("reshape", op("multiply", total(x, 0, 1), 1 / 20), attrs=((6,),))
    new = op("add", op("multiply", running, 0.9), op("multiply", mean, 0.1))
    plan = check(b.graph(op("subtract", x, mean), writes=[(running, new)]))
    assert forms(plan) == ["outer", "map"]


def test_a_region_is_assigned_in_place() -> None:
    b = Builder()
    x, y = b.input(5, 4), b.input(2, 4)
    plan = check(b.graph(writes=[(x, op("assign", x, op("exp", y), attrs=(4, (4, 1))))]))
    assert (len(plan.instrs), plan.arena) == (1, 0)


def test_a_region_assigned_from_its_own_base() -> None:
    b = Builder()
    x = b.input(6)
    shifted = op("multiply", op("slice", x, attrs=((0,), (1,), (5,))), 2.0)
    check(b.graph(writes=[(x, op("assign", x, shifted, attrs=(1, (1,))))]))
    y = op("exp", x)
    shifted = op("multiply", op("slice", y, attrs=((0,), (1,), (5,))), 2.0)
    check(b.graph(op("assign", y, shifted, attrs=(1, (1,)))))


def test_a_base_that_is_needed_is_copied() -> None:
    b = Builder()
    x, v = b.input(6), b.input(2)
    y = op("exp", x)
    z = op("assign", y, v, attrs=(0, (1,)))
    check(b.graph(y, z))
    check(b.graph(z, op("assign", y, v, attrs=(3, (1,)))))
    check(b.graph(op("add", z, op("negative", y))))


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("name", ["assign", "scatter_set", "scatter_add"])
def test_an_update_that_reads_its_base_comes_before_what_overwrites_the_base(name: str, turn: int) -> None:
    """Its base is copied, and yet it reads the base itself, for its value."""
    b = Builder()
    x, v, i = b.input(6), b.input(2), b.input(6, dtype=dtypes.int64)
    doubled = op("multiply", x, 2.0)

    def updated(y: Node) -> Node:
        if name == "assign":
            return op("assign", y, op("slice", op("multiply", y, doubled), attrs=((0,), (1,), (5,))), attrs=(1, (1,)))
        return op(name, y, op("multiply", y, doubled), op("check_index", i, 6), attrs=((6,),))

    y = op("exp", x)
    over = op("exp", op("assign", y, v, attrs=(1, (1,))))
    arrays = [*arrays_for(b.graph(x))[:2], np.array([5, 0, 3, 1, 2, 4])]
    check(b.graph(*[over, updated(y)][::turn]), arrays)
    check(b.graph(op("exp", updated(x)), writes=[(x, doubled)]), arrays)


def test_a_base_that_dies_is_overwritten() -> None:
    b = Builder()
    x, v = b.input(6), b.input(2)
    plan = check(b.graph(op("assign", op("exp", x), v, attrs=(0, (1,)))))
    assert (len(plan.instrs), plan.arena) == (2, 0)


def test_chained_updates_of_an_input() -> None:
    b = Builder()
    x, v = b.input(8), b.input(2)
    one = op("assign", x, v, attrs=(0, (1,)))
    two = op("assign", one, op("slice", one, attrs=((0,), (1,), (3,))), attrs=(5, (1,)))
    check(b.graph(writes=[(x, two)]))
    check(b.graph(total(one, 0, 1), writes=[(x, two)]))


def test_scattering_into_an_input_checks_indices_first() -> None:
    b = Builder()
    x, v, i = b.input(5), b.input(7), b.input(7, dtype=dtypes.int64)
    index = op("check_index", i, 5)
    plan = check(b.graph(writes=[(x, op("scatter_add", x, v, index, attrs=((7,),)))]))
    assert len(plan.instrs) == 2
    checking, writing = plan.instrs
    assert isinstance(checking, KernelCall)
    assert isinstance(writing, KernelCall)
    assert checking.kernel.fallible
    assert not writing.kernel.fallible


def test_what_may_fail_runs_before_what_writes() -> None:
    b = Builder()
    x, y, i = b.input(5), b.input(5), b.input(3, dtype=dtypes.int64)
    picked = op("gather", y, op("check_index", i, 5), attrs=((3,),))
    plan = check(b.graph(picked, op("exp", picked), writes=[(x, op("exp", x))]))
    changed = [
        any(isinstance(s, K.Store) and plan.buffers[c.buffers[s.buffer][0]][0] == "input" for s in c.kernel.body)
        for c in plan.instrs
        if isinstance(c, KernelCall)
    ]
    fallible = [c.kernel.fallible for c in plan.instrs if isinstance(c, KernelCall)]
    assert max(np.flatnonzero(fallible)) < min(np.flatnonzero(changed))


def test_a_product_goes_straight_into_an_input() -> None:
    b = Builder()
    x, y, z = b.input(4, 4), b.input(4, 4), b.input(4, 4)
    assert forms(check(b.graph(writes=[(z, op("matmul", x, y))]))) == ["matmul"]
    assert forms(check(b.graph(writes=[(x, op("matmul", x, y))]))) == ["matmul", "map"]
    plan = check(b.graph(op("exp", op("matmul", x, y)), op("add", z, 1.0), writes=[(z, op("matmul", x, y))]))
    assert sorted(forms(plan)) == ["map", "map", "matmul"]


def test_an_output_may_be_a_view_of_an_input() -> None:
    b = Builder()
    x = b.input(4, 6)
    row = op("slice", x, attrs=((2, 1), (1, 2), (1, 3)))
    view = op("permute", op("reshape", row, attrs=((1, 3),)), attrs=((1, 0),))
    plan = check(b.graph(x, view, op("exp", x), alias=True))
    assert forms(plan) == ["map"]
    assert plan.outputs[0].slot == 0
    assert plan.outputs[0].layout is None
    assert plan.outputs[1].layout == ((2, 0), 13)
    assert len(check(b.graph(x, view)).instrs) == 2
    written = check(b.graph(x, writes=[(x, op("exp", x))], alias=True))
    assert written.outputs[0].slot < 0  # it would change under the caller's hands
