"""NumPy, the buffer protocol and DLPack: nothing is copied, lifetimes are right, what cannot be shared is refused."""

import ctypes
import gc
import sys
import weakref

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D

ARRAYS = {
    "vector": np.arange(5, dtype=np.float32),
    "matrix": np.arange(6, dtype=np.int16).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.uint64).reshape(2, 3).T,
    "reversed": np.arange(6, dtype=np.float64)[::-1],
    "reversed rows": np.arange(12, dtype=np.int32).reshape(3, 4)[::-2, 1:3],
    "broadcast": np.broadcast_to(np.arange(3, dtype=np.int64), (2, 3)),
    "scalar": np.array(3.5, dtype=np.float16),
    "empty": np.zeros((2, 0, 3), dtype=np.uint8),
    "one": np.ones((1, 1, 1), dtype=bool),
    "gaps": np.arange(10, dtype=np.uint32)[1::3],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_round_trip_shares_memory(kit, name):
    array = ARRAYS[name]
    t = N.from_numpy(array)
    assert t.shape == array.shape
    assert t.dtype.name == array.dtype.name
    assert t.tolist() == array.tolist()
    back = t.numpy()
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    assert back.flags.writeable == (array.flags.writeable or array.size == 0)
    if array.size:
        assert back.ctypes.data == array.ctypes.data
        assert back.strides == array.strides or array.size == 1
    np.testing.assert_array_equal(np.asarray(t), array)
    np.testing.assert_array_equal(np.from_dlpack(t), array)


@pytest.mark.parametrize("dtype", [d for d in D.ALL if d is not D.bfloat16], ids=lambda d: d.name)
def test_every_type(kit, dtype):
    array = np.array([[0, 1], [1, 0]], dtype=dtype.numpy)
    for t in (N.from_numpy(array), N.from_dlpack(array), N.from_bytes(array.tobytes(), dtype, (2, 2))):
        assert t.dtype is dtype
        for back in (t.numpy(), np.from_dlpack(t), np.asarray(memoryview(t))):
            assert back.dtype == array.dtype
            np.testing.assert_array_equal(back, array)


def test_memory_lives_as_long_as_any_view(kit):
    class Array(np.ndarray):
        pass

    array = np.arange(1000.0).view(Array)
    gone = weakref.ref(array)
    t = N.from_numpy(array)
    part = N.strided(t, (3,), (2,), 5)
    back = part.numpy()
    del array, t, part
    gc.collect()
    assert gone() is not None
    np.testing.assert_array_equal(back, [5, 7, 9])
    del back
    gc.collect()
    assert gone() is None

    own = N.empty((4,), D.float32)
    view = own.numpy()
    assert own._exported
    view[:] = 7
    address = own.data_ptr()
    del own
    other = N.empty((4,), D.float32)
    assert other.data_ptr() != address
    assert view.tolist() == [7.0] * 4


def test_a_numpy_view_does_not_keep_what_the_tensor_refers_to(tensor):
    class Box:
        pass

    t = tensor([1.0])
    t.symbol = box = Box()
    gone = weakref.ref(box)
    t._grad = tensor([2.0])
    t.symbol = None
    back = t.numpy()
    t.symbol = box
    del t, box
    assert gone() is None
    assert back[0] == 1.0


def test_what_numpy_cannot_have(tensor):
    t = tensor([1.0, 2.0])
    t.requires_grad = True
    for read in (N.Tensor.numpy, np.asarray, np.array):
        with pytest.raises(RuntimeError, match=r"x\.detach\(\)\.numpy\(\)"):
            read(t)
    with pytest.raises(BufferError, match="requires a gradient"):
        memoryview(t)
    with pytest.raises(BufferError, match="detach"):
        t.__dlpack__()
    half = N.reinterpret(tensor([0x3F80, 0x4000], np.uint16), D.bfloat16)
    for read in (N.Tensor.numpy, np.asarray):
        with pytest.raises(TypeError, match="NumPy has no bfloat16 type"):
            read(half)
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(half)


