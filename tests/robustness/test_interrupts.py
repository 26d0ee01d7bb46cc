"""Ctrl-C at any moment: KeyboardInterrupt, after which everything works and nothing is half done."""

from __future__ import annotations

import random
import signal
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import script
from weft import _native

#: An exception in a weak reference's callback is reported and lost; Python has it so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: Long enough to be interrupted on any machine: 2 million elements through many functions.
LONG = 2_000_000


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """SIGALRM does what SIGINT does, so that a timer can stand for the user."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(work: Callable[[], Any], delay: float) -> bool:
    """Run ``work``, and interrupt it after a delay in seconds; whether it was."""
    try:
        signal.setitimer(signal.ITIMER_REAL, delay, 0.5)  # once more, should the first have been lost
        work()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return True
    return False


def churn(x: Any) -> Any:
    for _ in range(40):
        x = weft.sin(weft.exp(weft.tanh(x)))
    return x


def works() -> None:
    """The state of this thread, and a calculation in each mode."""
    assert _native.recording() is None
    assert weft.is_grad_enabled()
    w = weft.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    assert w.grad.tolist() == [2.0] * 3
    with weft.lazy():
        y = weft.ones(3) * 5
    assert y.tolist() == [5.0] * 3
    assert weft.static(lambda x: x + 1)(y).tolist() == [6.0] * 3


@pytest.mark.parametrize("mode", ["lazy", "static"])
def test_long_program(mode: str) -> None:
    f = weft.static(churn)
    x = weft.full((LONG,), 0.5)
    f(weft.full((3,), 0.5))  # compiled

    def work() -> None:
        if mode == "static":
            f(x)
        else:
            with weft.lazy():
                y = churn(x)
            y.numpy()

    before = weft.memory_stats()["live_bytes"]
    start = time.perf_counter()
    assert interrupted(work, 0.15)
    assert time.perf_counter() - start < 2.5
    import gc

    gc.collect()
    assert weft.memory_stats()["live_bytes"] - before < 1_000_000
    assert x.max().item() == 0.5
    works()


def test_long_product() -> None:
    a = weft.ones(1500, 1500, dtype=weft.float64)

    @weft.static
    def f(a: Any) -> Any:
        b = a
        for _ in range(40):
            b = (a @ b) / 1500
        return b

    f(weft.ones(2, 2, dtype=weft.float64))
    start = time.perf_counter()
    assert interrupted(lambda: f(a), 0.2)
    assert time.perf_counter() - start < 5
    works()
    assert (a @ a)[3, 4].item() == 1500


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_one_long_product(dtype: str) -> None:
    """A product is left in the middle, and what it was to give and what it packed is given back."""
    kind = getattr(weft, dtype)
    few = weft.ones(600, 600, dtype=kind)
    few @ few
    took = min(timeit.repeat(lambda: few @ few, number=1, repeat=5))
    n = int(600 * (1.5 / took) ** (1 / 3))  # some 1.5 s
    a = weft.ones(n, n, dtype=kind)
    before = weft.memory_stats()["live_bytes"]
    start = time.perf_counter()
    assert interrupted(lambda: a @ a.T, 0.1)
    assert time.perf_counter() - start < 0.6
    assert abs(weft.memory_stats()["live_bytes"] - before) < 10_000
    works()
    assert (few @ few)[3, 4].item() == 600


def test_long_step_is_done_or_not_done() -> None:
    """Parameters, optimiser and gradients stay those of the same number of steps."""
    w = weft.full((LONG // 20,), 0.5, requires_grad=True)
    count = weft.zeros(())

    @weft.static
    def step() -> Any:
        loss = (churn(w) * 0 + w).sum()
        loss.backward()
        with weft.no_grad():
            w.sub_(w.grad)
            count.add_(1.0)
        return loss

    def consistent() -> int:
        n = int(count.item())
        low, high = w.detach().min().item(), w.detach().max().item()
        assert low == high == 0.5 - sum(range(1, n + 1))
        assert (w.grad is None) == (n == 0)
        if n:
            assert w.grad.min().item() == w.grad.max().item() == n
        return n

    step()
    assert consistent() == 1
    for delay in (0.003, 0.01, 0.02, 0.04, 0.08):
        interrupted(step, delay)
        consistent()
    n = consistent()
    step()
    assert consistent() == n + 1
    works()


def test_sigint_from_another_process() -> None:
    """The real signal, as a terminal sends it, several times."""
    out = script(
        """
        import os, subprocess, sys, threading, time, weft
        f = weft.static(lambda x: [x := weft.sin(weft.exp(weft.tanh(x))) for _ in range(40)][-1])
        f(weft.ones(3))
        x = weft.full((2_000_000,), 0.5)
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-c",
                f"import os, signal, time; time.sleep(0.1); os.kill({os.getpid()}, signal.SIGINT)"])
            try:
                while True:
                    f(x)
            except KeyboardInterrupt:
                print("interrupted")
            child.wait()
        print((weft.ones(3) + 1).tolist())
        """
    )
    assert out.splitlines() == ["interrupted"] * 3 + ["[2.0, 2.0, 2.0]"]


def test_handler_that_computes() -> None:
    """A handler may use the engine in the middle of whatever runs. (While something is recorded,
    what it does is recorded with it.)"""
    seen: list[float] = []
    assert (weft.ones(4) * 2).sum().item() == 8  # compiled
    x = weft.ones(20_000)
    f = weft.static(lambda x: (x * 3).sum())
    f(x)
    signal.signal(signal.SIGALRM, lambda *_: seen.append((weft.ones(4) * 2).sum().item()))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.003)
    end = time.perf_counter() + 1
    (x * 2).sum()
    while time.perf_counter() < end:
        assert (x * 2).sum().item() == 40_000
        assert f(x).item() == 60_000
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(seen) > 20
    assert set(seen) == {8.0}


@pytest.mark.parametrize("first", [0.05, 0.25, 0.45, 0.65])
def test_compiling(first: float) -> None:
    """While LLVM is imported and while it compiles."""
    script(
        f"""
        import signal, warnings, numpy as np
        warnings.simplefilter("ignore")
        import weft
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        a = np.arange(1, 7, dtype=np.float32)
        x = weft.from_numpy(a)
        for delay in ({first}, 0.1, 0.05):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                for name in ("exp", "log", "tanh"):
                    getattr(weft, name)(x)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                print("interrupted")
        for name in ("exp", "log", "tanh", "sqrt"):
            assert np.allclose(getattr(weft, name)(x).numpy(), getattr(np, name)(a), rtol=1e-5)
        """,
        WEFT_CACHE_DIR="/proc/none",
    )


def test_put_off() -> None:
    """What the section puts off comes at its end, and the handlers are the old ones again."""
    from weft.interrupts import put_off

    done = []

    def work() -> None:
        with put_off():
            signal.raise_signal(signal.SIGINT)
            done.append(1)
        done.append(2)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="own"), put_off():
        raise ValueError("own")
    with put_off(), put_off():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            with put_off():
                pass
        except BaseException as error:
            errors.append(error)

    t = threading.Thread(target=elsewhere)
    t.start()
    t.join()
    assert not errors


# At random moments of short work, where most of the time is spent in Python


class Work:
    """Short pieces of work, and what must hold after any of them was interrupted."""

    def __init__(self) -> None:
        self.n = 3
        self.total = weft.zeros(3)
        self.w = weft.ones(4, requires_grad=True)
        self.count = weft.zeros(4)

        @weft.static
        def step(x: Any) -> Any:
            loss = (self.w * x).sum()
            loss.backward()
            with weft.no_grad():
                self.count.add_(1.0)
            return loss

        self.step = step

    def new_shapes(self) -> None:
        self.n += 1
        x = weft.ones(self.n)
        (x * 2 + 1).sum()
        weft.softmax(x, 0)

    def new_trace(self) -> None:
        self.n += 1
        w = weft.ones(3, 2, requires_grad=True)

        @weft.static
        def f(x: Any) -> Any:
            loss = weft.relu(x @ w).sum()
            loss.backward()
            with weft.no_grad():
                w.sub_(w.grad * 0.1)
                w.grad = None
            return loss

        f(weft.ones(self.n, 3))

    def replay(self) -> None:
        x = weft.ones(4)
        for _ in range(20):
            self.step(x)

    def train(self) -> None:
        w = weft.ones(3, 2, requires_grad=True)
        optimiser = weft.optim.SGD([w], lr=0.1)
        for _ in range(5):
            optimiser.zero_grad()
            (weft.ones(5, 3) @ w).tanh().sum().backward()
            optimiser.step()

    def lazily(self) -> None:
        with weft.lazy():
            for _ in range(5):
                self.total.add_(1.0)
                y = self.total * 2
        y.numpy()

    def in_place(self) -> None:
        w = weft.ones(3, requires_grad=True)
        h = w * 1
        try:
            for _ in range(5):
                h.mul_(3)
                h[0:2].mul_(2)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            # the tape knows of exactly those updates that happened
            values = h.detach().tolist()
            h.sum().backward()
            assert w.grad.tolist() == values

    def check(self) -> None:
        works()
        n = self.count.tolist()
        assert len(set(n)) == 1
        assert (self.w.grad is None and n[0] == 0) or self.w.grad.tolist() == n  # a step's gradient comes with the step
        assert len(set(self.total.tolist())) == 1
        self.n += 1
        assert (weft.ones(self.n) + 1).sum().item() == 2 * self.n


@pytest.mark.parametrize("name", ["new_shapes", "new_trace", "replay", "train", "lazily", "in_place"])
def test_at_any_moment(name: str) -> None:
    work = Work()
    run = getattr(work, name)
    run()
    run()
    took = max(min(timeit.repeat(run, number=1, repeat=5)), 5e-5) * 1.2
    draw = random.Random(0)
    count = sum(interrupted_anywhere(run, draw.uniform(1e-6, took), work.check) for _ in range(150))
    assert count > 10


def interrupted_anywhere(run: Callable[[], None], delay: float, check: Callable[[], None]) -> bool:
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            run()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    finally:
        check()
    return False


def test_numbers_are_drawn_once() -> None:
    """A draw that is interrupted has happened or has not: the generator's state is never torn."""
    weft.manual_seed(1)
    expected = {tuple(weft.rand(2).tolist()) for _ in range(400)}
    weft.manual_seed(1)
    seen = set()
    draw = random.Random(0)
    for _ in range(100):
        interrupted(lambda: [weft.rand(2) for _ in range(3)], draw.uniform(1e-6, 1e-4))
        seen.add(tuple(weft.rand(2).tolist()))
    assert len(seen) == 100
    assert seen <= expected
    assert np.isfinite(list(seen)).all()
