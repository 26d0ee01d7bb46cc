"""Matrix products that skip the zeros of an operand: the bits of those that do not, and when they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from tests.ops.helpers import bits, in_every_mode
from tests.ops.test_product_shapes import LAYOUTS, laid_out

pytestmark = pytest.mark.usefixtures("by_vectors")

#: m, k, n; with chains of k that are shorter than a panel, and longer; rows and columns that fill a panel, and do not. Skipping
#: zeros pays for each on any CPU, whichever operand has them.
SHAPES = [
    (250, 64, 1000), (1000, 64, 125), (125, 100, 250), (120, 400, 320), (370, 56, 370), (190, 129, 120), (520, 300, 180),
    (115, 1000, 128),
]  # fmt: skip


def skipping(made: Any) -> int:
    """How many products of a call skipped zeros."""
    before = weft.stats()
    made()
    return (weft.stats() - before).gemms_skipping_zeros


def with_zeros(x: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """An array of which such a share is zero, a tenth of that -0."""
    drawn = np.random.default_rng(seed).random(x.shape)
    return np.where(drawn < share / 10, -0.0, np.where(drawn < share, 0, x)).astype(x.dtype)


def without_skipping(a: np.ndarray, b: np.ndarray) -> Any:
    """The bits of the product, out of one whose operands have few zeros, because rows and columns without any were added."""
    (m, k), n = a.shape, b.shape[1]
    wide_a = np.concatenate([a, np.ones((8 * m, k), a.dtype)])
    wide_b = np.concatenate([b, np.ones((k, 8 * n), b.dtype)], axis=1)
    left, right, before = weft.from_numpy(wide_a), weft.from_numpy(wide_b), weft.stats()
    made = (left @ right)[:m, :n]
    assert (weft.stats() - before).gemms_skipping_zeros == 0
    return bits(made)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sparse", ["left", "right"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES, ids=str)
def test_the_bits_are_those_of_products_that_skip_nothing(m: int, k: int, n: int, sparse: str, dtype: str) -> None:
    rng = np.random.default_rng(m + k + n)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    if sparse == "left":
        a = with_zeros(a, 0.95)
    else:
        b = with_zeros(b, 0.95)
    expected, threads = without_skipping(a, b), weft.get_num_threads()
    try:
        for count in (1, 2):
            weft.set_num_threads(count)
            for left in LAYOUTS:
                for right in LAYOUTS:
                    x, y = laid_out(a, left), laid_out(b, right)
                    assert skipping(lambda x=x, y=y: x @ y) == 1
                    assert bits(x @ y) == expected, (left, right, count)
    finally:
        weft.set_num_threads(threads)


@settings(max_examples=30)
@given(st.integers(16, 200), st.integers(16, 300), st.integers(16, 200), st.floats(0.3, 1), st.integers(0, 99))
def test_any_sizes(m: int, k: int, n: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = with_zeros(rng.standard_normal((m, k), np.float32), share, seed)
    b = rng.standard_normal((k, n), np.float32)
    assert bits(weft.from_numpy(a) @ weft.from_numpy(b)) == without_skipping(a, b)


def test_both_operands_may_have_zeros() -> None:
    rng = np.random.default_rng(5)
    a = with_zeros(rng.standard_normal((250, 250), np.float32), 0.75)
    for share in (0.75, 0.9):
        b = with_zeros(rng.standard_normal((250, 250), np.float32), share, seed=1)
        x, y = weft.from_numpy(a), weft.from_numpy(b)
        assert skipping(lambda x=x, y=y: x @ y) == 1
        assert bits(x @ y) == without_skipping(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan, "tiny", "subnormal"])
def test_zeros_times_what_is_not_finite_or_tiny_are_not_skipped(special: Any, dtype: str) -> None:
    rng = np.random.default_rng(6)
    a = with_zeros(rng.standard_normal((250, 64)).astype(dtype), 0.8)
    b = rng.standard_normal((64, 370)).astype(dtype)
    if special == "tiny":  # terms are rounded to zeros of either sign
        a, b = a * np.finfo(dtype).tiny ** 0.5, b * np.finfo(dtype).tiny ** 0.6
    elif special == "subnormal":
        b[::3] = np.finfo(dtype).smallest_subnormal
    else:
        b[7, 5] = b[63, 299] = special
    x, y = weft.from_numpy(a.astype(dtype)), weft.from_numpy(b.astype(dtype))
    assert skipping(lambda: x @ y) == 1
    assert bits(x @ y) == without_skipping(x.numpy(), y.numpy())
    if isinstance(special, float):
        made = (x @ y).numpy()
        assert np.isnan(made).any(axis=0).sum() == 2  # zero times that is no number, in those columns and no other


def test_no_number_among_the_zeros_is_one_of_the_terms() -> None:
    a = with_zeros(np.ones((64, 64), np.float32), 0.9)
    a[3, 7] = np.nan
    made = (weft.from_numpy(a) @ weft.ones((64, 200))).numpy()
    assert np.isnan(made[3]).all()
    assert np.isnan(made).sum() == 200


def test_nothing_but_zeros() -> None:
    x = weft.zeros((64, 200))
    assert skipping(lambda: x @ weft.ones((200, 300))) == 1
    assert bits(x @ -weft.ones((200, 300))) == bits(weft.zeros((64, 300)))


@pytest.mark.parametrize(
    ("m", "k", "n", "share", "expected"),
    [
        (64, 64, 1000, 0.0, 0),  # no zeros
        (256, 512, 512, 0.1, 0),  # too few
        (256, 512, 512, 0.75, 1),  # a relu's and a dropout's
        (64, 1000, 10, 0.9, 0),  # a panel is much wider
        (64, 100, 128, 0.9, 0),  # little work
        (8, 4096, 512, 0.9, 0),  # panels are not used often enough
    ],
)
def test_zeros_are_skipped_where_that_pays(m: int, k: int, n: int, share: float, expected: int) -> None:
    rng = np.random.default_rng(7)
    a, b = with_zeros(rng.standard_normal((m, k), np.float32), share), rng.standard_normal((k, n), np.float32)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    assert skipping(lambda: x @ y) == expected


def test_a_network_with_a_relu() -> None:
    """Forward, backward and update of two layers in all modes: what follows a relu of mostly negative sums skips zeros."""
    rng = np.random.default_rng(8)
    shapes = ((128, 400), (400, 256), (256, 256), (128, 256))
    x, w1, w2, y = (weft.from_numpy(rng.standard_normal(s, np.float32)) for s in shapes)

    def step(x: Any, w1: Any, w2: Any, y: Any) -> Any:
        w1, w2 = w1.detach().requires_grad_(), w2.detach().requires_grad_()
        loss = ((weft.relu(x @ w1 - 20) @ w2 - y) ** 2).sum()
        first, second = weft.autograd.grad(loss, [w1, w2])
        return loss, w1 - first * 1e-6, w2 - second * 1e-6

    in_every_mode(step, x, w1, w2, y)
    compiled = weft.static(step)
    compiled(x, w1, w2, y)
    assert skipping(lambda: step(x, w1, w2, y)) > 0
    assert skipping(lambda: compiled(x, w1, w2, y)) > 0


def test_a_batch_of_products() -> None:
    rng = np.random.default_rng(9)
    a = with_zeros(rng.standard_normal((3, 250, 150), np.float32), 0.75)
    b = rng.standard_normal((3, 150, 250), np.float32)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    assert skipping(lambda: x @ y) == 3
    made = (x @ y).numpy()
    for i in range(3):
        assert bits(weft.from_numpy(made[i])) == without_skipping(a[i], b[i])
