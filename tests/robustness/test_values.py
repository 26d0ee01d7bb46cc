"""NaN, infinities, signed zeros, subnormals, extremes and empty tensors through every kind of op, in all modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import MODES

TINY32, TINY64 = np.float32(1e-45), 5e-324
SPECIAL = {
    "float32": np.array(
        [
            np.nan,
            np.inf,
            -np.inf,
            0.0,
            -0.0,
            TINY32,
            -TINY32,
            1.1754942e-38,
            1.1754944e-38,
            3.4028235e38,
            -3.4028235e38,
            1.0,
            -1.0,
            0.5,
            1e-30,
            1e30,
            88.8,
            -104.0,
            3.1415927,
        ],
        np.float32,
    ),
    "float64": np.array(
        [
            np.nan,
            np.inf,
            -np.inf,
            0.0,
            -0.0,
            TINY64,
            -TINY64,
            2.225073858507201e-308,
            2.2250738585072014e-308,
            1.7976931348623157e308,
            -1.7976931348623157e308,
            1.0,
            -1.0,
            0.5,
            1e-300,
            1e300,
            709.8,
            -745.2,
            np.pi,
        ],
        np.float64,
    ),
    "float16": np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8, -6e-8, 65504, -65504, 1, -1, 0.5], np.float16),
    "int8": np.array([-128, -127, -1, 0, 1, 126, 127], np.int8),
    "int32": np.array([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1], np.int32),
    "int64": np.array([-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 1], np.int64),
    "uint8": np.array([0, 1, 254, 255], np.uint8),
    "uint64": np.array([0, 1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64),
}
FLOATS = ["float32", "float64", "float16"]


def pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Every special value with every other, long enough for vectors and what is left over."""
    x, y = np.meshgrid(SPECIAL[dtype], SPECIAL[dtype])
    return np.ascontiguousarray(x.ravel()), np.ascontiguousarray(y.ravel())


def same(mine: Any, oracle: Any, ulp: int = 0) -> None:
    """Equal, zeros' signs included, any NaN as good as another; or within a few units in the last place."""
    mine, oracle = np.asarray(mine), np.asarray(oracle)
    assert mine.dtype == oracle.dtype
    assert mine.shape == oracle.shape
    nan = np.isnan(oracle) if oracle.dtype.kind == "f" else np.zeros(oracle.shape, bool)
    np.testing.assert_array_equal(np.isnan(mine) if oracle.dtype.kind == "f" else nan, nan)
    if ulp and oracle.dtype.kind == "f":
        finite = np.isfinite(oracle)
        np.testing.assert_array_equal(mine[~finite & ~nan], oracle[~finite & ~nan])
        np.testing.assert_array_max_ulp(mine[finite], oracle[finite], ulp)
        return
    np.testing.assert_array_equal(mine, oracle)
    if oracle.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(mine)[~nan], np.signbit(oracle)[~nan])


def run(mode: str, function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    with np.errstate(all="ignore"):
        return MODES[mode](function)(*(weft.from_numpy(a.copy()) for a in arrays)).numpy()


BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (weft.add, np.add),
    "subtract": (weft.subtract, np.subtract),
    "multiply": (weft.multiply, np.multiply),
    "less": (weft.less, np.less),
    "less_equal": (weft.less_equal, np.less_equal),
    "equal": (weft.equal, np.equal),
    "not_equal": (weft.not_equal, np.not_equal),
}
FLOATING: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "divide": (weft.divide, np.divide),
    "copysign": (weft.copysign, np.copysign),
    "nextafter": (weft.nextafter, np.nextafter),
    "fmod": (weft.fmod, np.fmod),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", SPECIAL)
