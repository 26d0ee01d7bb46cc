"""Integer functions, conversions and random bits of kernels: everything that is exact."""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np
import pytest

from weft import dtypes
from weft.dtypes import DType

from .evaluate import evaluate, numpy_type

INTEGERS = [*dtypes.SIGNED, *dtypes.UNSIGNED]
OPS = {
    "add": "add(x, y)",
    "sub": "sub(x, y)",
    "mul": "mul(x, y)",
    "neg": "neg(x)",
    "abs": "abs(x)",
    "sign": "sign(x)",
    "floor_divide": "floor_divide(x, y)",
    "remainder": "remainder(x, y)",
    "fmod": "fmod(x, y)",
    "pow": "pow(x, y)",
    "left_shift": "left_shift(x, y)",
    "right_shift": "right_shift(x, y)",
    "maximum": "maximum(x, y)",
    "minimum": "minimum(x, y)",
    "clip": "clip(x, 0, 5)",
    "and": "bitwise_and(x, y)",
    "or": "bitwise_or(x, y)",
    "xor": "bitwise_xor(x, y)",
    "invert": "invert(x)",
}


def expected(x: int, y: int, bits: int, signed: bool) -> list[int]:
    """What ``OPS`` give for two Python integers."""

    def wrap(value: int) -> int:
        value &= (1 << bits) - 1
        return value - (1 << bits) if signed and value >> (bits - 1) else value

    def power() -> int:
        if y >= 0:
            return wrap(pow(x, y, 1 << bits))
        return {1: 1, -1: (-1) ** (y % 2)}.get(x, 0)

    def sign(value: int) -> int:
        return (value > 0) - (value < 0)

    inside = 0 <= y < bits
    return [
        wrap(x + y),
        wrap(x - y),
        wrap(x * y),
        wrap(-x),
        wrap(abs(x)),
        sign(x),
        wrap(x // y) if y else 0,
        x % y if y else 0,
        abs(x) % abs(y) * sign(x) if y else 0,
        power(),
        wrap(x << y) if inside else 0,
        x >> y if inside else -(x < 0),
        max(x, y),
        min(x, y),
        min(max(x, 0), 5),
        x & y,
        x | y,
        x ^ y,
        wrap(~x),
    ]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_functions(dtype: DType) -> None:
    info, bits, signed = np.iinfo(dtype.name), dtype.itemsize * 8, dtype.kind == "i"
    edges = [info.min, info.min + 1, info.max - 1, info.max, 0, 1, 2, 3, 7, 10, bits - 1, bits, bits + 1]
    edges += [-1, -2, -3, -7, -bits] if signed else []
    rng = np.random.default_rng(0)
    x, y = (a.ravel() for a in np.meshgrid(*[np.array(edges, dtype.name)] * 2))
    wide = rng.integers(info.min, info.max, (2, 1000), dtype.name, endpoint=True)
    small = rng.integers(-20 if signed else 0, 20, 500).astype(dtype.name)
    middle = (wide >> np.array(14 if bits == 64 else bits // 3, dtype.name)).astype(dtype.name)
    x, y = np.concatenate([x, wide[0], middle[0]]), np.concatenate([y, wide[1, :500], small, middle[1]])
    got = evaluate(OPS, [x, y])
    want = np.array([expected(int(a), int(b), bits, signed) for a, b in zip(x, y, strict=True)], object).T
    for name, row in zip(OPS, want, strict=True):
        wrong = got[name] != row.astype(dtype.name)
        assert not wrong.any(), (name, x[wrong][:5], y[wrong][:5], got[name][wrong][:5])


def samples(dtype: DType) -> np.ndarray:
    """Numbers of a type that are hard to convert."""
    rng = np.random.default_rng(0)
    if dtype.kind == "b":
        return np.array([True, False])
    if dtype.kind in "iu":
        info = np.iinfo(dtype.name)
        edges = np.array([info.min, info.max, 0, 1, info.max - 1], dtype.name)
        return np.concatenate([edges, rng.integers(info.min, info.max, 200, dtype.name)])
    edges = [
        0.0,
        -0.0,
        np.nan,
        np.inf,
        -np.inf,
        0.99,
        -0.99,
        -1.0,
        1e300,
        5e-324,
        65504.0,
        65519.99,
        65520.0,
        1e30,
        -1e30,
    ]
    for width in (8, 16, 32, 64):
        for power in (2.0 ** (width - 1), 2.0**width, -(2.0 ** (width - 1))):
            edges += [
                power,
                np.nextafter(power, 0),
                np.nextafter(power, 2 * power),
                power - 1,
                power + 0.5,
                power - 0.5,
            ]
    # next to the middle between two 16-bit floats, where rounding twice shows
    edges += [
        1 + 2.0**-11,
        1 + 2.0**-11 + 2.0**-40,
        1 + 2.0**-9,
        1 + 2.0**-9 - 2.0**-40,
        2.0**-25,
        2.0**-25 * (1 + 2.0**-30),
    ]
    normal = [rng.normal(size=200) * scale for scale in (1, 1e3, 1e10, 1e19)]
    with np.errstate(all="ignore"):
        return np.concatenate([edges, *normal]).astype(numpy_type(dtype))


def converted(x: np.ndarray, to: DType) -> np.ndarray:
    """NumPy's conversion; from floats to integers truncated, within the range, 0 for NaN."""
    target = numpy_type(to)
    if to.kind in "iu" and x.dtype.kind not in "biu":
        info = np.iinfo(to.name)
        values = [0.0 if np.isnan(v) else v for v in x.astype(float)]
        return np.array([info.max if v >= info.max else info.min if v <= info.min else int(v) for v in values], target)
    if to is dtypes.bfloat16:  # ml_dtypes rounds float64 to float32 first: round to odd there instead
        return nearest_bfloat16(x)
    with np.errstate(all="ignore"):
        return x.astype(target)


def nearest_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounded once from float64; integers by way of float32, as everyone does."""
    with np.errstate(all="ignore"):
        single = x.astype("f")
        if x.dtype != np.float64:
            return single.astype(ml_dtypes.bfloat16)
        toward_zero = np.where(np.abs(single) > np.abs(x), np.nextafter(single, np.float32(0)), single)
    odd = (toward_zero.view("u4") | 1).view("f")
    return np.where(np.isnan(x) | (single == x), single, odd).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("source", dtypes.ALL, ids=str)
def test_casts_to_every_type(source: DType) -> None:
    x = samples(source)
    got = evaluate(dict.fromkeys(dtypes.BY_NAME, "cast"), [x], dtypes.BY_NAME)
    for name, to in dtypes.BY_NAME.items():
        want = converted(x, to)
        wrong = ~((got[name] == want) | ((got[name] != got[name]) & (want != want)))
        assert not wrong.any(), (name, x[wrong][:5], got[name][wrong][:5], want[wrong][:5])


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=str)
def test_every_sixteen_bit_pattern_widens_and_narrows(dtype: DType) -> None:
    name = "f16" if dtype is dtypes.float16 else "bf16"
    bits = np.arange(65536, dtype=np.uint16)
    values = bits.view(numpy_type(dtype))
    wide = evaluate({"wide": f"{name}_to_f32(x)"}, [bits], {"wide": dtypes.float32})["wide"]
    np.testing.assert_array_equal(wide, values.astype("f"))
    back = evaluate({"back": f"f32_to_{name}(x)"}, [wide], {"back": dtypes.uint16})["back"]
    number = ~np.isnan(wide)
    np.testing.assert_array_equal(back[number], bits[number])
    assert np.isnan(back[~number].view(numpy_type(dtype)).astype("f")).all()


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=str)
def test_narrowing_rounds_to_nearest_even(dtype: DType) -> None:
    rng = np.random.default_rng(3)
    random = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32).view("f")
    near = np.exp2(rng.uniform(-26, 17, 100_000)).astype("f")
    middle = (near.view("u4") & 0xFFFFE000 | 0x1000).view("f")  # ties of float16
    x = np.concatenate([random, near, middle, (near.view("u4") & 0xFFFF0000 | 0x8000).view("f")])
    got = evaluate({"cast": "cast"}, [x], {"cast": dtype})["cast"]
    with np.errstate(all="ignore"):
        want = x.astype(numpy_type(dtype))
    number = ~np.isnan(x)
    np.testing.assert_array_equal(got.view("u2")[number], want.view("u2")[number])
    assert np.isnan(got[~number].astype("f")).all()


def philox4x32(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10, one block, from the definition in the paper."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = second >> 32 ^ b ^ k0, second & 0xFFFFFFFF, first >> 32 ^ d ^ k1, first & 0xFFFFFFFF
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return a, b, c, d


# counter, key, result: the known answers published with Random123
KNOWN = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def test_philox() -> None:
    for counter, key, result in KNOWN:
        assert philox4x32(counter, key) == result
    rng = np.random.default_rng(4)
    counter, key = rng.integers(0, 1 << 64, (2, 300), dtype=np.uint64)
    counter[:2], key[:2] = (0, 2**64 - 1), (0, 2**64 - 1)
    got = evaluate({"philox": "philox(x, y)"}, [counter, key])["philox"]
    assert int(got[0]) == 0xE169C58D6627E8D5
    for c, k, bits in zip(counter.tolist(), key.tolist(), got.tolist(), strict=True):
        low, high, _, _ = philox4x32((c & 0xFFFFFFFF, c >> 32, 0, 0), (k & 0xFFFFFFFF, k >> 32))
        assert bits == low | high << 32


@cache
def _division_samples() -> np.ndarray:
    return np.arange(-128, 128, dtype=np.int8)


def test_every_int8_division() -> None:
    x, y = (a.ravel() for a in np.meshgrid(_division_samples(), _division_samples()))
    got = evaluate({"q": "floor_divide(x, y)", "r": "remainder(x, y)"}, [x, y])
    wide, safe = x.astype(int), np.where(y == 0, 1, y).astype(int)
    np.testing.assert_array_equal(got["q"], np.where(y == 0, 0, wide // safe).astype(np.int8))
    np.testing.assert_array_equal(got["r"], np.where(y == 0, 0, wide % safe).astype(np.int8))
