"""Calls of static functions that were traced: which are found without Python, and what they check, read, write and give."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import weft
from tests.modes.test_static import rand, same, traces
from weft import nn
from weft.errors import TraceError


def asked(f: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of the calls that Python is asked about."""
    calls: list[Any] = []
    replay_of = f.replay_of

    def noting(args: Any, kwargs: Any) -> Any:
        calls.append(args)
        return replay_of(args, kwargs)

    monkeypatch.setattr(f, "replay_of", noting)
    return calls


AT_A_GLANCE = [1, True, 1.0, None, False, 0, -1, 2**63 - 1, -(2**63), 2.5]
OTHERS = [2**63, -(2**70), "sum", (1, 2), np.float64(3)]


def test_arguments_are_told_apart_as_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    f = weft.static(lambda x, k: (x * k, k) if isinstance(k, weft.Tensor) else (x, k))
    x = rand(5)
    for _ in range(3):
        for k in [*AT_A_GLANCE, *OTHERS]:
            out, given = f(x, k)
            same(out, x * k if type(k) is float else x)
            if type(k) is float:
                assert given.item() == k
            else:
                assert type(given) is type(k)
                assert given == k
    assert traces(f) == len(AT_A_GLANCE) + len(OTHERS) - 1  # floats share a trace
    calls = asked(f, monkeypatch)
    for k in [*AT_A_GLANCE, *OTHERS]:
        f(x, k)
    assert [k for _, k in calls] == OTHERS


def test_calls_that_take_a_closer_look(monkeypatch: pytest.MonkeyPatch) -> None:
    f = weft.static(lambda *xs, k=1: sum(xs, 0) * k)
    x, y = rand(4), rand(4) + 1
    for _ in range(2):
        same(f(x, y), x + y)
        same(f(x, x), x + x)
        same(f(x, x[:]), x + x)
        same(f(x, y, k=2), (x + y) * 2)
        same(f(*[x + k for k in range(33)]), sum((x + k for k in range(33)), 0))
    with weft.lazy():
        z = x * 3
    calls = asked(f, monkeypatch)
    same(f(z, y), x * 3 + y)  # z waits for its value
    same(f(x, y), x + y)
    assert len(calls) == 1
    f(x, x), f(x, x[:]), f(x, y, k=2)
    assert len(calls) == 4


def test_many_calls_are_known_and_then_forgotten() -> None:
    @weft.static
    def f(x: Any, k: int) -> Any:
        return x + k

    x = weft.zeros(2)
    for k in range(520):
        assert f(x, k)[1].item() == k
    assert 0 < f._known_calls <= 512
    for k in (0, 519, 3, 519, 0):
        assert f(x, k)[0].item() == k


def test_modes_and_states_are_part_of_a_call() -> None:
    w = rand(3, grad=True)
    f = weft.static(lambda x: x * w)
    x = rand(3) + 1
    for _ in range(2):
        assert f(x).requires_grad
        with weft.no_grad():
            assert not f(x).requires_grad
        x.requires_grad = True
        f(x).sum().backward()
        same(x.grad, w.detach())
        x.grad = None
        x.requires_grad = False
        w.requires_grad = False
        assert not f(x).requires_grad
        w.requires_grad = True
        with weft.lazy():
            y = f(x)
        same(y, x * w)
    assert traces(f) == 5 - 1  # while something is recorded the function itself is called


def test_attributes_are_looked_at_in_each_call() -> None:
    layer = nn.Dropout(0.5)
    f = weft.static(lambda x: layer(x))
    x = weft.ones(64)
    for _ in range(2):
        layer.train()
        assert (f(x) == 0).any().item()
        layer.eval()
        same(f(x), x)
    assert traces(f) == 2


class Pair(NamedTuple):
    first: Any
    rest: Any


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: x,
        lambda x, y: (x,),
        lambda x, y: [x, (y, {"a": x, "b": [y, None]}), 3, "text"],
        lambda x, y: Pair(y, Pair([], ())),
        lambda x, y: {"x": x, 2: {}},
        lambda x, y: (),
        lambda x, y: None,
    ],
)
def test_results_in_containers(make: Callable[..., Any]) -> None:
    f = weft.static(lambda x: make(x, x + 1))
    x = rand(3)
    for _ in range(3):
        expected, found = make(x, x + 1), f(x)
        assert type(found) is type(expected)
        assert repr(found) == repr(expected)


def test_a_result_is_each_time_the_same_object_or_a_new_one() -> None:
    w, constant = rand(4), object()
    f = weft.static(lambda x: (x, w, w[1:], x[1:], x + 1, constant))
    x = rand(4)
    first, second = f(x), f(x)
    assert first[0] is second[0] is x
    assert first[1] is second[1] is w
    assert first[5] is second[5] is constant
    for k in (2, 3, 4):
        assert first[k] is not second[k]
    assert second[2].base is w
    assert second[3].base is x
    assert second[4].base is None
    second[2][0] = 7.0
    assert w[1].item() == 7


