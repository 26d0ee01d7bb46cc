"""Memory: it does not grow with the number of steps, and a static step needs no more of it than an eager one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import weft
from tests.robustness.helpers import MODES, script
from weft.autograd import rules
from weft.modes import dispatch
from weft.modes import lazy as lazy_mode
from weft.modes import static as static_mode
from weft.recent import Recent

#: Memory that only this process can have taken. Clean pages of libraries are not counted: they become private, without a page
#: more in use, when the last other process that has the same library open ends.
RESIDENT = """
def resident():
    import gc
    gc.collect()
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("Private_Dirty", "Swap:"))) * 1024
"""

#: A model of the digits' size, and one training step.
MODEL = """
import weft
weft.manual_seed(0)
x, y = weft.rand(64, 64), weft.arange(64) % 10
model = weft.nn.Sequential(weft.nn.Linear(64, 32), weft.nn.ReLU(), weft.nn.Dropout(0.1), weft.nn.Linear(32, 10))
optimiser = weft.optim.Adam(model.parameters(), lr=1e-3)
def step(x, y):
    optimiser.zero_grad()
    loss = weft.cross_entropy(model(x), y)
    loss.backward()
    optimiser.step()
    return loss
"""


def grown(mode: str, steps: int, wrap: str) -> int:
    """Bytes by which a process grows over so many steps, after a tenth of them."""
    return int(
        script(
            f"""
{RESIDENT}
{MODEL}
run = {wrap}
def steps(n):
    for k in range(n):
        loss = run(x, y)
        if k % 100 == 0:
            loss.item()
    loss.item()
steps({steps // 10})
before = resident()
steps({steps})
print(resident() - before)
""",
            timeout=120,
        )
    )


def test_ten_thousand_static_steps() -> None:
    assert grown("static", 10_000, "weft.static(step)") < 1 << 20


def test_two_thousand_eager_steps() -> None:
    assert grown("eager", 2_000, "step") < 1 << 20


def test_lazy_steps() -> None:
    wrap = """lambda x, y: lazily(x, y)
def lazily(x, y):
    with weft.lazy():
        loss = step(x, y)
    loss.item()
    return loss"""
    assert grown("lazy", 500, wrap) < 1 << 20


def peak(run: Callable[[], Any]) -> int:
    """The most bytes in use during a call, above those before it."""
    run()
    run()
    gc.collect()
    before = weft.memory_stats()["live_bytes"]
    weft.reset_peak_memory()
    run()
    return weft.memory_stats()["peak_bytes"] - before


@pytest.mark.parametrize(("batch", "zero"), [(64, "last"), (200, "first"), (1000, "first"), (1000, "last")])
@pytest.mark.parametrize("optimiser_class", ["SGD", "Adam"])
def test_static_peaks_no_higher_than_eager(batch: int, zero: str, optimiser_class: str) -> None:
    """Also where the gradients of the last step are there until the next begins."""
    x, y = weft.rand(batch, 64), weft.arange(batch) % 10
    found = {}
    for mode in ("eager", "static"):
        weft.manual_seed(0)
        model = weft.nn.Sequential(weft.nn.Linear(64, 128), weft.nn.ReLU(), weft.nn.Linear(128, 10))
        optimiser = getattr(weft.optim, optimiser_class)(model.parameters(), lr=0.01)

        def step(model: Any = model, optimiser: Any = optimiser) -> float:
            if zero == "first":
                optimiser.zero_grad()
            loss = weft.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            if zero == "last":
                optimiser.zero_grad()
            return loss

        run = MODES[mode](step)
        found[mode] = peak(lambda run=run: run().item())
    assert found["static"] <= found["eager"], found


@pytest.mark.parametrize("mode", MODES)
def test_all_is_given_back(mode: str) -> None:
    def work() -> None:
        w = weft.ones(300, 300, requires_grad=True)

        def f(x: Any) -> Any:
            loss = (weft.relu(x @ w) + x).sum()
            loss.backward()
            return loss

        run = MODES[mode](f)
        for _ in range(3):
            run(weft.ones(300, 300)).item()

    work()
    gc.collect()
    before = weft.memory_stats()["live_bytes"]
    for _ in range(5):
        work()
    gc.collect()
    assert weft.memory_stats()["live_bytes"] - before < 10_000


def test_errors_give_back_what_they_took() -> None:
    x = weft.ones(100_000)
    index = weft.full((100_000,), 2**40, dtype=weft.int64)
    gc.collect()
    before = weft.memory_stats()["live_bytes"]
    for _ in range(20):
        for wrong in (lambda: x[index], lambda: x + weft.ones(3), lambda: x.reshape(7, 7), lambda: x @ x[:3]):
            with pytest.raises((IndexError, ValueError)):
                wrong()
    gc.collect()
    assert weft.memory_stats()["live_bytes"] - before < 10_000


def test_the_cache_of_blocks_can_be_emptied() -> None:
    for n in (10, 1000, 100_000, 1_000_000):
        weft.ones(n) * 2
    weft.empty_cache()
    stats = weft.memory_stats()
    assert stats["cached_bytes"] < 1_000_000
    assert (weft.ones(1_000_000) * 2).sum().item() == 2_000_000


def test_new_sizes_leave_little_behind() -> None:
    """Each new size of an eager call leaves a plan: a few kilobytes, not the tensors."""
    for n in range(1000, 1050):
        (weft.ones(n) * 2).sum()
    gc.collect()
    before = weft.memory_stats()["live_bytes"]
    for n in range(2000, 2200):
        (weft.ones(n) * 2).sum()
    gc.collect()
    assert weft.memory_stats()["live_bytes"] - before < 10_000


def test_ever_new_sizes_fill_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for graphs, gradients, wide calls and signatures is what was used last; what is forgotten is made again."""
    for name in ("_programs", "_recordings", "_built"):
        monkeypatch.setattr(lazy_mode, name, Recent(4))
    for module, name in ((rules, "_programs"), (rules, "_masks"), (dispatch, "_wide")):
        monkeypatch.setattr(module, name, Recent(4))
    monkeypatch.setattr(static_mode, "MOST_SIGNATURES", 4)
    double = weft.static(lambda x: (x * 2).sum())
    sizes = [*range(1001, 1031), 1001]
    for n in sizes:
        x = weft.ones(n, requires_grad=True)
        with weft.lazy():
            y = x * 3
        assert y.sum().item() == 3 * n
        (x * x).sum().backward()
        x.reshape(n, 1)[:, 0].exp().sum().backward()
        assert x.grad[0].item() == pytest.approx(2 + 2.718281828)
        assert weft.einsum("i,i,i,i,i,i,i,i,i->", *[weft.ones(n)] * 9).item() == n
        assert double(x).item() == 2 * n == double(weft.ones(1001)).item() + 2 * (n - 1001)
    tables = [
        lazy_mode._programs,
        lazy_mode._recordings,
        lazy_mode._built,
        rules._programs,
        rules._masks,
        dispatch._wide,
        double._traces,
    ]
    assert all(4 <= len(table) <= 8 for table in tables), [len(table) for table in tables]
