"""Running sums and products, against NumPy and PyTorch and in every mode."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import weft
from tests.ops.helpers import LAYOUTS, assert_close, bits, in_every_mode, laid_out, numbers, tensor
from weft.dtypes import as_dtype
from weft.ir.interpreter import scan_ordered

NAMES = ("cumsum", "cumprod")
TYPES = [weft.bool_, weft.uint8, weft.int32, weft.int64, weft.float16, weft.bfloat16, weft.float32, weft.float64]


def numpy_of(name: str, x: np.ndarray, axis: Any) -> np.ndarray:
    """In float64, for floats; with NumPy's own types for integers."""
    return getattr(np, name)(x.astype(np.float64) if x.dtype.kind == "f" else x, axis=axis)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_types(name: str, dtype: weft.DType) -> None:
    """The result's type is NumPy's; 16-bit floats are rounded once each."""
    array = numbers(dtype, (3, 40), 1, 0.5, 1.5)
    for axis in (0, 1, None):
        (got,) = in_every_mode(lambda t, a=axis: getattr(t, name)(a), tensor(array, dtype))
        want = numpy_of(name, array, axis)
        assert got.dtype is (dtype if dtype.kind == "f" else as_dtype(want.dtype))
        assert_close(got, want, 4 if dtype is weft.float64 else 1, name)
    for wide in (weft.float64, weft.int32, weft.bfloat16):
        got = getattr(weft, name)(tensor(array, dtype), 1, dtype=wide)
        assert got.dtype is wide


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(name: str, layout: str) -> None:
    array, x = laid_out(numbers(weft.float32, (5, 6), 2, 0.5, 1.5), layout)
    for axis in (None, 0, -1):
        (got,) = in_every_mode(lambda t, a=axis: getattr(t, name)(a), x)
        assert_close(got, numpy_of(name, array, axis), 1, f"{layout} along {axis}")
        assert bits(getattr(x.contiguous(), name)(axis)) == bits(got), "the layout changes bits"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3), (1,), (1, 1), (4, 1, 3), ()], ids=str)
def test_empty_and_single(name: str, shape: tuple[int, ...]) -> None:
    array = numbers(weft.float32, shape, 3)
    x = weft.from_numpy(np.array(array))
    for axis in (None, *range(-len(shape), len(shape)), *((0, -1) if not shape else ())):
        (got,) = in_every_mode(lambda t, a=axis: getattr(t, name)(dim=a), x)
        assert_close(got, numpy_of(name, array, axis), 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [weft.float32, weft.float64, weft.int64], ids=str)
@pytest.mark.parametrize("shape", [(100_000,), (3, 70_001), (40, 5000), (5000, 3), (300, 1030), (9, 70, 5)], ids=str)
def test_long(name: str, dtype: weft.DType, shape: tuple[int, ...]) -> None:
    """Several blocks and tails: the bits are those of the documented order, for any number of threads."""
    array = numbers(dtype, shape, 4, -1.5, 1.5) if name == "cumsum" else numbers(dtype, shape, 4, 0.9, 1.1)
    x = weft.from_numpy(array)
    for axis in range(len(shape)):
        (got,) = in_every_mode(lambda t, a=axis: getattr(t, name)(a), x)
        flat = array.reshape(math.prod(shape[:axis]), shape[axis], -1)
        want = scan_ordered(name[3:], [flat], flat.shape[2] > 1, dtype, False).reshape(shape)
        np.testing.assert_array_equal(got.numpy(), want, strict=True)
        threads = weft.get_num_threads()
        for n in (1, 2, 5):
            weft.set_num_threads(n)
            assert bits(getattr(x, name)(axis)) == bits(got)
        weft.set_num_threads(threads)


def test_no_less_exact_than_in_turn() -> None:
    """The errors, against sums in wider types, are no larger than NumPy's."""
    for dtype, wide in ((np.float32, np.float64), (np.float64, np.longdouble)):
        for seed, scale in enumerate((1.0, 1e-3, 1e3)):
            x = (np.random.default_rng(seed).standard_normal(300_000) * scale + 1).astype(dtype)
            exact = np.cumsum(x.astype(wide))
            mine, theirs = (
                np.abs(y.astype(wide) - exact).max() for y in (weft.from_numpy(x).cumsum().numpy(), np.cumsum(x))
            )
            assert mine <= theirs


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=str)
def test_special_values(dtype: weft.DType) -> None:
    inf, nan = math.inf, math.nan
    rows = [
        [-0.0] * 20,
        [-0.0, 0.0, -0.0, *[1.0] * 17],
        [1.0] * 5 + [inf] + [1.0] * 5 + [-inf] + [0.0] * 8,
        [1.0] * 17 + [nan] + [2.0] * 2,
        [0.0] + [3e38] * 19,
        [-2.0, 0.0, 1.5, -0.0] * 5,
    ]
    array = np.array(rows).astype(dtype.numpy)
    if dtype is weft.float64:
        array = np.where(array == np.float32(3e38), 1e300, array)
    for name in NAMES:
        for flipped in (False, True):
            given = array[:, ::-1] if flipped else array
            with np.errstate(all="ignore"):
                want = getattr(np, name)(given, axis=1)
            for x, axis in ((given, 1), (np.ascontiguousarray(given.T), 0)):
                (got,) = in_every_mode(lambda t, a=axis, n=name: getattr(t, n)(a), weft.from_numpy(np.array(x)))
                got = got.numpy() if axis else got.numpy().T
                np.testing.assert_allclose(got, want, rtol=1e-15)
                kept = ~np.isnan(want)
                np.testing.assert_array_equal(np.signbit(got)[kept], np.signbit(want)[kept])


