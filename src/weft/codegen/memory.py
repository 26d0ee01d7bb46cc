"""Intrinsics for the frame of generated kernels: index arithmetic, stack arrays, pointers.

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.types import counting, intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)

NAMESPACE: dict[str, Any] = {}


def _binary(name: str, emit: Any) -> None:
    """Add an intrinsic over two int64 numbers."""

    def typer(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            given = zip(args, signature.args, strict=True)
            return emit(builder, *(context.cast(builder, value, dtype, types.int64) for value, dtype in given))

        return types.int64(types.int64, types.int64), codegen

    typer.__name__ = name
    NAMESPACE[name] = intrinsic(typer)


def _outside(builder: Any, i: Any, n: Any) -> tuple[Any, Any]:
    """``i`` counted from the end if negative, and whether it is then outside [0, n)."""
    wrapped = builder.select(builder.icmp_signed("<", i, i.type(0)), builder.add(i, n), i)
    return wrapped, builder.icmp_unsigned(">=", wrapped, n)


def _checked_index(builder: Any, i: Any, n: Any) -> Any:
    wrapped, outside = _outside(builder, i, n)
    return builder.select(outside, i.type(0), wrapped)


_binary("udiv", lambda b, x, y: b.udiv(x, y))
_binary("urem", lambda b, x, y: b.urem(x, y))
_binary("imin", lambda b, x, y: b.select(b.icmp_signed("<", x, y), x, y))
_binary("imax", lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y))
_binary("index_error", lambda b, i, n: b.zext(_outside(b, i, n)[1], i.type))
_binary("checked_index", _checked_index)


@intrinsic(prefer_literal=True)
def stack(typingctx: Any, dtype: Any, size: Any) -> Any:
    """An uninitialised array of ``size`` (a constant) elements in the function's frame, as a pointer."""
    element = dtype.dtype

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.get_data_type(element)
        with builder.goto_entry_block():
            array = builder.alloca(ir.ArrayType(value, size.literal_value))
        array.align = 64
        return builder.bitcast(array, value.as_pointer())

    return types.CPointer(element)(dtype, size), codegen


@intrinsic
def advance(typingctx: Any, pointer: Any, offset: Any) -> Any:
    """``pointer`` moved by ``offset`` elements."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [context.cast(builder, args[1], offset, types.int64)])

    return pointer(pointer, offset), codegen


@intrinsic
def choose(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """``a`` if the condition holds, else ``b``, without a branch."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        other = context.cast(builder, args[2], b, a)
        return builder.select(args[0], args[1], other)

    return a(condition, a, b), codegen


#: Elements that are picked at once.
PICKED = 8


@intrinsic
def pick(typingctx: Any, to: Any, source: Any, stride: Any, count: Any) -> Any:
    """Copy ``count`` elements that lie ``stride`` apart, from ``source`` on, to an aligned array.

    Of every second one whole vectors are loaded, but for the last: what follows an operand may not be read.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b, (target, first, apart, n) = builder, args
        element = first.type.pointee
        size = context.get_abi_sizeof(element)
        vector = ir.VectorType(element, PICKED)

        def at(k: Any) -> Any:
            return b.gep(first, [b.mul(k, apart)])

        def store(value: Any, k: Any) -> None:
            b.store(value, b.bitcast(b.gep(target, [k]), vector.as_pointer()), align=size)

        pairs = b.icmp_signed("==", apart, I64(2))
        most = b.select(pairs, b.sub(n, I64(1)), n)
        whole = b.sub(most, b.srem(most, I64(PICKED)))
        with b.if_else(pairs) as (every_second, others):
            with every_second, counting(b, I64(0), whole, I64(PICKED)) as k:
                both = ir.VectorType(element, 2 * PICKED)
                x = b.load(b.bitcast(b.gep(first, [b.mul(k, I64(2))]), both.as_pointer()), align=size)
                store(
                    b.shuffle_vector(x, x, ir.Constant(ir.VectorType(I32, PICKED), list(range(0, 2 * PICKED, 2)))),
                    k,
                )
            with others, counting(b, I64(0), whole, I64(PICKED)) as k:
                x = ir.Constant(vector, ir.Undefined)
                for i in range(PICKED):
                    x = b.insert_element(x, b.load(at(b.add(k, I64(i))), align=size), I32(i))
                store(x, k)
        with counting(b, whole, n, I64(1)) as k:
            b.store(b.load(at(k), align=size), b.gep(target, [k]))
        return context.get_dummy_value()

    return types.void(to, source, types.int64, types.int64), codegen


NAMESPACE.update(stack=stack, advance=advance, choose=choose, pick=pick)
