"""Programs that overwrite what they also read give the same bits in every mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft


def extremes(x: Any, index: Any) -> list[Any]:
    """The copy of what lies across is reduced, and written over."""
    y = x.reshape(3, 4, 5).transpose(0, 2)
    return [weft.abs(y), weft.min(y, axis=0), weft.argmax(y, axis=0), weft.var(y, axis=0)]


def clones(x: Any, index: Any) -> list[Any]:
    y = weft.exp(x)
    a, b = y.clone(), y.clone()
    a[1:] = a[:-1] * 2
    b[1:3] = 7
    return [weft.exp(b), a]


def shifted(x: Any, index: Any) -> list[Any]:
    w = x * 2
    x[1:] = x[:-1] * w[1:]
    y = weft.exp(x)
    x.copy_(w)
    return [y]


def scattered(x: Any, index: Any) -> list[Any]:
    w = x * 2
    x[index] = x * w
    y = weft.exp(x)
    x.copy_(w)
    return [y]


@pytest.mark.parametrize("program", [extremes, clones, shifted, scattered])
@pytest.mark.parametrize("turned", [False, True])
def test_every_mode_gives_the_same(program: Callable[[Any, Any], list[Any]], turned: bool) -> None:
    data = np.random.default_rng(1).standard_normal(60)
    index = weft.from_numpy(np.random.default_rng(2).permutation(60))

    def ran(mode: Callable[[Any], list[Any]]) -> list[bytes]:
        x = weft.from_numpy(data.copy())
        if turned:
            x = weft.flip(x)
        return [t.numpy().tobytes() for t in (*mode(x), x)]

    def lazily(x: Any) -> list[Any]:
        with weft.lazy():
            return program(x, index)

    want = ran(lambda x: program(x, index))
    assert ran(lazily) == want
    function = weft.static(program)
    for _ in range(2):
        assert ran(lambda x: function(x, index)) == want


def replaced(x: Any, y: Any) -> Any:
    x.copy_(weft.softmax(y, -1))


def scaled(x: Any, y: Any) -> Any:
    x.mul_(weft.softmax(y, -1))


@pytest.mark.parametrize("program", [replaced, scaled])
@pytest.mark.parametrize("columns", [7, 100])
def test_rows_are_written_into_what_lies_across(program: Callable[[Any, Any], Any], columns: int) -> None:
    """The memory around the tensor that is written stays as it is."""
    rng = np.random.default_rng(1)
    given, values = rng.standard_normal((columns + 40, 30)), rng.standard_normal((20, columns))

    def ran(mode: Callable[[Any, Any], Any]) -> bytes:
        around = weft.from_numpy(given.copy())
        mode(around[:columns, 5:25].transpose(0, 1), weft.from_numpy(values.copy()))
        return around.numpy().tobytes()

    def lazily(x: Any, y: Any) -> None:
        with weft.lazy():
            program(x, y)

    want = ran(program)
    assert ran(lazily) == want
    assert ran(weft.static(program)) == want
