"""Views that are modified in place: the history of what they are views of, whatever its layout, and of other views of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import MODES

#: name -> an array of the same numbers whose memory is laid out otherwise
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": lambda a: a.copy(),
    "transposed": lambda a: a.T.copy().T,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "spread": lambda a: _within(np.zeros((8, 13)), np.s_[1:8:2, 2:11:3], a),
    "reversed and spread": lambda a: _within(np.zeros((6, 9)), np.s_[4:0:-1, 7:1:-2], a),
    "spread, transposed": lambda a: _within(np.zeros((7, 9)).T, np.s_[8:0:-2, 1:6:2], a),
    "turned axes": lambda a: np.moveaxis(np.moveaxis(a[None], 2, 0).copy(), 0, 2)[0],
}
#: name -> a view of a tensor of shape [4, 3]
VIEWS: dict[str, Callable[[Any], Any]] = {
    "row": lambda t: t[1],
    "column": lambda t: t[:, 2],
    "element": lambda t: t[3, 1],
    "some rows": lambda t: t[1:3],
    "every second row": lambda t: t[::2],
    "transposed": lambda t: t.T[1:],
    "reversed": lambda t: weft.flip(t)[:2],
    "divided": lambda t: t.reshape(2, 2, 3)[:, 1],
    "more axes": lambda t: t[:, None, 1:],
    "all": lambda t: t[:],
}


def _within(memory: np.ndarray, place: Any, a: np.ndarray) -> np.ndarray:
    memory[place] = a
    return memory[place]


def test_layouts_are_what_their_names_say() -> None:
    a = np.arange(12.0).reshape(4, 3)
    for name, layout in LAYOUTS.items():
        np.testing.assert_array_equal(layout(a), a)
        assert layout(a).flags.c_contiguous == (name == "contiguous")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("view", VIEWS)
def test_gradients_do_not_depend_on_the_layout_of_what_is_modified(view: str, layout: str, mode: str) -> None:
    part = VIEWS[view]

    def program(base: Any, y: Any) -> Any:
        before = base.T[1]
        v = part(base)
        v.copy_(y.sum() * part(y))
        v.mul_(part(y))
        seen = (base * WEIGHTS).sum() + (before * before).sum() + (v * v).sum()
        return seen.detach(), weft.grad(seen, [y])[0]

    numbers = np.arange(12.0).reshape(4, 3) / 8
    results = []
    for how in (LAYOUTS["contiguous"], LAYOUTS[layout]):
        y = weft.tensor(np.sin(numbers), requires_grad=True)
        results.append(MODES[mode](program)(weft.from_numpy(how(numbers)), y))
    (seen, gradient), (seen_there, gradient_there) = results
    assert seen.item() == seen_there.item()
    np.testing.assert_array_equal(gradient.numpy(), gradient_there.numpy())

    def value(numbers: np.ndarray) -> float:  # the contiguous one against differences
        return program(weft.from_numpy(np.arange(12.0).reshape(4, 3) / 8), leaf(numbers))[0].item()

    def leaf(numbers: np.ndarray) -> Any:
        return weft.tensor(numbers, requires_grad=True)

    step = np.zeros((4, 3))
    for place in ((1, 2), (3, 1)):
        step[:] = 0
        step[place] = 1e-6
        slope = (value(np.sin(numbers) + step) - value(np.sin(numbers) - step)) / 2e-6
        np.testing.assert_allclose(gradient.numpy()[place], slope, rtol=1e-5, atol=1e-7)


WEIGHTS = weft.from_numpy(np.cos(np.arange(12.0)).reshape(4, 3))


@pytest.mark.parametrize("mode", MODES)
def test_a_view_from_before_its_base_had_a_history(mode: str) -> None:
    def program(y: Any) -> Any:
        base = weft.zeros((2, 2), dtype=weft.float64)
        modified, read = base[0], base[1]
        base.copy_(y * 2)
        modified.mul_(0.5)
        return weft.grad((base * base).sum() + (modified * modified).sum() + (read * read).sum(), [y])[0]

    y = weft.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=weft.float64, requires_grad=True)
    assert MODES[mode](program)(y).tolist() == [[4, 8], [48, 64]]


def test_a_view_from_outside_has_no_history_after_a_trace() -> None:
    base = weft.zeros((2, 2))
    view = base[0]

    def program(y: Any) -> Any:
        base.copy_(y * 2)
        view.mul_(0.5)
        return weft.grad((base * base).sum() + (view * view).sum(), [y])[0]

    static = weft.static(program)
    y = weft.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for _ in range(2):
        assert static(y).tolist() == [[4, 8], [24, 32]]
        assert not base.requires_grad
        assert not view.requires_grad
        assert not (view * 1).requires_grad


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_views_of_a_leaf_that_is_a_view(mode: str) -> None:
    def update() -> None:
        leaf = weft.arange(6.0).reshape(2, 3).requires_grad_()
        leaf.T[0].mul_(2)

    with pytest.raises(weft.AutogradError, match="leaf tensor that requires grad in place"):
        MODES[mode](update)()


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_a_leaf_whose_memory_gets_a_history(mode: str) -> None:
    def update() -> Any:
        base = weft.zeros(6)
        leaf = base.reshape(2, 3).requires_grad_()
        base[:2].copy_(weft.ones(2, requires_grad=True))
        return leaf * 2

    with pytest.raises(weft.AutogradError, match=r"it is a leaf no more; make it of a copy, with x\.clone\(\)"):
        MODES[mode](update)()


def test_axes_that_interleave() -> None:
    memory = weft.zeros(8, dtype=weft.float64)
    base = weft.from_numpy(np.lib.stride_tricks.as_strided(memory.numpy(), (2, 3), (24, 16), writeable=True))
    with pytest.raises(weft.AutogradError, match="axes interleave in memory"):
        base[1].copy_(weft.ones(3, dtype=weft.float64, requires_grad=True))


@pytest.mark.parametrize("repeated", [False, True])
def test_a_view_from_before_its_base_became_a_leaf(repeated: bool) -> None:
    base = weft.zeros(3)
    view = base[:2]
    if repeated:
        view.mul_(2)  # the call is known
    base.requires_grad_()
    with pytest.raises(weft.AutogradError, match="leaf tensor that requires grad in place"):
        view.mul_(2)
    with weft.no_grad():
        view.add_(2)
    assert base.tolist() == [2, 2, 0]


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_a_view_without_a_history_of_a_tensor_that_has_one(mode: str) -> None:
    def update() -> None:
        base = weft.ones(2, 2).requires_grad_() * 1
        with weft.no_grad():
            view = base[0]
            view.mul_(3)
        view.mul_(2)

    with pytest.raises(weft.AutogradError, match=r"through a view that was made inside weft\.no_grad\(\)"):
        MODES[mode](update)()


class Tenfold(weft.autograd.Function):
    """Its input, but ten times its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 10


@pytest.mark.parametrize("mode", MODES)
def test_an_input_that_a_function_hands_back_is_modified(mode: str) -> None:
    def program(y: Any) -> Any:
        x = y * 1
        made = Tenfold.apply(x)
        made.mul_(3)  # x is changed as well
        return weft.grad(made.sum() + x.sum() * 2, [y])[0], x.detach()

    gradient, x = MODES[mode](program)(weft.ones(2, requires_grad=True))
    assert gradient.tolist() == [90, 90]
    assert x.tolist() == [3, 3]
    with pytest.raises(weft.AutogradError, match="leaf tensor that requires grad in place"):
        Tenfold.apply(weft.ones(2, requires_grad=True)).mul_(3)
