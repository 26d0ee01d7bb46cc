"""``x[key]`` and ``x[key] = value`` against NumPy, by hand and at random; functions that index along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import bits, in_every_mode

A = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
M = A % 7 < 2
ROWS = np.array([True, False, True])
KEYS: list[Any] = [
    0, -1, (1, 2), (1, -1, 3), slice(None), slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(2, 0, -2),
    slice(5, 9), slice(-2, None), ..., (..., 1), (0, ...), (slice(None), None, 1), (None, ..., None), (1, ..., slice(0, 4, 3)),
    (slice(None), slice(None, None, -2), 2), np.int64(1), [0, 2], np.array([[0, 1], [2, -1]]), (slice(None), [1, 1, 3]),
    ([0, 1], [1, 2]), ([0, 1], slice(None), [1, 2]), (slice(None), [0, 1], [1, 2]), (0, slice(None), [1, 2]), (0, [1, 2]),
    ([[0], [1]], [1, 2]), (..., [0, 4]), (None, [0, 1]), ([0, 1], None), (slice(None), None, [1, 2], [3, 4]),
    ([0, 1], None, [1, 2]), ROWS, M, (ROWS, slice(None), [True, False, False, True, False]), (ROWS, 1), (0, A[0] > 10),
    (slice(1, 3), [0, 1], slice(None, None, 2)), [], (np.array(1), 2), (slice(None), np.array(1)),
    True, False, (True, 1), (0, np.array(False)), (slice(None), True, [1, 2]), np.array(True),
]  # fmt: skip


def weft_key(key: Any) -> Any:
    """The key with its arrays as tensors."""
    if isinstance(key, tuple):
        return tuple(weft_key(k) for k in key)
    return weft.from_numpy(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k).replace("\n", "")[:50])
def test_get_and_set(key: Any) -> None:
    """Reading gives NumPy's values; writing a number, a row and a fitting array changes the same elements."""
    x = weft.from_numpy(A)
    want = A[key]
    for given in (key, weft_key(key)):
        np.testing.assert_array_equal(x[given].numpy(), want)
    fitting = np.arange(want.size, dtype=np.float32).reshape(want.shape) + 100
    values: list[Any] = [7.0, fitting]
    if want.ndim:
        values.append(np.arange(want.shape[-1], dtype=np.float32) + 50)
    for value in values:
        array, y = A.copy(), weft.from_numpy(A.copy())
        array[key] = value
        y[weft_key(key)] = value if isinstance(value, float) else weft.asarray(np.asarray(value))
        np.testing.assert_array_equal(y.numpy(), array)


def masked(key: Any) -> bool:
    """Whether reading with the key needs the number of true elements."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(np.asarray(p).dtype == bool for p in parts if isinstance(p, np.ndarray | list | bool) and np.size(p))


@pytest.mark.parametrize("key", [k for k in KEYS if not masked(k)], ids=lambda k: repr(k).replace("\n", "")[:50])
def test_modes(key: Any) -> None:
    """The same in every mode, except what depends on the number of true elements."""
    given = weft_key(key)

    def write(x: Any) -> Any:
        y = x * 1
        y[given] = x[given] + 1
        y[given] += 1
        return x[given], y

    got, changed = in_every_mode(write, weft.from_numpy(A))
    np.testing.assert_array_equal(got.numpy(), A[key])
    want = A.copy()
    want[key] = A[key] + 1
    want[key] += 1
    np.testing.assert_array_equal(changed.numpy(), want)


def test_random_keys() -> None:
    """Random mixtures of everything, against NumPy."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        shape = tuple(rng.integers(1, 5, rng.integers(1, 5)))
        array = rng.integers(0, 99, shape).astype(np.int64)
        key: list[Any] = []
        common = tuple(rng.integers(1, 3, rng.integers(0, 3)))
        for n in shape[: rng.integers(1, len(shape) + 1)]:
            match rng.integers(0, 5):
                case 0:
                    key.append(int(rng.integers(-n, n)))
                case 1:
                    a, b = sorted(rng.integers(-n, n + 1, 2))
                    key.append(slice(int(a), int(b), int(rng.integers(1, 3))))
                case 2:
                    key.append(slice(None, None, -1))
                case 3:
                    key.append(rng.integers(-n, n, common))
                case _:
                    key.append(slice(None))
            if rng.random() < 0.2:
                key.append(None)
        if rng.random() < 0.3:
            key.append(...)
        keys = tuple(key)
        x = weft.from_numpy(array.copy())
        np.testing.assert_array_equal(x[weft_key(keys)].numpy(), array[keys], err_msg=repr((shape, keys)))
        x[weft_key(keys)] = -1
        changed = array.copy()
        changed[keys] = -1
        np.testing.assert_array_equal(x.numpy(), changed, err_msg=repr((shape, keys)))


def test_views_and_copies() -> None:
    x = weft.from_numpy(A.copy())
    assert x[1:, ::-1]._storage_id == x._storage_id
    assert x[...]._storage_id == x._storage_id
    assert x[...] is not x
    assert x[[0]]._storage_id != x._storage_id
    x[1][2][3] = -5
    assert x[1, 2, 3].item() == -5
    y = x[0]
    y += 1
    assert x[0, 0, 0].item() == 1


def test_setting_casts() -> None:
    x = weft.zeros(3, dtype=weft.int64)
    x[0] = 2.9
    x[1:] = weft.tensor([3.9, -1.5])
    assert x.tolist() == [2, 3, -1]
    x[x > 2] = 9.7
    x[[0]] = True
    assert x.tolist() == [1, 9, -1]
    x[:] = [4, 5, 6]
    x[weft.tensor([True, False, False])] = np.float32(8)
    assert x.tolist() == [8, 5, 6]


