"""Exponentials, logarithms and powers.

exp: x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite), a minimax polynomial in r, then a product with 2**n in two
steps, so that results overflow and become subnormal as they should. log: x = 2**k m with m in [sqrt(1/2), sqrt(2)).
The coefficients are from a weighted Remez exchange; the error given beside them is that of the approximation.
"""

from __future__ import annotations

from weft.codegen import intmath
from weft.codegen.scalar import (
    BIAS,
    INF,
    MAGIC,
    MANTISSA,
    NAN,
    Val,
    elementwise,
    fabs,
    floating,
    fma,
    is_nan,
    polynomial,
    rint,
    where,
)

LN2 = {32: (0.6931471824645996, -1.9046542121259336e-09), 64: (0.6931471805599453, 2.3190468138462996e-17)}
LOG2E = 1.4426950408889634
#: ln 2 with 32 zero bits at its end, so that its product with an exponent is exact.
LN2_SHORT = {32: (0.693359375, -2.12194440e-4), 64: (0.6931467056274414, 4.7493250390316726e-07)}

# (exp(r) - 1 - r) / r**2 on |r| <= ln 2 / 2: errors 2**-28, 2**-57; EXP_MID 2**-39, for float32 computed in float64.
EXP = {
    32: (0.4999999403953552, 0.1666652262210846, 0.041668277233839035, 0.008368603885173798, 0.0013820083113387227),
    64: (
        0.5000000000000009,
        0.16666666666666433,
        0.04166666666654109,
        0.008333333333485255,
        0.0013888888941165714,
        0.00019841269520150817,
        2.4801495338446284e-05,
        2.755757819526204e-06,
        2.762953735644373e-07,
        2.5001756952329793e-08,
    ),
}
EXP_MID = (
    0.5000000000370125,
    0.1666666678141159,
    0.04166666460343524,
    0.008333282442533816,
    0.0013889175502327198,
    0.0001990862521975269,
    2.4715869944239817e-05,
)
# (2**r - 1) / r on |r| <= 1/2: errors 2**-28, 2**-58.
EXP2 = {
    32: (
        0.6931471824645996,
        0.24022647738456726,
        0.05550333112478256,
        0.009618428535759449,
        0.0013398766750469804,
        0.00015355720825027674,
    ),
    64: (
        0.6931471805599453,
        0.2402265069591013,
        0.05550410866482017,
        0.009618129107594482,
        0.0013333558146759496,
        0.00015403530456795046,
        1.5252733504845087e-05,
        1.3215435388027299e-06,
        1.0178195359946484e-07,
        7.073772270286109e-09,
        4.435346392714461e-10,
    ),
}
# (expm1(r) - r - r**2 / 2) / r**3 on |r| <= ln 2 / 2: errors 2**-31, 2**-61.
EXPM1 = {
    32: (0.1666666567325592, 0.041666485369205475, 0.008333411999046803, 0.0013933080481365323, 0.00019828134099952877),
    64: (
        0.16666666666666674,
        0.04166666666666659,
        0.00833333333332337,
        0.0013888888888938704,
        0.00019841269882232162,
        2.4801587203540267e-05,
        2.7557247750051317e-06,
        2.755738429097564e-07,
        2.510790665344079e-08,
        2.087933178255481e-09,
    ),
}
# (log1p(f) - f + f**2 / 2) / f**3 on sqrt(1/2) - 1 <= f <= sqrt(2) - 1: error 2**-30.
LOG32 = (
    0.33333319425582886,
    -0.2500000298023224,
    0.2000177502632141,
    -0.16668017208576202,
    0.1422567367553711,
    -0.12408850342035294,
    0.11850453913211823,
    -0.11642705649137497,
    0.06785309314727783,
)
# (2 atanh(s) - 2 s) / s**3 in s**2, s <= (sqrt(2) - 1) / (sqrt(2) + 1): errors 2**-59; LOG_MID 2**-37.
LOG64 = (
    0.6666666666666735,
    0.3999999999940915,
    0.2857142874377605,
    0.2222219841523328,
    0.18183573300532868,
    0.15313802201312438,
    0.14798614869504167,
)
LOG_MID = (0.6666666564441264, 0.4000033565302599, 0.28537267897549523, 0.23583095854447517)
# The same up to s = 1/3: error 2**-38.
LOG1P_MID = (
    0.6666666636338444,
    0.40000052462390323,
    0.28568418207266044,
    0.22301103233745959,
    0.17151084448023163,
    0.2178259661959894,
)
# (2 atanh(s) - 2 s - 2/3 s**3) / s**5 in s**2: error 2**-73, for pow.
LOG_DOUBLE = (
    0.3999999999999998,
    0.2857142857144386,
    0.2222222221778278,
    0.18181818845119072,
    0.15384558336890472,
    0.13336268494893405,
    0.11675691537524463,
    0.11982553905201329,
)
SQRT_HALF_BITS = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}
ONE_BITS = {32: 0x3F800000, 64: 0x3FF0000000000000}


