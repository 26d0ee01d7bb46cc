"""A slow path that few elements need, in a loop that stays vectorised.

A branch in a function would keep LLVM from vectorising the loop around it, and computing both ways costs too much when one is
long. So the slow way is a function of its own, called for every element with the result of the usual way, which it hands back
unless the element needs more. Beside it stand variants for whole vectors, which LLVM's vectoriser is told of by the
attribute "vector-function-abi-variant": they test all elements at once, and compute only if one of them needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from weft.codegen.scalar import Val

_USED = "llvm.compiler.used"


@cache
def _vector_bits() -> int:
    """The width of this processor's vectors."""
    features = llvm.get_host_cpu_features()
    return 512 if features.get("avx512f") else 256 if features.get("avx2") else 128


def seldom(name: str, needed: Callable[..., Val], slow: Callable[..., Val], args: Sequence[Val], usual: Val) -> Val:
    """``slow(*args)`` where ``needed(*args)`` holds, else ``usual``; the types of all are the same.

    ``needed`` is made of operators and bit patterns alone, as it is also called with vectors. ``name`` identifies the function.
    """
    b, kind = usual.b, usual.v.type
    name = f"weft.{name}.{kind}"
    lanes = _vector_bits() // usual.width
    widths = [n for n in (lanes // 2, lanes, 2 * lanes) if n > 1]
    scalar = b.module.globals.get(name)
    if scalar is None:
        scalar = _scalar(b.module, name, needed, slow, kind, len(args))
        _keep(b.module, [_vector(b.module, f"{name}.x{n}", needed, scalar, n) for n in widths])
    call = b.call(scalar, [*(x.v for x in args), usual.v], attrs=("nounwind", "readnone"))
    shape = "v" * (len(args) + 1)
    variants = ",".join(f"_ZGV_LLVM_N{n}{shape}_{name}({name}.x{n})" for n in widths)
    # past the check of known names: llvmlite has no string attributes
    set.update(call.attributes, ["willreturn", f'"vector-function-abi-variant"="{variants}"'])
    return usual.new(call)


def _function(module: ir.Module, name: str, kind: ir.Type, count: int) -> ir.Function:
    function = ir.Function(module, ir.FunctionType(kind, [kind] * count), name)
    function.linkage = "internal"
    set.update(function.attributes, ["noinline", "nounwind", "readnone", "willreturn"])
    return function


def _scalar(module: ir.Module, name: str, needed: Any, slow: Any, kind: ir.Type, count: int) -> ir.Function:
    """``name(args..., usual)`` for one element."""
    function = _function(module, name, kind, count + 1)
    b = ir.IRBuilder(function.append_basic_block())
    *args, usual = (Val(b, a) for a in function.args)
    with b.if_then(needed(*args).v, likely=False):
        b.ret(slow(*args).v)
    b.ret(usual.v)
    return function


def _vector(module: ir.Module, name: str, needed: Any, scalar: ir.Function, lanes: int) -> ir.Function:
    """``name(args..., usual)`` for a vector of elements."""
    element = scalar.function_type.return_type
    kind = ir.VectorType(element, lanes)
    function = _function(module, name, kind, len(scalar.args))
    start, loop, done = (function.append_basic_block(n) for n in ("start", "loop", "done"))
    b = ir.IRBuilder(start)
    *args, usual = (Val(b, a) for a in function.args)
    some = b.icmp_unsigned("!=", b.bitcast(needed(*args).v, ir.IntType(lanes)), ir.Constant(ir.IntType(lanes), 0))
    b.cbranch(some, loop, done)
    b.position_at_end(loop)
    index = ir.IntType(32)
    i, result = b.phi(index), b.phi(kind)
    value = b.call(scalar, [b.extract_element(a, i) for a in function.args])
    following, changed = b.add(i, index(1)), b.insert_element(result, value, i)
    for phi, first, then in ((i, index(0), following), (result, usual.v, changed)):
        phi.add_incoming(first, start)
        phi.add_incoming(then, loop)
    b.cbranch(b.icmp_unsigned("<", following, index(lanes)), loop, done)
    b.position_at_end(done)
    out = b.phi(kind)
    out.add_incoming(usual.v, start)
    out.add_incoming(changed, loop)
    b.ret(out)
    return function


def _keep(module: ir.Module, functions: Sequence[ir.Function]) -> None:
    """Keep functions that only an attribute refers to until the vectoriser has run."""
    byte = ir.IntType(8).as_pointer()
    used = module.globals.get(_USED)
    if used is None:
        used = ir.GlobalVariable(module, ir.ArrayType(byte, 0), _USED)
        used.linkage, used.section = "appending", "llvm.metadata"
        used.initializer = ir.Constant(used.value_type, [])
    values = [*used.initializer.constant, *(f.bitcast(byte) for f in functions)]
    used.value_type = ir.ArrayType(byte, len(values))
    used.type = used.value_type.as_pointer()
    used.initializer = ir.Constant(used.value_type, values)
