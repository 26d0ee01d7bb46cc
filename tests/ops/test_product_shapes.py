"""Matrix products of the shapes that have a path of their own: one row or column, flat, tiny, batches of tiny ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from tests.ops.helpers import bits, in_every_mode

pytestmark = pytest.mark.usefixtures("by_vectors")

#: batch, m, k, n
SHAPES = [
    ((), 1, 4096, 37), ((), 37, 4096, 1), ((), 1, 5003, 1), ((), 1, 1, 9), ((), 9, 1, 1), ((), 1, 7, 3), ((), 3, 700, 1),
    ((), 1, 1030, 700), ((), 700, 1030, 1), ((), 10000, 3, 3), ((), 33, 8, 8), ((), 33, 5, 11), ((), 300, 1, 200),
    ((), 2, 2, 2), ((), 8, 8, 8), ((), 32, 32, 32), ((), 64, 64, 64), ((), 64, 100, 10), ((), 5, 300, 6), ((64,), 16, 16, 16),
    ((5, 3), 3, 3, 3), ((7,), 1, 64, 20), ((7,), 20, 64, 1), ((50,), 1, 33, 1),
    ((), 50, 40, 75), ((), 33, 128, 11), ((), 47, 60, 4), ((), 20, 64, 12), ((), 65, 33, 9),
    ((), 64, 1000, 100), ((), 20, 600, 33), ((), 128, 513, 200),
    ((), 900, 1000, 40), ((), 300, 200, 250), ((), 9, 400, 300), ((), 16, 256, 260), ((), 16, 600, 300), ((), 300, 500, 10),
    ((), 50, 700, 800), ((), 13, 900, 320), ((), 150, 3000, 250), ((), 3, 300, 50), ((), 15, 66, 35),
    ((), 22, 200, 40), ((), 6, 513, 100), ((5,), 90, 70, 80),
    ((), 5, 1500, 1100), ((), 15, 2048, 530), ((), 16, 4500, 300), ((), 310, 3000, 50),
    ((), 4096, 64, 10), ((), 100, 1200, 20), ((), 700, 300, 72), ((), 1000, 600, 100), ((), 512, 2100, 36), ((), 260, 130, 5),
]  # fmt: skip


def laid_out(x: np.ndarray, layout: str) -> Any:
    """A tensor of these values: rows contiguous, columns contiguous, neither, reversed."""
    if layout == "rows":
        return weft.from_numpy(x.copy())
    if layout == "columns":
        return weft.from_numpy(np.ascontiguousarray(x.swapaxes(-1, -2))).swapaxes(-1, -2)
    if layout == "apart":
        wide = np.zeros((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), x.dtype)
        wide[..., ::2, ::3] = x
        return weft.from_numpy(wide)[..., ::2, ::3]
    return weft.from_numpy(np.ascontiguousarray(x[..., ::-1, :])).flip(-2)


LAYOUTS = ["rows", "columns", "apart", "reversed"]


def operands(batch: tuple[int, ...], m: int, k: int, n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(m + 3 * k + 7 * n)
    return rng.standard_normal((*batch, m, k)).astype(dtype), rng.standard_normal((*batch, k, n)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "m", "k", "n"), SHAPES, ids=str)
def test_bits_depend_on_values_and_sizes_only(batch: tuple[int, ...], m: int, k: int, n: int, dtype: str) -> None:
    a, b = operands(batch, m, k, n, dtype)
    (first,) = in_every_mode(weft.matmul, laid_out(a, "rows"), laid_out(b, "rows"))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(first.numpy() - exact) <= eps * (4 + np.sqrt(k)) * scale)
    want, threads = bits(first), weft.get_num_threads()
    try:
        for count in (1, 2):
            weft.set_num_threads(count)
            for left in LAYOUTS:
                for right in LAYOUTS:
                    assert bits(laid_out(a, left) @ laid_out(b, right)) == want, (left, right, count)
    finally:
        weft.set_num_threads(threads)
    # The transposed product, and each matrix of the batch by itself.
    turned = laid_out(b, "rows").swapaxes(-1, -2) @ laid_out(a, "rows").swapaxes(-1, -2)
    assert bits(turned.swapaxes(-1, -2)) == want
    for index in np.ndindex(*batch):
        assert bits(laid_out(a[index], "rows") @ laid_out(b[index], "columns")) == bits(first[index])


@pytest.mark.parametrize("batch", [(7,), (2, 3), (1, 4), (3, 1), (1, 1), (0,)], ids=str)
def test_vectors_by_one_matrix_are_rows_of_one_product(batch: tuple[int, ...]) -> None:
    a, b = (operands(batch, 1, 300, 40, "float32")[0], operands((), 1, 300, 40, "float32")[1])
    for layout in LAYOUTS:
        (got,) = in_every_mode(weft.matmul, laid_out(a, layout), laid_out(b, layout))
        assert got.shape == (*batch, 1, 40)
        rows = laid_out(a.reshape(*batch[:-1], -1, 300) if batch[-1] != 1 else a[..., 0, :, :], "rows")
        assert bits(got) == bits((rows @ laid_out(b, "rows")).reshape(*batch, 1, 40))
        (turned,) = in_every_mode(weft.matmul, laid_out(b, layout).mT, laid_out(a, layout).mT)
        assert bits(turned) == bits(got.mT)


@pytest.mark.parametrize("rows", [1, 8, 16, 32, 100])
def test_what_is_fused_with_a_layer_of_few_rows(rows: int) -> None:
    """Its product is made transposed, and what comes before and after it runs before and after all of it."""
    x, w = (weft.from_numpy(a) for a in operands((), rows, 500, 300, "float32"))
    w, b = w.mT.clone(), weft.arange(300, dtype=weft.float32)

    def layer(x: Any, w: Any, b: Any) -> Any:
        return (
            weft.softmax(weft.relu(x) @ w.mT + b, -1),
            weft.relu(weft.relu(x) @ w.mT + b),
            weft.nn.functional.linear(x, w, b),
        )

    found = in_every_mode(layer, x, w, b)
    product = (w @ weft.relu(x).mT).mT.clone() + b
    assert bits(found[0]) == bits(weft.softmax(product, -1))
    assert bits(found[1]) == bits(weft.relu(product))
    assert bits(found[2]) == bits((w @ x.mT).mT.clone() + b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_matrix_larger_than_the_caches(dtype: str) -> None:
    """Memory that no cache holds is fetched otherwise, which changes no bit."""
    size = 4 if dtype == "float32" else 2
    rows, columns = 3 * 1031, 4 * 1033 * 4 // size
    assert rows * columns * size >= 48 << 20
    matrix = weft.from_numpy(np.random.default_rng(3).standard_normal((rows, columns), dtype="float32")).astype(dtype)
    down, along = matrix[:, :1].contiguous().mT, matrix[:1].contiguous().mT
    few, middle = rows // 3, columns // 2
    parts = [matrix[i : i + few].contiguous() for i in range(0, rows, few)]
    assert bits(matrix @ along) == bits(weft.cat([part @ along for part in parts]))
    assert bits(along.mT @ matrix.mT) == bits((matrix @ along).mT)
    parts = [matrix[:, :middle].contiguous(), matrix[:, middle:].contiguous()]
    assert bits(down @ matrix) == bits(weft.cat([down @ part for part in parts], 1))
    assert bits(matrix.mT @ down.mT) == bits((down @ matrix).mT)


DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64"]


#: Around what tiles, pieces, blocks of k and caches hold.
SIZES = [
    1, 2, 3, 5, 8, 13, 16, 17, 24, 31, 48, 64, 65, 100, 129, 192, 200, 257, 384, 513, 700, 1030, 2050, 3000, 4100, 9000,
]  # fmt: skip


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_products_of_any_size_are_exact_where_sums_are(data: st.DataObject) -> None:
    dtype = getattr(weft, data.draw(st.sampled_from(DTYPES)))
    k = data.draw(st.sampled_from(SIZES))
    m = data.draw(st.sampled_from([size for size in SIZES if size * k <= 2e6]))
    n = data.draw(
        st.sampled_from([size for size in SIZES if size * k <= 2e6 and size * m <= 1e6 and size * k * m <= 4e7])
    )
    left, right = (data.draw(st.sampled_from(LAYOUTS)) for _ in range(2))
    rng = np.random.default_rng(m + 13 * k + 29 * n)
    a, b = (rng.integers(0, 4, shape).astype(np.float64) for shape in ((m, k), (k, n)))
    sums = weft.from_numpy(a @ b)
    want = sums.to(dtype) if dtype.kind == "f" else sums.to(weft.int64).to(dtype)  # which wraps
    threads = weft.get_num_threads()
    weft.set_num_threads(data.draw(st.integers(1, 4)))
    try:
        got = laid_out(a, left).to(dtype) @ laid_out(b, right).to(dtype)
    finally:
        weft.set_num_threads(threads)
    assert bits(got) == bits(want)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_batch_has_the_bits_of_its_matrices(data: st.DataObject) -> None:
    dtype = getattr(weft, data.draw(st.sampled_from(DTYPES)))
    batch = data.draw(st.sampled_from([(2,), (3, 4), (1, 5), (70,), (2, 1, 6)]))
    m, k, n = (data.draw(st.integers(1, 12)) for _ in range(3))
    if data.draw(st.booleans()):
        m, n = data.draw(st.sampled_from([(1, 1), (1, n), (m, 1)]))
        k = data.draw(st.sampled_from([k, 33, 512, 515]))
    rng = np.random.default_rng(m + 13 * k + 29 * n)

    def operand(rows: int, columns: int) -> Any:
        of = data.draw(st.sampled_from([batch, batch, (), (1,) * len(batch), batch[-1:]]))
        x = weft.from_numpy(100 * rng.standard_normal((*of, rows, columns))).astype(dtype)
        layout = data.draw(st.sampled_from(LAYOUTS))
        if layout == "columns":
            x = x.swapaxes(-1, -2).clone().swapaxes(-1, -2)
        elif layout == "apart":
            wide = weft.zeros(*of, rows + 1, 2 * columns, dtype=dtype)
            wide[..., :rows, ::2] = x
            x = wide[..., :rows, ::2]
        elif layout == "reversed":
            x = x.flip(-2)
        return x.broadcast_to((*batch, rows, columns))

    a, b = operand(m, k), operand(k, n)
    together = a @ b
    for index in np.ndindex(*batch):
        assert bits(a[index].clone() @ b[index].clone()) == bits(together[index]), index


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
@pytest.mark.parametrize(("m", "k", "n"), [(3, 3, 3), (4, 4, 1), (1, 6, 2), (1, 5, 1), (6, 10, 9)])
def test_what_runs_along_with_a_batch(m: int, k: int, n: int, dtype: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (weft.from_numpy((9 * rng.standard_normal(s)).astype(dtype)) for s in ((5, 40, m, k), (5, 40, k, n)))
    bias = weft.from_numpy((9 * rng.standard_normal(n)).astype(dtype))
    for right in (b, b[:, :1], b[:1, :1]):
        (got,) = in_every_mode(lambda x, y, z: weft.relu(x * 2 @ y + z), a, right, bias)
        assert bits(got) == bits(weft.relu(a * 2 @ right + bias))


def test_what_runs_along_with_a_batch_that_is_one_product() -> None:
    rng = np.random.default_rng(4)
    a, b, bias = (weft.from_numpy(rng.standard_normal(s)) for s in ((4, 100, 64), (64, 300), (300,)))
    for function in (lambda x, y, z: weft.relu(x * 2 @ y + z), lambda x, y, z: weft.softmax(x * 2 @ y + z, -1)):
        (got,) = in_every_mode(function, a, b, bias)
        for i in range(4):
            assert bits(got[i]) == bits(function(a[i].clone(), b, bias))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_a_product_do_not_depend_on_how_many_there_are(dtype: str) -> None:
    for k, n in ((3, 3), (8, 8), (4, 40), (100, 10), (200, 30)):
        a, b = operands((), 700, k, n, dtype)
        whole = laid_out(a, "rows") @ laid_out(b, "rows")
        for rows in (2, 5, 6, 7, 64, 301):
            assert bits(laid_out(a[:rows], "rows") @ laid_out(b, "rows")) == bits(whole[:rows]), (k, n, rows)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 9, 12), (12, 9, 1), (1, 9, 1), (20, 3, 3), (20, 2, 30), (8, 8, 8)])
def test_what_is_not_finite_stays_in_its_row_and_column(m: int, k: int, n: int) -> None:
    a, b = operands((), m, k, n, "float32")
    a[-1, 0], b[0, -1] = np.inf, np.nan
    with np.errstate(invalid="ignore"):  # which some builds of NumPy warn of
        want = a.astype(np.float64) @ b.astype(np.float64)
    (got,) = in_every_mode(weft.matmul, laid_out(a, "rows"), laid_out(b, "rows"))
    np.testing.assert_array_equal(np.isnan(got.numpy()), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got.numpy()), np.isinf(want))
    zeros = weft.zeros(m, k) @ weft.from_numpy(-np.abs(b[:, :-1]) if n > 1 else -np.ones((k, 1), "float32"))
    assert not np.signbit(zeros.numpy()).any()  # sums begin at +0


@pytest.mark.parametrize(("m", "k", "n"), [(1, 40, 6), (6, 40, 1), (30, 3, 3), (12, 1, 10), (8, 8, 8)])
def test_gradients(m: int, k: int, n: int) -> None:
    a, b = operands((), m, k, n, "float64")
    left, right = (weft.from_numpy(v).requires_grad_() for v in (a, b))
    seed = np.random.default_rng(5).standard_normal((m, n))
    (left @ right).backward(weft.from_numpy(seed))
    np.testing.assert_allclose(left.grad.numpy(), seed @ b.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(right.grad.numpy(), a.T @ seed, rtol=1e-12, atol=1e-12)


def test_halves_are_summed_as_float32() -> None:
    ones = weft.ones(1, 3000, dtype=weft.bfloat16)
    assert (ones @ ones.T).item() == 3008.0  # 3000 rounded once; a running sum would stop at 256


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 9, 33])
def test_signs_of_terms_too_small_for_any_number(k: int, dtype: str) -> None:
    """Terms that are rounded to -0: what is left of them depends on how many there are, not on where they are read."""
    tiny = np.finfo(dtype).smallest_subnormal
    for m, n in ((1, 1), (1, 9), (9, 1), (1, 40), (40, 1), (3, 5)):
        a, b = np.full((m, k), -0.25, dtype), np.full((k, n), tiny, dtype)
        want = bits(weft.from_numpy(a) @ weft.from_numpy(b))
        for left in LAYOUTS:
            for right in LAYOUTS:
                assert bits(laid_out(a, left) @ laid_out(b, right)) == want, (m, n, left, right)
        for count in (2, 300):
            if m > 1 or count * n == 1:  # a batch of rows by one matrix is another product
                made = weft.from_numpy(np.stack([a] * count)) @ weft.from_numpy(np.stack([b] * count))
                assert bits(made[-1]) == want
