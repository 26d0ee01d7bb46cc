"""Reductions over any axes, against NumPy and in every mode."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import array_of, assert_close, in_every_mode, laid_out, numbers, tensor
from weft.codegen.columns import FAR
from weft.codegen.rows import LARGE
from weft.ir.kernel import GROUP

AXES: list[Any] = [None, 0, 1, -1, (0, 1), (0, 2), (1, 2), (), (0, 1, 2)]
NAMES = ("sum", "prod", "mean", "var", "std", "max", "min", "any", "all")


def numpy_of(name: str, x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    if x.dtype.kind == "f":
        x = x.astype(np.float64)
    return np.asarray(getattr(np, name)(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("name", NAMES)
def test_axes(name: str) -> None:
    """Every choice of axes, kept and dropped."""
    array = numbers(weft.float32, (2, 3, 4), 1)
    x = weft.from_numpy(array)
    for axis in AXES:
        for keepdims in (False, True):
            got = getattr(weft, name)(x, axis, keepdims)
            want = numpy_of(name, array, axis, keepdims)
            assert_close(got, want, 8, f"{name} over {axis}", 4.0)
    (got,) = in_every_mode(lambda t: getattr(t, name)(dim=(0, 2), keepdim=True), x)
    assert_close(got, numpy_of(name, array, (0, 2), True), 8, name, 4.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "dtype", [weft.bool_, weft.uint8, weft.int32, weft.float16, weft.bfloat16, weft.float64], ids=str
)
def test_types(name: str, dtype: weft.DType) -> None:
    """The result's type, and that 16-bit types are rounded once."""
    array = numbers(dtype, (3, 5), 2, 0, 3)
    (got,) = in_every_mode(lambda t: getattr(t, name)(axis=1), tensor(array, dtype))
    if name in ("any", "all"):
        want_dtype = weft.bool_
    elif name in ("max", "min") or dtype.kind == "f":
        want_dtype = dtype
    elif name in ("mean", "var", "std"):
        want_dtype = weft.float32
    else:
        want_dtype = weft.uint64 if dtype.kind == "u" else weft.int64
    assert got.dtype is want_dtype
    assert_close(got, numpy_of(name, array, 1, False), 2 if dtype.is_half else 8, name, 2.0 * (not dtype.is_half))


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "broadcast", "zero-dim", "empty"])
def test_layouts(layout: str) -> None:
    array, x = laid_out(numbers(weft.float32, (3, 4), 3), layout)
    for name in ("sum", "mean", "max", "all"):
        if layout == "empty" and name in ("max", "mean"):
            continue
        for axis in (None, 0, -1) if array.ndim else (None,):
            (got,) = in_every_mode(lambda t, n=name, a=axis: getattr(t, n)(a), x)
            assert_close(got, numpy_of(name, array, axis, False), 8, f"{name} over {axis}", 4.0)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float16, weft.int32], ids=repr)
@pytest.mark.parametrize("shape", [(17, 300, 20), (2, 2100, 18)], ids=str)
def test_bits_do_not_depend_on_the_layout(dtype: weft.DType, shape: tuple[int, ...]) -> None:
    """Whichever axis is contiguous in memory, and whether values are in memory or computed."""
    array = numbers(dtype, shape, 6)
    array[array == array.max()] = -0.0
    plain = weft.from_numpy(array)
    for name in ("sum", "max", "argmin", *(("var",) if dtype.is_floating_point else ())):
        reduce = getattr(weft, name)
        computed = name == "sum"
        for axis in range(3):
            want = reduce(plain, axis=axis)
            more = reduce(plain - 1, axis=axis) if computed else want
            for order in permutations(range(3)):
                back = [order.index(d) for d in range(3)]
                x = weft.from_numpy(np.ascontiguousarray(array.transpose(order))).permute(*back)
                what = f"{name} over {axis}, {order} in memory"
                np.testing.assert_array_equal(bits(reduce(x, axis=axis)), bits(want), what)
                if computed:
                    np.testing.assert_array_equal(bits(lazily(reduce, x, axis)), bits(more), what)


def lazily(reduce: Any, x: weft.Tensor, axis: int) -> weft.Tensor:
    """A reduction of ``x - 1`` in one kernel."""
    with weft.lazy():
        return reduce(x - 1, axis=axis)


def bits(x: weft.Tensor) -> np.ndarray:
    """An array's bytes, for comparisons that tell -0 from 0."""
    return x.numpy().view(np.uint8)


