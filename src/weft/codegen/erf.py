"""The error function and its complement.

Far from 0: erfc(x) = exp(-x**2) p(t) / (1 + 2 x) with t = (x - K) / (x + K), after M. M. Shepherd and J. G. Laframboise,
"Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf", Math. Comp. 36 (1981), with a minimax p.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.codegen.explog import clamp, exp_parts, exp_sum_parts, power_of_two, scale_normal
from weft.codegen.scalar import Val, copysign, elementwise, fabs, floating, fma, is_nan, polynomial, where

# erf(x) / x - 1 in x**2, x <= 1: errors 2**-29, 2**-56.
ERF = {
    32: (
        0.12837916612625122,
        -0.3761262595653534,
        0.11283578723669052,
        -0.026853347197175026,
        0.005187162198126316,
        -0.0007997856591828167,
        7.806922076269984e-05,
    ),
    64: (
        0.1283791670955126,
        -0.37612638903183865,
        0.11283791670955332,
        -0.026866170644601253,
        0.005223977616688064,
        -0.0008548326376803983,
        0.00012055305578422472,
        -1.492492147601688e-05,
        1.6449494829795752e-06,
        -1.6223011534288459e-07,
        1.3778034622747449e-08,
        -7.896292681719719e-10,
    ),
}
# log(erfc(x)) on [0.99, 3.95], weighted for erf: error 2**-35.
LOG_ERFC32 = (
    0.00018845699378289282,
    -1.1295802593231201,
    -0.6332165002822876,
    -0.10842198878526688,
    0.025210272520780563,
    -0.0042052618227899075,
    0.00044146846630610526,
    -2.1697311240131967e-05,
)
# (1 + 2x) exp(x**2) erfc(x) in t. Errors 2**-29 on [0.45, 10.1], 2**-59 on [0.45, 27.5].
ERFC = {
    32: (
        1.2648382186889648,
        -0.12235677242279053,
        -0.09902437031269073,
        0.15763024985790253,
        -0.1029706597328186,
        0.03275604918599129,
        0.0009583444916643202,
        -0.004350490868091583,
        0.0004116445197723806,
        0.0005370759172365069,
    ),
    64: (
        1.2423492448711544,
        -0.14000918013761943,
        -0.01055559633221839,
        0.09751909515326032,
        -0.11508959816018548,
        0.087983153824797,
        -0.048823325828055396,
        0.019099330943681905,
        -0.004215019906038262,
        -0.0003022678907795202,
        0.000564384406990293,
        -0.00012151233676280754,
        -4.2782194352482456e-05,
        2.4260599910795985e-05,
        2.3282359502290654e-06,
        -3.8135756939757223e-06,
        -4.415407653698126e-08,
        5.989730780048265e-07,
        -7.982452296387343e-09,
        -9.20644606845276e-08,
        5.872161634378378e-10,
        1.0072331108544816e-08,
    ),
}
K = {32: 2.5, 64: 3.5}
#: What rounding the first coefficient left out.
ERFC_LOW = {32: -3.56298324053808e-08, 64: -1.03181102497954e-17}
# The same on [1, 6] with K = 3, weighted for erf: error 2**-56.
ERF_FAR = (
    1.2530080582702172,
    -0.13562110610110575,
    -0.04756229419916628,
    0.129645151933854,
    -0.11927382294836388,
    0.06830637455543008,
    -0.023780696730749736,
    0.002488749976286166,
    0.0017808438793450265,
    -0.0009677939319048237,
    -0.0003076223126899532,
    1.3636813537836492e-05,
)
ERF_FAR_K = 3.0


def _far(a: Val, k: float, coefficients: Sequence[float]) -> tuple[Val, Val, Val, Val, Val]:
    """(q, d, inverse of d and a + k, p, low part of p): erfc(a) = exp(-a**2) q with q = p / d."""
    d = fma(a, 2.0, 1.0)
    total = a + k
    inverse = 1.0 / (d * total)  # one division for both quotients
    t = (a - k) * d * inverse
    t = fma(d * inverse, fma(t, -a, fma(t + 1.0, -k, a)), t)
    head, second, *rest = coefficients
    tail = fma(t, polynomial(t, rest), second)
    p = fma(t, tail, head)  # the head apart: it is most of the sum, and so is rounded only once
    p_low = fma(t, tail, head - p)
    inverse_d = total * inverse
    q = p * inverse_d
    return q, d, inverse_d, p, p_low


def _erfc_positive(a: Val) -> Val:
    """erfc(a) for a >= 0 within the range of the polynomial."""
    q, d, inverse, p, p_low = _far(a, K[a.width], ERFC[a.width])
    d_low = fma(a, 2.0, 1.0 - d)
    q_low = ((fma(-q, d, p) - q * d_low) + (p_low + ERFC_LOW[a.width])) * inverse
    square = a * a
    y, y_low, t, n = exp_sum_parts(-square, -fma(a, a, -square))
    first, second = power_of_two(t, n)
    return (fma(q, y, fma(q, y_low, fma(q_low, y, q_low))) + q) * first * second


def _erf_near(x: Val) -> Val:
    z = x * x
    head, *rest = ERF[x.width]
    return fma(x, fma(z, polynomial(z, rest), head), x)


@elementwise(floating)
def erf(x: Val) -> Val:
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    a = fabs(x)
    if x.width == 32:
        b = where(a > 3.95, x.lit(3.95), a)
        far = 1.0 - scale_normal(*exp_parts(polynomial(b, LOG_ERFC32)))
        far = where(a > 3.92, 1.0, far)
    else:
        b = where(a > 6.0, x.lit(6.0), a)
        q = _far(b, ERF_FAR_K, ERF_FAR)[0]
        far = fma(-q, scale_normal(*exp_parts(-(b * b))), 1.0)
    y = where(a < 1.0, _erf_near(a), far)
    return copysign(where(is_nan(x), x, y), x)


@elementwise(floating)
def erfc(x: Val) -> Val:
    """1 - erf(x), accurate where that is small."""
    a = clamp(fabs(x), 0.0, 10.5 if x.width == 32 else 28.0)
    far = _erfc_positive(a)
    y = where(x < 0.0, 2.0 - far, far)
    return where(a < 0.5, 1.0 - _erf_near(x), y)
