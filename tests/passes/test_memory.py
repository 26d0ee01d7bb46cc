"""The memory plan: nothing that is needed is overwritten, and little more is taken than is alive at once."""

from __future__ import annotations

import pytest

from weft.ir import kernel as K
from weft.passes.memory import ALIGNMENT, Memory, arena, gaps
from weft.passes.schedule import KernelCall, Product

from .build import Builder, check, linear, op
from .models import mlp_step
from .random_graphs import random_graph


def alive(first: int, last: int, nbytes: int) -> Memory:
    m = Memory("temp", 0, nbytes)
    m.touch(first)
    m.touch(last)
    return m


def test_memories_alive_together_lie_apart() -> None:
    from random import Random

    rng = Random(0)
    for _ in range(50):
        made = []
        for _ in range(20):
            first = rng.randrange(30)
            made.append(alive(first, first + rng.randrange(6), rng.randrange(1, 500)))
        total = arena(made)
        for m in made:
            assert m.offset % ALIGNMENT == 0
            assert m.offset + m.nbytes <= total
            for other in made:
                together = other is not m and m.first <= other.last and other.first <= m.last
                assert not together or m.offset + m.nbytes <= other.offset or other.offset + other.nbytes <= m.offset
        for at, (offset, nbytes) in enumerate(gaps(made, range(36), total)):
            assert offset % ALIGNMENT == 0
            assert offset + nbytes <= total
            for m in made:
                if nbytes and m.first <= at <= m.last:
                    assert m.offset + m.nbytes <= offset or offset + nbytes <= m.offset


def test_memory_is_used_again() -> None:
    assert arena([alive(k, k + 1, 64) for k in range(10)]) == 128
    assert arena([]) == 0


def test_a_gap_is_the_largest() -> None:
    low, high = alive(0, 2, 64), alive(0, 1, 64)
    low.offset, high.offset = 64, 192
    assert gaps([low, high], [1, 1, 2, 3], 512) == [(256, 256), (256, 256), (128, 384), (0, 512)]
    assert gaps([], [0], 0) == [(0, 0)]


def test_products_pack_into_what_nothing_else_uses() -> None:
    schedule = check(mlp_step(), scalars=[0.1])
    spare = [i.spare for i in schedule.instrs if isinstance(i, Product) and i.spare]
    assert spare
    for buffer, nbytes in spare:
        kind, offset = schedule.buffers[buffer]
        assert kind == "temp"
        assert 0 < nbytes <= schedule.arena - offset


def test_a_layers_result_is_finished_where_the_product_put_it() -> None:
    b = Builder()
    plan = check(b.graph(op("maximum", linear(b.input(20, 6), b.input(6, 5), b.input(5)), 0.0)))
    assert plan.arena == 0  # the product is the output's memory, and the map works in place
    call = plan.instrs[1]
    assert isinstance(call, KernelCall)
    loaded = {i.buffer for i in call.kernel.body if isinstance(i, K.Load)}
    stored = {i.buffer for i in call.kernel.body if isinstance(i, K.Store)}
    assert stored <= loaded


def test_a_value_that_is_needed_later_is_not_overwritten() -> None:
    b = Builder()
    x = b.input(8, 8)
    y = op("matmul", x, x)
    check(b.graph(op("matmul", op("exp", y), y)))
    check(b.graph(op("add", op("exp", y), op("permute", y, attrs=((1, 0),)))))


def test_temporaries_of_a_chain_take_two_places() -> None:
    b = Builder()
    y = x = b.input(16, 16)
    for _ in range(10):
        y = op("tanh", op("matmul", x, y))  # none of which can follow the one before
    plan = check(b.graph(y))
    assert plan.arena == 2 * 16 * 16 * 4


def test_a_training_step_needs_little_more_than_its_activations() -> None:
    batch, sizes = 64, (32, 64, 64, 16)
    plan = check(mlp_step(batch, sizes), scalars=[0.1])
    activations = sum(2 * batch * n for n in sizes[1:]) * 4
    assert plan.arena < 1.5 * activations


@pytest.mark.parametrize("seed", range(20))
def test_in_place_kernels_load_what_they_store_at_the_same_place_only(seed: int) -> None:
    graph, _ = random_graph(seed, 20)
    from weft.passes.pipeline import optimise
    from weft.passes.schedule import schedule

    for call in schedule(optimise(graph)[0]).instrs:
        if not isinstance(call, KernelCall) or call.kernel.form == "nonzero":
            continue
        body = call.kernel.body
        for store in body:
            if isinstance(store, K.Store):
                loads = [i for i in body if isinstance(i, K.Load) and i.buffer == store.buffer]
                assert all(i.access == store.access for i in loads)
                memory = [call.buffers[k][0] for k in range(len(call.kernel.buffers))]
                assert memory.count(memory[store.buffer]) == 1  # no second way to the same memory