def test_repeated_positions() -> None:
    """The last of equal positions stays; additions all count."""
    x = weft.zeros(3)
    x[[0, 0, 0]] = weft.tensor([1.0, 2.0, 3.0])
    assert x.tolist() == [3, 0, 0]
    assert weft.index_add(weft.zeros(2), 0, weft.tensor([1, 1, 0]), weft.tensor([1.0, 2.0, 4.0])).tolist() == [4, 3]
    assert weft.zeros(2).index_add_(0, weft.tensor([1, 1]), weft.ones(2)).tolist() == [0, 2]


def test_traced_indices() -> None:
    """Positions and masks that only a run knows."""
    x = weft.from_numpy(A)

    def pick(x: Any, i: Any) -> Any:
        y = x.clone()
        y[i] = 0
        y[y > 50] = -1
        return x[i], x[i, 1:], y

    for position in (weft.tensor(2), weft.tensor([1, -1])):
        eager = in_every_mode(pick, x, position)
        np.testing.assert_array_equal(eager[0].numpy(), A[position.numpy()])


def test_along_an_axis() -> None:
    x = weft.from_numpy(A)
    index = np.array([3, 0, 3])
    i = weft.from_numpy(index)
    for axis in (1, -2):
        (got,) = in_every_mode(lambda t, k, a=axis: weft.take(t, k, a), x, i)
        np.testing.assert_array_equal(got.numpy(), A.take(index, axis))
    np.testing.assert_array_equal(weft.take(x, i.reshape(3, 1)).numpy(), A.take(index[:, None]))
    np.testing.assert_array_equal(x.index_select(1, i).numpy(), A.take(index, 1))
    order = np.argsort(A, axis=2)[:, :, ::-1].copy()
    (got,) = in_every_mode(lambda t, k: weft.take_along_axis(t, k, 2), x, weft.from_numpy(order))
    np.testing.assert_array_equal(got.numpy(), np.take_along_axis(A, order, 2))
    few = order[:1, :, :2].copy()
    np.testing.assert_array_equal(
        weft.take_along_axis(x, weft.from_numpy(few), -1).numpy(), np.take_along_axis(A, few, -1)
    )
    (got,) = in_every_mode(lambda t, k: weft.gather(t, dim=2, index=k), x, weft.from_numpy(order[:2, :3].copy()))
    np.testing.assert_array_equal(got.numpy(), np.take_along_axis(A[:2, :3], order[:2, :3], 2))


def test_scatter() -> None:
    base = np.zeros((3, 5), dtype=np.float32)
    index = np.array([[0, 2, 0], [1, 1, 1]])
    source = np.arange(10, dtype=np.float32).reshape(2, 5)
    added, placed = base.copy(), base.copy()
    for r in range(2):
        for c in range(3):
            added[index[r, c], c] += source[r, c]
            placed[index[r, c], c] = source[r, c]
    x, i, s = map(weft.from_numpy, (base, index, source))
    (got,) = in_every_mode(lambda x, i, s: weft.scatter_add(x, 0, i, s), x, i, s)
    np.testing.assert_array_equal(got.numpy(), added)
    (got,) = in_every_mode(lambda x, i, s: weft.scatter(x, 0, i, s), x, i, s)
    np.testing.assert_array_equal(got.numpy(), placed)
    assert weft.zeros(3).scatter_(0, weft.tensor([2]), 7.0).tolist() == [0, 0, 7]
    y = weft.zeros(3, 5)
    y.scatter_add_(0, i, s)
    np.testing.assert_array_equal(y.numpy(), added)


def test_true_positions() -> None:
    mask = weft.from_numpy(M)
    for got, want in zip(weft.nonzero(mask), np.nonzero(M), strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(weft.nonzero(mask, as_tuple=False).numpy(), np.argwhere(M))
    assert [t.tolist() for t in weft.where(weft.tensor([0, 1, 2]) > 0)] == [[1, 2]]
    assert weft.masked_select(weft.from_numpy(A), mask).tolist() == A[M].tolist()
    assert weft.nonzero(weft.zeros(2, 2))[1].shape == (0,)
    with weft.lazy():
        got = weft.from_numpy(A)[mask]
    assert bits(got) == bits(weft.from_numpy(A[M]))


def test_one_hot() -> None:
    (got,) = in_every_mode(lambda t: weft.one_hot(t, 3), weft.tensor([[0, 2], [1, 1]]))
    np.testing.assert_array_equal(got.numpy(), np.eye(3, dtype=np.int64)[[[0, 2], [1, 1]]])
    for label in (3, -1):
        with pytest.raises(IndexError, match="from 0 to 2"):
            weft.one_hot(weft.tensor([label]), 3)


def test_out_of_range_leaves_the_target_alone() -> None:
    x = weft.zeros(3)
    with pytest.raises(IndexError, match="axis 0, which has size 3"):
        x[weft.tensor([0, 3])] = 1.0
    assert x.tolist() == [0, 0, 0]
    static = weft.static(lambda t, i: t[i])
    with pytest.raises(IndexError, match="axis 0, which has size 3"):
        static(x, weft.tensor([3]))
    assert static(x, weft.tensor([2])).tolist() == [0]


def test_many_positions_leave_no_plans() -> None:
    """A loop over x[i] keeps nothing for each i."""
    from weft.ops.movement import slice_

    x = weft.zeros(300, 2)
    before = slice_.handle.plan_count
    for i in range(300):
        x[i]
    assert slice_.handle.plan_count == before
