"""Remainders and floored quotients, exact for numbers of any magnitude."""

from __future__ import annotations

from weft.codegen import intmath
from weft.codegen.scalar import BIAS, INF, MANTISSA, NAN, Val, call, copysign, elementwise, fabs, fma, where
from weft.codegen.seldom import seldom


def _magnitude(x: Val) -> Val:
    """|x| by way of its bits, for vectors too."""
    return (x.bits() & ((1 << (x.width - 1)) - 1)).floated()


def _exponent(x: Val) -> Val:
    """The exponent of a positive number, biased."""
    w, mantissa = x.width, MANTISSA[x.width]
    subnormal = x < 2.0 ** (1 - BIAS[w])
    bits = where(subnormal, x * 2.0 ** (mantissa + 1), x).bits() >> mantissa
    return Val(x.b, where(subnormal, bits - (mantissa + 1), bits).v, True)


def _is_far(x: Val, y: Val) -> Val:
    """Whether the quotient is too large for one step, or not a number."""
    a, b = _magnitude(x), _magnitude(y)
    return ~((a < b * 2.0 ** (MANTISSA[x.width] - 1)) & (b < 2.0 ** (BIAS[x.width] - MANTISSA[x.width])))


def _step(r: Val, t: Val) -> Val:
    """r modulo t, for r < t * 2**mantissa.

    The truncated quotient is right or one too large. The remainder is a multiple of the operands' last places and below t,
    so the fused multiply-add leaves it without rounding, either way.
    """
    r = fma(-call("trunc", r / t), t, r)
    return where(r < 0.0, r + t, r)


def _fmod_far(x: Val, y: Val) -> Val:
    """Step by step: take y * 2**k, with k as small as a step allows, until less than y is left."""
    b, w, a, divisor = x.b, x.width, fabs(x), fabs(y)
    start, loop, done = b.block, b.append_basic_block("fmod.loop"), b.append_basic_block("fmod.done")
    b.cbranch(((a < INF) & (a >= divisor) & (divisor > 0.0)).v, loop, done)
    b.position_at_end(loop)
    phi = b.phi(x.v.type)
    r = x.new(phi)
    k = _exponent(r) - _exponent(divisor) - (MANTISSA[w] - 1)
    k = where(k > 0, k, 0)  # at most 2 * bias, as the divisor may be subnormal
    half = k >> 1
    first, second = (((n + BIAS[w]) << MANTISSA[w]).floated() for n in (half, k - half))
    rest = _step(r, divisor * first * second)
    phi.add_incoming(a.v, start)
    phi.add_incoming(rest.v, loop)
    b.cbranch((rest >= divisor).v, loop, done)
    b.position_at_end(done)
    out = b.phi(x.v.type)
    out.add_incoming(a.v, start)
    out.add_incoming(rest.v, loop)
    return where((a < INF) & (divisor > 0.0), copysign(x.new(out), x), NAN)


def _fmod(x: Val, y: Val) -> Val:
    near = copysign(_step(fabs(x), fabs(y)), x)
    return seldom("fmod", _is_far, _fmod_far, [x, y], near)


@elementwise()
def fmod(x: Val, y: Val) -> Val:
    """The remainder with the sign of x; integers: 0 if y is 0."""
    return _fmod(x, y) if x.is_float else intmath.truncated_remainder(x, y)


@elementwise()
def remainder(x: Val, y: Val) -> Val:
    """x modulo y with the sign of y, as Python's %; integers: 0 if y is 0."""
    if not x.is_float:
        return intmath.remainder(x, y)
    r = _fmod(x, y)
    r = where((r != 0.0) & ((r < 0.0) != (y < 0.0)), r + y, r)
    return where(r == 0.0, copysign(r, y), r)


@elementwise()
def floor_divide(x: Val, y: Val) -> Val:
    """floor(x / y) of the exact quotient; x / y itself if y is 0, NaN for infinite x; integers: 0 if y is 0."""
    if not x.is_float:
        return intmath.floor_divide(x, y)
    if x.width == 32:
        a, b = x.as_float(64), y.as_float(64)
        q = call("floor", a / b)
        past = (fabs(b) == INF) & (a != 0.0) & ((a < 0.0) != (b < 0.0)) & (fabs(a) < INF)
        q = where(past, -1.0, q)
        q = where((fabs(a) == INF) & (b != 0.0), NAN, q)
        return q.as_float(32)
    r = _fmod(x, y)
    q = (x - r) / y
    q = where((r != 0.0) & ((r < 0.0) != (y < 0.0)), q - 1.0, q)
    down = call("floor", q)
    down = where(q - down > 0.5, down + 1.0, down)
    down = where(q == 0.0, copysign(down * 0.0, x / y), down)
    return where(y == 0.0, x / y, down)
