"""Floats given to static functions behave as the numbers that they are, although they have no value while tracing."""

from typing import Any

import pytest

import weft


def add_in_place(x: Any, s: Any) -> Any:
    s += 1
    s *= 2
    s **= 2
    return x * s


def in_place_by_tensor(x: Any, s: Any) -> Any:
    s *= x
    return s


def as_tensor(x: Any, s: Any) -> Any:
    return x + weft.tensor(s), x + weft.asarray(s), x + weft.asarray(s, copy=True)


def as_double(x: Any, s: Any) -> Any:
    return weft.tensor(s, dtype=weft.float64), weft.asarray(s, dtype=weft.float64), weft.tensor(s, dtype=weft.int64)


def in_list(x: Any, s: Any) -> Any:
    return weft.tensor([s, 1.0, 2.0]), weft.tensor([[s], [x[0]]]), weft.stack([weft.tensor(s), weft.tensor(s)])


def filled(x: Any, s: Any) -> Any:
    return weft.full((3,), s), weft.full((), s), weft.full((2,), s, dtype=weft.float64), weft.full_like(x, s)


def written(x: Any, s: Any) -> Any:
    y = x.astype(weft.float32).clone()
    y[0] = s
    y[1:].add_(s)
    return y, x.clone().fill_(s)


def compared(x: Any, s: Any) -> Any:
    return weft.where(x > s, s, x), x.clip(-s, s), weft.maximum(x, s), abs(s) * x, x**-s, s // 2 * x, s % 2 * x


@pytest.mark.parametrize("dtype", [weft.float32, weft.float16, weft.float64, weft.int64])
@pytest.mark.parametrize(
    "function",
    [add_in_place, in_place_by_tensor, as_tensor, as_double, in_list, filled, written, compared],
    ids=lambda f: f.__name__,
)
def test_a_float_gives_what_it_gives_eagerly(function: Any, dtype: Any) -> None:
    static = weft.static(function)
    x = weft.arange(1, 4).astype(dtype)
    for s in (2.5, 1.1, 3.0):  # 1.1 is no float32
        expected, found = function(x, s), static(x, s)
        for e, f in zip(*((r if isinstance(r, tuple) else (r,)) for r in (expected, found)), strict=True):
            assert (e.dtype, e.shape) == (f.dtype, f.shape)
            assert e.numpy().tobytes() == f.numpy().tobytes()
    assert static._known_calls == 1


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x, s: x[s], IndexError, "A Python float cannot pick elements"),
        (lambda x, s: s.add_(1), TypeError, "add_"),
        (lambda x, s: s.fill_(1), TypeError, "fill_"),
    ],
)
def test_a_float_is_refused_where_a_number_would_be(function: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        weft.static(function)(weft.ones(3), 2.0)