def reduce_exp(x: Val) -> tuple[Val, Val, Val]:
    """(t, n, r): x = n ln 2 + r; n is an integer, also found in the low bits of t."""
    high, low = LN2[x.width]
    t = fma(x, LOG2E, MAGIC[x.width])
    n = t - MAGIC[x.width]
    return t, n, fma(n, -low, fma(n, -high, x))


def power_of_two(t: Val, n: Val) -> tuple[Val, Val]:
    """Two powers of two whose product is 2**n, for |n| < 2 * bias; t is n + MAGIC."""
    mantissa, one = MANTISSA[n.width], ONE_BITS[n.width]
    half = fma(n, 0.5, MAGIC[n.width]).bits() << mantissa
    rest = (t.bits() << mantissa) - half
    return (half + one).floated(), (rest + one).floated()


def scale(y: Val, t: Val, n: Val) -> Val:
    """``(1 + y) * 2**n``; overflows, and rounds once more if subnormal."""
    first, second = power_of_two(t, n)
    return fma(y, first, first) * second


def scale_normal(y: Val, t: Val, n: Val) -> Val:
    """``(1 + y) * 2**n`` for |n| < bias."""
    power = ((t.bits() << MANTISSA[n.width]) + ONE_BITS[n.width]).floated()
    return fma(y, power, power)


def clamp(x: Val, low: float, high: float) -> Val:
    """x within bounds; NaN stays. Written as compare-and-select, which becomes one instruction for each bound."""
    x = where(x < low, low, x)
    return where(x > high, high, x)


def exp_parts(x: Val, mid: bool = False) -> tuple[Val, Val, Val]:
    """(y, t, n): exp(x) = (1 + y) * 2**n, for clamped x."""
    t, n, r = reduce_exp(x)
    square = r * r
    if x.width == 32:  # Estrin's scheme would need the fourth power
        c = EXP[32]
        q = fma(square, fma(square, c[4], fma(r, c[3], c[2])), fma(r, c[1], c[0]))
    else:
        q = polynomial(r, EXP_MID if mid else EXP[64])
    return fma(square, q, r), t, n


EXP_RANGE = {32: (-104.0, 89.0), 64: (-746.0, 710.0)}


@elementwise(floating)
def exp(x: Val) -> Val:
    """e**x."""
    return scale(*exp_parts(clamp(x, *EXP_RANGE[x.width])))


@elementwise(floating)
def exp_nonpositive(x: Val) -> Val:
    """e**x for x <= 0, where 2**n needs but one step: 2**(n + 32) is neither subnormal nor, up to x = 64, infinite."""
    low = EXP_RANGE[x.width][0]
    shift = {32: 32, 64: 64}[x.width]
    # Zero where a product would underflow: hidden scores are common in attention, and underflow takes tens of cycles.
    back = where(x < low, x.lit(0.0), 2.0**-shift)
    y, t, _ = exp_parts(where(x < low, low, x))
    power = ((t.bits() << MANTISSA[x.width]) + (ONE_BITS[x.width] + (shift << MANTISSA[x.width]))).floated()
    return fma(y, power, power) * back


@elementwise(floating)
def exp2(x: Val) -> Val:
    """2**x."""
    x = clamp(x, *((-151.0, 129.0) if x.width == 32 else (-1076.0, 1025.0)))
    t = x + MAGIC[x.width]
    n = t - MAGIC[x.width]
    r = x - n
    head, *rest = EXP2[x.width]
    return scale(fma(r * r, polynomial(r, rest), r * head), t, n)


@elementwise(floating)
def expm1(x: Val) -> Val:
    """e**x - 1, accurate near 0."""
    # The upper bounds lie just above log(max): 2**(n - 1) is then finite, and the last product overflows by itself.
    x_in, w = x, x.width
    x = clamp(x, *((-18.0, 88.73) if w == 32 else (-40.0, 709.79)))
    t = fma(x, LOG2E, MAGIC[w])
    n = t - MAGIC[w]
    high, low = LN2[w]
    first = fma(n, -high, x)
    r = fma(n, -low, first)
    r_low = fma(n, -low, first - r)
    p = fma(r * r, fma(r, polynomial(r, EXPM1[w]), 0.5), r_low)
    half = ((t.bits() << MANTISSA[w]) + (ONE_BITS[w] - (1 << MANTISSA[w]))).floated()  # 2**(n - 1)
    # half * (r + p) + (half - 1/2), its two large terms as a sum of two floats
    a, b = half - 0.5, half * r
    y = a + b
    y = (y + fma(half, p, (a - y) + b)) * 2.0
    return where(x_in == 0.0, x_in, y)


