"""Sizes that are too large, and memory that is not there: an exception that says so, and the engine goes on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import weft
from tests.robustness.helpers import script

HUGE = 2**40


def small() -> Any:
    return weft.ones(3, 1)


#: Results with more bytes than 63 bits count.
OVERFLOWS: dict[str, Callable[[], Any]] = {
    "zeros": lambda: weft.zeros((HUGE, HUGE)),
    "zeros of 2**62 floats": lambda: weft.zeros(2**62),
    "zeros of 2**63": lambda: weft.zeros(2**63),
    "zeros of 2**70": lambda: weft.zeros(2**70),
    "ones": lambda: weft.ones(2**21, 2**21, 2**21),
    "empty": lambda: weft.empty(HUGE, HUGE, dtype=weft.int8),
    "full": lambda: weft.full((HUGE, HUGE), 1.0),
    "eye": lambda: weft.eye(2**40),
    "arange": lambda: weft.arange(2**62),
    "arange of 2**70": lambda: weft.arange(2**70),
    "linspace": lambda: weft.linspace(0, 1, 2**62),
    "randn": lambda: weft.randn(HUGE, HUGE),
    "expand": lambda: weft.expand(small(), (3, 2**61)),
    "expand twice": lambda: weft.expand(small().reshape(3, 1, 1), (3, HUGE, HUGE)),
    "broadcast": lambda: weft.expand(small(), (3, HUGE)).reshape(3, 1, HUGE, 1) + weft.expand(small()[0], (HUGE,)),
    "tile": lambda: weft.tile(small(), (2**62,)),
    "repeat": lambda: small().repeat(2**40, 2**40),
    "pad": lambda: weft.pad(small()[:, 0], (2**62, 2**62)),
    "one_hot": lambda: weft.one_hot(weft.tensor([1]), 2**62),
    "outer": lambda: weft.outer(weft.expand(small()[0], (2**33,)), weft.expand(small()[0], (2**33,))),
    "reshape": lambda: small().reshape(HUGE, HUGE),
    "cast": lambda: weft.expand(small(), (3, 2**59)).to(weft.float64),
}

#: Results that could be addressed, on a machine with some hundreds of terabytes.
ABSURD: dict[str, Callable[[], Any]] = {
    "zeros": lambda: weft.zeros(2**46),
    "empty": lambda: weft.empty(2**47),
    "ones float64": lambda: weft.ones(2**23, 2**23, dtype=weft.float64),
    "expand and add": lambda: weft.expand(small(), (3, 2**45)) + 1,
    "product": lambda: weft.expand(small()[:, 0], (2**23, 3)) @ weft.expand(small(), (3, 2**23)),
    "outer": lambda: weft.outer(weft.expand(small()[0], (2**23,)), weft.expand(small()[0], (2**23,))),
    "clone": lambda: weft.expand(small(), (3, 2**45)).clone(),
    "cumulated": lambda: weft.expand(small(), (3, 2**45)).exp().reshape(-1),
    "rand": lambda: weft.rand(2**46),
    "softmax": lambda: weft.softmax(weft.expand(small(), (3, 2**45)), 0),
}


def works() -> None:
    assert (weft.ones(5) * 2).sum().item() == 10.0


@pytest.mark.parametrize("name", OVERFLOWS)
def test_sizes_that_overflow(name: str) -> None:
    before = weft.memory_stats()["live_bytes"]
    with pytest.raises((ValueError, OverflowError, MemoryError)) as caught:
        OVERFLOWS[name]()
    assert any(word in str(caught.value) for word in ("63 bits", "64 bits", "allocated", "elements")), caught.value
    works()
    gc.collect()
    assert weft.memory_stats()["live_bytes"] - before < 10_000


@pytest.mark.parametrize("mode", ["eager", "lazy", "static"])
@pytest.mark.parametrize("name", ABSURD)
def test_absurd_allocations(name: str, mode: str) -> None:
    before = weft.memory_stats()["live_bytes"]

    def run() -> None:
        if mode == "eager":
            ABSURD[name]()
        elif mode == "static":
            weft.static(lambda: ABSURD[name]())()
        else:
            with weft.lazy():
                x = ABSURD[name]()
            x.numpy()

    with pytest.raises(MemoryError, match="cannot be allocated"):
        run()
    gc.collect()
    works()
    assert weft.memory_stats()["live_bytes"] - before < 10_000


def test_addressable_but_empty() -> None:
    x = weft.zeros(HUGE, 0, HUGE)
    assert tuple(x.shape) == (HUGE, 0, HUGE)
    assert tuple((x + 1).shape) == (HUGE, 0, HUGE)
    assert x.sum().item() == 0.0
    assert tuple(weft.expand(weft.ones(1, 0), (HUGE, 0)).shape) == (HUGE, 0)


def test_expanded_but_never_made() -> None:
    """Views of sizes beyond all memory are fine as long as nobody asks for their elements."""
    x = weft.expand(weft.tensor([[2.0], [3.0]]), (2, 2**50))
    assert x[1, 2**49].item() == 3.0
    assert x[:, 5:7].sum().item() == 10.0
    assert tuple(x[:, ::-1].shape) == (2, 2**50)
    assert x[:, 2**50 - 1].tolist() == [2.0, 3.0]
    big = weft.expand(weft.ones(1), (3_000_000_000,))  # more elements than 32 bits count
    assert big[::1_000_000_000].tolist() == [1.0] * 3


def test_counts_beyond_32_bits() -> None:
    """Loops, reductions and indices over more than 2**32 elements, of which none is stored."""
    n = 2**32 + 5
    x = weft.expand(weft.ones(1, dtype=weft.int8), (n,))
    i = weft.tensor([0, n - 1, -n])
    assert x[i].tolist() == [1, 1, 1]
    with pytest.raises(IndexError):
        x[weft.tensor([n])]


def test_memory_limit_of_the_process() -> None:
    """The system refuses in the middle of work: MemoryError in each mode, and afterwards smaller work is done."""
    script(
        """
        import resource, weft
        f = weft.static(lambda x: (x.sin().reshape(-1).exp() + x) @ x)
        def all_kernels(n):
            x, w = weft.ones(n), weft.zeros(n, requires_grad=True)
            (w * x * x).sum().backward()
            f(x), (x * 2).clone(), x + 1.0, x.sum()
            with weft.lazy():
                y = (x * 3).sin()
            y.numpy()
        all_kernels(1000)
        x, w = weft.ones(1_000_000), weft.zeros(1_000_000, requires_grad=True)
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000, size + 200_000_000))
        kept, failures = [], 0
        while failures < 20:
            try:
                kept.append(x + 1.0)
            except MemoryError:
                failures += 1
                if failures == 1:
                    print(len(kept) > 5)
        for attempt in (lambda: f(x), lambda: (w * x * x).sum().backward(), lambda: kept.append((x * 2).clone())):
            for _ in range(3):
                try:
                    attempt()
                except MemoryError:
                    pass
        with weft.lazy():
            y = (x * 3).sin()
        try:
            y.numpy()
            raise SystemExit("there was memory")
        except MemoryError:
            pass
        kept.clear()
        weft.empty_cache()
        assert abs(y.sum().item() - 1_000_000 * 0.14112) < 100  # the recording is still there
        assert (x + 1).sum().item() == 2_000_000
        print("done")
        """
    )


def test_threads_that_cannot_be_started() -> None:
    """Where no thread can be had, the work is done by those there are."""
    script(
        """
        import resource, numpy as np, weft
        x = weft.ones(500_000)
        (x * 2).sum().item()
        weft.set_num_threads(1)
        resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
        resource.setrlimit(resource.RLIMIT_STACK, (2**33, 2**33))  # each new thread asks for that much memory
        weft.set_num_threads(64)
        for _ in range(3):
            assert (x * 2).sum().item() == 1_000_000
        """
    )


def test_numbers_of_threads_that_make_no_sense() -> None:
    before = weft.get_num_threads()
    for n in (0, -1, 10**6, 2**40):
        with pytest.raises((ValueError, OverflowError, TypeError)):
            weft.set_num_threads(n)
    assert weft.get_num_threads() == before
    works()
