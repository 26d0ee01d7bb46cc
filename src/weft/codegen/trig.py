"""Trigonometric functions and their inverses.

x = n pi/2 + r with |r| <= pi/4 (see `weft.codegen.reduction`), then a minimax polynomial in r and a choice by n mod 4.
"""

from __future__ import annotations

from weft.codegen.reduction import PIO2, is_far, reduce_far, reduce_float32, reduce_near
from weft.codegen.scalar import (
    INF,
    NAN,
    Val,
    copysign,
    elementwise,
    fabs,
    floating,
    fma,
    is_nan,
    polynomial,
    sqrt,
    where,
)
from weft.codegen.seldom import seldom

PIO2_BY_WIDTH = {32: (1.5707963705062866, -4.371138828673793e-08), 64: PIO2}

# (sin(r) - r) / r**3 and (cos(r) - 1 + r**2 / 2) / r**4 in r**2, |r| <= pi/4. Errors 2**-28, 2**-57 (cos 2**-33, 2**-63);
# MID 2**-37, for float32 computed in float64.
SIN = {
    32: (-0.16666655242443085, 0.008332188241183758, -0.00019518070621415973),
    64: (
        -0.1666666666666663,
        0.00833333333332184,
        -0.00019841269829358487,
        2.755731353848004e-06,
        -2.5050734379976437e-08,
        1.5895432478025592e-10,
    ),
}
COS = {
    32: (0.04166664555668831, -0.0013887309469282627, 2.4432341888314113e-05),
    64: (
        0.041666666666666595,
        -0.0013888888888873307,
        2.4801587288965288e-05,
        -2.7557314203113406e-07,
        2.0875703146166683e-09,
        -1.1358617429039605e-11,
    ),
}
SIN_MID = (-0.1666666664058904, 0.008333329279467798, -0.0001983930387745813, 2.7180404032460383e-06)
COS_MID = (0.04166666661912496, -0.0013888883468833322, 2.4799451967111853e-05, -2.7205080749738936e-07)
# (asin(s) - s) / s**3 in s**2, s <= 1/2: errors 2**-27, 2**-55.
ASIN = {
    32: (0.16666752099990845, 0.07495313137769699, 0.04546854645013809, 0.024187935516238213, 0.04215293750166893),
    64: (
        0.16666666666665408,
        0.07500000000337147,
        0.04464285682820975,
        0.030381959142153806,
        0.02237175792023678,
        0.017359706802797272,
        0.013885214645016575,
        0.01216935249186795,
        0.006527348821278964,
        0.01953002602615109,
        -0.016227087951972734,
        0.03191426205045786,
    ),
}
# (atan(s) - s) / s**3 in s**2, s <= tan(pi/8): errors 2**-30, 2**-64; MID 2**-40.
ATAN = {
    32: (-0.33333316445350647, 0.19998526573181152, -0.1424434334039688, 0.105987049639225, -0.06088648736476898),
    64: (
        -0.33333333333333326,
        0.19999999999997098,
        -0.14285714285316972,
        0.1111111108379265,
        -0.09090907987884367,
        0.07692279252525656,
        -0.06666175504849366,
        0.05876524920090133,
        -0.05215237160671675,
        0.04490793770706731,
        -0.03318025591308967,
        0.014899066430974816,
    ),
}
ATAN_MID = (
    -0.3333333329549164,
    0.19999994296088858,
    -0.14285422348240065,
    0.11103979508739699,
    -0.08996606516789907,
    0.06990122712566663,
    -0.037904365782361116,
)


def sin_cos(r: Val, tail: Val) -> tuple[Val, Val, Val, Val]:
    """sin and cos of r + tail for |r| <= pi/4, each as a sum of two floats."""
    z = r * r
    sin_low = fma(z * r, polynomial(z, SIN[r.width]), tail * fma(z, -0.5, 1.0))
    half = 0.5 * z
    cos = 1.0 - half
    cos_low = ((1.0 - cos) - half) + fma(z * z, polynomial(z, COS[r.width]), -(r * tail))
    return r, sin_low, cos, cos_low


def _sin_or_cos(q: Val, r: Val, tail: Val) -> Val:
    """The sine of q pi/2 + r + tail."""
    s, s_low, c, c_low = sin_cos(r, tail)
    return _signed(q, where((q & 1) != 0, c + c_low, s + s_low))