def split_exponent(x: Val, normal: bool = False) -> tuple[Val, Val]:
    """(k, f) for positive finite x, which may be known to be ``normal``: x = 2**k (1 + f), k a float, f in [sqrt(1/2) - 1,
    sqrt(2) - 1)."""
    w, mantissa = x.width, MANTISSA[x.width]
    bias: Val | float = -float(BIAS[w])
    if not normal:
        subnormal = x < 2.0 ** (1 - BIAS[w])
        x = where(subnormal, x * 2.0**mantissa, x)
        bias = where(subnormal, x.lit(-BIAS[w] - mantissa), -BIAS[w])
    u = x.bits() + (ONE_BITS[w] - SQRT_HALF_BITS[w])
    m = ((u & ((1 << mantissa) - 1)) + SQRT_HALF_BITS[w]).floated()
    if w == 32:
        k = Val(x.b, (u >> mantissa).v, True).as_float(32) + bias
    else:  # AVX2 converts no 64-bit integers: put the exponent into the low bits of 2**52
        k = ((u >> mantissa) | 0x4330000000000000).floated()
        k = k + (bias - 2.0**52)
    return k, m - 1.0


def log_series(f: Val) -> tuple[Val, Val]:
    """(f**2 / 2, g): log(1 + f) = f - f**2 / 2 + g."""
    half_square = 0.5 * f * f
    if f.width == 32:
        return half_square, f * f * f * polynomial(f, LOG32)
    s = f / (f + 2.0)
    z = s * s
    return half_square, s * fma(z, polynomial(z, LOG64), half_square)


def log_special(x: Val, y: Val) -> Val:
    """y, unless the logarithm of x is infinite or not a number."""
    y = where(x < INF, y, x)
    y = where(x < 0.0, NAN, y)
    return where(x == 0.0, -INF, y)


def _log_split(k: Val, f: Val, c: Val | None = None) -> Val:
    """``k log(2) + log(1 + f) + c`` for a small c."""
    high, low = LN2_SHORT[f.width]
    half_square, g = log_series(f)
    correction = fma(k, low, g) if c is None else fma(k, low, g) + c
    return fma(k, high, f - (half_square - correction))


def log_sum(u: Val, c: Val, more: Val | float = 0.0) -> Val:
    """``log(u + c) + more * log(2)`` for normal u and |c| <= ulp(u)."""
    k, f = split_exponent(u, normal=True)
    return _log_split(k + more, f, c / u)


@elementwise(floating)
def log(x: Val) -> Val:
    """The natural logarithm."""
    return log_special(x, _log_split(*split_exponent(x)))


@elementwise(floating)
def log1p(x: Val) -> Val:
    """log(1 + x), accurate near 0."""
    u = x + 1.0
    back = u - 1.0
    y = log_sum(u, (x - back) + (1.0 - (u - back)))
    y = log_special(u, y)
    return where(fabs(x) < 2.0 ** (-MANTISSA[x.width] - 2), x, y)


def log_base(x: Val, scale: tuple[float, float], exponent: tuple[float, float]) -> Val:
    """``log(x) * scale`` with ``k * exponent`` for the part of 2**k; both factors as a sum of two floats."""
    k, f = split_exponent(x)
    half_square, g = log_series(f)
    high = f - half_square
    low = ((f - high) - half_square) + g
    y = high * scale[0]
    y_low = fma(high, scale[0], -y) + fma(high, scale[1], low * scale[0])
    whole = k * exponent[0]
    total = whole + y
    rest = ((whole - total) + y) + fma(k, exponent[1], y_low)
    return log_special(x, total + rest)


@elementwise(floating)
def log2(x: Val) -> Val:
    """The logarithm to base 2; exact for powers of 2."""
    if x.width == 32:
        return log_base(x, (1.4426950216293335, 1.925963033500011e-08), (1.0, 0.0))
    return log_base(x, (1.4426950408889634, 2.0355273740931033e-17), (1.0, 0.0))


@elementwise(floating)
def log10(x: Val) -> Val:
    """The logarithm to base 10."""
    if x.width == 32:
        return log_base(x, (0.4342944920063019, -1.0103049952192578e-08), (0.301025390625, 4.605038981195214e-06))
    return log_base(x, (0.4342944819032518, 1.098319650216765e-17), (0.30102992057800293, 7.508597826552624e-08))


def log2_mid(x: Val) -> Val:
    """log2 of a float64 that was a float32, to about 36 bits."""
    k, f = split_exponent(x)
    s = f / (f + 2.0)
    z = s * s
    return log_special(x, fma(s * fma(z, polynomial(z, LOG_MID), 2.0), LOG2E, k))


