"""Source to object code for the host CPU: numba types and lowers each function, LLVM optimises and assembles the module.

Numba's own pipeline would also make an interpreter wrapper, a C callback and exception data for each function, and optimise
several times over; here one module holds the lowered functions and an entry for each, and is optimised once.

Imports numba: imported only when a kernel must be compiled.
"""

from __future__ import annotations
import __future__

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import bytecode, funcdesc, interpreter, lowering, postproc, registry, types
from numba.core.compiler import Flags, _make_subtarget
from numba.core.compiler_lock import global_compiler_lock
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import type_inference_stage

from weft.codegen import lanes, memory
from weft.codegen.emit import Function
from weft.runtime import loader

TYPES = {name: getattr(types, name) for name in ("boolean", "float32", "float64")} | {
    f"{kind}{bits}": getattr(types, f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
POINTER = ir.IntType(8).as_pointer()
I64 = ir.IntType(64)

#: Passes that other modules add names through: the scalar functions that bodies may call.
NAMESPACE: dict[str, Any] = {"inf": float("inf"), "nan": float("nan"), **TYPES, **memory.NAMESPACE, **lanes.NAMESPACE}
try:
    NAMESPACE.update(import_module("weft.codegen.vecmath").NAMESPACE)
except ModuleNotFoundError:
    pass


def numba_type(name: str) -> Any:
    """The numba type that generated source calls ``name``; a trailing ``*`` makes it a pointer."""
    return types.CPointer(TYPES[name[:-1]]) if name.endswith("*") else TYPES[name]


@global_compiler_lock
def compile_functions(functions: Sequence[Function], symbols: Sequence[str]) -> bytes:
    """Object code with one C entry point for each function: ``void symbol(void **buffers, int64_t *params, int64_t
    begin, int64_t end)``."""
    module = lowered(functions, symbols)
    optimise(module)
    return loader.machine().emit_object(module)


def lowered(functions: Sequence[Function], symbols: Sequence[str]) -> Any:
    """The functions as one LLVM module, not yet optimised."""
    desc = registry.cpu_target
    flags: Any = Flags()
    flags.error_model = "numpy"
    flags.noalias = True  # distinct buffers never overlap
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
    desc.typing_context.refresh()
    desc.target_context.refresh()
    target = _make_subtarget(desc.target_context, flags)
    module = ir.Module(symbols[0])
    module.triple = llvm.get_process_triple()
    module.data_layout = str(loader.machine().target_data)
    library = target.codegen().create_library(symbols[0])
    library.create_ir_module = lambda name: module
    library.add_ir_module = lambda module: None
    with ConfigStack().enter(flags), target.push_code_library(library):
        for function, symbol in zip(functions, symbols, strict=True):
            _entry(module, _lower(function, desc.typing_context, target, library), function, symbol)
    entries = set(symbols)
    for value in module.global_values:
        if value.name not in entries and not (isinstance(value, ir.Function) and value.is_declaration):
            value.linkage = "internal"
    # signed overflow wraps, in the user's arithmetic too
    parsed = llvm.parse_assembly(str(module).replace(" nsw ", " "))
    for linked in library._linking_libraries:
        parsed.link_in(linked._get_module_for_linking(), preserve=True)
    return parsed


def _lower(function: Function, typing: Any, target: Any, library: Any) -> Any:
    """Lower one function into the library's module; its LLVM function."""
    names: dict[str, Any] = dict(NAMESPACE)
    flag = __future__.annotations.compiler_flag
    exec(compile(function.source, f"<weft {function.name}>", "exec", flag, dont_inherit=True), names)
    identity = bytecode.FunctionIdentity.from_function(names[function.name])
    source = interpreter.Interpreter(identity).interpret(bytecode.ByteCode(identity))
    postproc.PostProcessor(source).run(emit_dels=False)
    arguments = tuple(numba_type(name) for name in function.arguments.values())
    variables = {name: numba_type(dtype) for name, dtype in function.variables.items()}
    with np.errstate(all="ignore"):
        typed = type_inference_stage(typing, target, source, arguments, types.void, variables)
        descriptor = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            source,
            typed.typemap,
            typed.return_type,
            typed.calltypes,
            mangler=lambda name, argtypes, **more: f"{name}.body",
            inline=False,
            noalias=True,
            abi_tags=[],
        )
        lower = lowering.Lower(target, library, descriptor, source, metadata={})
        lower.lower()
    return lower.module.get_global(descriptor.llvm_func_name)


def _entry(module: ir.Module, body: Any, function: Function, symbol: str) -> None:
    """Add the C entry point of a lowered function: it unpacks the buffers and parameters."""
    entry = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [POINTER.as_pointer(), I64.as_pointer(), I64, I64]), symbol
    )
    buffers, params, begin, end = entry.args
    b = ir.IRBuilder(entry.append_basic_block())
    given: list[Any] = [begin, end]
    pointers = numbers = 0
    for dtype in list(function.arguments.values())[2:]:
        if dtype.endswith("*"):
            value = b.load(b.gep(buffers, [I64(pointers)]))
            pointers += 1
            given.append(b.bitcast(value, body.args[2 + len(given)].type))
        else:
            value = b.load(b.gep(params, [I64(numbers)]))
            numbers += 1
            given.append(b.bitcast(value, ir.DoubleType()) if dtype == "float64" else value)
    hidden = [b.alloca(argument.type.pointee) for argument in body.args[:2]]  # the return value and exception slots
    b.call(body, hidden + given)
    b.ret_void()
    body.attributes.add("alwaysinline")


def optimise(module: Any) -> None:
    """Run LLVM's standard passes over a module, in place."""
    options = llvm.create_pipeline_tuning_options(3)
    options.loop_vectorization = True
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(loader.machine(), options)
    builder.getModulePassManager().run(module, builder)
