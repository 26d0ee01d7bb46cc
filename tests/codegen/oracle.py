"""Mathematical functions in the widest floating type of the machine, and errors in units in the last place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LONG = np.longdouble
#: Whether that type has enough bits to judge float64 by.
PRECISE = np.finfo(LONG).nmant >= 63
_SQRT_PI = np.sqrt(LONG(4) * np.arctan(LONG(1)))


def _exp_minus_square(a: np.ndarray) -> np.ndarray:
    """exp(-a**2) for float64 values, with a square that is exact."""
    high = a.astype(np.float32).astype(LONG)
    low = a - high
    square = a * a
    rest = ((high * high - square) + 2 * high * low) + low * low
    return np.exp(-square) * (1 - rest)


def _erf_series(a: np.ndarray) -> np.ndarray:
    """erf(a) = 2 / sqrt(pi) exp(-a**2) sum of 2**n a**(2n + 1) / (2n + 1)!!, whose terms are all positive."""
    term = total = a
    for n in range(1, 80):
        term = term * (2 * a * a) / (2 * n + 1)
        total = total + term
    return 2 / _SQRT_PI * _exp_minus_square(a) * total


def _erfc_fraction(a: np.ndarray) -> np.ndarray:
    """erfc(a) = exp(-a**2) / sqrt(pi) / (a + 1/2 / (a + 2/2 / (a + 3/2 / ...))), for a >= 1."""
    tail = a
    for n in range(500, 0, -1):
        tail = a + LONG(n) / 2 / tail
    return _exp_minus_square(a) / _SQRT_PI / tail


def erfc(x: np.ndarray) -> np.ndarray:
    """The complementary error function."""
    a = np.abs(x)
    near = a < 1
    far = _erfc_fraction(np.where(near, 1, np.minimum(a, 110)))
    return np.where(near, 1 - np.sign(x) * _erf_series(np.where(near, a, 0)), np.where(x < 0, 2 - far, far))


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    a = np.abs(x)
    near = a < 1
    far = 1 - _erfc_fraction(np.where(near, 1, np.minimum(a, 110)))
    return np.copysign(np.where(near, _erf_series(np.where(near, a, 0)), far), x)


#: The functions that are approximated, by their name in kernels.
FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": erf,
    "erfc": erfc,
    "sqrt": np.sqrt,
    "pow": np.power,
    "atan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
}


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The distance of floats from wanted values (in the wide type), in units in the last place of the wanted ones."""
    info = np.finfo(got.dtype)
    exponent = np.maximum(np.frexp(want)[1], info.minexp + 1)
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(LONG) - want) / np.ldexp(LONG(1), exponent - info.nmant - 1)
    overflow = LONG(info.max) * (1 + LONG(2) ** (-info.nmant - 2))
    agreed = (np.isnan(got) & np.isnan(want)) | (np.isinf(got) & (np.abs(want) >= overflow) & (got * want > 0))
    return np.minimum(np.where(agreed, 0, np.where(np.isnan(error), np.inf, error)), 1e300).astype(float)
