"""Matrix products: vectors, batches, layouts, types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import assert_close, in_every_mode, numbers, tensor
from weft import dtypes

SHAPES = [
    ((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((1, 1), (1, 1)),
    ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((3, 4), (4, 0)), ((0, 3, 4), (4, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = numbers(weft.float64, a, 1), numbers(weft.float64, b, 2)
    (got,) = in_every_mode(lambda s, t: s @ t, weft.from_numpy(x), weft.from_numpy(y))
    np.testing.assert_allclose(got.numpy(), x @ y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind != "b"], ids=lambda d: d.name)
def test_types(dtype: weft.DType) -> None:
    x, y = numbers(dtype, (3, 4), 1), numbers(dtype, (4, 2), 2)
    (got,) = in_every_mode(weft.matmul, tensor(x, dtype), tensor(y, dtype))
    assert got.dtype is dtype
    want = x.astype(np.float64) @ y.astype(np.float64)
    if dtype.kind != "f":
        want = x @ y
    assert_close(got, want, 1 if dtype.is_half else 8, scale=0 if dtype.is_half else 9)


def test_layouts() -> None:
    a, b = numbers(weft.float32, (8, 6), 1), numbers(weft.float32, (6, 10), 2)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    for left, right, of in (
        (x.T, x, a.T @ a),
        (x, x.T, a @ a.T),
        (x[::2, ::2], y[::2], a[::2, ::2] @ b[::2]),
        (x.flip(1), y, a[:, ::-1] @ b),
        (x[:1].expand(8, 6), y, np.broadcast_to(a[:1], (8, 6)) @ b),
        (x[:, :4].T, x[:, 2:], a[:, :4].T @ a[:, 2:]),
    ):
        (got,) = in_every_mode(weft.matmul, left, right)
        assert_close(got, of.astype(np.float64), 16, scale=30)


def test_mixed_types() -> None:
    assert (weft.ones(2, 2, dtype=weft.int32) @ weft.ones(2, 2)).dtype is weft.float32
    assert (weft.ones(2, 2, dtype=weft.float16) @ weft.ones(2, 2, dtype=weft.float64)).dtype is weft.float64


def test_other_products() -> None:
    a, b = numbers(weft.float64, (2, 3, 4), 1), numbers(weft.float64, (4, 3, 5), 2)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    np.testing.assert_allclose(x[0].mm(x[1].T).numpy(), a[0] @ a[1].T)
    np.testing.assert_allclose(x.bmm(x.mT).numpy(), a @ a.swapaxes(1, 2))
    np.testing.assert_allclose(x[0, 0].dot(x[1, 1]).item(), a[0, 0] @ a[1, 1])
    np.testing.assert_allclose(x.vdot(x.flip(2)).item(), np.vdot(a, a[..., ::-1].copy()))
    np.testing.assert_allclose(weft.outer(x[0, 0], x[0, 1]).numpy(), np.outer(a[0, 0], a[0, 1]))
    np.testing.assert_allclose(weft.inner(x, x[0]).numpy(), np.inner(a, a[0]))
    np.testing.assert_allclose(weft.inner(x, x[0, 0, 0]).numpy(), np.inner(a, a[0, 0, 0]))
    np.testing.assert_allclose(weft.kron(x, y[:, :2, 0]).numpy(), np.kron(a, b[:, :2, 0]))
    np.testing.assert_allclose(weft.vecdot(x, x[0]).numpy(), (a * a[0]).sum(-1))
    np.testing.assert_allclose(weft.vecdot(x, x, axis=-2).numpy(), (a * a).sum(-2))
    np.testing.assert_allclose(weft.vecdot(x, x, axis=0).numpy(), (a * a).sum(0))
    np.testing.assert_allclose(weft.vecdot(x[:, :, None], x[0]).numpy(), a @ a[0].T)
    np.testing.assert_allclose(weft.linalg.matrix_transpose(x).numpy(), a.swapaxes(1, 2))
    np.testing.assert_allclose(weft.linalg.vector_norm(x, axis=-1).numpy(), np.linalg.norm(a, axis=-1))


@pytest.mark.parametrize("axes", [0, 1, 2, (-1, 0), ([1, 2], [1, 0]), ([2], [0]), ([2, 1], [0, 1]), ([], [])], ids=str)
def test_tensordot(axes: Any) -> None:
    a, b = numbers(weft.float64, (2, 3, 4), 1), numbers(weft.float64, (4, 3, 5), 2)
    if axes == 2:
        a = a.transpose(0, 2, 1).copy()
    (got,) = in_every_mode(lambda x, y: weft.tensordot(x, y, axes), weft.from_numpy(a), weft.from_numpy(b))
    np.testing.assert_allclose(got.numpy(), np.tensordot(a, b, axes))


def test_multi_dot() -> None:
    arrays = [numbers(weft.float64, s, k) for k, s in enumerate([(3, 4), (4, 5), (5, 2)])]
    tensors = [weft.from_numpy(a) for a in arrays]
    for first, last in ((slice(None), slice(None)), (0, slice(None)), (slice(None), 0), (0, 0)):
        ends = [arrays[0][first], arrays[1], arrays[2][:, last]]
        got = weft.multi_dot([tensors[0][first], tensors[1], tensors[2][:, last]])
        np.testing.assert_allclose(got.numpy(), np.linalg.multi_dot(ends))


@pytest.mark.parametrize("offset", [-4, -2, 0, 1, 5])
@pytest.mark.parametrize("axes", [(0, 1), (1, 3), (2, 0), (-1, -2)], ids=str)
def test_diagonals(axes: tuple[int, int], offset: int) -> None:
    a = numbers(weft.float64, (2, 3, 4, 5), 1)
    for x, of in ((weft.from_numpy(a), a), (weft.from_numpy(a).permute(3, 1, 2, 0), a.transpose(3, 1, 2, 0))):
        (got,) = in_every_mode(lambda t: weft.diagonal(t, offset, *axes), x)
        np.testing.assert_array_equal(got.numpy(), np.diagonal(of, offset, *axes))
        np.testing.assert_allclose(weft.trace(x, offset, *axes).numpy(), np.trace(of, offset, *axes))
    square = weft.zeros(3, 3)
    square.diagonal(dim1=0, dim2=1).fill_(1.0)
    assert square.tolist() == weft.eye(3).tolist()
