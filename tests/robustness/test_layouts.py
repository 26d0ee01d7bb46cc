"""Arrays of every layout: negative, zero, huge and overlapping strides, many axes, read-only memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import MODES

as_strided = np.lib.stride_tricks.as_strided


def base(*shape: int, dtype: str = "float32") -> np.ndarray:
    n = int(np.prod(shape))
    return (np.arange(n) % 97 - 40).astype(dtype).reshape(shape)


def far_apart(stride: int = 3_000_000, rows: int = 9) -> np.ndarray:
    """Elements millions of places apart, in memory of which only the touched pages exist."""
    memory = mmap.mmap(-1, (rows * stride + 64) * 4)
    x = as_strided(np.frombuffer(memory, np.float32), (rows, 5), (stride * 4, 8))
    x[...] = base(rows, 5)
    return x


#: name -> an array of that layout
LAYOUTS: dict[str, Callable[[], np.ndarray]] = {
    "contiguous": lambda: base(6, 5),
    "transposed": lambda: base(5, 6).T,
    "reversed": lambda: base(6, 5)[::-1, ::-1],
    "one axis reversed": lambda: base(6, 5)[:, ::-1],
    "stepped": lambda: base(12, 15)[::2, ::3],
    "stepped backwards": lambda: base(12, 15)[::-2, ::-3],
    "a corner": lambda: base(9, 9)[2:8, 3:8],
    "broadcast rows": lambda: np.broadcast_to(base(1, 5), (6, 5)),
    "broadcast columns": lambda: np.broadcast_to(base(6, 1), (6, 5)),
    "one element": lambda: np.broadcast_to(np.float32(3), (6, 5)),
    "windows": lambda: np.lib.stride_tricks.sliding_window_view(base(10), 5),
    "overlapping": lambda: as_strided(base(40), (6, 5), (12, 8)),
    "windows backwards": lambda: np.lib.stride_tricks.sliding_window_view(base(10), 5)[::-1],
    "far apart": far_apart,
    "far apart backwards": lambda: far_apart()[::-1, ::-1],
    "one column": lambda: base(6, 700)[:, 5:10],
    "a row": lambda: base(1, 5),
    "strange stride of a single row": lambda: as_strided(base(5), (1, 5), (1_000_000_000, 4)),
    "wide": lambda: base(3, 4000)[:, ::2],
    "tall and transposed": lambda: base(2, 4000).T[::2],
}


def done(function: Callable[..., Any]) -> Callable[..., None]:
    """The function without its result."""

    def call(*args: Any) -> None:
        function(*args)

    return call


def rows(x: Any) -> Any:
    return weft.softmax(x, 1)


def numpy_rows(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "elementwise": (lambda x: x * 2 + 1, lambda x: x * 2 + 1),
    "with itself reversed": (lambda x: x + x.flip(0), lambda x: x + x[::-1]),
    "sum": (lambda x: x.sum(), lambda x: x.sum()),
    "sum rows": (lambda x: x.sum(axis=1), lambda x: x.sum(axis=1)),
    "sum columns": (lambda x: x.sum(axis=0), lambda x: x.sum(axis=0)),
    "max columns": (lambda x: x.max(axis=0), lambda x: x.max(axis=0)),
    "argmax": (lambda x: x.argmax(axis=1), lambda x: x.argmax(axis=1)),
    "softmax": (rows, numpy_rows),
    "product": (lambda x: x @ x.T, lambda x: x @ x.T),
    "product transposed": (lambda x: x.T @ x, lambda x: x.T @ x),
    "product with reversed": (lambda x: x.flip(1) @ x.T, lambda x: x[:, ::-1] @ x.T),
    "reshape": (lambda x: x.reshape(-1) + 1, lambda x: x.reshape(-1) + 1),
    "index": (lambda x: x[weft.tensor([0, 0])], lambda x: x[[0, 0]]),
    "mask": (lambda x: weft.where(x > 0, x, -x), lambda x: np.abs(x)),
    "concat": (lambda x: weft.concat([x, x.flip(1)], 1), lambda x: np.concatenate([x, x[:, ::-1]], 1)),
    "clone": (lambda x: x.clone(), lambda x: x.copy()),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading(layout: str, mode: str) -> None:
    x = LAYOUTS[layout]()
    copy = x.copy()
    t = weft.from_numpy(x) if x.flags.writeable else weft.asarray(x, copy=False)
    assert t.data_ptr() == x.__array_interface__["data"][0]
    for name, (mine, oracle) in FUNCTIONS.items():
        got = MODES[mode](mine)(t).numpy()
        expected = np.asarray(oracle(copy))
        assert got.shape == expected.shape, name
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading_in_several_shapes_at_once(layout: str, mode: str) -> None:
    """One kernel, whose loops are divided where the axes of an operand begin that is read under other axes."""

    def function(x: Any) -> Any:
        n = x.size
        row, flat = x.reshape(1, n), x.reshape(n)
        squares = (row * row).sum(axis=1, keepdims=True)
        total = (flat * squares[0]).sum()
        return row * squares + total, flat + squares[0]

    x = LAYOUTS[layout]()
    expected = function(weft.tensor(x))
    got = MODES[mode](function)(weft.asarray(x, copy=False))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", [n for n in LAYOUTS if "broadcast" not in n and n != "one element"])
def test_gradient(layout: str, mode: str) -> None:
    x = LAYOUTS[layout]()

    def f(t: Any) -> Any:
        t = t.detach().requires_grad_()
        return weft.grad((t * t * 0.5).sum(), [t])[0]

    t = weft.from_numpy(x) if x.flags.writeable else weft.asarray(x, copy=False)
    np.testing.assert_array_equal(MODES[mode](f)(t).numpy(), x)


WRITES: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "add_": (lambda x: x.add_(1.0), lambda x: np.add(x, 1, out=x)),
    "mul_": (lambda x: x.mul_(x), lambda x: np.multiply(x, x.copy(), out=x)),
    "fill": (lambda x: x.__setitem__(..., 3.0), lambda x: x.__setitem__(..., 3)),
    "row": (lambda x: x.__setitem__(0, 3.0), lambda x: x.__setitem__(0, 3)),
    "part": (
        lambda x: x.__setitem__((slice(None), slice(1, 4)), x[:, 0:3] * 2),
        lambda x: x.__setitem__((slice(None), slice(1, 4)), (x[:, 0:3] * 2).copy()),
    ),
    "reverse": (lambda x: x.copy_(x.flip(0)), lambda x: x.__setitem__(..., x[::-1].copy())),
    "index": (
        lambda x: x.__setitem__(weft.tensor([0, -1]), -x[weft.tensor([0, -1])]),
        lambda x: x.__setitem__([0, -1], -x[[0, -1]]),
    ),
    "transposed": (lambda x: x.T.add_(1.0), lambda x: np.add(x.T, 1, out=x.T)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "layout", ["contiguous", "transposed", "reversed", "stepped backwards", "a corner", "far apart"]
)
def test_writing(layout: str, mode: str) -> None:
    """The array's own memory changes, and nothing around it."""
    for name, (mine, oracle) in WRITES.items():
        x, expected = LAYOUTS[layout](), LAYOUTS[layout]()
        around = x.base if isinstance(x.base, np.ndarray) and layout != "far apart" else None
        outside = around.copy() if around is not None else None
        t = weft.from_numpy(x)
        MODES[mode](done(lambda t, mine=mine: mine(t)))(t)
        t.numpy()
        oracle(expected)
        np.testing.assert_array_equal(x, expected, err_msg=name)
        if around is not None and outside is not None:
            mask = np.ones(around.shape, bool)
            offset = (x.__array_interface__["data"][0] - around.__array_interface__["data"][0]) // 4
            flat = as_strided(mask.reshape(-1)[offset:], x.shape, tuple(s // 4 for s in x.strides))
            flat[...] = False
            np.testing.assert_array_equal(around[mask], outside[mask], err_msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", ["broadcast rows", "one element", "windows", "overlapping"])
def test_writing_where_elements_share_memory(layout: str, mode: str) -> None:
    """Refused, or done as if one after another: never a crash, never outside the memory."""
    x = LAYOUTS[layout]()
    if not x.flags.writeable:
        x = as_strided(np.array(x.base if x.base is not None else x), x.shape, x.strides)
    t = weft.from_numpy(x)
    try:
        MODES[mode](done(lambda t: t.add_(1.0)))(t)
        t.numpy()
    except (ValueError, RuntimeError) as error:
        assert "share" in str(error) or "overlap" in str(error)
        np.testing.assert_array_equal(x, LAYOUTS[layout]())


OVERLAPS: list[tuple[slice, slice]] = [
    (slice(1, None), slice(None, -1)),
    (slice(None, -1), slice(1, None)),
    (slice(None, None, -1), slice(None)),
    (slice(2, None), slice(None, -2)),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [10, 100_000])
def test_operands_that_overlap_the_target(size: int, mode: str) -> None:
    """The result is as if the operand had been copied first."""
    for to, of in OVERLAPS:
        x = base(size)
        expected = x.copy()
        expected[to] = x[of] + x[to]
        t = weft.from_numpy(x)
        MODES[mode](done(lambda t, to=to, of=of: t[to].add_(t[of])))(t)
        t.numpy()
        np.testing.assert_array_equal(x, expected)
        x = base(size)
        expected = x.copy()
        expected[to] = x[of].copy()
        t = weft.from_numpy(x)
        MODES[mode](lambda t, to=to, of=of: t.__setitem__(to, t[of]))(t)
        t.numpy()
        np.testing.assert_array_equal(x, expected)
    x = base(300, 300)
    expected = x + x.T
    t = weft.from_numpy(x)
    MODES[mode](done(lambda t: t.add_(t.T)))(t)
    t.numpy()
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_two_arrays_over_one_memory(mode: str) -> None:
    """Tensors made from overlapping NumPy arrays do not know of each other; NumPy's own rule for operands holds."""
    memory = base(20)
    a, b = weft.from_numpy(memory[:10]), weft.from_numpy(memory[5:15])
    expected = memory[:10] + memory[5:15]
    np.testing.assert_array_equal(MODES[mode](lambda a, b: a + b)(a, b).numpy(), expected)
    MODES[mode](done(lambda a: a.mul_(2.0)))(a)
    a.numpy()
    assert b.tolist() == memory[5:15].tolist()


@pytest.mark.parametrize("mode", MODES)
def test_read_only_memory(mode: str) -> None:
    x = base(6, 5)
    x.flags.writeable = False
    t = weft.asarray(x, copy=False)
    f = MODES[mode](lambda t: t * 2)
    np.testing.assert_array_equal(f(t).numpy(), x * 2)
    for write in (
        lambda t: t.add_(1.0),
        lambda t: t.__setitem__(0, 1.0),
        lambda t: t[1:].zero_(),
        lambda t: t.__setitem__(weft.tensor([0]), 1.0),
        lambda t: t.T.copy_(t.T),
    ):
        with pytest.raises((ValueError, RuntimeError), match="read-only"):
            MODES[mode](done(lambda t, write=write: write(t)))(t)
            t.numpy()
    np.testing.assert_array_equal(x, base(6, 5))
    assert not t.numpy().flags.writeable
    from_bytes = weft.asarray(np.frombuffer(b"\0\0\x80?" * 4, np.float32), copy=False)
    assert from_bytes.tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="read-only"):
        from_bytes.add_(1.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", [8, 12, 24, 32])
def test_many_axes(ndim: int, mode: str) -> None:
    """Sizes of 2 on some axes, in an order that no two of them can be joined."""
    shape = tuple(2 if d % max(ndim // 8, 1) == 0 and d // max(ndim // 8, 1) < 8 else 1 for d in range(ndim))
    x = base(*shape)
    order = tuple(range(0, ndim, 2)) + tuple(range(1, ndim, 2))
    y = x.transpose(order)
    t = weft.from_numpy(x).permute(*order)
    for mine, oracle in (
        (lambda t: t * 2 + t.flip(0), lambda y: y * 2 + y[::-1]),
        (lambda t: t.sum(axis=(0, 2, 4)), lambda y: y.sum(axis=(0, 2, 4))),
        (lambda t: t.max(axis=-1), lambda y: y.max(axis=-1)),
        (lambda t: t.reshape(-1) * 1.0, lambda y: y.reshape(-1)),
        (lambda t: t.clone(), lambda y: y),
        (lambda t: weft.concat([t, t], 1), lambda y: np.concatenate([y, y], 1)),
        (lambda t: t.unsqueeze(0) @ t.unsqueeze(0).mT, lambda y: y[None] @ np.swapaxes(y[None], -1, -2)),
    ):
        np.testing.assert_array_equal(MODES[mode](mine)(t).numpy(), oracle(y))
    w = weft.ones(shape, requires_grad=True)
    (g,) = weft.grad((w.permute(*order) * t).sum(), [w])
    np.testing.assert_array_equal(g.numpy(), x)


def test_more_axes_than_there_may_be() -> None:
    assert weft.ones((1,) * 64).ndim == 64
    with pytest.raises(ValueError, match="64 dimensions"):
        weft.ones((1,) * 65)
    x = weft.ones((1,) * 64)
    for function in (
        lambda: x.unsqueeze(0),
        lambda: x[None],
        lambda: x.reshape((1,) * 65),
        lambda: weft.stack([x, x]),
        lambda: x.expand((1,) * 65),
        lambda: weft.one_hot(x.to(weft.int64), 3),
    ):
        with pytest.raises(ValueError, match="64"):
            function()
    assert (x + 1).sum().item() == 2.0


@pytest.mark.parametrize("mode", MODES)
def test_large_strides_of_large_views(mode: str) -> None:
    """Offsets beyond 32 bits, in memory that exists only where it is touched."""
    rows, stride = 5, 1_200_000_000
    memory = mmap.mmap(-1, rows * stride)  # 6 GB of addresses, a few pages of memory
    x = as_strided(np.frombuffer(memory, np.int8), (rows, 3), (stride, 1))
    x[...] = base(rows, 3, dtype="int8")
    t = weft.from_numpy(x)
    for mine, oracle in (
        (lambda t: t + 1, lambda x: x + np.int8(1)),
        (lambda t: t.flip(0).clone(), lambda x: x[::-1]),
        (lambda t: t.sum(axis=0), lambda x: x.sum(axis=0)),
        (lambda t: t[weft.tensor([4, 0, -1])], lambda x: x[[4, 0, -1]]),
        (lambda t: t[4], lambda x: x[4]),
    ):
        np.testing.assert_array_equal(MODES[mode](mine)(t).numpy(), oracle(x))
    MODES[mode](done(lambda t: t.T.mul_(2)))(t)
    t.numpy()
    np.testing.assert_array_equal(x, base(rows, 3, dtype="int8") * 2)


def test_layouts_that_cannot_be_shared() -> None:
    raw = np.zeros(41, np.uint8)
    unaligned = raw[1:].view(np.float32)
    odd = as_strided(base(20), (3,), (6,))
    for array in (unaligned, odd, base(3).astype(">f4"), np.zeros(3, np.complex64), np.zeros(3, "U3")):
        with pytest.raises((ValueError, TypeError)):
            weft.from_numpy(array)
    assert weft.tensor(unaligned).tolist() == unaligned.tolist()
    assert weft.tensor(base(3).astype(">f4")).tolist() == base(3).tolist()
