"""Functions over every number type: arithmetic, comparison, rounding, signs, extrema, remainders of floats."""

from __future__ import annotations

from weft.codegen import types
from weft.codegen.scalar import (
    INF,
    Val,
    call,
    copysign,
    elementwise,
    fabs,
    floating,
    fma,
    is_nan,
    predicate,
    rint,
    same,
    sqrt,
    where,
)

elementwise(floating)(fma)
elementwise(floating)(fabs)
elementwise(floating)(copysign)
elementwise(floating)(sqrt)


@elementwise()
def add(x: Val, y: Val) -> Val:
    """x + y; integers wrap."""
    return x + y


@elementwise()
def sub(x: Val, y: Val) -> Val:
    """x - y; integers wrap."""
    return x - y


@elementwise()
def mul(x: Val, y: Val) -> Val:
    """x * y; integers wrap."""
    return x * y


@elementwise(floating)
def divide(x: Val, y: Val) -> Val:
    """x / y."""
    return x / y


@elementwise()
def neg(x: Val) -> Val:
    """-x; integers wrap."""
    return -x


@elementwise(predicate)
def equal(x: Val, y: Val) -> Val:
    return x == y


@elementwise(predicate)
def not_equal(x: Val, y: Val) -> Val:
    return x != y


@elementwise(predicate)
def less(x: Val, y: Val) -> Val:
    return x < y


@elementwise(predicate)
def less_equal(x: Val, y: Val) -> Val:
    return x <= y


@elementwise(predicate)
def greater(x: Val, y: Val) -> Val:
    return x > y


@elementwise(predicate)
def greater_equal(x: Val, y: Val) -> Val:
    return x >= y


def _rounding(name: str) -> None:
    def function(x: Val) -> Val:
        return call(name, x) if x.is_float else x

    function.__doc__ = f"The C function {name}; integers stay."
    elementwise(name=name)(function)


for _name in ("floor", "ceil", "trunc", "rint"):
    _rounding(_name)


@elementwise()
def round_(x: Val) -> Val:
    """The nearest integer, ties to even."""
    return rint(x) if x.is_float else x


@elementwise()
def abs_(x: Val) -> Val:
    """|x|; the most negative integer stays."""
    if x.is_float:
        return fabs(x)
    return where(x < 0, -x, x) if x.signed else x


@elementwise()
def sign(x: Val) -> Val:
    """-1, 0 or 1 (NaN for NaN)."""
    if not x.is_float:
        positive = (x > 0).as_int(x.width, x.signed) if x.width > 1 else x
        return where(x < 0, -1, positive) if x.signed else positive
    y = where(x > 0.0, x.lit(1.0), where(x < 0.0, x.lit(-1.0), 0.0))
    return where(is_nan(x), x, y)


@elementwise()
def reciprocal(x: Val) -> Val:
    """1 / x, of a float."""
    return 1.0 / x


@elementwise()
def maximum(x: Val, y: Val) -> Val:
    """The larger; NaN if either is NaN."""
    larger = where(x > y, x, y)
    return where(is_nan(x), x, larger) if x.is_float else larger


@elementwise()
def minimum(x: Val, y: Val) -> Val:
    """The smaller; NaN if either is NaN."""
    smaller = where(x < y, x, y)
    return where(is_nan(x), x, smaller) if x.is_float else smaller


@elementwise()
def clip(x: Val, low: Val, high: Val) -> Val:
    """minimum(maximum(x, low), high)."""
    return minimum(maximum(x, low), high)


@elementwise(predicate)
def signbit(x: Val) -> Val:
    """Whether the sign bit is set (for integers: x < 0)."""
    if x.is_float:
        return (x.bits() >> (x.width - 1)) != 0
    return x < 0 if x.signed else x != x


@elementwise(predicate)
def isnan(x: Val) -> Val:
    return x != x


@elementwise(predicate)
def isinf(x: Val) -> Val:
    return fabs(x) == INF if x.is_float else x != x


@elementwise(predicate)
def isfinite(x: Val) -> Val:
    return fabs(x) < INF if x.is_float else x == x


@elementwise(floating)
def nextafter(x: Val, y: Val) -> Val:
    """The float after x in the direction of y."""
    bits = x.bits()
    away = (x < y) == (x > 0.0)  # away from zero: the magnitude's bits count up
    step = (bits + where(away, bits.lit(1), -1)).floated()
    tiny = copysign(x.lit(0.0).bits().lit(1).floated(), y)
    result = where(x == 0.0, tiny, step)
    result = where(x == y, y, result)
    return where(is_nan(x) | is_nan(y), x + y, result)


@elementwise(floating)
def hypot(x: Val, y: Val) -> Val:
    """sqrt(x**2 + y**2) without overflow; infinite if either is."""
    a, b = fabs(x), fabs(y)
    infinite = (a == INF) | (b == INF)
    if x.width == 32:
        c, d = a.as_float(64), b.as_float(64)
        h = sqrt(fma(c, c, d * d)).as_float(32)
    else:
        a, b = where(a > b, a, b), where(a > b, b, a)
        huge, tiny = a > 2.0**500, a < 2.0**-450
        factor = where(huge, a.lit(2.0**-600), where(tiny, a.lit(2.0**600), 1.0))
        back = where(huge, a.lit(2.0**600), where(tiny, a.lit(2.0**-600), 1.0))
        a, b = a * factor, b * factor
        s, t = a * a, b * b
        total = s + t
        low = ((s - total) + t) + (fma(a, a, -s) + fma(b, b, -t))
        h = sqrt(total)
        h = h + (fma(-h, h, total) + low) / (2.0 * where(h > 0.0, h, 1.0))
        h = h * back
    h = where(is_nan(x), x, where(is_nan(y), y, h))
    return where(infinite, INF, h)


def _selection(condition: types.Type, x: types.Type, y: types.Type) -> tuple[types.Type, tuple[types.Type, ...]] | None:
    found = same(x, y)
    return None if found is None else (found[0], (types.boolean, *found[1]))


@elementwise(_selection)
def where_(condition: Val, x: Val, y: Val) -> Val:
    """x if the condition holds, else y."""
    return where(condition, x, y)