def test_a_gradient_and_a_view_of_it_as_results() -> None:
    w = rand(2, 3, grad=True)
    (w * w).sum().backward()
    f = weft.static(lambda x: (w.grad, w.grad.T, w.grad + x))
    for k in range(3):
        w.grad = weft.full((2, 3), float(k))
        whole, turned, more = f(weft.ones(3))
        assert whole is w.grad
        assert turned.base is whole
        same(turned.contiguous(), whole.T.contiguous())
        same(more, whole + 1)
    assert traces(f) == 1
    w.grad = weft.ones((3, 2)).T
    same(f(weft.ones(3))[2], weft.full((2, 3), 2.0))
    assert traces(f) == 2
    w.grad = None
    with pytest.raises(AttributeError):
        f(weft.ones(3))


def test_gradients_are_replaced_and_dropped_before_a_call() -> None:
    w = rand(4, grad=True)

    @weft.static
    def f(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()

    x = rand(4)
    f(x)
    for _ in range(3):
        old = weakref.ref(w.grad)
        f(x)
        assert old() is None
        same(w.grad, x)


def test_numbers_are_read_again_and_their_errors_come_through() -> None:
    w = rand(4, grad=True)
    optimizer = weft.optim.SGD([w], lr=0.5)

    @weft.static
    def f(x: Any) -> None:
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    x = weft.ones(4)
    before = w.detach().clone()
    f(x)
    same(w.detach(), before - 0.5)
    optimizer.param_groups[0]["lr"] = 0.25
    f(x)
    same(w.detach(), before - 0.5 - 0.25)
    optimizer.param_groups[0]["lr"] = "much"
    now, version = w.detach().clone(), w._version
    with pytest.raises(ValueError, match="much"):
        f(x)
    same(w.detach(), now)
    assert w._version == version
    assert w.grad is not None
    optimizer.param_groups[0]["lr"] = 1
    f(x)
    same(w.detach(), now - 1)
    assert traces(f) == 1


def test_a_number_may_be_read_by_a_call_of_the_same_function() -> None:
    class Group(dict[str, Any]):
        nested = 0

        def __getitem__(self, key: str) -> Any:
            if key == "lr" and self.nested < 3:
                self.nested += 1
                f(x)
            return super().__getitem__(key)

    w = weft.zeros(1)
    optimizer = weft.optim.SGD([w], lr=1.0)

    @weft.static
    def f(x: Any) -> None:
        w.grad = x * 1
        optimizer.step()

    x = weft.ones(1)
    f(x)
    assert w.item() == -1
    optimizer.param_groups[0] = group = Group(optimizer.param_groups[0])
    f = weft.static(f.function)
    group.nested = 3
    f(x)
    assert w.item() == -2
    group.nested = 0
    f(x)
    assert w.item() == -6
    assert traces(f) == 1


def test_writing_shared_memory_is_refused_in_a_known_call() -> None:
    w = rand(6)

    @weft.static
    def f(x: Any) -> Any:
        w.add_(x)
        return x * 2

    f(rand(6))
    before, version = w.clone(), w._version
    for _ in range(2):
        with pytest.raises(TraceError, match=r"Tensors of shapes \[6\] and \[6\] used by .* share memory"):
            f(w[:])
    same(w, before)
    assert w._version == version
    f(rand(6))


def test_an_index_out_of_range_names_the_line_of_this_function() -> None:
    f = weft.static(lambda x, i: x[i])
    x = rand(3)
    f(x, weft.tensor([0, 2]))
    for _ in range(2):
        try:
            raise ValueError("handled")
        except ValueError:
            with pytest.raises(IndexError, match=r"size 3(.|\n)*recorded at .*test_replay.py:\d+") as caught:
                f(x, weft.tensor([0, 3]))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_history_of_known_calls() -> None:
    w = rand(4, grad=True)
    f = weft.static(lambda x, s: (x * w * s, x.sum()))
    x = rand(4)
    for s in (1.0, 2.0, 3.0):
        y, total = f(x, s)
        assert y.requires_grad
        assert not total.requires_grad
        w.grad = None
        y.sum().backward()
        same(w.grad, x * s)
    y, _ = f(x, 2.0)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified in place"):
        y.sum().backward()


def test_known_calls_are_collected_with_their_function() -> None:
    class Owner:
        def __init__(self) -> None:
            self.w = weft.ones(3, requires_grad=True)
            self.f = weft.static(lambda x, s: (x * self.w * s)[1:])

    owner = Owner()
    for _ in range(3):
        owner.f(weft.ones(3), 2.0).sum().backward()
    gone = weakref.ref(owner.f), weakref.ref(owner)
    del owner
    gc.collect()
    assert gone[0]() is gone[1]() is None


def test_a_copy_is_the_function_itself() -> None:
    f = weft.static(lambda x: x + 1)
    assert copy.copy(f) is f
    same(copy.copy(f)(rand(3)), rand(3) + 1)
