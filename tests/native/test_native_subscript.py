"""Views and assignments by simple keys, which the native type makes itself: they are those that Python code would have made."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import weft
from weft.ops.indexing import getitem


def tensors(rng: random.Random) -> Any:
    shape = [rng.choice([0, 1, 1, 2, 3, 5]) for _ in range(rng.randrange(4))]
    x = weft.from_numpy(np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape))
    for _ in range(rng.randrange(3)):
        if x.ndim and rng.random() < 0.4:
            x = weft.flip(x, rng.randrange(x.ndim))
        elif x.ndim and rng.random() < 0.4:
            x = weft.permute(x, tuple(rng.sample(range(x.ndim), x.ndim)))
        elif 1 in x.shape:
            x = weft.broadcast_to(x, tuple(rng.choice([1, 3]) if n == 1 else n for n in x.shape))
    return x


def keys(rng: random.Random, ndim: int) -> Any:
    def bound() -> Any:
        return rng.choice([None, None, *range(-6, 7)])

    def element() -> Any:
        kind = rng.random()
        if kind < 0.4:
            return rng.randrange(-4, 4)
        return slice(bound(), bound(), rng.choice([None, None, 1, 2, -1, -2, 3]))

    key = [element() for _ in range(rng.randrange(ndim + 1))]
    if rng.random() < 0.3:
        key.insert(rng.randrange(len(key) + 1), ...)
    while rng.random() < 0.3:
        key.insert(rng.randrange(len(key) + 1), None)
    return key[0] if len(key) == 1 and rng.random() < 0.7 else tuple(key)


def described(view: Any, x: Any) -> Any:
    return view.dtype, view.shape, view.strides, view.offset, view.base is (x if x.base is None else x.base)


@pytest.mark.parametrize("seed", range(20))
def test_views_are_those_of_python(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(400):
        x = tensors(rng)
        key = keys(rng, x.ndim)
        try:
            expected = x.numpy()[key]
        except IndexError:
            with pytest.raises(IndexError):
                x[key]
            continue
        view = x[key]
        assert view.numpy().tobytes() == np.asarray(expected).tobytes(), (x.shape, key)
        assert described(view, x) == described(getitem(x, key), x), (x.shape, x.strides, key)


@pytest.mark.parametrize("step", [2**62, -(2**62), 2**63 - 1, 2**100, -(2**100)])
def test_steps_of_any_size(step: int) -> None:
    x = weft.arange(24).reshape(2, 3, 4)
    expected = x.numpy()[:, ::step]
    assert described(x[:, ::step], x) == described(getitem(x, np.s_[:, ::step]), x)
    with weft.lazy():
        lazy = x[:, ::step] * 1
    for made in (x[:, ::step], getitem(x, np.s_[:, ::step]), lazy, weft.static(lambda x: x[:, ::step] * 1)(x)):
        np.testing.assert_array_equal(made.numpy(), expected)
    x[:, ::step] = 100
    assert np.count_nonzero(x.numpy() == 100) == expected.size


@pytest.mark.parametrize("seed", range(10))
def test_assignments_are_those_of_numpy(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(300):
        x = tensors(rng)
        if any(s == 0 and n > 1 for n, s in zip(x.shape, x.strides, strict=True)):
            continue
        key = keys(rng, x.ndim)
        expected = x.numpy().copy()
        try:
            shape = expected[key].shape
        except IndexError:
            continue
        if rng.random() < 0.4:
            value: Any = rng.randrange(100)
            expected[key] = value
        else:
            part = [1 if rng.random() < 0.3 else n for n in shape][rng.randrange(len(shape) + 1) :]
            value = weft.from_numpy(np.array(rng.choices(range(100), k=int(np.prod(part))), np.int32).reshape(part))
            expected[key] = value.numpy()
        version = x._version
        x[key] = value
        assert x.numpy().tobytes() == expected.tobytes(), (x.shape, key)
        assert x._version > version or not np.prod(shape, dtype=int)


def test_what_is_not_simple_is_left_to_python() -> None:
    x = weft.arange(6).reshape(2, 3)
    assert x[True].shape == (1, 2, 3)
    assert x[np.int64(1)].tolist() == [3, 4, 5]
    assert x[weft.tensor(1)].tolist() == [3, 4, 5]
    assert x[[1, 0]].tolist() == [[3, 4, 5], [0, 1, 2]]
    with pytest.raises(IndexError, match="at most one"):
        x[..., ...]
    with pytest.raises(IndexError, match="step"):
        x[::0]
    with pytest.raises(IndexError, match=r"axis 1, which has size 3"):
        x[0, 3]
    with pytest.raises(IndexError, match="takes 3 axes"):
        x[0, 0, 0]
    with pytest.raises(ValueError, match="does not fit"):
        x[0] = weft.zeros(2, dtype=weft.int64)
    x[0] = x[1]
    x[:, 1:] = x[:, :2].clone()
    assert x.tolist() == [[3, 3, 4], [3, 3, 4]]
    x[:, 1:] = x[:, :2]  # through memory that is written
    assert x.tolist() == [[3, 3, 3], [3, 3, 3]]


def test_views_on_the_tape_and_in_recordings() -> None:
    x = weft.ones(2, 3, requires_grad=True)
    (x[0] * x[:, 1:][0, 1]).sum().backward()
    assert x.grad.tolist() == [[1, 1, 4], [0, 0, 0]]
    with weft.no_grad():
        assert not x[0].requires_grad
        x[1] = 7.0
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 0.0
    y = weft.zeros(3)
    y[1] = x[0, 0] * 2
    y.sum().backward()
    assert x.grad.tolist() == [[3, 1, 4], [0, 0, 0]]
    assert weft.static(lambda t: t[1:, None])(x.detach()).tolist() == [[[7, 7, 7]]]
    with weft.lazy():
        z = y.detach()[1:] * 2
    assert z.tolist() == [4, 0]


def test_numbers_are_read_natively_where_they_are_there() -> None:
    assert float(weft.tensor([2.5])) == 2.5
    assert int(weft.tensor(2.9)) == 2
    assert weft.tensor(True).item() is True
    assert not weft.tensor([[0]])
    assert list(range(3))[weft.tensor(1)] == 1
    assert len(weft.zeros(4, 2)) == 4
    with weft.lazy():
        x = weft.ones(1) * 3
        assert x.item() == float(x) == 3.0
    with pytest.raises(TypeError, match="no length"):
        len(weft.tensor(1.0))
    with pytest.raises(ValueError, match="one element, not shape"):
        weft.zeros(2).item()
    with pytest.raises(ValueError, match="is not one value"):
        bool(weft.zeros(2))
    with pytest.raises(TypeError, match="used as an index"):
        [0][weft.tensor(0.0)]
    for read in (float, int, bool, lambda t: t.item(), lambda t: [0][t]):
        with pytest.raises(weft.TraceError, match="tensor's value"):
            weft.static(lambda t, read=read: read(t.sum()))(weft.tensor([0]))