def _signed(q: Val, y: Val) -> Val:
    return (y.bits() ^ ((q & 2) << (y.width - 2))).floated()


def _sin_shifted(x: Val, quarter: int) -> Val:
    """sin(x + quarter * pi/2) for x != 0."""

    def far(x: Val) -> Val:
        q, r, tail = reduce_far(x.as_float(64))
        return _sin_or_cos(q + quarter, r, tail).as_float(x.width)

    if x.width == 32:
        bits, wide = reduce_float32(x.as_float(64))
        r, q = wide.as_float(32), bits.as_int(32) + quarter
        z = r * r
        sin = fma(z * r, polynomial(z, SIN[32]), r)
        cos = fma(z, fma(z, polynomial(z, COS[32]), -0.5), 1.0)
        near = _signed(q, where((q & 1) != 0, cos, sin))
    else:
        q, r, tail = reduce_near(x)
        near = _sin_or_cos(q + quarter, r, tail)
    return seldom("cos" if quarter else "sin", is_far, far, [x], near)


@elementwise(floating)
def sin(x: Val) -> Val:
    """The sine of x radians."""
    return where(x == 0.0, x, _sin_shifted(x, 0))


@elementwise(floating)
def cos(x: Val) -> Val:
    """The cosine of x radians."""
    return _sin_shifted(x, 1)


def _tan_reduced(q: Val, r: Val, tail: Val) -> Val:
    """The tangent of q pi/2 + r + tail."""
    s, s_low, c, c_low = sin_cos(r, tail)
    s, s_low = s + s_low, (s - (s + s_low)) + s_low
    c, c_low = c + c_low, (c - (c + c_low)) + c_low
    odd = (q & 1) != 0
    top, top_low = where(odd, -c, s), where(odd, -c_low, s_low)
    bottom, bottom_low = where(odd, s, c), where(odd, s_low, c_low)
    inverse = 1.0 / bottom
    y = top * inverse
    return fma(fma(-y, bottom, top) + (top_low - y * bottom_low), inverse, y)


@elementwise(floating)
def tan(x: Val) -> Val:
    """The tangent of x radians."""

    def far(x: Val) -> Val:
        return _tan_reduced(*reduce_far(x.as_float(64))).as_float(x.width)

    if x.width == 32:
        q, r = reduce_float32(x.as_float(64))
        z = r * r
        s = fma(z * r, polynomial(z, SIN_MID), r)
        c = fma(z * z, polynomial(z, COS_MID), fma(z, -0.5, 1.0))
        odd = (q & 1) != 0
        near = (where(odd, -c, s) / where(odd, s, c)).as_float(32)
    else:
        near = _tan_reduced(*reduce_near(x))
    return where(x == 0.0, x, seldom("tan", is_far, far, [x], near))


def _asin_core(a: Val) -> tuple[Val, Val, Val]:
    """(big, s, low): asin(a) = s + low for a <= 1/2, else pi/2 - 2 (s + low); ``big`` says which."""
    big = a > 0.5
    z = where(big, (1.0 - a) * 0.5, a * a)
    root = sqrt(z)
    root_low = fma(-root, root, z) / (2.0 * where(root > 0.0, root, 1.0))
    s = where(big, root, a)
    low = fma(s * z, polynomial(z, ASIN[a.width]), where(big, root_low, 0.0))
    return big, s, low


@elementwise(floating)
def asin(x: Val) -> Val:
    """The arcsine; NaN beyond 1."""
    high, low = PIO2_BY_WIDTH[x.width][:2]
    big, s, rest = _asin_core(fabs(x))
    y = where(big, high - 2.0 * s, s)
    y_low = where(big, ((high - y) - 2.0 * s) + (low - 2.0 * rest), rest)
    return copysign(y + y_low, x)


