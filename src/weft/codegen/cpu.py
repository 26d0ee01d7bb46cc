"""Source to object code for the host CPU: each function is translated, LLVM optimises and assembles the module.

One module holds the translated functions and an entry for each, and is optimised once.

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from weft.codegen import columns, lanes, memory, prefix, transpose, vecmath
from weft.codegen.emit import Function
from weft.codegen.translate import TYPES, translated
from weft.runtime import loader

POINTER = ir.IntType(8).as_pointer()
I64 = ir.IntType(64)

#: What generated source may name.
NAMESPACE: dict[str, Any] = {
    "inf": float("inf"),
    "nan": float("nan"),
    **TYPES,
    **vecmath.NAMESPACE,
    **memory.NAMESPACE,
    **transpose.NAMESPACE,
    **lanes.NAMESPACE,
    **columns.NAMESPACE,
    **prefix.NAMESPACE,
}


def compile_functions(functions: Sequence[Function], symbols: Sequence[str]) -> bytes:
    """Object code with one C entry point for each function: ``void symbol(void **buffers, int64_t *params, int64_t
    begin, int64_t end)``."""
    module = lowered(functions, symbols)
    optimise(module, all(function.explicit for function in functions))
    code: bytes = loader.machine().emit_object(module)
    if strange := loader.called(code) - set(loader.CALLED):
        raise RuntimeError(f"kernel {symbols[0]} calls {', '.join(sorted(strange))}, which kernels must not")
    return code


def lowered(functions: Sequence[Function], symbols: Sequence[str]) -> Any:
    """The functions as one LLVM module, not yet optimised."""
    module = _Module(symbols[0])
    module.triple = llvm.get_process_triple()
    module.data_layout = str(loader.machine().target_data)
    for function, symbol in zip(functions, symbols, strict=True):
        _entry(module, translated(function, module, NAMESPACE), function, symbol)
    entries = set(symbols)
    for value in module.global_values:
        declared = isinstance(value, ir.Function) and value.is_declaration
        if value.name not in entries and not declared and not value.name.startswith("llvm."):
            value.linkage = "internal"
    return llvm.parse_assembly(module.annotated())


#: Vectors that an interleaved loop computes side by side: chains of dependent instructions as long as exp's then fill the
#: processor's schedulers with more that can start (exp: 3.0 ns a vector instead of 3.4 on Zen 4).
INTERLEAVE = 4


class _Module(ir.Module):
    """A module that knows which blocks end loops that are to be interleaved, and which end those that are to stay."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.latches: list[Any] = []
        self.finished: list[Any] = []

    def annotated(self) -> str:
        """The module's text, with what tells LLVM so of those loops; llvmlite has no way to make distinct nodes."""
        number = 0
        for name, value, blocks in (
            ("llvm.loop.interleave.count", ir.IntType(32)(INTERLEAVE), self.latches),
            ("llvm.loop.vectorize.enable", ir.IntType(1)(0), self.finished),
        ):
            said = self.add_metadata([name, value]) if blocks else None
            for block in blocks:
                loop = self.add_metadata(["weft.loop", said, ir.IntType(32)(number)])
                block.terminator.set_metadata("llvm.loop", loop)
                number += 1
        return re.sub(r'!(\d+) = !{ !"weft.loop", (!\d+), i32 \d+ }', r"!\1 = distinct !{ !\1, \2 }", str(self))


def _entry(module: ir.Module, body: Any, function: Function, symbol: str) -> None:
    """Add the C entry point of a translated function: it unpacks the buffers and parameters."""
    entry = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [POINTER.as_pointer(), I64.as_pointer(), I64, I64]), symbol
    )
    buffers, params, begin, end = entry.args
    b = ir.IRBuilder(entry.append_basic_block())
    given: list[Any] = [begin, end]
    pointer = number = 0
    for dtype in list(function.arguments.values())[2:]:
        if dtype.endswith("*"):
            value = b.load(b.gep(buffers, [I64(pointer)]))
            pointer += 1
            given.append(b.bitcast(value, body.args[len(given)].type))
        else:
            value = b.load(b.gep(params, [I64(number)]))
            number += 1
            given.append(b.bitcast(value, ir.DoubleType()) if dtype == "float64" else value)
    b.call(body, given)
    b.ret_void()
    body.attributes.add("alwaysinline")


#: What is left to do for functions whose vectors are explicit, a fifth of the time of all of LLVM's passes.
EXPLICIT = (
    *("always_inliner", "sroa", "instruction_combine", "simplify_cfg", "new_gvn", "sccp", "loop_simplify", "lcssa"),
    *("loop_rotate", "jump_threading", "instruction_combine", "dead_store_elimination", "simplify_cfg"),
)


def optimise(module: Any, explicit: bool = False) -> None:
    """Run LLVM's standard passes over a module, in place; or, if it is ``explicit``, a few of them."""
    options = llvm.create_pipeline_tuning_options(2)
    options.loop_vectorization = True
    # one vector a turn is as fast as four where memory or arithmetic is the limit, and compiles sooner
    options.loop_interleaving = options.loop_unrolling = options.slp_vectorization = False
    builder = llvm.create_pass_builder(loader.machine(), options)
    if explicit:
        manager = llvm.create_new_module_pass_manager()
        for name in EXPLICIT:
            getattr(manager, f"add_{name}_pass")()
    else:
        manager = builder.getModulePassManager()
    manager.run(module, builder)
