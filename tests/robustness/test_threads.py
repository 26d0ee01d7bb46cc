"""Many Python threads use the engine at once, in all modes, and each gets its own right answers."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import script

THREADS = 8


def together(work: Callable[[int], None], threads: int = THREADS) -> None:
    """Run ``work(k)`` on several threads that begin at once; the first exception is raised here."""
    gate = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(k: int) -> None:
        try:
            gate.wait()
            work(k)
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(threads)]
    for t in started:
        t.start()
    for t in started:
        t.join(timeout=60)
        assert not t.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def numbers(k: int, n: int) -> np.ndarray:
    return np.random.default_rng(k).standard_normal(n).astype(np.float32)


def check_program(x: Any, a: np.ndarray) -> None:
    np.testing.assert_allclose(x.numpy(), np.maximum(a * 2 + 1, 0).sum(), rtol=1e-5)


@pytest.mark.parametrize("size", [7, 200_000])
def test_eager(size: int) -> None:
    def work(k: int) -> None:
        a = numbers(k, size)
        x = weft.from_numpy(a)
        for _ in range(20):
            np.testing.assert_array_equal((x * 2 + 1).numpy(), a * np.float32(2) + np.float32(1))
            np.testing.assert_allclose(x.sum().item(), a.sum(dtype=np.float64), rtol=1e-3, atol=1e-3)

    together(work)


@pytest.mark.parametrize("size", [7, 200_000])
def test_one_static_function(size: int) -> None:
    @weft.static
    def f(x: Any, scale: float) -> Any:
        return x * scale + 1

    def work(k: int) -> None:
        a = numbers(k, size)
        x = weft.from_numpy(a)
        for i in range(20):
            np.testing.assert_array_equal(f(x, float(i)).numpy(), a * np.float32(i) + np.float32(1))

    together(work)
    assert sum(map(len, f._traces.values())) == 1


def test_static_functions_of_many_signatures() -> None:
    @weft.static
    def f(x: Any) -> Any:
        return (x * x).sum()

    def work(k: int) -> None:
        for n in range(1, 20):
            a = numbers(k, n + k)
            np.testing.assert_allclose(f(weft.from_numpy(a)).item(), (a * a).sum(dtype=np.float64), rtol=1e-5)

    together(work)
    assert sum(map(len, f._traces.values())) == 26


def test_lazy() -> None:
    def work(k: int) -> None:
        a = numbers(k, 1000)
        x = weft.from_numpy(a)
        for _ in range(10):
            with weft.lazy():
                y = (x * 2).exp()
                y += 1
            np.testing.assert_allclose(y.numpy(), np.exp(a * 2) + 1, rtol=1e-5)

    together(work)


def test_backward() -> None:
    w = weft.from_numpy(numbers(99, 30).reshape(10, 3)).requires_grad_()

    def work(k: int) -> None:
        a = numbers(k, 50).reshape(5, 10)
        x = weft.from_numpy(a)
        expected = np.repeat(a.sum(0)[:, None], 3, 1)
        for _ in range(10):
            own = w.detach().clone().requires_grad_()
            (x @ own).sum().backward()
            np.testing.assert_allclose(own.grad.numpy(), expected, rtol=1e-4, atol=1e-5)
            assert (x @ w).requires_grad  # a tape shared by all threads up to here

    together(work)
    assert w.grad is None


def test_training_in_all_modes_at_once() -> None:
    """Each thread trains a model of its own, eagerly, lazily or statically; all threads end with the same bits."""

    def train(mode: str) -> bytes:
        x = weft.from_numpy(numbers(1, 80).reshape(20, 4))
        y = weft.from_numpy(numbers(2, 20).reshape(20, 1))
        model = weft.nn.Linear(4, 1)
        with weft.no_grad():
            model.weight.copy_(weft.from_numpy(numbers(3, 4).reshape(1, 4)))
            model.bias.zero_()
        optimiser = weft.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

        def step() -> Any:
            optimiser.zero_grad()
            loss = ((model(x) - y) ** 2).mean()
            loss.backward()
            optimiser.step()
            return loss

        if mode == "static":
            step = weft.static(step)
        for _ in range(30):
            if mode == "lazy":
                with weft.lazy():
                    loss = step()
            else:
                loss = step()
        assert loss.item() < 2
        return bytes(model.weight.detach().numpy().tobytes() + model.bias.detach().numpy().tobytes())

    expected = train("eager")
    found: dict[int, bytes] = {}

    def work(k: int) -> None:
        found[k] = train(("eager", "lazy", "static")[k % 3])

    together(work)
    assert set(found.values()) == {expected}
    assert len(found) == THREADS


def test_one_thread_reads_what_another_recorded_lazily() -> None:
    with weft.lazy():
        x = weft.ones(5) * 3

    def work(k: int) -> None:
        np.testing.assert_array_equal(x.numpy(), np.full(5, 3, np.float32))

    together(work)


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns after almost every bytecode."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
def test_lazy_values_handed_over_while_recording_goes_on() -> None:
    """Running the graph from another thread neither loses nor repeats an update that is being recorded."""
    handed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    wrong: list[Any] = []

    def read() -> None:
        while (item := handed.get()) is not None:
            value = item[1].item()
            if value != item[0] * 2.0:
                wrong.append((item[0], value))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    count = weft.zeros(3)
    with weft.lazy():
        for i in range(400):
            y = weft.full((), float(i)) * 2
            handed.put((i, y))
            count.add_(1.0)
            del y
    handed.put(None)
    reader.join(timeout=60)
    assert not reader.is_alive()
    assert not wrong
    assert count.tolist() == [400.0] * 3


@pytest.mark.usefixtures("eager_switching")
def test_one_tensor_in_the_lazy_graphs_of_all_threads() -> None:
    x = weft.ones(100)

    def work(k: int) -> None:
        for i in range(10):
            with weft.lazy():
                y = (x * k).sum() + i
            assert y.item() == 100 * k + i
            assert (x + k).sum().item() == 100 + 100 * k  # eagerly in between
            assert x.numpy().sum() == 100

    together(work)
    assert x.sum().item() == 100


def test_grad_mode_and_recording_belong_to_a_thread() -> None:
    inside, done = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        inside.wait()
        x = weft.ones(3, requires_grad=True) * 2
        seen.extend([x.requires_grad, x._pending is None])
        done.set()

    t = threading.Thread(target=other)
    t.start()
    with weft.no_grad(), weft.lazy():
        inside.set()
        done.wait()
    t.join()
    assert seen == [True, True]


def test_threads_that_come_and_go() -> None:
    def work(k: int) -> None:
        a = numbers(k, 100)
        np.testing.assert_array_equal((weft.from_numpy(a) * 2).numpy(), a * 2)

    before = weft.memory_stats()["live_bytes"]
    for _ in range(25):
        together(work)
    assert weft.memory_stats()["live_bytes"] - before < 100_000


def test_number_of_threads_changes_meanwhile() -> None:
    before = weft.get_num_threads()
    a = numbers(0, 300_000)
    expected = (weft.from_numpy(a) * 2).sum().item()

    def work(k: int) -> None:
        for i in range(30):
            if k == 0:
                weft.set_num_threads(1 + i % 4)
            assert (weft.from_numpy(a) * 2).sum().item() == expected

    try:
        together(work)
    finally:
        weft.set_num_threads(before)


def test_threads_share_a_tensor_that_one_of_them_writes() -> None:
    """Readers may see old or new elements, but nothing crashes and nothing else is seen."""
    x = weft.zeros(100_000)
    stop = threading.Event()

    def work(k: int) -> None:
        if k == 0:
            for _ in range(200):
                x.add_(1.0)
            stop.set()
            return
        while not stop.is_set():
            seen = (x + 0.0).numpy()
            assert seen.min() >= 0
            assert seen.max() <= 200

    together(work)
    assert x.min().item() == x.max().item() == 200


def test_cold_kernels_from_all_threads(tmp_path: Any) -> None:
    """Threads that meet the same and different new kernels at once: each kernel is compiled once."""
    out = script(
        """
        import threading, numpy as np, weft
        gate = threading.Barrier(8)
        wrong = []
        def work(k):
            gate.wait()
            a = np.arange(6, dtype=np.float32) + 1
            x = weft.from_numpy(a)
            for name in ("exp", "sqrt", "log", "tanh") if k % 2 else ("tanh", "log", "sqrt", "exp"):
                if not np.allclose(getattr(weft, name)(x).numpy(), getattr(np, name)(a), rtol=1e-5):
                    wrong.append((k, name))
        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not wrong, wrong
        print(weft.stats().kernels_compiled)
        """,
        WEFT_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert int(out) == 4
