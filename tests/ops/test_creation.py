"""Making tensors."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import weft
from tests.ops.helpers import in_every_mode
from weft import dtypes


@pytest.mark.parametrize(
    ("data", "dtype"),
    [(1, "int64"), (1.5, "float32"), (True, "bool"), ([1, 2], "int64"), ([[1.0, 2], [3, 4]], "float32"), ([], "float32"),
     ([True, False], "bool"), (np.float64(2), "float64"), (np.ones(2, np.int8), "int8"), (range(3), "int64"),
     (np.float16(1), "float16"), ([np.float32(1)], "float32")],
)  # fmt: skip
def test_tensor_types(data: Any, dtype: str) -> None:
    x = weft.tensor(data)
    assert x.dtype.name == dtype
    np.testing.assert_array_equal(x.numpy(), np.asarray(data))


def test_tensor_copies_and_asarray_shares() -> None:
    array = np.zeros(3, dtype=np.float32)
    copied, shared = weft.tensor(array), weft.asarray(array)
    array[0] = 5
    assert copied.tolist() == [0, 0, 0]
    assert shared.tolist() == [5, 0, 0]
    shared[1] = 6
    assert array.tolist() == [5, 6, 0]
    assert weft.asarray(shared) is shared
    assert weft.asarray(array, copy=True)._storage_id != shared._storage_id
    assert weft.from_numpy(array[::-1]).tolist() == [0, 6, 5]
    for bad in ([1, 2], array.astype(np.float64)):
        with pytest.raises(ValueError, match="copy"):
            weft.asarray(bad, dtype=weft.float32, copy=False)


@pytest.mark.parametrize("dtype", [d.name for d in dtypes.ALL])
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 0), (5,), (3, 7), (40, 50)])
def test_copied_arrays_begin_with_a_cache_line(dtype: str, shape: tuple[int, ...]) -> None:
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    whole = np.arange(np.prod(shape) + 1, dtype=np.float32).astype(kind)
    array = whole[1:].reshape(shape)  # which does not
    for given in (array, array.T, np.array(array, order="F")[::-1] if shape else array):
        x = weft.tensor(given)
        assert (x.dtype.name, x.shape) == (dtype, given.shape)
        assert x.data_ptr() % 64 == 0
        assert x.is_contiguous()
        np.testing.assert_array_equal(x.to(weft.float32).numpy(), given.astype(np.float32))


def test_read_only_arrays() -> None:
    array = np.zeros(3, dtype=np.float32)
    array.flags.writeable = False
    x = weft.from_numpy(array)
    with pytest.raises(ValueError, match="read-only"):
        x += 1
    assert (x + 1).tolist() == [1, 1, 1]
    weft.tensor(array)[0] = 1


def test_foreign_layouts() -> None:
    """Arrays that Weft cannot share are copied or refused by name."""
    packed = np.zeros(3, dtype=[("a", "i1"), ("b", "<f4")])["b"]
    assert weft.asarray(packed).tolist() == weft.tensor(packed).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="copy it first"):
        weft.from_numpy(packed)
    with pytest.raises(ValueError, match="copy it first"):
        weft.asarray(packed, copy=False)
    for dtype in (np.complex64, "U3", ">f4", object):
        with pytest.raises(TypeError):
            weft.from_numpy(np.zeros(2, dtype=dtype))
    assert weft.tensor(np.arange(3, dtype=">i4")).tolist() == [0, 1, 2]


def test_nested_tensors() -> None:
    a, b = weft.tensor(1.0), weft.tensor(2.0, requires_grad=True)
    x = weft.tensor([[a, b], [b, 3.0]])
    assert x.tolist() == [[1, 2], [2, 3]]
    x.sum().backward()
    assert b.grad.item() == 2
    assert weft.tensor(x, dtype=weft.int64).tolist() == [[1, 2], [2, 3]]


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
def test_constant_tensors(dtype: weft.DType) -> None:
    for got, value in (
        (weft.zeros(2, 3, dtype=dtype), 0),
        (weft.ones((2, 3), dtype=dtype), 1),
        (weft.full([2, 3], 1, dtype=dtype), 1),
        (weft.zeros_like(weft.empty(2, 3, dtype=dtype)), 0),
        (weft.ones_like(weft.empty(2, 3), dtype=dtype), 1),
        (weft.full_like(weft.empty(2, 3, dtype=dtype), 1), 1),
    ):
        assert got.dtype is dtype
        assert got.shape == (2, 3)
        assert (got == value).all().item()
    assert weft.empty_like(got).shape == (2, 3)
    assert weft.eye(2, 3, dtype=dtype).double().tolist() == np.eye(2, 3).tolist()


def test_fill_values() -> None:
    assert weft.full((2,), 2.7, dtype=weft.int32).tolist() == [2, 2]
    assert weft.full((2,), -3, dtype=weft.bool_).tolist() == [True, True]
    assert weft.full((), float("nan")).isnan().item()
    assert weft.full((2,), weft.tensor(4)).tolist() == [4, 4]
    assert weft.full(3, True).dtype is weft.bool_
    assert weft.full((2,), 2**63, dtype=weft.uint64).tolist() == [2**63] * 2
    assert weft.full((0, 2), 1.0).shape == (0, 2)
    assert np.signbit(weft.full((1,), -0.0).numpy()).all()


@pytest.mark.parametrize(
    "args",
    [(5,), (2, 7), (2, 9, 3), (9, 2, -2), (5, 2), (0.0, 1.0, 0.25), (1.0, 0.0, -0.3), (3.5,), (0, 1, 0.1), (-3, 3)],
)
def test_arange(args: tuple[Any, ...]) -> None:
    (got,) = in_every_mode(lambda: weft.arange(*args))
    want = np.arange(*args)
    assert got.dtype is (weft.float32 if want.dtype.kind == "f" else weft.int64)
    np.testing.assert_array_equal(got.numpy(), want.astype(got.dtype.numpy))


def test_linspace() -> None:
    for args in ((0, 1, 5), (1, 0, 4), (2, 2, 3), (0, 1, 1), (0, 1, 0), (-1e3, 1e3, 7)):
        (got,) = in_every_mode(lambda a=args: weft.linspace(*a, dtype=weft.float64))
        np.testing.assert_array_equal(got.numpy(), np.linspace(*args))
    np.testing.assert_array_equal(
        weft.linspace(0, 1, 4, endpoint=False).numpy(), np.linspace(0, 1, 4, endpoint=False, dtype=np.float32)
    )
    assert weft.linspace(0, 1, steps=3).shape == (3,)


def test_made_while_recording() -> None:
    """Tensors made in a trace are new at every replay."""

    def count(x: Any) -> Any:
        total = weft.zeros(2)
        constant = weft.tensor([1.0, 2.0])
        buffer = weft.empty(2)
        buffer[:] = 3
        constant += x
        total += constant + buffer
        return total

    (got,) = in_every_mode(count, weft.ones(2))
    assert got.tolist() == [5, 6]


def test_dlpack() -> None:
    array = np.arange(3, dtype=np.float32)
    x = weft.from_dlpack(array)
    x[0] = 9
    assert array[0] == 9
    assert np.from_dlpack(x).tolist() == [9, 1, 2]


def test_dtype_names() -> None:
    for name in ("float", "double", "half", "int", "long", "short", "bool"):
        assert weft.zeros(1, dtype=getattr(weft, name)).dtype is getattr(weft, name)
    assert weft.zeros(1, dtype=float).dtype is weft.float32
    assert weft.zeros(1, dtype=int).dtype is weft.int64
    assert weft.zeros(1, dtype=np.float64).dtype is weft.float64