@settings(deadline=None)
@given(
    arrays(np.int32, array_shapes(max_dims=3, min_side=0, max_side=40), elements=st.integers(-9, 9)),
    st.integers(0, 2),
    st.booleans(),
)
def test_properties(array: np.ndarray, axis: int, transposed: bool) -> None:
    """Differences give the elements back, and the last is the sum, exactly for small whole numbers."""
    array = array.T if transposed else array
    axis %= array.ndim
    x = weft.from_numpy(array).float()
    got = weft.cumulative_sum(x, axis=axis, include_initial=True).numpy()
    np.testing.assert_array_equal(np.diff(got, axis=axis), array)
    np.testing.assert_array_equal(got.take(-1, axis), array.sum(axis))
    signs = weft.from_numpy(np.where(array < 0, -1, 1))
    np.testing.assert_array_equal(signs.cumprod(axis).numpy(), np.where(array < 0, -1, 1).cumprod(axis))


def test_array_api() -> None:
    x = weft.tensor([[1.0, 2.0], [3.0, 4.0]])
    (got,) = in_every_mode(lambda t: weft.cumulative_sum(t, axis=1, include_initial=True), x)
    assert got.tolist() == [[0, 1, 3], [0, 3, 7]]
    assert weft.cumulative_prod(x, axis=0, include_initial=True).tolist() == [[1, 1], [1, 2], [3, 8]]
    assert weft.cumulative_sum(x[0]).tolist() == [1, 3]
    assert weft.cumulative_prod(weft.tensor([], dtype=weft.int8), include_initial=True).tolist() == [1]


def test_kernels() -> None:
    """What a scan is of, and what is made of it, run with it; so does the rounding of 16-bit floats."""

    def launches(function: Any, *operands: Any) -> int:
        return weft.static(function).explain(*operands).launches

    x, y = weft.ones(30, 50), weft.ones(30, 50)
    assert launches(lambda a, b: weft.cumsum(a * b + 1, 1) * a, x, y) == 1
    assert launches(lambda a, b: weft.cumsum(a * b + 1, 0) * a, x, y) == 1
    assert launches(lambda a: a.cumsum(1), x.to(weft.int32)) == 1
    assert launches(lambda a: a.cumprod(0), x.to(weft.float16)) == 1
    assert launches(lambda a: a.cumsum(0) + a.cumsum(1), x) == 2
    assert launches(lambda a: weft.exp(a.cumsum(1)).T.cumsum(1), x) == 2
    x.requires_grad_()
    assert launches(lambda a: weft.grad((a.cumsum(1) * y).sum(), [a]), x) == 1


@pytest.mark.parametrize("zeros", [(), (0,), (3,), (3, 7), (9,), tuple(range(10))], ids=str)
def test_gradient_with_zeros(zeros: tuple[int, ...]) -> None:
    """As PyTorch's, to second order."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    array, g, h = rng.uniform(0.5, 1.5, (3, 2, 10))
    array[0, list(zeros)] = 0
    x = weft.tensor(array, requires_grad=True)
    t = torch.tensor(array, requires_grad=True)
    (mine,) = weft.grad((x.cumprod(1) * weft.tensor(g)).sum(), [x], create_graph=True)
    (theirs,) = torch.autograd.grad((t.cumprod(1) * torch.tensor(g)).sum(), [t], create_graph=True)
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
    (mine,) = weft.grad((mine * weft.tensor(h)).sum(), [x])
    (theirs,) = torch.autograd.grad((theirs * torch.tensor(h)).sum(), [t])
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-12, atol=1e-12)


def test_gradient_where_the_rest_overflows() -> None:
    x = weft.tensor([2.0, 0.0, *[10.0] * 60], requires_grad=True)
    (found,) = weft.grad(x.cumprod(0)[:30].sum(), [x])
    assert found.isfinite().all()
    y = x.detach().requires_grad_()
    (found,) = weft.grad(y.cumprod(0).sum(), [y])
    assert found[1].item() == math.inf
    assert found[2:].tolist() == [0.0] * 60
