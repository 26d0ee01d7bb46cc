"""Public functions remember which one operation a call comes down to: what may be remembered, and what may not."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import pickle
import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from weft.ops import elementwise as E
from weft.ops.frontend import shortcut


def counted(function: Callable[..., Any], by_class: bool = False) -> tuple[Callable[..., Any], list[int]]:
    calls: list[int] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return function(*args, **kwargs)

    return shortcut(call, by_class), calls


def tensors(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [weft.from_numpy(rng.random(shape, dtype=np.float32)) for shape in ((3, 4), (3, 4), (4,))]


FUNCTIONS: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (lambda x, y, v: x.min(), lambda x, y, v: x.min()),
    (lambda x, y, v: x.max(axis=1, keepdims=True), lambda x, y, v: x.max(axis=1, keepdims=True)),
    (lambda x, y, v: weft.argmax(x, 0), lambda x, y, v: x.argmax(0)),
    (lambda x, y, v: x.reshape(2, -1), lambda x, y, v: x.reshape(2, -1)),
    (lambda x, y, v: x.T, lambda x, y, v: x.T),
    (lambda x, y, v: x.to(weft.float64), lambda x, y, v: x.astype(np.float64)),
    (lambda x, y, v: x.to("int32"), lambda x, y, v: x.astype(np.int32)),
    (lambda x, y, v: weft.maximum(y, v), lambda x, y, v: np.maximum(y, v)),
    (lambda x, y, v: weft.where(x < y, x, 7.0), lambda x, y, v: np.where(x < y, x, np.float32(7))),
    (lambda x, y, v: weft.clip(x, 0.25, 0.5), lambda x, y, v: np.clip(x, np.float32(0.25), np.float32(0.5))),
    (lambda x, y, v: weft.concat([x, y], 1), lambda x, y, v: np.concatenate([x, y], 1)),
    (lambda x, y, v: weft.stack((x, y)), lambda x, y, v: np.stack((x, y))),
    (lambda x, y, v: weft.einsum("ij->ji", x), lambda x, y, v: x.T),
    (lambda x, y, v: x[weft.tensor([2, 0])], lambda x, y, v: x[[2, 0]]),
    (lambda x, y, v: weft.zeros(2, 3), lambda x, y, v: np.zeros((2, 3), np.float32)),
    (lambda x, y, v: weft.squeeze(x), lambda x, y, v: x),
]


@pytest.mark.parametrize("case", range(len(FUNCTIONS)))
def test_every_call_has_its_own_result(case: int) -> None:
    mine, numpys = FUNCTIONS[case]
    for seed in range(4):
        given = tensors(seed)
        made, expected = mine(*given), numpys(*[t.numpy() for t in given])
        assert made.shape == expected.shape
        assert made.numpy().tobytes() == expected.tobytes()


def test_the_function_runs_once_for_equal_calls() -> None:
    f, calls = counted(lambda x, axis=0, keepdims=False: weft.sum(x, axis, keepdims))
    for seed in range(3):
        x = tensors(seed)[0]
        assert f(x, 1).tolist() == weft.sum(x, 1).tolist()
        assert f(x, axis=1).tolist() == weft.sum(x, 1).tolist()
        assert f(x, (0, 1)).item() == weft.sum(x).item()
    assert len(calls) == 3
    f(tensors(0)[2])  # another layout
    f(tensors(0)[0].T, 1)
    f(tensors(0)[0], -1)
    assert len(calls) == 6


def test_calls_in_turns_do_not_forget_one_another() -> None:
    x, rng = weft.zeros(2), random.Random(3)
    for _ in range(300):  # which calls share places of the table follows from addresses, so try many
        f, calls = counted(lambda x, y: E.add(x, y))
        numbers = rng.sample(range(1, 2**20), 4)
        for _ in range(3):
            assert [f(x, n).tolist()[0] for n in numbers] == numbers
        assert len(calls) == 4


def test_numbers_are_told_apart_by_class_and_bits() -> None:
    f, calls = counted(lambda x, y: E.add(x, y))
    x = weft.zeros(2, dtype=weft.float64)
    for y in (1, 1.0, True, 2, 0.0, -0.0, math.nan, math.nan, 2**70):
        got = f(x, y).tolist()[0]
        assert got == y or math.isnan(y)
    assert math.copysign(1, (x - 0.0).tolist()[0]) == 1
    g, _ = counted(lambda x, y: E.multiply(x, y))
    one = weft.ones(1)
    assert [math.copysign(1, g(one, y).item()) for y in (0.0, -0.0, 0.0, -0.0)] == [1, -1, 1, -1]
    assert len(calls) == 8  # NaN by its bits, and 2**70 is not compared


def test_numbers_that_are_operands_are_told_apart_by_class_alone() -> None:
    f, calls = counted(lambda x, low, high: E.clip(x, low, high), by_class=True)
    x = weft.arange(10.0)
    for low, high in ((1.5, 2.5), (3.5, 4.5), (0.25, 8.0)):
        assert f(x, low, high).tolist() == np.clip(np.arange(10.0), low, high).tolist()
    assert len(calls) == 1
    same = 2.0
    assert f(x, same, same).tolist() == [2.0] * 10  # which is which could not be told
    assert f(x, 3.0, 4.0).tolist() == np.clip(np.arange(10.0), 3, 4).tolist()


def test_values_that_were_looked_at_are_not_remembered() -> None:
    def by_value(x: Any) -> Any:
        return E.square(x) if x.reshape(-1)[0].item() > 0 else E.negative(x)

    def by_axis(x: Any, axis: Any) -> Any:
        return weft.sum(x, axis)

    def by_flag(x: Any) -> Any:
        return E.square(x) if x.requires_grad else E.negative(x)

    def by_mode(x: Any) -> Any:
        with weft.no_grad():
            return E.square(x)

    x = weft.tensor([[2.0, 3.0]])
    f, calls = counted(by_value)
    assert [f(t).tolist() for t in (x, -x, x)] == [[[4, 9]], [[2, 3]], [[4, 9]]]
    g, _ = counted(by_axis)
    assert [g(x, weft.tensor(d)).shape for d in (0, 1, 0)] == [(2,), (1,), (2,)]
    assert [weft.sum(x, weft.tensor(d)).shape for d in (0, 1, 0)] == [(2,), (1,), (2,)]
    h, _ = counted(by_flag)
    assert [h(t).tolist() for t in (x, x.clone().requires_grad_(), x)] == [[[-2, -3]], [[4, 9]], [[-2, -3]]]
    k, _ = counted(by_mode)
    leaf = x.clone().requires_grad_()
    assert not any(k(t).requires_grad for t in (x, leaf, leaf))
    assert len(calls) == 3


def test_one_tensor_twice() -> None:
    f, _ = counted(lambda x, y: E.subtract(y, x))
    x, y, _ = tensors(0)
    assert f(x, x).tolist() == (x - x).tolist()
    assert f(x, y).tolist() == (y - x).tolist()
    assert f(y, x).tolist() == (x - y).tolist()


def test_results_that_are_an_argument_and_results_changed_afterwards() -> None:
    x = weft.ones(3)
    assert weft.float32 is x.dtype
    assert all(x.to(weft.float32) is x and x.float() is x and weft.positive(x) is x for _ in range(3))
    leaves = [weft.zeros(2, requires_grad=True) for _ in range(3)]
    assert all(t.requires_grad and t.is_leaf for t in leaves)
    assert not weft.zeros(2).requires_grad
    a, b = weft.zeros(2), weft.zeros(2)
    a.add_(1.0)
    assert b.tolist() == [0, 0]
    assert all(weft.rand(2).tolist() != weft.rand(2).tolist() for _ in range(3))


def test_gradients_pass_through_remembered_calls() -> None:
    def f(x: Any) -> Any:
        return (weft.maximum(x.reshape(4, 3).T, 0.5) * weft.softmax(x.T, 0).T.reshape(3, 4)).sum()

    for seed in range(3):
        x = tensors(seed)[0].requires_grad_()
        f(x).backward()
        y = x.detach().clone().requires_grad_()
        weft.static(lambda y: f(y).backward())(y)
        assert x.grad.numpy().tobytes() == y.grad.numpy().tobytes()
        with weft.no_grad():
            assert not f(x).requires_grad


def test_errors_of_remembered_calls_are_worded() -> None:
    x, index = weft.arange(3.0), weft.tensor([0, 1])
    assert weft.take(x, index, 0).tolist() == [0, 1]
    for _ in range(2):
        with pytest.raises(IndexError, match=r"(?s)in take\(float32\[3\], int64\[2\], 0\)"):
            weft.take(x, weft.tensor([0, 5]), 0)
    n = weft.arange(3)
    assert weft.multiply(n, 5).tolist() == [0, 5, 10]
    with pytest.raises(OverflowError, match=r"(?s)in multiply\(int64\[3\]"):
        weft.multiply(n, 2**70)
    assert n.multiply_(5).tolist() == [0, 5, 10]
    with pytest.raises(OverflowError):
        n.multiply_(2**70)
    assert n.tolist() == [0, 5, 10]


def test_recordings_record() -> None:
    x = weft.ones(3)
    for _ in range(2):
        weft.exp(x).sum()
    assert "exp" in str(weft.static(lambda t: weft.exp(t).sum()).explain(x))
    with weft.lazy():
        y = weft.exp(x).sum()
        assert y._pending is not None
    assert y.item() == weft.exp(x).sum().item()


def test_more_calls_than_are_remembered() -> None:
    x = weft.arange(64.0)
    for _ in range(2):
        for n in range(1, 200):
            assert weft.broadcast_to(x[:1], (n,)).shape == (n,)
            assert (weft.roll(x, n).tolist()[n % 64]) == 0.0
        for n in (1, 2, 4, 8, 16, 32, 64):
            assert x.reshape(n, -1).shape == (n, 64 // n)


def test_a_shortcut_is_a_function_to_python() -> None:
    assert str(inspect.signature(weft.sum)).startswith("(x: 'Any', axis: 'Any' = None")
    assert weft.sum.__name__ == weft.sum.__qualname__ == "sum"
    assert "over one axis" in weft.sum.__doc__
    assert inspect.isroutine(weft.sum)
    assert repr(weft.sum) == "<function sum>"
    assert pickle.loads(pickle.dumps(weft.sum)) is weft.sum
    assert pickle.loads(pickle.dumps(weft.exp)) is weft.exp
    assert copy.deepcopy(weft.sum) is weft.sum
    x = weft.ones(2, 3)
    assert x.sum.__self__ is x
    assert weft.Tensor.sum(x).item() == 6
    with pytest.raises(TypeError, match="callable"):
        weft._native.Shortcut(3)

    class Held:
        pass

    held = Held()
    f = shortcut(lambda x, held=held: E.exp(x))
    f.me = f  # a cycle
    assert f(x).shape == (2, 3)
    known = weakref.ref(held)
    del held, f
    gc.collect()
    assert known() is None


def test_names_are_refused_in_words() -> None:
    x = weft.ones(2)
    for f in (weft.exp, x.exp, x.exp_):
        with pytest.raises(TypeError, match=r"takes one operand, x, by position, and no argument 'out'\."):
            f(*([x] if f is weft.exp else []), out=x)
    with pytest.raises(
        TypeError, match=r"multiply takes two operands, x and y, by position, and no argument 'other'\."
    ):
        weft.multiply(x, other=x)
    with pytest.raises(TypeError, match=r"multiply takes two operands, x and y, not 3\."):
        weft.multiply(x, x, x)
