"""Integer arithmetic that never traps: division by zero gives 0, overflow wraps, and any shift count is allowed."""

from __future__ import annotations

from weft.codegen.scalar import MAGIC, Val, call, elementwise, where
from weft.codegen.seldom import seldom

#: 1.5 * 2**52 and its bits: the sum with a small integer holds that integer in its low bits.
_MAGIC, _MAGIC_BITS = MAGIC[64], 0x4338000000000000


def _quotient(x: Val, y: Val) -> Val:
    """x / y truncated; 0 if y is 0.

    The quotient is taken in floating point, which vectorises, and is exact: a quotient of n-bit integers that is no integer
    differs from one by more than 2**-2n of itself. Only 64-bit numbers beyond 2**50 take the processor's slow division.
    """
    w, zero = x.width, y == 0
    y = where(zero, 1, y)
    if w <= 16:
        a, b = x.as_int(32, x.signed), y.as_int(32, x.signed)
        q = a.as_float(32) / b.as_float(32)
        q = Val(x.b, x.b.fptosi(q.v, a.v.type), True).as_int(w, x.signed)
    elif w == 32:
        q = call("trunc", x.as_float(64) / y.as_float(64)) + _MAGIC
        q = q.bits().as_int(32, x.signed)
    else:
        a, b = ((v + _MAGIC_BITS).floated() - _MAGIC for v in (x, y))
        q = x.new(((call("trunc", a / b) + _MAGIC).bits() - _MAGIC_BITS).v)
        name = "sdiv" if x.signed else "udiv"
        q = x.new(seldom(name, _is_wide_signed if x.signed else _is_wide, _DIVIDE[x.signed], [x, y], q).v)
    return where(zero, 0, q)


def _is_wide(x: Val, y: Val) -> Val:
    """Whether an unsigned number is beyond 2**50."""
    return ((x | y) >> 50) != 0


def _is_wide_signed(x: Val, y: Val) -> Val:
    """Whether a signed number is beyond 2**49, either way."""
    return (((x + (1 << 49)) | (y + (1 << 49))) >> 50) != 0


def _divide_signed(x: Val, y: Val) -> Val:
    """The processor's division, which would trap at the most negative integer by -1."""
    negation = y == -1
    return where(negation, 0 - x, x.new(x.b.sdiv(x.v, where(negation, 1, y).v)))


_DIVIDE = {True: _divide_signed, False: lambda x, y: x.new(x.b.udiv(x.v, y.v))}


def divide(x: Val, y: Val) -> Val:
    """x / y truncated; 0 if y is 0; the most negative integer by -1 wraps to itself."""
    return _quotient(x, y)


def truncated_remainder(x: Val, y: Val) -> Val:
    """x - y * (x / y truncated); 0 if y is 0."""
    if x.width == 1:
        return x.lit(0)
    return where(y == 0, 0, x - divide(x, y) * y)


def remainder(x: Val, y: Val) -> Val:
    """The remainder with the sign of y; 0 if y is 0."""
    r = truncated_remainder(x, y)
    return where((r != 0) & ((r ^ y) < 0), r + y, r) if x.signed else r


def floor_divide(x: Val, y: Val) -> Val:
    """x / y rounded down; 0 if y is 0."""
    if x.width == 1:
        return x & y
    q = divide(x, y)
    if not x.signed:
        return q
    r = x - q * y
    return where((y != 0) & (r != 0) & ((r ^ y) < 0), q - 1, q)


def power(x: Val, y: Val) -> Val:
    """x**y by squaring, wrapping; for negative y: 0, except that 1 and -1 stay powers of themselves."""
    b = x.b
    start = b.block
    loop, done = b.append_basic_block("pow.loop"), b.append_basic_block("pow.done")
    b.branch(loop)
    b.position_at_end(loop)
    base, exponent, result = b.phi(x.v.type), b.phi(x.v.type), b.phi(x.v.type)
    # an unsigned exponent, so that the loop ends; a negative one gives the right power of -1 as well
    e = Val(b, exponent)
    odd = (e & 1) != 0
    product = where(odd, x.new(result) * x.new(base), x.new(result))
    square = x.new(base) * x.new(base)
    rest = e >> 1
    for phi, first, next_ in ((base, x, square), (exponent, y, rest), (result, x.lit(1), product)):
        phi.add_incoming(first.v, start)
        phi.add_incoming(next_.v, loop)
    b.cbranch((rest != 0).v, loop, done)
    b.position_at_end(done)
    if not x.signed:
        return product
    unit = (x == 1) | (x == -1)
    return where((y < 0) & ~unit, 0, product)


@elementwise()
def bitwise_and(x: Val, y: Val) -> Val:
    return x & y


@elementwise()
def bitwise_or(x: Val, y: Val) -> Val:
    return x | y


@elementwise()
def bitwise_xor(x: Val, y: Val) -> Val:
    return x ^ y


@elementwise()
def invert(x: Val) -> Val:
    """Every bit flipped; for booleans: not."""
    return ~x


@elementwise()
def left_shift(x: Val, y: Val) -> Val:
    """x << y; 0 for a count that is negative or at least the width."""
    count = Val(y.b, y.v)
    inside = count < x.width
    return where(inside, x << x.new(where(inside, count, 0).v), 0)


@elementwise()
def right_shift(x: Val, y: Val) -> Val:
    """x >> y; for a count that is negative or at least the width, 0, or -1 for negative x."""
    count = Val(y.b, y.v)
    last = x.width - 1
    shifted = x >> x.new(where(count < x.width, count, last).v)
    return shifted if x.signed else where(count < x.width, shifted, 0)
