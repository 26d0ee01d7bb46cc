"""Object code in memory: loaded with LLVM's linker, never unloaded.

`llvmlite` is imported by the first call, numba never.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from weft import locks

_lock = locks.shared("load")


@cache
def target() -> tuple[str, str]:
    """The host CPU's name and feature string, as LLVM knows them."""
    import llvmlite.binding as llvm

    # vectors as wide as there are: these kernels are loops over arrays and little else
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"


@cache
def machine() -> Any:
    """The LLVM target machine of the host CPU."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = target()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


@cache
def _engine() -> Any:
    import llvmlite.binding as llvm

    host = machine()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), host)


def load(objects: Sequence[tuple[bytes, Sequence[str]]]) -> list[tuple[int, ...]]:
    """Load object files; for each, the addresses of the functions named with it."""
    import llvmlite.binding as llvm

    with _lock:
        engine = _engine()
        for code, _ in objects:
            engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        engine.finalize_object()
        addresses = [tuple(engine.get_function_address(name) for name in names) for _, names in objects]
    for (_, names), found in zip(objects, addresses, strict=True):
        if not all(found):
            raise RuntimeError(f"object code lacks an entry point of {', '.join(names)}")
    return addresses
