"""Norms of vectors and matrices, against NumPy and PyTorch and in every mode."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from tests.ops.helpers import LAYOUTS, array_of, assert_close, in_every_mode, laid_out, numbers, tensor

INF = math.inf
ORDERS = [0, 0.5, 1, 1.5, 2, 3, 4, 7.25, -1, -2.5, INF, -INF]
MATRIX_ORDERS = ["fro", 1, -1, INF, -INF]


def vector_norm(x: np.ndarray, order: float, axes: tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    """By the definition, in float64."""
    a = np.abs(x.astype(np.float64))
    if order == INF:
        return a.max(axes, keepdims=keepdims)
    if order == -INF:
        return a.min(axes, keepdims=keepdims)
    if order == 0:
        return (a != 0).sum(axes, keepdims=keepdims).astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray((a**order).sum(axes, keepdims=keepdims) ** (1 / order))


@pytest.mark.parametrize("order", ORDERS)
def test_vector_norms(order: float) -> None:
    array = numbers(weft.float32, (2, 3, 4), 1)
    array[0, 1, 2] = 0
    x = weft.from_numpy(array)
    for axis in (None, 0, -1, (0, 2), (0, 1, 2), ()):
        axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis % 3,)
        for keepdims in (False, True):
            (got,) = in_every_mode(lambda t, a=axis, k=keepdims: t.norm(order, dim=a, keepdim=k), x)
            assert_close(got, vector_norm(array, order, axes, keepdims), 64 if abs(order) not in (1, 2) else 4)
    got = weft.linalg.vector_norm(x, ord=order, axis=-1, keepdims=True)
    assert_close(got, vector_norm(array, order, (2,), True), 64)


@pytest.mark.parametrize("order", MATRIX_ORDERS)
def test_matrix_norms(order: Any) -> None:
    array = numbers(weft.float32, (3, 4, 5), 2)
    x = weft.from_numpy(array)
    for axes in ((-2, -1), (0, 2), (2, 0), (1, 0)):
        want = np.linalg.norm(array.astype(np.float64), order, axes, keepdims=True)
        (got,) = in_every_mode(lambda t, a=axes: weft.matrix_norm(t, order, dim=a, keepdim=True), x)
        assert_close(got, want, 8)
        assert_close(weft.linalg.norm(x, order, axes), want.squeeze(axes), 8)
    assert_close(weft.linalg.matrix_norm(x, ord=order), np.linalg.norm(array.astype(np.float64), order, (1, 2)), 8)


@pytest.mark.parametrize("dtype", [weft.bool_, weft.int32, weft.float16, weft.bfloat16, weft.float64], ids=str)
def test_types(dtype: weft.DType) -> None:
    """16-bit floats are summed in float32 and rounded once; integers give the default type."""
    array = numbers(dtype, (3, 400), 3)
    x = tensor(array, dtype)
    for order in (0, 1, 2, 3, INF, -INF):
        (got,) = in_every_mode(lambda t, p=order: t.norm(p, 1), x)
        assert got.dtype is (dtype if dtype.kind == "f" else weft.float32)
        assert_close(got, vector_norm(array, order, (1,)), 2 if dtype.is_half else 16)
    assert weft.matrix_norm(x, 1).dtype is (dtype if dtype.kind == "f" else weft.float32)
    for wide in (weft.float64, weft.float16):
        assert x.norm(dtype=wide).dtype is wide
        assert weft.linalg.norm(x, 1, dtype=wide).dtype is wide
    wide = x.norm(1, dtype=weft.float64)
    assert_close(wide, vector_norm(array, 1, (0, 1)), 4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    array, x = laid_out(numbers(weft.float32, (4, 6), 4), layout)
    for axis in (None, 0, -1) if array.ndim else (None,):
        axes = tuple(range(array.ndim)) if axis is None else (axis % array.ndim,)
        for order in (0, 1, 2, 3):
            (got,) = in_every_mode(lambda t, a=axis, p=order: t.norm(p, a), x)
            assert_close(got, vector_norm(array, order, axes), 16)


def test_norm_as_in_numpy() -> None:
    array = numbers(weft.float64, (3, 4), 5)
    x = weft.from_numpy(array)
    for order in (None, *MATRIX_ORDERS):
        np.testing.assert_allclose(weft.linalg.norm(x, order).item(), np.linalg.norm(array, order))
    for order in (None, 0, 1, 2, 2.5, -1, INF, -INF):
        np.testing.assert_allclose(weft.linalg.norm(x[0], order).item(), np.linalg.norm(array[0], order))
        for axis in (0, 1, -1):
            got = weft.linalg.norm(x, ord=order, dim=axis, keepdim=True)
            np.testing.assert_allclose(got.numpy(), np.linalg.norm(array, order, axis, keepdims=True))
    np.testing.assert_allclose(weft.linalg.norm(x.reshape(3, 2, 2)).item(), np.linalg.norm(array))
    assert weft.linalg.norm(weft.tensor(-3.0)).item() == 3
    assert weft.linalg.norm(x, 1, [1]).shape == (3,)


def test_empty_and_special() -> None:
    none = weft.zeros(0, 3)
    for order in (0, 0.5, 1, 2, 3):
        assert none.norm(order).item() == 0
        assert none.norm(order, 0).tolist() == [0, 0, 0]
        assert none.norm(order, 1).shape == (0,)
    for order in (-1, INF, -INF):
        assert none.norm(order, 1).shape == (0,)
        with pytest.raises(weft.ShapeError, match="no elements"):
            none.norm(order)
    assert weft.matrix_norm(none).item() == 0
    assert weft.matrix_norm(none, 1).item() == 0
    with pytest.raises(weft.ShapeError, match="no elements"):
        weft.matrix_norm(none, INF)
    x = weft.tensor([[-0.0, 0.0], [INF, -1.0], [math.nan, 1.0]])
    for order in ORDERS:
        got = array_of(in_every_mode(lambda t, p=order: t.norm(p, 1), x)[0])
        assert got[0] == 0
        assert not np.signbit(got[0])
        if order == 0:
            assert got.tolist() == [0, 2, 2]
        else:
            assert got[1] == (INF if order > 0 else 1)
            assert math.isnan(got[2])


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_at_corners(order: float) -> None:
    """As PyTorch's where elements or all of a row are 0, or equal; the second is finite there."""
    torch = pytest.importorskip("torch")
    array = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, -2.0], [2.0, -2.0, 1.0], [-0.0, -0.0, 3.0]])
    x = weft.tensor(array, requires_grad=True)
    (mine,) = weft.grad(x.norm(order, 1).sum(), [x], create_graph=True)
    if order == 0:
        assert mine.tolist() == [[0.0] * 3] * 4
        return
    t = torch.tensor(array, requires_grad=True)
    (theirs,) = torch.autograd.grad(torch.linalg.vector_norm(t, order, 1).sum(), [t])
    np.testing.assert_allclose(mine.detach().numpy(), theirs.numpy(), rtol=1e-12)
    if mine.requires_grad:
        (second,) = weft.grad((mine * mine).sum(), [x], allow_unused=True)
        assert second is None or second.isfinite().all()


def test_kernels() -> None:
    """A norm is one kernel, what it is of included; a row kernel with what is made of it."""

    def launches(function: Any, *operands: Any) -> int:
        return weft.static(function).explain(*operands).launches

    x = weft.ones(30, 50)
    for order in ORDERS:
        assert launches(lambda a, p=order: (a * 2).norm(p, 1), x) == 1
        assert launches(lambda a, p=order: (a * 2).norm(p, 0), x) == 1
    assert launches(lambda a: a / a.norm(axis=1, keepdims=True), x) == 1
    assert launches(lambda a: weft.matrix_norm(a, 1), x) == 2


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 5000), st.sampled_from([1, 2, 3.5, INF]), st.floats(0.01, 100), st.integers(0, 99))
def test_properties(n: int, order: float, factor: float, seed: int) -> None:
    """A norm scales with its operand, and obeys the triangle inequality."""
    a, b = np.random.default_rng(seed).standard_normal((2, max(n, 1)))
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    assert math.isclose((x * factor).norm(order).item(), x.norm(order).item() * factor, rel_tol=1e-12)
    assert (x + y).norm(order).item() <= (x.norm(order) + y.norm(order)).item() * (1 + 1e-12)
