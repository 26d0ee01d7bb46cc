"""Random numbers: the same draws in every mode, distributions, permutations, state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import array_of, bits, listed
from weft.ops.elementwise import philox

DRAWS: list[tuple[str, Any]] = [
    ("rand", lambda: weft.rand(2, 3)),
    ("rand float64", lambda: weft.rand(5, dtype=weft.float64)),
    ("rand half", lambda: weft.rand(5, dtype=weft.float16)),
    ("randn", lambda: weft.randn(7)),
    ("randn float64", lambda: weft.randn(2, 2, dtype=weft.float64)),
    ("randint", lambda: weft.randint(-5, 5, (9,))),
    ("randint wide", lambda: weft.randint(0, 1 << 40, (9,))),
    ("randperm", lambda: weft.randperm(10)),
    ("long randperm", lambda: weft.randperm(1500)),
    ("dropout", lambda: weft.dropout(weft.ones(20), 0.5)),
    ("bernoulli", lambda: weft.bernoulli(weft.full((9,), 0.5))),
    ("normal_", lambda: weft.zeros(5).normal_(2.0, 3.0)),
    ("uniform_", lambda: weft.zeros(5).uniform_(-1, 1)),
    ("normal", lambda: weft.normal(weft.ones(3), 0.1)),
    ("several", lambda: (weft.rand(2), weft.randn(2), weft.rand(2))),
]


@pytest.mark.parametrize(("name", "draw"), DRAWS, ids=[d[0] for d in DRAWS])
def test_every_mode_draws_the_same(name: str, draw: Any) -> None:
    """Three draws in a row are the same in each mode, and a replay draws anew."""
    weft.manual_seed(7)
    want = [[bits(t) for t in listed(draw())] for _ in range(3)]
    assert want[0] != want[1] or name == "bernoulli"
    state = weft.get_rng_state().tolist()
    weft.manual_seed(7)
    with weft.lazy():
        lazy = [listed(draw()) for _ in range(3)]
    assert [[bits(t) for t in d] for d in lazy] == want
    assert weft.get_rng_state().tolist() == state
    weft.manual_seed(7)
    static = weft.static(draw)
    assert [[bits(t) for t in listed(static())] for _ in range(3)] == want
    assert weft.get_rng_state().tolist() == state


def test_threads_do_not_matter() -> None:
    before = weft.get_num_threads()
    found = []
    try:
        for n in (1, 2, 4):
            weft.set_num_threads(n)
            weft.manual_seed(1)
            found.append((bits(weft.randn(100_000)), bits(weft.randperm(5000))))
    finally:
        weft.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_philox_known_answers() -> None:
    """Random123's known answer for philox4x32-10 of zeros (its first two words), and a plain version for the rest."""
    zero = weft.zeros(1, dtype=weft.uint64)
    out = philox(zero, zero).item()
    assert (out & 0xFFFFFFFF, out >> 32) == (0x6627E8D5, 0xE169C58D)
    counters = np.arange(50, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    key = np.full(50, 0xDEADBEEF12345678, dtype=np.uint64)
    got = philox(weft.from_numpy(counters), weft.from_numpy(key))
    np.testing.assert_array_equal(got.numpy(), philox.reference(counters, key))


def test_uniform() -> None:
    weft.manual_seed(0)
    for dtype, width in ((weft.float32, 24), (weft.float64, 53), (weft.float16, 11), (weft.bfloat16, 8)):
        u = array_of(weft.rand(50_000, dtype=dtype)).astype(np.float64)
        assert u.min() >= 0
        assert u.max() < 1
        assert (u * 2.0**width % 1 == 0).all()
        assert abs(u.mean() - 0.5) < 0.006
        assert abs(u.var() - 1 / 12) < 0.004
        counts, _ = np.histogram(u, 16, (0, 1))
        assert ((counts - 3125) ** 2 / 3125).sum() < 45


def test_normal() -> None:
    weft.manual_seed(0)
    for dtype in (weft.float32, weft.float64):
        z = weft.randn(100_000, dtype=dtype).double().numpy()
        assert np.isfinite(z).all()
        assert abs(z.mean()) < 0.015
        assert abs(z.std() - 1) < 0.01
        assert abs((z**3).mean()) < 0.05
        assert abs((z**4).mean() - 3) < 0.15
        edges = np.array([-2, -1, 0, 1, 2.0])
        want = [0.5 * (1 + math.erf(e / math.sqrt(2))) for e in edges]
        assert np.abs([(z < e).mean() for e in edges] - np.array(want)).max() < 0.006
    z = weft.normal(3.0, 0.5, (10_000,))
    assert abs(z.mean().item() - 3) < 0.03


def test_integers() -> None:
    weft.manual_seed(0)
    x = weft.randint(-3, 4, (70_000,)).numpy()
    counts = np.bincount(x + 3, minlength=7)
    assert counts.sum() == 70_000
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30
    wide = weft.randint(-(2**62), 2**62, (1000,)).numpy()
    assert wide.min() < -(2**60)
    assert wide.max() > 2**60
    assert (weft.randint(0, 3 << 40, (1000,)).numpy() < 3 << 40).all()
    assert weft.randint(5, (2, 2)).shape == (2, 2)
    assert weft.randint(0, 2, size=(3,), dtype=weft.uint8).dtype is weft.uint8
    assert weft.randint(4, 5, (3,)).tolist() == [4, 4, 4]


def test_permutations() -> None:
    weft.manual_seed(0)
    for n in (0, 1, 2, 3, 17, 1024, 1025, 4096, 5000):
        x = weft.randperm(n)
        assert x.dtype is weft.int64
        assert sorted(x.tolist()) == list(range(n))
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        p = tuple(weft.randperm(3).tolist())
        counts[p] = counts.get(p, 0) + 1
    assert len(counts) == 6
    assert sum((c - 500) ** 2 / 500 for c in counts.values()) < 25
    # the large ones: no position keeps close to its place, and two draws have little in common
    a, b = weft.randperm(4000).numpy(), weft.randperm(4000).numpy()
    k = np.arange(4000)
    assert abs(np.corrcoef(a, k)[0, 1]) < 0.06
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06
    assert (a == k).sum() < 10
    assert (np.diff(a) == 1).sum() < 10


def test_dropout() -> None:
    weft.manual_seed(0)
    x = weft.ones(20_000, requires_grad=True)
    y = weft.dropout(x, 0.25)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.015
    np.testing.assert_allclose(y.detach().numpy()[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy() != 0, kept)
    assert weft.dropout(x, 0.3, training=False) is x
    assert weft.dropout(weft.ones(3), 1.0).tolist() == [0, 0, 0]
    (g,) = weft.autograd.grad((weft.dropout(x, 0.5) * x).sum(), [x], create_graph=True)
    g.sum().backward()


def test_generators() -> None:
    a, b = weft.Generator(3), weft.Generator(3)
    weft.manual_seed(3)
    assert bits(weft.rand(4, generator=a)) == bits(weft.rand(4, generator=b)) == bits(weft.rand(4))
    state = a.get_state()
    x = weft.randn(3, generator=a)
    a.set_state(state)
    assert bits(weft.randn(3, generator=a)) == bits(x)
    assert a.initial_seed() == 3
    assert weft.Generator().initial_seed() != weft.Generator().initial_seed()
    assert weft.Generator(-1).initial_seed() == 2**64 - 1
    with weft.fork_rng():
        y = weft.rand(2)
    assert bits(weft.rand(2)) == bits(y)
    with pytest.raises(TypeError, match="uint64"):
        weft.set_rng_state(weft.zeros(2))


def test_no_two_draws_share_numbers() -> None:
    weft.manual_seed(0)
    drawn = np.concatenate([weft.rand(100, dtype=weft.float64).numpy() for _ in range(20)])
    assert len(np.unique(drawn)) == 2000
