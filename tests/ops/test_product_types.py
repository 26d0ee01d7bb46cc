"""Matrix products of 16-bit floats and of integers, and of long thin matrices, which are made in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import bits, in_every_mode
from tests.ops.test_product_shapes import LAYOUTS, laid_out
from weft import dtypes

pytestmark = pytest.mark.usefixtures("by_vectors")

#: batch, m, k, n
SHAPES = [
    ((), 3, 4, 5), ((), 1, 700, 37), ((), 37, 700, 1), ((), 1, 5003, 1), ((), 1, 40, 5), ((), 9, 1, 2), ((), 64, 100, 10),
    ((), 200, 513, 300), ((), 9, 9000, 7), ((), 1000, 3, 3), ((40,), 16, 16, 16), ((2, 3), 1, 33, 20), ((), 3, 0, 2),
    ((), 700, 100, 530), ((), 12, 6000, 700), ((), 400, 6000, 20),
]  # fmt: skip

HALVES = [weft.float16, weft.bfloat16]
WHOLE = [d for d in dtypes.ALL if d.kind in "iu"]


@pytest.fixture(params=[1, 2, 3])
def threads(request: Any) -> Any:
    before = weft.get_num_threads()
    weft.set_num_threads(request.param)
    yield request.param
    weft.set_num_threads(before)


def halves(x: np.ndarray, dtype: weft.DType, layout: str) -> weft.Tensor:
    """A tensor of 16-bit floats near these values, whose memory lies as asked."""
    if layout == "columns":
        return laid_out(np.ascontiguousarray(x.swapaxes(-1, -2)), "rows").to(dtype).swapaxes(-1, -2)
    if layout == "apart":
        wide = np.zeros((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), x.dtype)
        wide[..., ::2, ::3] = x
        return weft.from_numpy(wide).to(dtype)[..., ::2, ::3]
    if layout == "reversed":
        return weft.from_numpy(np.ascontiguousarray(x[..., ::-1, :])).to(dtype).flip(-2)
    return weft.from_numpy(x).to(dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
@pytest.mark.parametrize(("batch", "m", "k", "n"), SHAPES, ids=str)
def test_a_16_bit_product_is_the_float32_product_rounded_once(
    batch: tuple[int, ...], m: int, k: int, n: int, dtype: weft.DType, threads: int
) -> None:
    rng = np.random.default_rng(m + 3 * k + 7 * n)
    a, b = (rng.standard_normal((*batch, *s)).astype("float32") for s in ((m, k), (k, n)))
    x, y = halves(a, dtype, "rows"), halves(b, dtype, "rows")
    want = bits((x.to(weft.float32) @ y.to(weft.float32)).to(dtype))
    (got,) = in_every_mode(weft.matmul, x, y)
    assert got.dtype is dtype
    assert bits(got) == want
    for left in LAYOUTS:
        for right in LAYOUTS:
            assert bits(halves(a, dtype, left) @ halves(b, dtype, right)) == want, (left, right)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
def test_special_values_of_16_bit_products(dtype: weft.DType) -> None:
    big = 60000.0 if dtype is weft.float16 else 3e38
    a = np.array([[big, big], [np.inf, 1], [np.nan, 1], [0, 0], [2**-14, 2**-14], [-0.0, 0.0]], "float32")
    for n in (1, 2, 9):
        x, y = halves(a, dtype, "rows"), halves(np.full((2, n), 0.75, "float32"), dtype, "rows")
        want = bits((x.to(weft.float32) @ y.to(weft.float32)).to(dtype))
        assert bits(x @ y) == want
        assert bits(x @ (y * 2)) == bits((x.to(weft.float32) @ (y * 2).to(weft.float32)).to(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
def test_what_runs_with_a_16_bit_product(dtype: weft.DType) -> None:
    a, b = (np.random.default_rng(s).standard_normal((210, 210)).astype("float32") for s in (1, 2))
    x, y = halves(a, dtype, "rows"), halves(b, dtype, "rows")

    def layer(x: Any, y: Any) -> Any:
        return weft.relu(x * 2 @ y + x).softmax(-1)

    product = ((x * 2).to(weft.float32) @ y.to(weft.float32)).to(dtype)
    (got,) = in_every_mode(layer, x, y)
    assert bits(got) == bits(weft.relu(product + x).softmax(-1))


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("m", "k", "n"), [(1500, 1500, 1500), (32, 4096, 1500), (1, 3_000_000, 1), (2, 1_000_000, 1), (5, 300_000, 6)]
)
def test_no_wide_copy_of_a_16_bit_matrix_is_made(m: int, k: int, n: int, dtype: weft.DType) -> None:
    x, y = weft.ones(m, k, dtype=dtype), weft.ones(k, n, dtype=dtype)
    _ = x @ y
    before = weft.memory_stats()["live_bytes"]
    weft.reset_peak_memory()
    out = x @ y
    more = weft.memory_stats()["peak_bytes"] - before - out.nbytes
    # Two threads' pieces, and of a long k the sums of its blocks; widened operands would be 2 (m + n) k more.
    assert more < 2_400_000
    assert more < (m + n) * k


@pytest.mark.parametrize("dtype", WHOLE, ids=lambda d: d.name)
@pytest.mark.parametrize(("batch", "m", "k", "n"), SHAPES, ids=str)
def test_integer_products_are_exact_and_wrap(
    batch: tuple[int, ...], m: int, k: int, n: int, dtype: weft.DType, threads: int
) -> None:
    rng = np.random.default_rng(m + 3 * k + 7 * n)
    limits = np.iinfo(dtype.numpy)
    a, b = (rng.integers(limits.min, limits.max, (*batch, *s), dtype.numpy, True) for s in ((m, k), (k, n)))
    want = (a.astype("uint64") @ b.astype("uint64")).astype(dtype.numpy)
    (got,) = in_every_mode(weft.matmul, laid_out(a, "rows"), laid_out(b, "rows"))
    np.testing.assert_array_equal(got.numpy(), want)
    for left in LAYOUTS:
        for right in LAYOUTS:
            np.testing.assert_array_equal((laid_out(a, left) @ laid_out(b, right)).numpy(), want, f"{left} {right}")


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64, weft.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("m", "k", "n"), [(8, 20000, 8), (64, 9000, 50), (3, 70001, 17), (100, 5000, 100), (13, 6000, 800), (500, 6000, 21)]
)
def test_sharing_a_long_sum_changes_no_bit(m: int, k: int, n: int, dtype: weft.DType) -> None:
    rng = np.random.default_rng(k)
    a, b = (rng.standard_normal(s).astype("float32") for s in ((300, k), (k, n)))
    x, y = halves(a, dtype, "rows"), halves(b, dtype, "rows")
    before = weft.get_num_threads()
    try:
        weft.set_num_threads(1)
        want = bits(x[:m] @ y)
        assert bits((x @ y)[:m]) == want
        for count in (2, 3):
            weft.set_num_threads(count)
            for left in LAYOUTS:
                for right in LAYOUTS:
                    assert bits(halves(a[:m], dtype, left) @ halves(b, dtype, right)) == want, (left, right, count)
            turned = halves(b, dtype, "rows").T @ halves(a[:m], dtype, "rows").T
            assert bits(turned.T) == want
    finally:
        weft.set_num_threads(before)