def log_double(x: Val) -> tuple[Val, Val]:
    """log(x) as a sum of two float64, to about 68 bits, for positive finite x."""
    k, f = split_exponent(x)
    d = f + 2.0
    inverse = 1.0 / d
    s = f * inverse
    s_low = inverse * (fma(-s, d, f) - s * (f - (d - 2.0)))
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    # u = 2/3 z + z**2 q, as a sum
    third, third_low = 0.6666666666666666, 3.700743415417188e-17
    a = z * third
    a_low = fma(z, third, -a) + fma(z_low, third, z * third_low)
    tail = z * z * polynomial(z, LOG_DOUBLE)
    u = a + tail
    u_low = ((a - u) + tail) + a_low
    # log(m) = 2 s + s u
    w = s * u
    w_low = fma(s, u, -w) + fma(s, u_low, s_low * u)
    m = 2.0 * s + w
    m_low = ((2.0 * s - m) + w) + (w_low + 2.0 * s_low)
    high, low = LN2_SHORT[64]
    whole = k * high
    rest = k * low
    rest_low = fma(k, low, -rest) + k * -2.3407938865678234e-23
    total = whole + m
    total_low = ((whole - total) + m) + m_low
    # whole + m is one sum of two floats, rest another
    high_sum = total + rest
    back = high_sum - total
    return high_sum, ((total - (high_sum - back)) + (rest - back)) + (total_low + rest_low)


def exp_sum_parts(high: Val, low: Val) -> tuple[Val, Val, Val, Val]:
    """(y, y_low, t, n): exp(high + low) = (1 + y + y_low) * 2**n, for clamped ``high`` and small ``low``."""
    w = high.width
    t = fma(high, LOG2E, MAGIC[w])
    n = t - MAGIC[w]
    first = fma(n, -LN2[w][0], high)
    rest = fma(n, -LN2[w][1], low)
    r = first + rest
    tail = fma(r * r, polynomial(r, EXP[w]), (first - r) + rest)
    y = r + tail
    return y, (r - y) + tail, t, n


@elementwise()
def pow_(x: Val, y: Val) -> Val:
    """x**y as C's pow: 1 if x is 1 or y is 0, NaN for a negative x with a y that is no integer.

    Integers wrap; a negative exponent gives 0, except for powers of 1 and -1.
    """
    if not x.is_float:
        return intmath.power(x, y)
    w = x.width
    a = fabs(x)
    if w == 32:
        q = clamp(y.as_float(64) * log2_mid(a.as_float(64)), -200.0, 200.0)
        t = q + MAGIC[64]
        n = t - MAGIC[64]
        r = (q - n) * LN2[64][0]
        p = fma(r * r, polynomial(r, EXP_MID), r) + 1.0
        z = (p * ((t.bits() << 52) + ONE_BITS[64]).floated()).as_float(32)
    else:
        high, low = log_double(a)
        high = log_special(a, high)
        q = y * high
        q_low = fma(y, high, -q) + y * low
        y1, y_low, t, n = exp_sum_parts(clamp(q, *EXP_RANGE[64]), where(fabs(q) < 1000.0, q_low, 0.0))
        p = y1 + 1.0
        first, second = power_of_two(t, n)
        z = (p + (((1.0 - p) + y1) + y_low)) * first * second
    z = where(a == 1.0, 1.0, z)
    whole = rint(y) == y
    odd = whole & (rint(y * 0.5) != y * 0.5)
    negative = x.bits() >> (w - 1) != 0
    z = where(odd & negative, -z, z)
    z = where((x < 0.0) & (x > -INF) & ~whole, NAN, z)
    return where((x == 1.0) | (y == 0.0), 1.0, z)


@elementwise(floating)
def logaddexp(x: Val, y: Val) -> Val:
    """log(exp(x) + exp(y)); the error is relative to the larger of |x|, |y| and 1 (float32: to the result, above 2**-10)."""
    width = x.width
    x, y = x.as_float(64), y.as_float(64)
    top = where(x > y, x, y)
    top = where(is_nan(x), x, top)
    d = -fabs(x - y)
    if width == 32:
        e = scale_normal(*exp_parts(clamp(d, -120.0, 0.0), mid=True))
        s = e / (e + 2.0)
        z = s * s
        rest = s * fma(z, polynomial(z, LOG1P_MID), 2.0)
    else:
        e = scale(*exp_parts(clamp(d, -746.0, 0.0)))
        u = e + 1.0
        rest = log_sum(u, e - (u - 1.0))
    return where(x == y, x + LN2[64][0], top + rest).as_float(width)
