"""Conversions between the 13 types.

In a kernel a 16-bit float is either its bits (uint16, in memory) or its value (float32, in arithmetic). ``cast(x, to)`` gives
x in a type of the source, ``to_<name>(x)`` in that of Weft's type: "float16" and "bfloat16" give a float32 that has been
rounded to it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.scalar import NAMESPACE, Val, elementwise, fabs, is_nan, to_val, where
from weft.codegen.types import intrinsic

#: The type of the value of each Weft type inside a kernel.
VALUE_TYPES: dict[str, types.Type] = {
    "bool": types.boolean,
    **{f"{sign}int{bits}": getattr(types, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": types.float32,
    "bfloat16": types.float32,
    "float32": types.float32,
    "float64": types.float64,
}


def _float_to_int(x: Val, width: int, signed: bool) -> Val:
    """Truncated, kept within the target's range, 0 for NaN."""
    low = -(2.0 ** (width - 1)) if signed else 0.0
    above = 2.0 ** (width - 1) if signed else 2.0**width  # the first number past the range
    # the largest float below that; the instruction itself is undefined beyond the range
    digits = 24 if x.width == 32 else 53
    high = above - max(1.0, above * 2.0**-digits)
    y = where(is_nan(x), 0.0, x)
    y = where(y < low, low, y)
    y = where(y > high, high, y)
    # narrow targets through int32, and uint32 through int64 or the float's bits, which is what the hardware has
    step = 32 if width < 32 else width
    to_int = x.b.fptosi if signed or width < 32 else x.b.fptoui
    q = Val(x.b, to_int(y.v, y.like(ir.IntType(step))), True).as_int(width, signed)
    return q if high + 1 == above else where(x >= above, (1 << (width - signed)) - 1, q)


def convert(x: Val, to: str) -> Val:
    """x as the value of the named type."""
    if to == "bool":
        return x != 0
    if to in ("float16", "bfloat16"):
        if to == "float16":
            return f16_to_f32(f32_to_f16(x if x.is_float else x.as_float(32)))
        return bf16_to_f32(f32_to_bf16(x if x.is_float else x.as_float(32)))
    if to.startswith("float"):
        return x.as_float(int(to[5:]))
    signed = not to.startswith("u")
    width = int(to[3:] if signed else to[4:])
    return _float_to_int(x, width, signed) if x.is_float else x.as_int(width, signed)


def _round_to_odd(x: Val) -> Val:
    """float64 to float32 so that rounding the result again to 16 bits rounds x correctly."""
    y = x.as_float(32)
    back = y.as_float(64)
    bits = y.bits()
    toward_zero = where(fabs(back) > fabs(x), bits - 1, bits)
    inexact = (back < x) | (back > x)
    return where(inexact, toward_zero | 1, bits).floated()


def _name_of(to: types.Type) -> str | None:
    if not isinstance(to, types.NumberClass):
        return None
    return next((n for n, t in VALUE_TYPES.items() if t == to.dtype and not n.endswith("float16")), None)


def _is_number(x: types.Type) -> bool:
    return isinstance(x, types.Integer | types.Float | types.Boolean)


@intrinsic(prefer_literal=True)
def cast(context: Any, x: Any, to: Any) -> Any:
    """x as another type."""
    name, source = _name_of(to), types.unliteral(x)
    if name is None or not _is_number(source):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return convert(to_val(builder, args[0], source), name).v

    return VALUE_TYPES[name](source, to), generate


NAMESPACE["cast"] = cast


def _caster(name: str) -> None:
    def signature(x: types.Type) -> tuple[types.Type, tuple[types.Type, ...]] | None:
        source = types.unliteral(x)
        return (VALUE_TYPES[name], (source,)) if _is_number(source) else None

    elementwise(signature, f"to_{name}")(lambda x: convert(x, name))


for _name in VALUE_TYPES:
    _caster(_name)


def _from(source: types.Type, result: types.Type) -> Any:
    def signature(x: types.Type) -> tuple[types.Type, tuple[types.Type, ...]] | None:
        return result, (x if source is types.float32 and x == types.float64 else source,)

    return signature


@elementwise(_from(types.uint16, types.float32))
def f16_to_f32(x: Val) -> Val:
    """The value of float16 bits."""
    return Val(x.b, x.b.fpext(x.b.bitcast(x.v, x.like(ir.HalfType())), x.like(ir.FloatType())))


@elementwise(_from(types.float32, types.uint16))
def f32_to_f16(x: Val) -> Val:
    """The bits of the nearest float16, ties to even; from float32, or from float64 without rounding twice."""
    x = _round_to_odd(x) if x.width == 64 else x
    return Val(x.b, x.b.bitcast(x.b.fptrunc(x.v, x.like(ir.HalfType())), x.like(ir.IntType(16))))


@elementwise(_from(types.uint16, types.float32))
def bf16_to_f32(x: Val) -> Val:
    """The value of bfloat16 bits."""
    return (x.as_int(32) << 16).floated()


@elementwise(_from(types.float32, types.uint16))
def f32_to_bf16(x: Val) -> Val:
    """The bits of the nearest bfloat16, ties to even; from float32, or from float64 without rounding twice."""
    x = _round_to_odd(x) if x.width == 64 else x
    bits = x.bits()
    rounded = bits + (((bits >> 16) & 1) + 0x7FFF)
    return (where(is_nan(x), bits | 0x400000, rounded) >> 16).as_int(16)


@elementwise(_from(types.float32, types.uint16))
def bf16_bits(x: Val) -> Val:
    """The bits of a bfloat16, from the float32 number that equals it."""
    return (x.as_float(32).bits() >> 16).as_int(16)
