"""The tape: accumulation, in-place updates and views, freed graphs, higher order, user-defined functions."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import MODES


def leaf(*values: float, dtype: Any = weft.float64) -> Any:
    return weft.tensor(list(values), dtype=dtype, requires_grad=True)


def test_shared_use_adds_up() -> None:
    x = leaf(1.0, 2.0)
    y = x * x + x * 3
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array([1.0, 2.0]) + 3)
    (x * 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array([1.0, 2.0]) + 5)


def test_gradients_do_not_share_memory() -> None:
    x, y = leaf(1.0), leaf(2.0)
    (x + y).sum().backward()
    x.grad.zero_()
    assert y.grad.item() == 1


def test_broadcasting_sums() -> None:
    x, b = weft.ones((4, 3), dtype=weft.float64).requires_grad_(), leaf(1.0, 2.0, 3.0)
    ((x + b) * weft.tensor([[2.0], [3.0], [4.0], [5.0]], dtype=weft.float64)).sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), [14, 14, 14])
    assert tuple(x.grad.shape) == (4, 3)


def test_mixed_types_cast_back() -> None:
    x = leaf(1.5, dtype=weft.float32)
    (x.to(weft.float64) * 2).sum().backward()
    assert x.grad.dtype is weft.float32


def test_no_grad_and_detach() -> None:
    x = leaf(2.0)
    with weft.no_grad():
        assert not (x * 2).requires_grad
    assert not x.detach().requires_grad
    y = (x * x.detach()).sum()
    y.backward()
    assert x.grad.item() == 2


def test_freed_graph() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(weft.AutogradError, match="retain_graph"):
        y.backward()
    z = (x * x).sum()
    z.backward(retain_graph=True)
    z.backward()


def test_modified_saved_tensor_names_both_ops() -> None:
    x = leaf(2.0, 3.0)
    y = x * 2
    z = y.exp() * y
    y.add_(1)
    with pytest.raises(weft.AutogradError) as caught:
        z.sum().backward()
    assert "multiply" in str(caught.value)
    assert "add_" in str(caught.value)


def test_in_place_on_the_tape() -> None:
    x = leaf(2.0, 3.0)
    y = x * 1
    y.mul_(x)
    y.add_(1)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [4.0, 6.0])


def test_in_place_through_a_view() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    v = y[1:]
    other = y[:2]
    v.mul_(x[:2])
    (y * weft.tensor([1.0, 10.0, 100.0], dtype=weft.float64)).sum().backward(retain_graph=True)
    np.testing.assert_allclose(x.grad.numpy(), [2 + 40, 20 + 600, 400])
    x.grad = None
    other.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 + 4, 2, 0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("view", ["whole", "transposed", "rows", "column", "flat", "reversed"])
@pytest.mark.parametrize("name", ["tanh_", "exp_", "relu_", "sqrt_", "sigmoid"])
def test_in_place_gradients_that_read_the_result(name: str, view: str, mode: str) -> None:
    values = np.random.default_rng(2).uniform(0.1, 2, (3, 3))

    def numbers(t: Any) -> Any:
        return {
            "whole": t,
            "transposed": t.T,
            "rows": t[1:],
            "column": t[:, 1],
            "flat": t.reshape(-1),
            "reversed": weft.flip(t),
        }[view]

    def function(x: Any, weights: Any) -> Any:
        y = x * 1.5 - 0.6 if name == "relu_" else x * 1.5
        part = numbers(y)
        if name == "sigmoid":
            part.copy_(weft.sigmoid(part))
        else:
            getattr(part, name)()
        return weft.grad((y * weights).sum(), [x])[0]

    leaf, weights = weft.tensor(values, requires_grad=True), weft.from_numpy(np.arange(9.0).reshape(3, 3))
    got = MODES[mode](function)(leaf, weights).numpy()
    inside = numbers(weft.tensor(np.arange(9).reshape(3, 3))).numpy().ravel()  # positions that are changed
    scaled = 1.5 * values - (0.6 if name == "relu_" else 0)
    slopes = {
        "tanh_": 1 - np.tanh(scaled) ** 2,
        "exp_": np.exp(scaled),
        "relu_": (scaled > 0) * 1.0,
        "sqrt_": 0.5 / np.sqrt(np.abs(scaled)),
        "sigmoid": 1 / (1 + np.exp(-scaled)) * (1 - 1 / (1 + np.exp(-scaled))),
    }[name]
    expected = np.where(np.isin(np.arange(9), inside).reshape(3, 3), slopes, 1) * 1.5 * np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_setitem_keeps_the_value_gradient() -> None:
    x, v = leaf(1.0, 2.0, 3.0), leaf(5.0)
    y = x * 2
    y[1] = v[0] * 3
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [2, 0, 2])
    np.testing.assert_allclose(v.grad.numpy(), [3])


def test_leaf_cannot_be_modified() -> None:
    x = leaf(1.0)
    with pytest.raises(weft.AutogradError, match="leaf"):
        x.add_(1)
    with pytest.raises(weft.AutogradError, match="leaf"):
        x[0:1].add_(1)
    with weft.no_grad():
        x.add_(1)
    assert x.item() == 2


def test_retain_grad() -> None:
    x = leaf(2.0)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.item() == 12


def test_grad_of_grad() -> None:
    x = leaf(0.5, 1.5)
    y = (x.sin() * x.exp()).sum()
    (g,) = weft.grad(y, [x], create_graph=True)
    (h,) = weft.grad(g.sum(), [x])
    np.testing.assert_allclose(h.numpy(), 2 * np.exp(x.detach().numpy()) * np.cos(x.detach().numpy()), rtol=1e-10)


def test_grad_leaves_dot_grad_alone() -> None:
    x, y = leaf(2.0), leaf(3.0)
    (g,) = weft.grad((x * y).sum(), [x])
    assert g.item() == 3
    assert x.grad is None
    with pytest.raises(weft.AutogradError, match="allow_unused"):
        weft.grad((x * 2).sum(), [y])
    assert weft.grad((x * 2).sum(), [y], allow_unused=True) == (None,) or weft.grad(
        (x * 2).sum(), [y], allow_unused=True
    ) == [None]


def test_custom_function() -> None:
    class Scale(weft.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, k: float) -> Any:
            ctx.k = k
            y = x * k
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, False)
            return g * ctx.k + 0 * x + 0 * y, None

    x = leaf(1.0, 2.0)
    y = Scale.apply(x, 3.0)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [3, 3])
    static = weft.static(lambda t: Scale.apply(t, 3.0))
    np.testing.assert_array_equal(static(x).detach().numpy(), y.detach().numpy())


def test_custom_function_errors() -> None:
    class Wrong(weft.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g

    with pytest.raises(weft.AutogradError, match="2 gradients for 1 inputs"):
        Wrong.apply(leaf(1.0)).sum().backward()


def test_double_backward_of_custom_function() -> None:
    class Cube(weft.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    x = leaf(2.0)
    assert weft.autograd.gradcheck(Cube.apply, [x])
    assert weft.autograd.gradgradcheck(Cube.apply, [x])


def test_gradcheck_finds_a_wrong_gradient() -> None:
    class Bad(weft.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    with pytest.raises(weft.AutogradError, match="finite differences"):
        weft.autograd.gradcheck(Bad.apply, [leaf(1.0, 2.0)])
    with pytest.raises(weft.AutogradError, match="float64"):
        weft.autograd.gradcheck(lambda x: x, [leaf(1.0, dtype=weft.float32)])


def test_what_is_overwritten_has_a_gradient_of_zeros_in_every_mode() -> None:
    def found() -> Any:
        x, y = leaf(1.0), leaf(2.0)
        z = -y
        z.copy_(x)
        return [g.tolist() for g in weft.grad(z.sum(), [x, y], allow_unused=True)]

    with weft.lazy():
        lazy = found()
    assert lazy == found() == [[1.0], [-0.0]]


def test_graphs_are_freed() -> None:
    x = leaf(1.0)
    y = x.exp()
    alive = weakref.ref(y)
    loss = (y * 2).sum()
    loss.backward()
    del y, loss
    gc.collect()
    assert alive() is None


def test_long_chain() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(20000):
        y = y + 1
    y.sum().backward()
    assert x.grad.item() == 1


def test_backward_needs_a_start() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(weft.AutogradError, match="single element"):
        (x * 2).backward()
    with pytest.raises(weft.AutogradError, match="shape"):
        (x * 2).backward(weft.ones((3,), dtype=weft.float64))
    with pytest.raises(weft.AutogradError, match="requires grad"):
        x.detach().sum().backward()