@elementwise(floating)
def acos(x: Val) -> Val:
    """The arccosine; NaN beyond 1."""
    high, low = PIO2_BY_WIDTH[x.width][:2]
    big, s, rest = _asin_core(fabs(x))
    negative = x < 0.0
    # near 1: 2 asin(sqrt((1 - x) / 2)), near -1: pi minus that, else pi/2 - asin(x)
    two, two_low = 2.0 * s, 2.0 * rest
    near, near_low = where(negative, 2.0 * high - two, two), where(negative, 2.0 * low - two_low, two_low)
    near_low = where(negative, ((2.0 * high - near) - two) + near_low, near_low)
    s, rest = where(negative, -s, s), where(negative, -rest, rest)
    middle = high - s
    middle_low = ((high - middle) - s) + (low - rest)
    return where(big, near, middle) + where(big, near_low, middle_low)


def _atan_core(top: Val, bottom: Val, bottom_low: Val, mid: bool = False) -> tuple[Val, Val]:
    """atan(top / (bottom + bottom_low)) for a quotient up to tan(pi/8), as a sum of two floats."""
    if mid:
        s = top / bottom
        z = s * s
        return s, s * z * polynomial(z, ATAN_MID)
    inverse = 1.0 / bottom
    s = top * inverse
    s_low = (fma(-s, bottom, top) - s * bottom_low) * inverse
    z = s * s
    return s, fma(s * z, polynomial(z, ATAN[top.width]), s_low)


def _atan_ratio(a: Val, b: Val, mid: bool = False) -> Val:
    """atan(a / b) for a, b >= 0 whose sum does not overflow."""
    steep = a > b
    top, bottom = where(steep, b, a), where(steep, a, b)
    slanted = top > 0.4142135623730951 * bottom
    total = top + bottom
    s, p = _atan_core(
        where(slanted, top - bottom, top),
        where(slanted, total, bottom),
        where(slanted, top - (total - bottom), 0.0),
        mid,
    )
    high, low = PIO2_BY_WIDTH[a.width][:2]
    # atan(top / bottom) = base + s + p, and its complement if steep
    base, base_low = where(slanted, a.lit(high / 2), 0.0), where(slanted, a.lit(low / 2), 0.0)
    base, base_low = where(steep, high - base, base), where(steep, low - base_low, base_low)
    s, p = where(steep, -s, s), where(steep, -p, p)
    y = base + s
    return y + (((base - y) + s) + (p + base_low))


@elementwise(floating)
def atan(x: Val) -> Val:
    """The arctangent."""
    a = fabs(x)
    a = where(a > 2.0**60, 2.0**60, a)
    steep = a > 2.414213562373095
    slanted = a > 0.4142135623730951
    total = a + 1.0
    s, p = _atan_core(
        where(steep, a.lit(-1.0), where(slanted, a - 1.0, a)),
        where(steep, a, where(slanted, total, 1.0)),
        where(steep, a.lit(0.0), where(slanted, a - (total - 1.0), 0.0)),
    )
    high, low = PIO2_BY_WIDTH[x.width][:2]
    base = where(steep, x.lit(high), where(slanted, x.lit(high / 2), 0.0))
    base_low = where(steep, x.lit(low), where(slanted, x.lit(low / 2), 0.0))
    y = base + s
    return copysign(y + (((base - y) + s) + (p + base_low)), x)


@elementwise(floating)
def atan2(y: Val, x: Val) -> Val:
    """The angle of the point (x, y), in [-pi, pi], with C's rules for zeros and infinities."""
    width = x.width
    y0, x0 = y.as_float(64), x.as_float(64)
    a, b = fabs(y0), fabs(x0)
    # infinities as the point's direction: (1, 0), (0, 1) or (1, 1); and 0 / 1 for 0 / 0
    a_infinite, b_infinite = a == INF, b == INF
    zero = (a == 0.0) & (b == 0.0)
    a = where(a_infinite, 1.0, where(b_infinite, 0.0, a))
    b = where(b_infinite | zero, 1.0, where(a_infinite, 0.0, b))
    top = where(a > b, a, b)
    if width == 64:
        factor = where(top > 2.0**1000, top.lit(2.0**-100), where(top < 2.0**-900, top.lit(2.0**100), 1.0))
        a, b = a * factor, b * factor
    r = _atan_ratio(a, b, mid=width == 32)
    left = x0.bits() >> 63 != 0
    r = where(left, (PIO2[0] * 2.0 - r) + PIO2[1] * 2.0, r)
    r = where(is_nan(x0) | is_nan(y0), NAN, r)
    return copysign(r, y0).as_float(width)
