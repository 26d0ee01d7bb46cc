"""Hyperbolic functions and their inverses.

Near 0 an odd minimax polynomial; elsewhere the exponential. The inverses go through one logarithm of a sum of two floats.
"""

from __future__ import annotations

from weft.codegen.explog import clamp, exp_parts, log_sum, scale_normal
from weft.codegen.scalar import INF, NAN, Val, copysign, elementwise, fabs, floating, fma, polynomial, sqrt, where

# (sinh(x) - x) / x**3 in x**2, x <= 1: errors 2**-34, 2**-63.
SINH = {
    32: (0.1666666716337204, 0.00833331048488617, 0.00019842895562760532, 2.7822222818940645e-06),
    64: (
        0.16666666666666669,
        0.008333333333332912,
        0.00019841269841593408,
        2.7557319106758464e-06,
        2.5052130998225542e-08,
        1.6056659230775657e-10,
        7.776597201812663e-13,
    ),
}
# (tanh(x) - x) / x**3 in x**2, x <= 0.625: errors 2**-27, 2**-61.
TANH = {
    32: (-0.3333328068256378, 0.13331405818462372, -0.05373651534318924, 0.02062816731631756, -0.005692293401807547),
    64: (
        -0.33333333333333315,
        0.1333333333332996,
        -0.05396825396614947,
        0.021869488470700034,
        -0.008863234338765118,
        0.0035921142224562964,
        -0.0014557272089379025,
        0.0005894566092848126,
        -0.0002370239416032507,
        9.15781847378672e-05,
        -3.0205696619351528e-05,
        6.050048519427851e-06,
    ),
}


def _half_exp(a: Val) -> Val:
    """exp(a) / 2, which overflows only where cosh does."""
    y, t, n = exp_parts(clamp(a, 0.0, 90.0 if a.width == 32 else 711.0))
    return scale_normal(y, t - 3.0, n) * 4.0  # exp(a) / 8 does not overflow


@elementwise(floating)
def sinh(x: Val) -> Val:
    """The hyperbolic sine."""
    a = fabs(x)
    z = a * a
    near = fma(a * z, polynomial(z, SINH[x.width]), a)
    e = _half_exp(a)
    return copysign(where(a < 1.0, near, e - 0.25 / e), x)


@elementwise(floating)
def cosh(x: Val) -> Val:
    """The hyperbolic cosine."""
    e = _half_exp(fabs(x))
    return e + 0.25 / e


@elementwise(floating)
def tanh(x: Val) -> Val:
    """The hyperbolic tangent."""
    a = fabs(x)
    z = a * a
    near = fma(a * z, polynomial(z, TANH[x.width]), a)
    b = where(a > (10.0 if x.width == 32 else 20.0), x.lit(10.0 if x.width == 32 else 20.0), a)
    far = 1.0 - 2.0 / (scale_normal(*exp_parts(b + b)) + 1.0)
    return copysign(where(a < 0.625, near, far), x)


def _sum(a: Val, b: Val) -> tuple[Val, Val]:
    """a + b as a sum of two floats, whichever is larger."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _sqrt(w: Val, w_low: Val) -> tuple[Val, Val]:
    """The root of w + w_low as a sum of two floats."""
    root = sqrt(w)
    return root, (fma(-root, root, w) + w_low) / (2.0 * where(root > 0.0, root, 1.0))


#: Beyond this, sqrt(x**2 + 1) is x.
LARGE = {32: 2.0**13, 64: 2.0**28}


@elementwise(floating)
def asinh(x: Val) -> Val:
    """The inverse hyperbolic sine."""
    a = fabs(x)
    large = a > LARGE[x.width]
    b = where(large, 1.0, a)
    z = b * b
    w = z + 1.0
    big = where(z > 1.0, z, 1.0)
    small = where(z > 1.0, 1.0, z)
    root, root_low = _sqrt(w, fma(b, b, -z) + (small - (w - big)))
    u = root + b  # root is the larger
    c = (b - (u - root)) + root_low
    y = log_sum(where(large, a, u), where(large, 0.0, c), where(large, a.lit(1.0), 0.0))
    y = where(a < 1.0 / LARGE[x.width], a, y)
    return copysign(where(a < INF, y, a), x)


@elementwise(floating)
def acosh(x: Val) -> Val:
    """The inverse hyperbolic cosine; NaN below 1."""
    large = x > LARGE[x.width]
    b = where(large, 1.0, x)
    # x**2 - 1 = d (d + 2)
    d = b - 1.0
    e = d + 2.0
    w = d * e
    root, root_low = _sqrt(w, fma(d, e, -w) + d * (d - (e - 2.0)))
    t, t_low = _sum(d, root)
    u, u_low = _sum(t, t.lit(1.0))
    c = u_low + (t_low + root_low)
    y = log_sum(where(large, x, u), where(large, 0.0, c), where(large, x.lit(1.0), 0.0))
    y = where(x < INF, y, x)
    return where(x < 1.0, NAN, y)


@elementwise(floating)
def atanh(x: Val) -> Val:
    """The inverse hyperbolic tangent; infinite at 1, NaN beyond."""
    a = fabs(x)
    # (1 + a) / (1 - a) = 1 + t with t = 2 a / (1 - a)
    d = 1.0 - a
    d_low = (1.0 - d) - a
    inverse = 1.0 / d
    t = 2.0 * a * inverse
    t_low = (fma(-t, d, 2.0 * a) - t * d_low) * inverse
    u, u_low = _sum(t, t.lit(1.0))
    y = 0.5 * log_sum(u, u_low + t_low)
    y = where(a < 1.0 / LARGE[x.width], a, y)
    y = where(a < 1.0, y, where(a == 1.0, a.lit(INF), NAN))
    return copysign(y, x)