def test_pairs(dtype: str, mode: str) -> None:
    x, y = pairs(dtype)
    for name, (mine, oracle) in (BINARY | (FLOATING if dtype in ("float32", "float64") else {})).items():
        with np.errstate(all="ignore"):
            expected = oracle(x, y)
        if name == "fmod":  # where the quotient is beyond the precision, only finiteness is asked for
            with np.errstate(all="ignore"):
                close = np.abs(x / np.where(y == 0, 1, y).astype(np.float64)) < 1e4
            same(run(mode, mine, x, y)[close], expected[close])
            continue
        same(run(mode, mine, x, y), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", SPECIAL)
def test_extremes_of_pairs(dtype: str, mode: str) -> None:
    """NaN spreads; of two zeros either may be given."""
    x, y = pairs(dtype)
    for mine, oracle in ((weft.maximum, np.maximum), (weft.minimum, np.minimum)):
        got, expected = run(mode, mine, x, y), oracle(x, y)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64"])
def test_integers_that_would_trap(dtype: str, mode: str) -> None:
    """Division by zero, the smallest number by -1, shifts beyond the width: defined values, and no crash."""
    x, y = pairs(dtype)
    zero = y == 0
    bits = x.dtype.itemsize * 8
    with np.errstate(all="ignore"):
        quotient, rest = np.where(zero, 0, x // np.where(zero, 1, y)), np.where(zero, 0, x % np.where(zero, 1, y))
    same(run(mode, weft.floor_divide, x, y), quotient.astype(x.dtype))
    same(run(mode, weft.remainder, x, y), rest.astype(x.dtype))
    left = run(mode, weft.bitwise_left_shift, x, y)
    inside = (y >= 0) & (y < bits)
    np.testing.assert_array_equal(left[inside], np.left_shift(x, np.where(inside, y, 0))[inside])
    assert not left[~inside].any()
    right = run(mode, weft.bitwise_right_shift, x, y)
    np.testing.assert_array_equal(right[~inside], np.where(x < 0, -1, 0).astype(x.dtype)[~inside])
    run(mode, weft.pow, x, y)
    same(run(mode, weft.abs, x), np.abs(x))
    same(run(mode, weft.negative, x), np.negative(x))


UNARY: dict[str, int] = {
    **dict.fromkeys(("negative", "abs", "sqrt", "floor", "ceil", "trunc", "sign"), 0),
    **dict.fromkeys(("exp", "log", "log1p", "expm1", "sin", "cos", "tan", "tanh", "sinh", "cosh", "atan", "asinh"), 4),
    **dict.fromkeys(("acos", "asin", "acosh", "atanh", "log2", "log10", "exp2", "square", "reciprocal"), 4),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(dtype: str, mode: str) -> None:
    x = np.resize(SPECIAL[dtype], 67)
    for name, ulp in UNARY.items():
        oracle = {"acos": "arccos", "asin": "arcsin", "atan": "arctan", "asinh": "arcsinh"}.get(name, name)
        oracle = {"acosh": "arccosh", "atanh": "arctanh"}.get(oracle, oracle)
        with np.errstate(all="ignore"):
            wide = getattr(np, oracle)(x.astype(np.longdouble) if ulp else x).astype(x.dtype)
        if name in ("sin", "cos", "tan"):
            small = ~np.isfinite(x) | (np.abs(x) < 1e4)
            same(run(mode, getattr(weft, name), x)[small], wide[small], ulp)
        else:
            same(run(mode, getattr(weft, name), x), wide, ulp)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormals_are_kept(dtype: str, mode: str) -> None:
    """No flushing to zero, on any thread and at any size."""
    tiny = SPECIAL[dtype][5]
    for n in (1, 33, 200_000):
        x = np.full(n, tiny)
        same(run(mode, lambda x: x + x, x), x + x)
        same(run(mode, lambda x: x * 1.0, x), x)
        same(run(mode, weft.max, x), np.max(x))
        same(run(mode, weft.sum, x), np.asarray(tiny * n).astype(dtype)[()], 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_reductions(dtype: str, mode: str) -> None:
    """A NaN anywhere is the extreme; infinities of both signs sum to NaN; of one sign to themselves."""
    for n in (1, 5, 33, 1000):
        base = np.where(np.arange(n) % 3, 1, -1).astype(dtype)
        for at in {0, n // 2, n - 1}:
            for value in (np.nan, np.inf, -np.inf):
                x = base.copy()
                x[at] = value
                for name in ("sum", "max", "min", "argmax", "argmin", "mean", "prod"):
                    with np.errstate(all="ignore"):
                        expected = getattr(np, name)(x.astype(np.float64))
                    got = run(mode, getattr(weft, name), x)
                    np.testing.assert_array_equal(
                        got, np.asarray(expected).astype(got.dtype), err_msg=f"{name} {n} {at}"
                    )
    both = np.array([np.inf, 1, -np.inf] * 11, dtype)
    assert np.isnan(run(mode, weft.sum, both))
    assert run(mode, weft.any, both.astype(bool))
    ones = np.ones((40, 40), dtype)
    ones[7, 9] = np.nan
    for axis in (0, 1):
        got = run(mode, lambda x, axis=axis: x.max(axis=axis), ones)
        np.testing.assert_array_equal(np.isnan(got), np.arange(40) == (9 if axis == 0 else 7))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax(dtype: str, mode: str) -> None:
    rows = np.array(
        [[1, 2, 3], [1e4, 1e4, 1e4], [-1e4, 0, 1e4], [-np.inf, 0, 0], [-np.inf, -np.inf, 0], [0, 0, 0]], dtype=dtype
    )
    with np.errstate(all="ignore"):
        e = np.exp(rows - rows.max(1, keepdims=True))
        expected = e / e.sum(1, keepdims=True)
    got = run(mode, lambda x: weft.softmax(x, 1), rows)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=0)
    logs = rows - rows.max(1, keepdims=True) - np.log(e.sum(1, keepdims=True))
    np.testing.assert_allclose(run(mode, lambda x: weft.log_softmax(x, 1), rows), logs, rtol=1e-6)
    bad = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf, -np.inf, -np.inf]], dtype=dtype)
    got = run(mode, lambda x: weft.softmax(x, 1), bad)
    assert np.isnan(got[0]).all()
    assert np.isnan(got[1][0])
    assert np.isnan(got[2]).all()
    # logsumexp of infinities is the infinity
    lse = run(mode, lambda x: weft.logsumexp(x, 1), np.concatenate([bad, rows]))
    assert np.isnan(lse[0])
    assert lse[1] == np.inf
    assert lse[2] == -np.inf
    assert np.isfinite(lse[3:]).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_products(dtype: str, mode: str) -> None:
    if dtype == "int32":
        a = np.full((3, 4), 2**31 - 1, np.int32)
        same(run(mode, weft.matmul, a, a.T.copy()), a @ a.T)
        return
    a = np.ones((5, 7), dtype)
    a[0, 0], a[1, 1], a[2, 2], a[3, 3] = np.nan, np.inf, -np.inf, SPECIAL[dtype][5]
    with np.errstate(all="ignore"):
        expected = (a.astype(np.float64) @ a.T.astype(np.float64)).astype(dtype)
    got = run(mode, lambda x: x @ x.T, a)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
    zeros = np.zeros((5, 7), dtype)
    inf = np.full((7, 2), np.inf, dtype)
    assert np.isnan(run(mode, weft.matmul, zeros, inf)).all()  # nothing is skipped for being zero
    tiny = np.full((3, 3), SPECIAL[dtype][5], dtype)
    same(run(mode, weft.matmul, tiny, np.eye(3, dtype=dtype)), tiny)


@pytest.mark.parametrize("mode", MODES)
def test_casts(mode: str) -> None:
    """To integers: fractions dropped, held to the range, NaN is 0. To bool: anything but zero, NaN included."""
    x = np.array([np.nan, np.inf, -np.inf, 1.9, -1.9, 1e30, -1e30, -0.0, TINY64, 300.0, -300.0, 2.0**63, 2.0**31] * 3)
    for name in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"):
        info = np.iinfo(name)
        expected = [
            0 if np.isnan(v) else info.max if v >= info.max else info.min if v <= info.min else int(v)
            for v in x.tolist()
        ]
        got = run(mode, lambda x, name=name: x.to(weft.dtypes.BY_NAME[name]), x)
        assert got.tolist() == expected, name
    assert run(mode, lambda x: x.to(weft.bool_), x).tolist() == [bool(v) for v in x.tolist()]
    with np.errstate(all="ignore"):
        same(run(mode, lambda x: x.to(weft.float32), x), x.astype(np.float32))
        same(run(mode, lambda x: x.to(weft.float16), x), x.astype(np.float16))


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_not_changed_and_results_are_their_own(mode: str) -> None:
    for x in SPECIAL.values():
        t = weft.from_numpy(x.copy())
        y = MODES[mode](lambda t: t.clone())(t)
        assert y.numpy().tobytes() == x.tobytes()  # to the last bit, NaN's payload too
        y.zero_()
        assert t.numpy().tobytes() == x.tobytes()


# Empty and zero-dimensional


@pytest.mark.parametrize("mode", MODES)
def test_empty(mode: str) -> None:
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3), (0, 0)):
        x = np.zeros(shape, np.float32)
        same(run(mode, lambda x: x * 2 + x, x), x)
        same(run(mode, weft.exp, x), x)
        for axis in (None, *range(x.ndim)):
            same(run(mode, lambda x, axis=axis: x.sum(axis=axis), x), np.sum(x, axis=axis))
            same(run(mode, lambda x, axis=axis: x.prod(axis=axis), x), np.prod(x, axis=axis))
            same(run(mode, lambda x, axis=axis: (x > 0).any(axis=axis), x), np.any(x > 0, axis=axis))
            same(run(mode, lambda x, axis=axis: (x > 0).all(axis=axis), x), np.all(x > 0, axis=axis))
            if axis is None or x.shape[axis] == 0:
                for name in ("max", "min", "argmax", "argmin"):
                    with pytest.raises(ValueError, match=r"empty|no elements|zero"):
                        run(mode, lambda x, axis=axis, name=name: getattr(x, name)(axis=axis), x)
            else:
                same(run(mode, lambda x, axis=axis: x.max(axis=axis), x), np.max(x, axis=axis))
            assert np.isnan(run(mode, lambda x, axis=axis: x.mean(axis=axis), x)).all()
        same(run(mode, lambda x: weft.softmax(x, -1), x), x)
        same(run(mode, lambda x: x.reshape(-1, 5), x), x.reshape(-1, 5) if x.size else np.zeros((0, 5), np.float32))
        same(run(mode, lambda x: weft.concat([x, x]), x), np.concatenate([x, x]))
        same(run(mode, lambda x: x.flip(0), x), np.flip(x, 0))
    for m, k, n in ((0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0), (1, 0, 1)):
        a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        same(run(mode, weft.matmul, a, b), a @ b)
        a, b = np.ones((2, m, k), np.float32), np.ones((2, k, n), np.float32)
        same(run(mode, weft.matmul, a, b), a @ b)
    none = np.zeros((0, 2, 3), np.float32)
    same(run(mode, weft.matmul, none, np.zeros((0, 3, 4), np.float32)), np.zeros((0, 2, 4), np.float32))


