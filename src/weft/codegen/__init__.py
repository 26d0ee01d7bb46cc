"""Kernels to machine code: source, compilation, and the caches before it.

Importing this package imports neither the LLVM library nor what writes source, nor does loading a kernel from the disk cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from weft import locks
from weft.interrupts import put_off
from weft.ir.kernel import Apply, Kernel
from weft.runtime import cache as disk
from weft.runtime import loader

#: What happened so far in this process.
counters = {"kernels_compiled": 0, "kernels_loaded": 0}


class Compiled:
    """A kernel's machine code: ``entries`` are the addresses of its phases, in order."""

    __slots__ = ("_bodies", "entries", "from_disk", "kernel", "key", "name")

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        key: str,
        entries: tuple[int, ...],
        from_disk: bool,
        bodies: Mapping[str, str],
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.key = key
        self.entries = entries
        self.from_disk = from_disk
        self._bodies = bodies

    def __repr__(self) -> str:
        return f"<compiled kernel {self.name}>"

    @property
    def source(self) -> str:
        """The generated source."""
        return source(self.kernel, self._bodies)


_memo: dict[Kernel, Compiled] = {}
_lock = locks.shared("compile")


def compile_kernel(kernel: Kernel, bodies: Mapping[str, str] | None = None) -> Compiled:
    """The machine code of a kernel, from this process's memory, the disk cache, or the compiler.

    ``bodies`` are the elementwise ops' expressions, those of the op registry unless given.
    """
    if bodies is None and (found := _memo.get(kernel)) is not None:
        return found
    return compile_kernels([kernel], bodies)[0]


def compile_kernels(kernels: Iterable[Kernel], bodies: Mapping[str, str] | None = None) -> list[Compiled]:
    """`compile_kernel` for several kernels at once, loaded together."""
    kernels = list(kernels)
    own = bodies is not None
    with _lock:
        found = {} if own else {kernel: _memo[kernel] for kernel in kernels if kernel in _memo}
        if bodies is None:
            bodies = registered_bodies()
        new: list[tuple[Kernel, str, disk.Code, bool]] = []
        for kernel in dict.fromkeys(kernels):
            if kernel not in found:
                key = kernel_key(kernel, bodies)
                code = disk.load(key)
                if code is None:
                    made = _compile(kernel, kernel_name(kernel, key), bodies)
                    disk.save(key, made)
                    new.append((kernel, key, made, False))
                else:
                    new.append((kernel, key, code, True))
        addresses = loader.load([(code.object, code.symbols) for _, _, code, _ in new]) if new else []
        for (kernel, key, code, from_disk), entries in zip(new, addresses, strict=True):
            found[kernel] = Compiled(kernel, code.name, key, entries, from_disk, bodies)
            counters["kernels_loaded" if from_disk else "kernels_compiled"] += 1
            if not own:
                _memo[kernel] = found[kernel]
    return [found[kernel] for kernel in kernels]


def source(kernel: Kernel, bodies: Mapping[str, str] | None = None, name: str | None = None) -> str:
    """The generated source of a kernel, all phases."""
    from weft.codegen import loops

    bodies = registered_bodies() if bodies is None else bodies
    name = name or kernel_name(kernel, kernel_key(kernel, bodies))
    return "\n\n".join(f.source for f in loops.functions(kernel, bodies, name))


def registered_bodies() -> Mapping[str, str]:
    """The kernel bodies of the op registry."""
    from weft.ops.registry import BODIES

    return BODIES


def kernel_name(kernel: Kernel, key: str) -> str:
    """A short name: the form, the first few ops, and the start of the key."""
    ops = [i.op for i in kernel.body if hasattr(i, "op")]
    text = "_".join([kernel.form, *ops[:5], *(["etc"] if len(ops) > 5 else [])])
    return f"{text}_{key[:6]}"


def kernel_key(kernel: Kernel, bodies: Mapping[str, str]) -> str:
    """The name of a kernel's code in the disk cache: a hash of all that the code depends on."""
    import hashlib

    used = sorted({i.op for i in kernel.body if isinstance(i, Apply)})
    text = f"{kernel!r}\n{[(op, bodies.get(op)) for op in used]}\n{_environment()}"
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _environment() -> str:
    """What the code of every kernel depends on: this package's source, the compilers' versions, and the CPU."""
    import hashlib
    from pathlib import Path

    import llvmlite

    here = Path(__file__).parent
    files = [
        *sorted(here.glob("*.py")),
        here.parent / "ir" / "kernel.py",
        here.parent / "dtypes.py",
        Path(loader.__file__),
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()} {llvmlite.__version__} {loader.processor()}"


def _compile(kernel: Kernel, name: str, bodies: Mapping[str, str]) -> disk.Code:
    from weft.codegen import loops

    functions = loops.functions(kernel, bodies, name)
    symbols = tuple(f"weft_{function.name}" for function in functions)
    with put_off():
        from weft.codegen.cpu import compile_functions

        return disk.Code(name, symbols, compile_functions(functions, symbols))


__all__ = ["Compiled", "compile_kernel", "compile_kernels", "counters", "source"]
