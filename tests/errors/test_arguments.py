"""Arguments that were once taken for something else, or answered in Python's own words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft


def x() -> Any:
    return weft.ones(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: x().item(1), "item takes no arguments; for one element of several"),
        (lambda: weft.lazy(3), "lazy takes no arguments, not an int"),
        (lambda: x().requires_grad_("a"), "requires_grad must be True or False, not a str"),
        (lambda: x().requires_grad_(None), "requires_grad must be True or False, not None"),
        (lambda: setattr(x(), "requires_grad", "a"), "requires_grad must be True or False, not 'a'"),
        (lambda: weft.ones(3, requires_grad="a"), "requires_grad must be True or False, not a str"),
        (lambda: weft.randn(3, requires_grad=1.0), "requires_grad must be True or False, not a float"),
        (lambda: weft.tensor([1.0], requires_grad=[]), "requires_grad must be True or False, not a list"),
        (lambda: weft.nn.Parameter(x(), "yes"), "requires_grad must be True or False, not a str"),
        (lambda: weft.nn.Linear(2, 2).requires_grad_("no"), "requires_grad must be True or False, not a str"),
        (lambda: x().astype(None), "None is not a Weft data type"),
        (lambda: weft.no_grad(1), "no_grad decorates functions, not an int"),
        (lambda: weft.enable_grad(1), "enable_grad decorates functions, not an int"),
        (lambda: weft.set_grad_enabled("a"), "set_grad_enabled takes True or False, not a str"),
    ],
)
def test_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    enabled = weft.is_grad_enabled()
    with pytest.raises(TypeError, match=message):
        call()
    assert weft.is_grad_enabled() == enabled


def test_what_numpy_takes_for_true_is_true() -> None:
    assert weft.ones(3, requires_grad=np.True_).requires_grad  # type: ignore[arg-type]
    assert not x().requires_grad_(np.False_).requires_grad


def test_grad_modes_decorate_with_and_without_parentheses() -> None:
    @weft.enable_grad
    def on() -> bool:
        return weft.is_grad_enabled()

    @weft.enable_grad()
    def also_on() -> bool:
        return weft.is_grad_enabled()

    with weft.no_grad():
        assert on()
        assert also_on()
        assert not weft.is_grad_enabled()
