"""The floating-point functions of kernels: errors, special values, vectorisation."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from weft import dtypes
from weft.dtypes import bool_
from weft.ir.kernel import Apply, Kernel, Load, Store
from weft.runtime import loader

from .evaluate import evaluate
from .oracle import FUNCTIONS, LONG, PRECISE, ulps

FLOATS = [np.float32, np.float64]
COUNT = 4000


def spread(low: float, high: float) -> Callable[..., np.ndarray]:
    """Numbers spread evenly over a range. A bound beyond 80 grows with the type's range."""

    def draw(rng: np.random.Generator, dtype: type) -> np.ndarray:
        wide = 7.98 if dtype is np.float64 else 1.0
        a, b = (bound * wide if 80 < abs(bound) < 160 else bound for bound in (low, high))
        return rng.uniform(a, b, COUNT)

    return draw


def magnitudes(low: float, high: float, signed: bool = True) -> Callable[..., np.ndarray]:
    """Numbers of magnitude 2**low to 2**high; an infinite bound is that of the type, subnormal numbers included."""

    def draw(rng: np.random.Generator, dtype: type) -> np.ndarray:
        info = np.finfo(dtype)
        a, b = max(low, info.minexp - info.nmant), min(high, info.maxexp - 1e-9)
        return np.exp2(rng.uniform(a, b, COUNT)) * (rng.choice([-1, 1], COUNT) if signed else 1)

    return draw


INF = np.inf
TINY = magnitudes(-INF, 0)
UNIT = spread(-1, 1)
POSITIVE = [magnitudes(-INF, INF, signed=False), spread(0.5, 2), spread(0.99, 1.01)]
ANGLES = [spread(-8, 8), spread(-1e5, 1e5), TINY, magnitudes(0, INF)]

# name: (bound in ulp for float32, for float64, arguments)
UNARY = {
    "exp": (1.1, 1.1, [spread(-104, 89), UNIT, TINY]),
    "exp2": (1.3, 1.4, [spread(-150, 128), UNIT, TINY]),
    "expm1": (1.1, 1.2, [spread(-20, 89), UNIT, TINY]),
    "log": (0.9, 0.9, POSITIVE),
    "log2": (0.9, 0.9, POSITIVE),
    "log10": (0.9, 0.9, POSITIVE),
    "log1p": (0.9, 0.9, [spread(-0.99, 1), spread(-0.5, 100), TINY, magnitudes(0, INF, signed=False)]),
    "sin": (1.6, 0.9, ANGLES),
    "cos": (1.6, 0.9, ANGLES),
    "tan": (0.6, 1.0, ANGLES),
    "asin": (0.8, 0.8, [UNIT, TINY]),
    "acos": (0.8, 0.8, [UNIT, TINY]),
    "atan": (1.3, 0.8, [UNIT, spread(-10, 10), magnitudes(-INF, INF)]),
    "sinh": (1.7, 1.7, [spread(-3, 3), spread(-90, 90), TINY]),
    "cosh": (1.5, 1.5, [spread(-3, 3), spread(-90, 90), TINY]),
    "tanh": (1.4, 1.4, [spread(-2, 2), spread(-20, 20), TINY]),
    "asinh": (0.9, 0.9, [spread(-3, 3), magnitudes(-INF, INF)]),
    "acosh": (0.9, 0.9, [spread(1, 1.01), spread(1, 3), magnitudes(0, INF, signed=False)]),
    "atanh": (0.9, 0.9, [UNIT, TINY]),
    "erf": (1.4, 1.4, [spread(-2, 2), spread(-7, 7), TINY]),
    "erfc": (1.3, 1.3, [spread(-3, 3), spread(-7, 28), TINY]),
    "sqrt": (0.5, 0.5, POSITIVE),
}
BINARY = {"pow": (0.6, 1.1), "atan2": (0.6, 1.1), "hypot": (0.6, 1.1), "logaddexp": (0.6, 1.1)}
EXACT = ["floor", "ceil", "trunc", "rint", "round", "fabs", "sign", "signbit", "isnan", "isinf", "isfinite"]
EXACT_BINARY = ["maximum", "minimum", "copysign", "nextafter", "fmod", "remainder", "floor_divide"]
PREDICATES = ("signbit", "isnan", "isinf", "isfinite")
SPECIAL = [0.0, 1.0, 2.0, 0.5, 3.0, 7.5, 0.1, 88.73, 100.0, 709.8, 1e3, 1e5, 1e30, 1e-8, 1e-40, 5e-324, 1e-310, INF]
SPECIAL += [1.5, 2.5, 16777216.0, 2.0**53, 0.99999994, 1.0000001]