@pytest.mark.parametrize("mode", MODES)
def test_empty_gradients_and_in_place(mode: str) -> None:
    w = weft.zeros(0, 3, requires_grad=True)
    b = weft.ones(3, requires_grad=True)

    def step() -> Any:
        ((w + b) @ weft.ones(3, 2)).sum().backward()
        return w.grad, b.grad

    MODES[mode](step)()
    assert tuple(w.grad.shape) == (0, 3)
    assert b.grad.tolist() == [0.0] * 3
    x = weft.zeros(4, 0)

    def update() -> None:
        x.add_(1.0)
        x[1:3] = 5.0
        x.zero_()

    MODES[mode](update)()
    assert tuple(x.shape) == (4, 0)


@pytest.mark.parametrize("mode", MODES)
def test_zero_dimensional(mode: str) -> None:
    for dtype in ("float32", "float64", "int32", "bool"):
        x = np.asarray(3, dtype)
        if dtype != "bool":
            same(run(mode, lambda x: x * x + x, x), np.asarray(x * x + x))
        same(run(mode, lambda x: x.reshape(1, 1), x), x.reshape(1, 1))
        same(run(mode, lambda x: x.max(), x), x)
        same(run(mode, lambda x: x[None], x), x[None])
        same(run(mode, lambda x: x[...], x), x)
        same(run(mode, lambda x: weft.stack([x, x]), x), np.stack([x, x]))
        assert run(mode, weft.argmax, x) == 0
    x = weft.tensor(2.0, requires_grad=True)
    (g,) = (MODES[mode](lambda: weft.grad((x * x).sum(), [x])[0])(),)
    assert g.item() == 4.0
    y = weft.tensor(1.0)

    def update() -> None:
        y.add_(1.0)
        y[...] = y * 3

    MODES[mode](update)()
    assert y.item() == 6.0
    assert weft.from_numpy(np.asarray(2.0)).item() == 2.0
    with pytest.raises(TypeError):
        len(y)


@pytest.mark.parametrize("mode", MODES)
def test_integers_of_more_than_64_bits(mode: str) -> None:
    """An integer type refuses them in every mode; a floating-point type takes them as far as it reaches."""
    large = 10**30
    x, i = weft.ones(3), weft.arange(3)
    calls: list[Callable[[Any], Any]] = [
        lambda i: i + large,
        lambda i: weft.minimum(i, -large),
        lambda i: i == large,
        lambda i: weft.clip(i, large),
        lambda i: i.clone().fill_(large),
        lambda i: weft.full((2,), large) + i[0],
    ]
    for call in calls:
        with pytest.raises(OverflowError, match="does not fit in 64 bits"):
            MODES[mode](call)(i)
    with pytest.raises(OverflowError, match="too large for a float"):
        MODES[mode](lambda x: x + 10**400)(x)
    assert MODES[mode](lambda x: x + large)(x).tolist() == [float(np.float32(1e30))] * 3
    assert MODES[mode](lambda i: i + 2**63)(i).tolist() == [-(2**63), 1 - 2**63, 2 - 2**63]