@pytest.mark.parametrize("dtype", [weft.float32, weft.bfloat16, weft.uint8], ids=repr)
@pytest.mark.parametrize("n", [2, 3, 16, 31])
def test_short_rows(dtype: weft.DType, n: int) -> None:
    """Many together give the bits that few do, in every mode."""
    x = tensor(numbers(dtype, (700, n), 7), dtype)
    floats = ("mean", "var") if dtype.is_floating_point else ()
    for name in ("sum", "prod", "max", "argmax", "any", *floats):
        (many,) = in_every_mode(lambda t, name=name: getattr(t, name)(1), x)
        few = [getattr(x[at : at + 10], name)(1) for at in range(0, 700, 10)]
        assert weft.cat(few).tolist() == many.tolist(), name


def test_no_elements() -> None:
    x = weft.zeros(0, 3)
    assert x.sum().item() == 0
    assert x.prod().item() == 1
    assert x.sum(0).tolist() == [0, 0, 0]
    assert np.isnan(x.mean().item())
    assert x.any().item() is False
    assert x.all().item() is True
    assert x.max(1).shape == (0,)
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(weft.ShapeError, match="no elements"):
            getattr(x, name)(0)


@pytest.mark.parametrize("shape", [(5000,), (3, 5000), (5000, 3), (9, 70, 5)])
def test_long(shape: tuple[int, ...]) -> None:
    """Lengths of several blocks and tails, where the order of the sum matters."""
    array = numbers(weft.float32, shape, 4, 0, 1)
    x = weft.from_numpy(array)
    for axis in (0, -1, None):
        (got,) = in_every_mode(lambda t, a=axis: t.sum(a), x)
        assert_close(got, array.astype(np.float64).sum(axis), 4, f"{shape} over {axis}")
        assert_close(x.max(axis), array.max(axis), 0)
        np.testing.assert_array_equal(x.argmin(axis).numpy(), array.argmin(axis))


def test_larger_than_the_caches() -> None:
    """Code that fetches otherwise gives the bits that each part of the columns gives on its own."""
    array = numbers(weft.float32, (1543, 8317), 7)
    assert array.nbytes >= FAR
    x = weft.from_numpy(array)
    middle = array.shape[1] // 2
    parts = [weft.from_numpy(np.ascontiguousarray(part)) for part in (array[:, :middle], array[:, middle:])]
    for name in ("sum", "max", "argmax", "var"):
        got, *want = (getattr(weft, name)(t, 0).numpy() for t in (x, *parts))
        np.testing.assert_array_equal(got, np.concatenate(want), name)


