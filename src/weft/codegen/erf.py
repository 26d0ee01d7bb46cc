"""The error function and its complement.

Far from 0: erfc(x) = exp(-x**2) p(t) / (1 + 2 x) with t = (x - K) / (x + K), after M. M. Shepherd and J. G. Laframboise,
"Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf", Math. Comp. 36 (1981), with a minimax p.
"""

from __future__ import annotations

from weft.codegen.explog import clamp, exp_parts, scale
from weft.codegen.scalar import Val, copysign, elementwise, fabs, floating, fma, is_nan, polynomial, where

# erf(x) / x - 1 in x**2, x <= 1: errors 2**-29, 2**-56.
ERF = {
    32: (
        0.12837916612625122,
        -0.3761221766471863,
        0.1127895787358284,
        -0.026660509407520294,
        0.004821584094315767,
        -0.0004792751860804856,
        -2.755798959697131e-05,
    ),
    64: (
        0.1283791670955126,
        -0.37612638903183343,
        0.11283791670936917,
        -0.026866170641947216,
        0.005223977596579705,
        -0.0008548325474698533,
        0.00012055280108124194,
        -1.492445677484342e-05,
        1.6444026367408757e-06,
        -1.6182949931118013e-07,
        1.3611920991395506e-08,
        -7.598608746049814e-10,
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
# (1 + 2x) exp(x**2) erfc(x) in t: K = 3.5, error 2**-56; MID K = 2, error 2**-29.
ERFCX = (
    1.2423492448711544,
    -0.14000918013761926,
    -0.010555596332215367,
    0.09751909515324077,
    -0.11508959816036658,
    0.08798315382548988,
    -0.048823325823749306,
    0.01909933093254599,
    -0.004215019959451834,
    -0.00030226779301374104,
    0.0005643847993222256,
    -0.0001215128509858102,
    -4.278401340047141e-05,
    2.4262292812334742e-05,
    2.333706747864679e-06,
    -3.8170945280414274e-06,
    -5.4806189811625864e-08,
    6.034607633227512e-07,
    4.973002212895433e-09,
    -9.527158202565623e-08,
    -8.357101394811148e-09,
    1.1056080737992391e-08,
    2.675452220660789e-09,
)
ERFCX_MID = (
    1.2769783827104417,
    -0.0927638186582427,
    -0.16603052234918253,
    0.16405097570112684,
    -0.05421786927302489,
    -0.008030336523847832,
    0.008709696031152231,
    0.0012512173121985908,
    -0.0014231663179250231,
    -0.0003999271581790293,
    0.00017221738196101876,
    8.062851976772436e-05,
)


def _erfc_positive(a: Val, mid: bool) -> Val:
    """erfc(a) for 0 <= a <= 28 in float64."""
    k = 2.0 if mid else 3.5
    inverse = 1.0 / (a + k)
    t = (a - k) * inverse
    if not mid:  # t is correct to the last bit after this step
        t = fma(inverse, fma(t, -a, fma(t + 1.0, -k, a)), t)
    p = polynomial(t, ERFCX_MID if mid else ERFCX)
    d = fma(a, 2.0, 1.0)
    q = p / d
    square = a * a
    e, shifted, n = exp_parts(-square, mid)
    if not mid:
        d_low = fma(a, 2.0, 1.0 - d)
        q = q + (fma(-q, d, p) - q * d_low) / d
        e = fma(e, -fma(a, a, -square), e)
    return scale(e * q, shifted, n)


def _erf_near(x: Val) -> Val:
    return fma(x, polynomial(x * x, ERF[x.width]), x)


@elementwise(floating)
def erf(x: Val) -> Val:
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    a = fabs(x)
    if x.width == 32:
        b = where(a > 3.95, x.lit(3.95), a)
        far = 1.0 - scale(*exp_parts(polynomial(b, LOG_ERFC32)))
        far = where(a > 3.92, 1.0, far)
    else:
        far = 1.0 - _erfc_positive(where(a > 6.0, x.lit(6.0), a), False)
    y = where(a < 1.0, _erf_near(a), far)
    return copysign(where(is_nan(x), x, y), x)


@elementwise(floating)
def erfc(x: Val) -> Val:
    """1 - erf(x), accurate where that is small."""
    width = x.width
    x = x.as_float(64)
    a = clamp(fabs(x), 0.0, 11.0 if width == 32 else 28.0)
    far = _erfc_positive(a, width == 32)
    y = where(x < 0.0, 2.0 - far, far)
    if width == 64:
        y = where(a < 0.5, 1.0 - _erf_near(x), y)
    return y.as_float(width)
