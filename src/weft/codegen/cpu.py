"""Source to object code for the host CPU: numba types and lowers each function, LLVM optimises and assembles the module.

Numba's own pipeline would also make an interpreter wrapper, a C callback and exception data for each function, and
optimise several times over; here one module holds the lowered functions and an entry for each, and is optimised once.

Imports numba: imported only when a kernel must be compiled.
"""

from __future__ import annotations
import __future__

import ast
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import bytecode, cpu, funcdesc, interpreter, lowering, postproc, target_extension, types, typing
from numba.core.compiler import Flags, _make_subtarget
from numba.core.compiler_lock import global_compiler_lock
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import type_inference_stage
from numba.core.typing import builtins as builtin_types
from numba.core.typing.templates import _IntrinsicTemplate, builtin_registry
from numba.cpython import builtins, numbers  # noqa: F401

from weft.codegen import columns, lanes, memory, prefix, transpose, vecmath
from weft.codegen.emit import Function
from weft.runtime import loader

TYPES = {name: getattr(types, name) for name in ("boolean", "float32", "float64")} | {
    f"{kind}{bits}": getattr(types, f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
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


def numba_type(name: str) -> Any:
    """The numba type that generated source calls ``name``; a trailing ``*`` makes it a pointer."""
    return types.CPointer(TYPES[name[:-1]]) if name.endswith("*") else TYPES[name]


class _Typing(typing.Context):
    """What numba must know to type a kernel: operators over numbers and pointers, and our intrinsics. Its whole library
    takes a second to load, and every operator is then tried against NumPy's."""

    _loaded = False

    def __init__(self) -> None:
        super().__init__()
        self._resolved: dict[Any, Any] = {}

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a call; the same few operators over the same few types come again and again."""
        key = func, tuple(args)
        if key not in self._resolved:
            signature = super().resolve_function_type(func, args, kws)
            self._resolved[key] = signature, func.get_impl_key(signature) if isinstance(func, types.Function) else None
        signature, implementation = self._resolved[key]
        if implementation is not None:
            # A function type remembers what the last context resolved, which may have been one of numba's own targets.
            func._impl_keys[signature.args] = implementation
        return signature

    def refresh(self) -> None:
        """Take what generated source may use from numba's registry, once."""
        if self._loaded:
            return
        self._loaded = True
        for template in builtin_registry.functions:
            if _is_plain(template):
                self.insert_function(template(self))
        for value, dtype in builtin_registry.globals:
            if isinstance(dtype, types.Function):
                plain = [template for template in dtype.templates if _is_plain(template)]
                if not plain:
                    continue
                dtype = types.Function(plain)
            known = self._lookup_global(value)
            if known is None:
                self.insert_global(value, dtype)
            elif (more := known.augment(dtype)) is not None:
                self._remove_global(value)
                self._insert_global(value, more)


def _is_plain(template: Any) -> bool:
    """Whether a function is for numbers and pointers, and not implemented in Python, which numba would have to compile."""
    return any(base is _IntrinsicTemplate or base.__module__ == builtin_types.__name__ for base in template.__mro__)


class _Target(cpu.CPUContext):
    """What numba must know to lower a kernel."""

    _sizes: ClassVar[dict[str, int]] = {}

    def load_additional_registries(self) -> None:
        """Nothing beyond the implementations of the builtins, which come with the imports of this module."""

    def get_abi_sizeof(self, ty: Any) -> int:
        """The size of an LLVM type; asking LLVM takes a millisecond."""
        key = str(ty)
        if key not in self._sizes:
            self._sizes[key] = super().get_abi_sizeof(ty)
        return self._sizes[key]

    def post_lowering(self, module: Any, library: Any) -> None:
        """No runtime library is linked: kernels own no memory."""


class _Descriptor:
    """The two contexts of kernels, as numba finds them from the name of a target."""

    def __init__(self) -> None:
        self.typing_context = _Typing()
        self.target_context = _Target(self.typing_context, "weft")


class _WeftCPU(target_extension.CPU):
    """The numba target of kernels."""


class _Dispatcher:
    """Where numba looks for the contexts of a target."""

    targetdescr: _Descriptor


target_extension.target_registry["weft"] = _WeftCPU
target_extension.dispatcher_registry[_WeftCPU] = _Dispatcher


@cache
def _contexts() -> tuple[_Typing, _Target]:
    """The typing and target contexts of kernels."""
    _Dispatcher.targetdescr = _Descriptor()
    target = _Dispatcher.targetdescr.target_context
    target.refresh()
    flags: Any = Flags()
    flags.error_model = "numpy"
    return target.typing_context, _make_subtarget(target, flags)


@global_compiler_lock
def compile_functions(functions: Sequence[Function], symbols: Sequence[str]) -> bytes:
    """Object code with one C entry point for each function: ``void symbol(void **buffers, int64_t *params, int64_t
    begin, int64_t end)``."""
    try:
        module = lowered(functions, symbols)
    except BaseException:
        # Interrupted between typing an intrinsic and registering what lowers it, numba takes the second for done ever after;
        # its caches are kept by context.
        _contexts.cache_clear()
        raise
    optimise(module)
    code: bytes = loader.machine().emit_object(module)
    if strange := loader.called(code) - set(loader.CALLED):
        raise RuntimeError(f"kernel {symbols[0]} calls {', '.join(sorted(strange))}, which kernels must not")
    return code


def lowered(functions: Sequence[Function], symbols: Sequence[str]) -> Any:
    """The functions as one LLVM module, not yet optimised."""
    typing_context, target = _contexts()
    module = _Module(symbols[0])
    module.triple = llvm.get_process_triple()
    module.data_layout = str(loader.machine().target_data)
    library = target.codegen().create_library(symbols[0])
    library.create_ir_module = lambda name: module
    library.add_ir_module = lambda module: None
    with ConfigStack().enter(Flags()), target.push_code_library(library):
        for function, symbol in zip(functions, symbols, strict=True):
            _entry(module, _lower(function, typing_context, target, library), function, symbol)
    entries = set(symbols)
    for value in module.global_values:
        declared = isinstance(value, ir.Function) and value.is_declaration
        if value.name not in entries and not declared and not value.name.startswith("llvm."):
            value.linkage = "internal"
    # signed overflow wraps, in the user's arithmetic too
    return llvm.parse_assembly(module.interleaved().replace(" nsw ", " "))


#: Vectors that an interleaved loop computes side by side: chains of dependent instructions as long as exp's then fill the
#: processor's schedulers with more that can start (exp: 3.0 ns a vector instead of 3.4 on Zen 4).
INTERLEAVE = 4


class _Module(ir.Module):
    """A module that knows which blocks end loops that are to be interleaved."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.latches: list[Any] = []

    def interleaved(self) -> str:
        """The module's text, with what tells LLVM to interleave those loops; llvmlite has no way to make distinct nodes."""
        if not self.latches:
            return str(self)
        count = self.add_metadata(["llvm.loop.interleave.count", ir.IntType(32)(INTERLEAVE)])
        for k, block in enumerate(self.latches):
            block.terminator.set_metadata("llvm.loop", self.add_metadata(["weft.loop", count, ir.IntType(32)(k)]))
        return re.sub(r'!(\d+) = !{ !"weft.loop", (!\d+), i32 \d+ }', r"!\1 = distinct !{ !\1, \2 }", str(self))


class _CountingLoops(ast.NodeTransformer):
    """Turns ``for i in range(...)`` into a ``while`` loop, which numba compiles in half the time: no iterator objects.

    ``for i in interleaved(...)`` is the same, with several vectors of elements computed side by side.
    """

    def __init__(self) -> None:
        self.variables: set[str] = set()

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        """The assignments before the loop, and the loop."""
        self.generic_visit(node)
        assert isinstance(node.target, ast.Name)
        assert isinstance(node.iter, ast.Call)
        i, stop = node.target.id, f"{node.target.id}_stop"
        self.variables |= {i, stop}
        start, end, step = [
            ast.unparse(a) for a in ([ast.Constant(0)] * (len(node.iter.args) == 1) + node.iter.args)
        ] + ["1"] * (len(node.iter.args) < 3)
        assert isinstance(node.iter.func, ast.Name)
        following = f"next_interleaved({i}, {step})" if node.iter.func.id == "interleaved" else f"{i} + {step}"
        loop = ast.parse(f"{i} = {start}\n{stop} = {end}\nwhile {i} < {stop}:\n    {i} = {following}").body
        assert isinstance(loop[-1], ast.While)
        loop[-1].body[:0] = node.body
        return loop


def _lower(function: Function, typing: Any, target: Any, library: Any) -> Any:
    """Lower one function into the library's module; its LLVM function."""
    names: dict[str, Any] = dict(NAMESPACE)
    loops = _CountingLoops()
    tree = ast.fix_missing_locations(loops.visit(ast.parse(function.source)))
    flag = __future__.annotations.compiler_flag
    exec(compile(tree, f"<weft {function.name}>", "exec", flag, dont_inherit=True), names)
    identity = bytecode.FunctionIdentity.from_function(names[function.name])
    source = interpreter.Interpreter(identity).interpret(bytecode.ByteCode(identity))
    postproc.PostProcessor(source).run(emit_dels=False)
    arguments = tuple(numba_type(name) for name in function.arguments.values())
    variables = {name: numba_type(dtype) for name, dtype in function.variables.items()}
    variables |= dict.fromkeys(loops.variables, types.int64)
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
    pointer = number = 0
    for dtype in list(function.arguments.values())[2:]:
        if dtype.endswith("*"):
            value = b.load(b.gep(buffers, [I64(pointer)]))
            pointer += 1
            given.append(b.bitcast(value, body.args[2 + len(given)].type))
        else:
            value = b.load(b.gep(params, [I64(number)]))
            number += 1
            given.append(b.bitcast(value, ir.DoubleType()) if dtype == "float64" else value)
    hidden = [b.alloca(argument.type.pointee) for argument in body.args[:2]]  # the return value and exception slots
    b.call(body, hidden + given)
    b.ret_void()
    body.attributes.add("alwaysinline")


def optimise(module: Any) -> None:
    """Run LLVM's standard passes over a module, in place."""
    options = llvm.create_pipeline_tuning_options(2)
    options.loop_vectorization = True
    # one vector a turn is as fast as four where memory or arithmetic is the limit, and compiles sooner
    options.loop_interleaving = options.loop_unrolling = options.slp_vectorization = False
    builder = llvm.create_pass_builder(loader.machine(), options)
    builder.getModulePassManager().run(module, builder)