@pytest.mark.parametrize("columns", [2048, 2500, 700])
def test_rows_of_what_is_larger_than_the_caches(columns: int) -> None:
    """Code that fetches what comes later gives the bits that each part of the rows gives on its own, with gaps and without."""
    rows = LARGE // (4 * columns) + 2
    array = numbers(weft.float32, (rows, columns + 30), 7)
    gaps = weft.from_numpy(array)[:, :columns]
    dense = weft.from_numpy(np.ascontiguousarray(array[:, :columns]))
    assert rows * columns * 4 >= LARGE
    for name in ("sum", "max", "argmax", "var"):
        reduced = getattr(weft, name)
        want = np.concatenate([reduced(dense[part], 1).numpy() for part in (slice(rows // 2), slice(rows // 2, None))])
        for x in (dense, gaps, weft.from_numpy(array[::-1])[::-1, :columns]):
            np.testing.assert_array_equal(reduced(x, 1).numpy(), want, name)
        np.testing.assert_array_equal(
            weft.static(lambda x, f=reduced: f(x * x, 1))(gaps).numpy(), reduced(dense * dense, 1).numpy(), name
        )
        flat = reduced(dense)
        np.testing.assert_array_equal(flat.numpy(), reduced(gaps).numpy(), name)


def test_arguments_of_the_extreme() -> None:
    array = np.array([[1, 3, 3], [5, 2, 5]], dtype=np.float32)
    x = weft.from_numpy(array)
    for axis in (None, 0, 1):
        for keep in (False, True):
            for name in ("argmax", "argmin"):
                (got,) = in_every_mode(lambda t, n=name, a=axis, k=keep: getattr(t, n)(a, k), x)
                np.testing.assert_array_equal(got.numpy(), getattr(np, name)(array, axis=axis, keepdims=keep))
    assert weft.tensor([1.0, float("nan"), 3.0]).argmax().item() == 1
    assert weft.tensor([3, 1, 1]).argmin().item() == 1
    assert weft.tensor(3.0).argmax().item() == 0


@pytest.mark.parametrize("shape", [(6000,), (6000, 3)])
def test_variance_of_what_misleads_about_the_mean(shape: tuple[int, ...]) -> None:
    """Outliers, trends and offsets in the elements that a block's shift is made of."""
    normal = np.random.default_rng(5).standard_normal(shape).astype("f")
    ramp = np.linspace(-1e3, 1e3, shape[0], dtype="f").reshape(-1, *[1] * (len(shape) - 1)) + 0 * normal
    first, step, far = normal.copy(), normal + 100, normal * 8 + 2**24
    first[0] = 1e8
    step[:256] -= 2e5
    step[2048:2304] += 1e4
    for array in (first, step, far, ramp, np.sort(normal, 0), np.ones(shape, "f") * 1e8):
        exact = array.astype(float).var(0)
        np.testing.assert_allclose(weft.from_numpy(array).var(0).numpy(), exact, rtol=3e-7, atol=1e-30)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint64])
def test_the_first_of_equal_arguments(dtype: type) -> None:
    """Wherever it is, also among zeros of both signs and among NaNs."""
    for n in (1, 31, 32, 33, 255, 2048, 2049, 4500):
        for at in {0, n // 3, n - 1}:
            array = np.zeros((3, n), dtype)
            array[1, at:] = 7
            array[2, at:] = np.nan if array.dtype.kind == "f" else 9
            array[0, :at] = -0.0
            for x in (array, np.ascontiguousarray(array.T).T):
                t = weft.from_numpy(x)
                np.testing.assert_array_equal(t.argmax(1).numpy(), array.argmax(1))
                np.testing.assert_array_equal(t.argmin(1).numpy(), array.argmin(1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64])
def test_the_first_of_equal_arguments_over_rows_in_step(dtype: type) -> None:
    """A column for each pair of rows, which hold the same number or NaN, beside a larger one or not."""
    pairs = list(combinations(range(2 * GROUP + 3), 2))
    columns = []
    for equal, other in product((7, -7, np.nan, np.inf), (0, 9)):
        column = np.full((len(pairs), pairs[-1][1] + 1), other, float)
        for k, pair in enumerate(pairs):
            column[k, pair] = equal
        if np.isfinite(equal) or np.dtype(dtype).kind == "f":
            columns.append(column.astype(dtype))
    array = np.concatenate(columns).T.copy()
    for x in (array, np.asfortranarray(array)):
        t = weft.from_numpy(x)
        for name in ("argmax", "argmin"):
            (got,) = in_every_mode(lambda t, n=name: getattr(t, n)(0), t)
            np.testing.assert_array_equal(got.numpy(), getattr(array, name)(0))


def test_nan_and_infinity() -> None:
    x = weft.tensor([[1.0, float("nan")], [float("inf"), 2.0]])
    assert np.isnan(x.max(1).numpy()).tolist() == [True, False]
    assert np.isnan(x.min().item())
    assert x[1].sum().item() == float("inf")
    assert x.isnan().any().item()


def test_corrections() -> None:
    array = numbers(weft.float64, (4, 5), 5)
    x = weft.from_numpy(array)
    np.testing.assert_allclose(x.var(0, correction=1).numpy(), array.var(0, ddof=1))
    np.testing.assert_allclose(x.std(unbiased=True).item(), array.std(ddof=1))
    np.testing.assert_allclose(x.var(1, unbiased=False).numpy(), array.var(1))
    assert np.isnan(weft.tensor([1.0]).var(correction=1).item())
    with pytest.raises(TypeError, match="both were given"):
        x.var(correction=1, unbiased=True)


def test_dtype_and_wrapping() -> None:
    x = weft.tensor([200, 100], dtype=weft.uint8)
    assert x.sum().item() == 300
    assert x.sum(dtype=weft.uint8).item() == 44
    assert x.float().sum(dtype="float64").dtype is weft.float64
    assert x.mean(dtype=weft.float64).item() == 150.0
    halves = weft.full((4096,), 1.0, dtype=weft.float16)
    assert halves.sum().item() == 4096.0
    assert weft.full((300,), 1.0, dtype=weft.bfloat16).mean().item() == 1.0


def test_counts() -> None:
    assert weft.count_nonzero(weft.tensor([[0, 1], [2, 3]]), axis=0).tolist() == [1, 2]


def test_logsumexp() -> None:
    array = np.array([[1000.0, 1000.0], [-np.inf, -np.inf], [np.inf, 0.0], [0.0, 1.0]])
    (got,) = in_every_mode(lambda t: weft.logsumexp(t, 1), weft.from_numpy(array))
    with np.errstate(all="ignore"):
        want = np.logaddexp(array[:, 0], array[:, 1])
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-14)
    assert array_of(weft.from_numpy(array[3:]).logsumexp(keepdim=True)).shape == (1, 1)