@cache
def unary(dtype: type) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """(arguments of each approximated function, results by name, results for special values), all from one kernel."""
    rng = np.random.default_rng(0)
    arguments = {name: [draw(rng, dtype) for draw in row[2]] for name, row in UNARY.items()}
    special = specials(dtype)
    parts = {name: np.concatenate(draws).astype(dtype) for name, draws in arguments.items()}
    everything = np.concatenate([special, *parts.values()])
    names = [*UNARY, *EXACT]
    results = evaluate({name: f"{name}(x)" for name in names}, [everything], dict.fromkeys(PREDICATES, bool_))
    starts = np.cumsum([special.size, *(part.size for part in parts.values())])
    return (
        parts,
        {name: results[name][a:b] for name, a, b in zip(parts, starts[:-1], starts[1:], strict=True)},
        {name: results[name][: special.size] for name in names},
    )


def specials(dtype: type) -> np.ndarray:
    """Zeros, subnormal numbers, limits, infinities, NaN, of both signs."""
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL, dtype)
    return np.concatenate([values, -values, np.array([np.nan], dtype)])


@cache
def binary(dtype: type) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(x, y, results by name): every pair of special values, then random ones, then pairs for pow."""
    rng = np.random.default_rng(1)
    x, y = (a.ravel() for a in np.meshgrid(specials(dtype), specials(dtype)))
    magnitude = magnitudes(-INF, INF)
    base = np.exp2(np.concatenate([rng.uniform(-20, 20, COUNT), rng.normal(0, 0.01, COUNT)])).astype(dtype)
    limit = np.finfo(dtype).maxexp - 2
    power = rng.uniform(-limit, limit, base.size) / np.log2(base.astype(float))
    x = np.concatenate([x, magnitude(rng, dtype), rng.normal(0, 10, COUNT), base]).astype(dtype)
    y = np.concatenate([y, magnitude(rng, dtype), rng.normal(0, 3, COUNT), power]).astype(dtype)
    names = [*BINARY, *EXACT_BINARY]
    return x, y, evaluate({name: f"{name}(x, y)" for name in names}, [x, y])


def judge(got: np.ndarray, want: np.ndarray, bound: float, *arguments: np.ndarray) -> None:
    """Assert that no error exceeds the bound, naming the worst argument."""
    errors = ulps(got, want)
    i = int(np.argmax(errors))
    shown = [a[i] for a in arguments]
    assert errors[i] <= bound, f"{errors[i]:.3f} ulp at {shown}: {got[i]} instead of {want[i]}"


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_error_of_unary_functions(name: str, dtype: type) -> None:
    if dtype is np.float64 and not PRECISE:
        pytest.skip("no type wider than float64 to compare with")
    arguments, results, _ = unary(dtype)
    x = arguments[name]
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name](x.astype(LONG))
    judge(results[name], want, UNARY[name][FLOATS.index(dtype)], x)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_error_of_binary_functions(name: str, dtype: type) -> None:
    if dtype is np.float64 and not PRECISE:
        pytest.skip("no type wider than float64 to compare with")
    x, y, results = binary(dtype)
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name](x.astype(LONG), y.astype(LONG))
    got = results[name]
    if name == "logaddexp":  # near a result of 0 its error is relative to the arguments
        largest = np.maximum(np.maximum(np.abs(x), np.abs(y)).astype(LONG), 1)
        near = np.isfinite(want) & (np.abs(want) < (largest if dtype is np.float64 else 2.0**-9))
        difference = (got[near] - want[near]) / largest[near]
        assert np.abs(difference).max() <= np.finfo(dtype).eps
        x, y, got, want = (a[~near] for a in (x, y, got, want))
    judge(got, want, BINARY[name][FLOATS.index(dtype)], x, y)


def same(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Which floats are the same, the sign of zero included."""
    return ((got == want) & (np.signbit(got) == np.signbit(want))) | (np.isnan(got) & np.isnan(want))


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_of_unary_functions(dtype: type) -> None:
    results = unary(dtype)[2]
    x = specials(dtype)
    for name in UNARY:
        with np.errstate(all="ignore"):
            want = FUNCTIONS[name](x.astype(LONG))
            rounded = want.astype(dtype)
        assert ulps(results[name], want).max() <= 2, name
        wrong = ((rounded == 0) | ~np.isfinite(rounded)) & ~same(results[name], rounded)
        assert not wrong.any(), (name, x[wrong], results[name][wrong])
    for name in EXACT:
        with np.errstate(all="ignore"):
            want = getattr(np, name)(x)
        equal = results[name] == want if want.dtype == bool else same(results[name], want)
        assert equal.all(), (name, x[~equal])


