"""Gradients that a static function finds, reads and assigns of its arguments: those of the call, not of the traced one."""

from typing import Any

import numpy as np
import pytest

import weft


def leaf(*values: float) -> Any:
    return weft.tensor(values, dtype=weft.float32, requires_grad=True)


def squared(x: Any) -> Any:
    loss = (x * x).sum()
    loss.backward()
    return loss.detach(), x.grad


def twice(x: Any) -> Any:
    (x * x).sum().backward()
    (x * x * x).sum().backward()


def step(x: Any, lr: float) -> Any:
    (x * x).sum().backward()
    with weft.no_grad():
        x.sub_(x.grad * lr)
    x.grad = None
    return x


def scaled(x: Any) -> Any:
    if x.grad is None:
        x.grad = weft.ones_like(x)
    else:
        x.grad.mul_(0.5)
    return x.grad.sum()


def handed_on(x: Any, y: Any) -> Any:
    y.grad = x.grad
    return x.grad


@pytest.mark.parametrize("function", [squared, twice, scaled, lambda x: step(x, 0.25)])
def test_each_call_has_its_own(function: Any) -> None:
    static = weft.static(function)
    made, wanted = [leaf(1, 2), leaf(3, 4), leaf(5, -6)], [leaf(1, 2), leaf(3, 4), leaf(5, -6)]
    for k in (0, 1, 2, 1, 1, 0, 2):
        found, expected = static(made[k]), function(wanted[k])
        for a, b in zip(made, wanted, strict=True):
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        if isinstance(found, tuple):
            assert found[1] is made[k].grad
            assert found[0].item() == expected[0].item()


def test_gradients_are_told_apart_by_calls() -> None:
    static = weft.static(handed_on)
    x, y = leaf(1, 2), leaf(3, 4)
    assert static(x, y) is None
    assert y.grad is None
    x.grad = weft.ones(2)
    for _ in range(2):
        assert static(x, y) is x.grad is y.grad
    assert static(y, x) is x.grad
    y.grad = None
    assert static(y, x) is None
    assert x.grad is None
    assert len(static._traces) == 1  # one signature


def test_tensors_of_a_trace_are_not_kept_for_their_gradients() -> None:
    static = weft.static(squared)
    first = leaf(1, 2)
    static(first)
    grad = first.grad
    static(leaf(3, 4))
    assert first.grad is grad
    assert grad.tolist() == [2, 4]


def test_a_tensor_with_two_gradients_is_refused() -> None:
    w = leaf(1, 2)

    @weft.static
    def f(x: Any, y: Any) -> None:
        (x * w * y).sum().backward()

    for args in ((w, leaf(3, 4)), (leaf(3, 4), w)):
        with pytest.raises(weft.TraceError, match="lack the other's part"):
            f(*args)
    x = leaf(3, 4)
    with pytest.raises(weft.TraceError, match="lack the other's part"):
        f(x, x)
    assert w.grad is x.grad is None
    f(x, leaf(5, 6))
    assert x.grad.tolist() == [5, 12]
    assert w.grad.tolist() == [15, 24]
    with pytest.raises(weft.TraceError, match="lack the other's part"):
        f(w, x)
    assert w.grad.tolist() == [15, 24]

    @weft.static
    def g(x: Any) -> Any:
        return weft.grad((x * x * w).sum(), [w])[0]

    assert g(x).tolist() == [9, 16]
    with pytest.raises(weft.TraceError, match="lack the other's part"):
        g(w)
    assert g(w.detach()).tolist() == [1, 4]
    h = weft.static(lambda x: (x * x * w).sum())  # whose gradients are found outside
    assert weft.grad(h(w), [w])[0].tolist() == [3, 12]


def test_gradients_do_not_end_at_arguments_with_a_history() -> None:
    static = weft.static(squared)
    x = leaf(1, 2)
    static(x)
    x.grad = None
    for y in (x * 2, x[1:]):
        for _ in range(2):
            with pytest.raises(weft.TraceError, match="computed from tensors that require grad"):
                static(y)
        assert y.grad is x.grad is None
    found = weft.static(lambda x: weft.grad((x * x).sum(), [x])[0])
    assert found(x * 2).tolist() == [4, 8]


@pytest.mark.parametrize("captured", [False, True])
def test_views_of_what_got_a_history_since(captured: bool) -> None:
    def made(static: bool) -> Any:
        q, base = leaf(2, 3), weft.ones((2, 2))
        view = base[1]

        def reading(*args: Any) -> Any:
            return (view if captured else args[0]) * 3

        function = weft.static(reading) if static else reading
        args = () if captured else (view,)
        before = [function(*args).requires_grad for _ in range(2)]
        base.mul_(q)
        found = []
        for k in range(3):
            result = function(*args)
            found += [
                result.requires_grad,
                result.tolist(),
                weft.grad(result.sum(), [q], retain_graph=True)[0].tolist(),
            ]
            with weft.no_grad():
                found.append(function(*args).requires_grad)
            if k == 1:
                base.add_(q)
        return before, found

    assert made(True) == made(False)


def test_a_gradient_that_is_a_result_too() -> None:
    @weft.static
    def f(x: Any, y: Any) -> Any:
        y.grad = (x * 2).T
        return y.grad, x.detach()

    x, y = weft.ones((2, 2)), weft.ones((2, 2))
    for _ in range(2):
        assert f(x, y)[0] is y.grad


def test_wrong_gradients_are_refused_at_once() -> None:
    w = leaf(1, 2)
    w.grad = before = weft.ones(2)

    def f(x: Any) -> None:
        w.grad = x

    for function in (f, weft.static(f)):
        for wrong, error in ((weft.ones(3), ValueError), (3, TypeError), ("a", TypeError)):
            with pytest.raises(error, match="gradient"):
                function(wrong)
            assert w.grad is before


def test_gradients_that_share_memory_are_refused() -> None:
    w = leaf(1, 2)

    @weft.static
    def f(x: Any) -> None:
        (x * w).sum().backward()

    w.grad = w.detach()
    with pytest.raises(weft.TraceError, match=r"A gradient of shape .* shares memory"):
        f(weft.ones(2))
    w.grad = weft.ones(2)
    f(weft.ones(2))
    assert w.grad.tolist() == [2, 2]
    w.grad = w.detach()
    f(weft.ones(2))  # a trace of tensors that do not share memory reads them as they are
    assert w.grad.tolist() == [2, 3]