def test_what_weft_cannot_share(kit):
    for bad in (
        3,
        "text",
        [1, 2],
        np.array([1j]),
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, ">f4"),
    ):
        with pytest.raises(TypeError):
            N.from_numpy(bad)
    with pytest.raises(ValueError, match="not aligned"):
        N.from_numpy(np.zeros(9, np.uint8)[1:].view(np.float32))
    pairs = np.zeros(3, dtype=[("a", "f4"), ("b", "i2")])
    with pytest.raises(ValueError, match="multiples of its element size"):
        N.from_numpy(pairs["a"])
    for code in ("l", "q", "L", "Q", "i", "I"):
        t = N.from_numpy(np.array([1, 2], dtype=code))
        assert t.dtype.itemsize == np.dtype(code).itemsize


def test_read_only_memory_stays_so(kit):
    array = np.arange(3.0)
    array.flags.writeable = False
    t = N.from_numpy(array)
    assert t._readonly
    assert not t.numpy().flags.writeable
    assert not np.from_dlpack(t).flags.writeable
    assert N.from_dlpack(t)._readonly
    assert N.from_buffer(b"12345678").tolist() == list(b"12345678")
    with pytest.raises(BufferError, match="read-only tensor"):
        t.__dlpack__()


def test_buffer_flags(tensor):
    t = tensor(np.arange(6).reshape(2, 3))
    view = memoryview(t)
    assert (view.format, view.shape, view.strides, view.readonly) == ("f", (2, 3), (12, 4), False)
    assert bytes(t) == t.numpy().tobytes()
    transposed = N.strided(t, (3, 2), (1, 3))
    assert memoryview(transposed).f_contiguous
    assert memoryview(transposed).tobytes() == transposed.numpy().tobytes()
    gaps = N.strided(t, (3,), (2,))
    assert memoryview(gaps).tolist() == [0.0, 2.0, 4.0]
    assert memoryview(N.from_buffer(b"1234")).readonly
    for refused in (gaps, N.from_buffer(b"1234")):  # ctypes asks for contiguous, writable memory
        with pytest.raises((BufferError, TypeError)):
            (ctypes.c_char * 4).from_buffer(refused)


def test_array_arguments(tensor):
    t = tensor([1.5, 2.5])
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(t), t.numpy())
    assert np.shares_memory(np.asarray(t), t.numpy())
    assert t.__array__(np.int32).tolist() == [1, 2]
    assert not np.shares_memory(t.__array__(copy=True), t.numpy())
    assert np.shares_memory(t.__array__(np.float32, copy=False), t.numpy())
    with pytest.raises(ValueError, match="without a copy"):
        t.__array__(np.int32, copy=False)


def test_dlpack_protocol(tensor):
    t = tensor([[1, 2, 3], [4, 5, 6]])
    assert t.__dlpack_device__() == (1, 0)
    assert "dltensor_versioned" in repr(t.__dlpack__(max_version=(1, 1)))
    old = t.__dlpack__()
    assert "dltensor_versioned" not in repr(old)
    back = N.from_dlpack(old)
    assert back.data_ptr() == t.data_ptr()
    with pytest.raises(ValueError, match="used already"):
        N.from_dlpack(old)
    half = N.reinterpret(tensor([0x3F80], np.uint16), D.bfloat16)
    assert N.from_dlpack(half).dtype is D.bfloat16
    with pytest.raises(TypeError, match="__dlpack__ method, not int"):
        N.from_dlpack(3)
    with pytest.raises(BufferError, match="stream"):
        t.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="CPU"):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="copy"):
        t.__dlpack__(copy=True)
    with pytest.raises(TypeError):
        t.__dlpack__(3)
    with pytest.raises(TypeError):
        t.__dlpack__(max_version=3)
    with pytest.raises((BufferError, TypeError)):
        N.from_dlpack(np.array([1j]))


def test_sharing_leaks_nothing(tensor):
    array = np.arange(100.0)
    before, live = sys.getrefcount(array), N.memory_stats()["live_bytes"]
    for _ in range(200):
        t = N.from_numpy(array)
        N.from_dlpack(t)
        t.__dlpack__()
        t.__dlpack__(max_version=(1, 0))
        np.from_dlpack(t)
        t.numpy()
        memoryview(t).release()
        own = N.empty((10,), D.float32)
        N.from_dlpack(own).numpy()
        N.from_dlpack(own.__dlpack__())
    del t, own
    gc.collect()
    assert sys.getrefcount(array) == before
    assert N.memory_stats()["live_bytes"] == live