@pytest.mark.parametrize("dtype", FLOATS)
def test_exp_nonpositive_has_the_bits_of_exp(dtype: type) -> None:
    rng = np.random.default_rng(2)
    special = specials(dtype)
    limit = 104 if dtype is np.float32 else 746
    x = np.concatenate([special[~(special > 64)], rng.uniform(-limit, 64, 20000), magnitudes(-60, 6)(rng, dtype)])
    x = x.astype(dtype)
    got = evaluate({name: f"{name}(x)" for name in ("exp", "exp_nonpositive")}, [x])
    assert same(got["exp_nonpositive"], got["exp"]).all()
    assert (got["exp"] == 0).any()
    assert ((got["exp"] > 0) & (got["exp"] < np.finfo(dtype).tiny)).any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EXACT_BINARY)
def test_exact_binary_functions(dtype: type, name: str) -> None:
    x, y, results = binary(dtype)
    got = results[name]
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x, y)
        if name == "floor_divide" and dtype is np.float32:  # NumPy rounds twice; the nearest to the floor is closer
            exact = np.floor(x.astype(float) / y.astype(float)).astype(dtype)
            want = np.where(np.isfinite(want) & (np.abs(want) > 2.0**20), exact, want)
    if name in ("maximum", "minimum"):  # of zeros of either sign, either may be the result
        got, want = got + dtype(0), want + dtype(0)
    wrong = ~same(got, want)
    assert not wrong.any(), (name, x[wrong][:5], y[wrong][:5], got[wrong][:5], want[wrong][:5])


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_of_binary_functions(dtype: type) -> None:
    x, y, results = binary(dtype)
    n = specials(dtype).size ** 2
    x, y = x[:n], y[:n]
    for name in BINARY:
        with np.errstate(all="ignore"):
            want = FUNCTIONS[name](x.astype(LONG), y.astype(LONG)).astype(dtype)
        wrong = ((want == 0) | ~np.isfinite(want)) & ~same(results[name][:n], want)
        assert not wrong.any(), (name, x[wrong][:5], y[wrong][:5], results[name][:n][wrong][:5], want[wrong][:5])


