"""Argument reduction modulo pi/2: x = n pi/2 + r with |r| <= pi/4, for every finite x.

Subtracting n times the leading parts of pi/2 with fused multiply-adds (W. J. Cody and W. Waite, 1980) is exact as long as n
is, which holds below 2**48. Beyond, x = y 2**k is reduced through a remainder of 2**k, or of 2**k times 2/pi, which leaves out
what y makes a multiple of the period (M. Payne and R. Hanek, "Radian reduction for trigonometric functions", 1983).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from llvmlite import ir

from weft.codegen.scalar import MAGIC, NAN, Val, call, fma, where

PIO2 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
TWO_OVER_PI = 0.6366197723675814

#: Where the reductions for what is near end.
NEAR = 2.0**48
_NEAR_BITS = {32: 0x57800000, 64: 0x42F0000000000000}


def is_far(x: Val) -> Val:
    """Whether |x| >= 2**48, or x is NaN."""
    magnitude = x.bits() & ((1 << (x.width - 1)) - 1)
    return magnitude >= _NEAR_BITS[x.width]


def reduce_float32(x: Val) -> tuple[Val, Val]:
    """(q, r) for a float64 that was a float32, |x| < 2**48: x = n pi/2 + r, q = n mod 4 in its low bits."""
    t = fma(x, TWO_OVER_PI, MAGIC[64])
    n = -(t - MAGIC[64])
    return t.bits(), fma(n, PIO2[1], fma(n, PIO2[0], x))


def reduce_near(x: Val) -> tuple[Val, Val, Val]:
    """(q, r, tail) for a float64, |x| < 2**48: x = n pi/2 + r + tail, q = n mod 4 in its low bits."""
    t = fma(x, TWO_OVER_PI, MAGIC[64])
    n = -(t - MAGIC[64])
    first = fma(n, PIO2[0], x)
    second = n * PIO2[1]
    r, tail = _sum(first, second)
    return t.bits(), r, tail + fma(n, PIO2[2], fma(n, PIO2[1], -second))


# 2/pi in binary
_BITS = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921c"
    "fe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d08"
    "56033046fc7b",
    16,
)
_POINT = 1200
#: An exponent (as stored) is 1064 + i + 8 j with i < 8; j counts the rows of the table.
_FIRST, _STEP, _ROWS = 1064, 8, 123


@cache
def _table() -> tuple[float, ...]:
    """For each j: 2**(8 j) times 2/pi modulo 2**13, as a sum of three floats.

    In x = y * 2**(8 j), y is a multiple of 2**-11, so 2**13 y is a multiple of 4, the number of quarter turns that do nothing.
    """
    period = 1 << (_POINT + 13)
    values: list[float] = []
    for j in range(_ROWS):
        rest = (_BITS << (_STEP * j)) % period
        exact = Fraction(rest - period if rest > period // 2 else rest, 1 << _POINT)
        for _ in range(3):
            values.append(float(exact))
            exact -= Fraction(values[-1])
    return tuple(values)


def _sum(a: Val, b: Val) -> tuple[Val, Val]:
    """a + b as a sum of two floats, whichever is larger."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _row(x: Val, j: Val) -> tuple[Val, ...]:
    """Row j of the table."""
    b, name = x.b, "weft.two_over_pi"
    values = _table()
    table = b.module.globals.get(name)
    if table is None:
        kind = ir.ArrayType(x.v.type, len(values))
        table = ir.GlobalVariable(b.module, kind, name)
        table.initializer = ir.Constant(kind, values)
        table.global_constant, table.linkage = True, "internal"
    zero = ir.Constant(j.v.type, 0)
    return tuple(x.new(b.load(b.gep(table, [zero, (j * 3 + i).v], inbounds=True))) for i in range(3))


def reduce_far(x: Val) -> tuple[Val, Val, Val]:
    """As ``reduce_near`` for |x| >= 2**48, with an absolute error of 2**-96 in r + tail; NaN for infinities and NaN."""
    bits = x.bits()
    exponent = (bits >> 52) & 0x7FF
    g0, g1, g2 = _row(x, (exponent - _FIRST) >> 3)
    y = ((bits & ~(0x7F8 << 52)) | (_FIRST << 52)).floated()

    def modulo4(v: Val) -> Val:
        return fma(call("rint", v * 0.25), -4.0, v)

    # y times the row, modulo 4: the products as sums of two floats
    p0 = y * g0
    p1 = y * g1
    a, b = modulo4(p0), modulo4(fma(y, g0, -p0))
    whole = a + b  # a is 0 or the larger
    total, low = _sum(whole, modulo4(p1))
    low = low + (((a - whole) + b) + fma(y, g2, fma(y, g1, -p1)))
    t = total + MAGIC[64]
    f = total - (t - MAGIC[64])
    turn, turn_low = f + low, f  # f is 0 or the larger
    turn_low = (f - turn) + low
    turn = where(exponent == 0x7FF, NAN, turn)
    r = turn * PIO2[0]
    return t.bits(), r, fma(turn, PIO2[0], -r) + fma(turn, PIO2[1], turn_low * PIO2[0])