def test_clip_fma_and_where() -> None:
    rng = np.random.default_rng(2)
    x, y, z = rng.normal(size=(3, 1000)).astype("f")
    x[:3] = np.nan, np.inf, -np.inf
    got = evaluate({"clip": "clip(x, y, z)", "fma": "fma(x, y, z)", "where": "where(x < y, y, z)"}, [x, y, z])
    np.testing.assert_array_equal(got["clip"], np.minimum(np.maximum(x, y), z))
    np.testing.assert_array_equal(got["fma"], (x.astype(float) * y + z).astype("f"))
    np.testing.assert_array_equal(got["where"], np.where(x < y, y, z))


def test_numbers_in_a_body_take_the_type_of_the_arguments() -> None:
    x = np.linspace(-2, 2, 50, dtype="f")
    got = evaluate({"relu": "maximum(x, 0)", "cube": "pow(x, 3)", "halved": "mul(x, 0.1)"}, [x])
    np.testing.assert_array_equal(got["relu"], np.maximum(x, 0))
    np.testing.assert_array_equal(got["cube"], (x.astype(float) ** 3).astype("f"))
    np.testing.assert_array_equal(got["halved"], x * np.float32(0.1))


def test_sixteen_bit_results_are_rounded_float32_results() -> None:
    x = np.linspace(-4, 4, 100).astype(np.float16)
    names = ["exp", "tanh", "sin", "erf"]
    narrow = evaluate({name: f"{name}(x)" for name in names}, [x])
    wide = evaluate({name: f"{name}(x)" for name in names}, [x.astype("f")])
    for name in names:
        np.testing.assert_array_equal(narrow[name], wide[name].astype(np.float16))


@pytest.mark.parametrize("dtype", FLOATS)
def test_results_do_not_depend_on_the_position(dtype: type) -> None:
    x, y, _ = binary(dtype)
    x, y = x[::37][:301].copy(), y[::37][:301].copy()
    bodies = {name: f"{name}(x)" for name in UNARY} | {name: f"{name}(x, y)" for name in [*BINARY, *EXACT_BINARY]}
    whole = evaluate(bodies, [x, y])
    for start in (1, 2, 3, 5, 9):
        part = evaluate(bodies, [x[start:], y[start:]])
        for name in bodies:
            assert same(part[name], whole[name][start:]).all(), name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("far", [1e25, -np.inf, np.nan])
def test_one_far_argument_among_near_ones(dtype: type, far: float) -> None:
    x = np.linspace(-3, 3, 40 * 40).reshape(40, 40).astype(dtype)
    np.fill_diagonal(x, far)
    x = x.ravel()
    for name, got in evaluate({name: f"{name}(x)" for name in ("sin", "cos", "tan")}, [x]).items():
        with np.errstate(invalid="ignore"):
            judge(got, FUNCTIONS[name](x.astype(LONG)), 1.6, x)


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf", "sin", "tan", "pow", "atan2", "remainder", "asinh"])
def test_loops_vectorise(name: str) -> None:
    import llvmlite.binding as llvm

    from weft.codegen import cpu, loops

    if not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("reads x86 assembly with AVX2")
    operands = 2 if name in BINARY or name in EXACT_BINARY else 1
    body = (*(Load(i, "c") for i in range(operands)), Apply(name, tuple(range(operands)), dtypes.float32))
    kernel = Kernel("map", "o", (dtypes.float32,) * (operands + 1), (*body, Store(operands, "c", operands)))
    module = cpu.lowered(loops.functions(kernel, {name: f"{name}({', '.join('xy'[:operands])})"}, "kernel"), ["kernel"])
    cpu.optimise(module)
    assembly = loader.machine().emit_assembly(module)
    assert re.search(r"\bv\w+p[sd]\s.*%[yz]mm", assembly)
    assert not loader.called(loader.machine().emit_object(module))


def test_every_type_has_its_functions() -> None:
    from weft.codegen.vecmath import NAMESPACE

    assert {*UNARY, *BINARY, *EXACT, *EXACT_BINARY} <= NAMESPACE.keys()
    assert {f"to_{dtype.name}" for dtype in dtypes.ALL} <= NAMESPACE.keys()
