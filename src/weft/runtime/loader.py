"""Object code in memory, never unloaded.

Kernels are self-contained: no data that is written, and no calls but to `CALLED`. So linking them takes a page of Python,
and a process whose kernels are all in the cache does not import llvmlite. Object code of another kind (a processor's
that `relocations` does not have, or a system's without ELF) is left to LLVM's linker.

Format: System V ABI, generic part, edition 4.1, chapter 4 (ELF relocatable files).
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from weft import locks
from weft.runtime.relocations import PROCESSORS, Processor

_MATHS = ("fma", "fmod", "rint", "floor", "ceil", "trunc")
#: What kernels may call, with the library it is in: LLVM turns loops that fill and copy into calls of the C library, leaves
#: float remainders to the mathematical one, and on processors without the instruction more of that, all of it exact.
CALLED: dict[str, str | None] = {
    **dict.fromkeys(("memcpy", "memmove", "memset")),
    **dict.fromkeys((*_MATHS, *(f"{name}f" for name in _MATHS)), "libm.so.6"),
    **dict.fromkeys(("__extendhfsf2", "__truncsfhf2", "__truncdfhf2"), "libgcc_s.so.1"),
}

_lock = locks.shared("load")
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")


#: What the first paragraph of /proc/cpuinfo calls a processor's identity and abilities: AMD64's, AArch64's.
_IDENTITIES = (
    {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"},
    {"CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"},
)


@cache
def target() -> tuple[str, str]:
    """The host CPU's name and feature string, as LLVM knows them."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    if llvm.get_process_triple().startswith("x86_64"):
        features += (
            ",-prefer-256-bit"  # vectors as wide as there are: these kernels are loops over arrays and little else
        )
    return llvm.get_host_cpu_name(), features


def features() -> list[str]:
    """The host CPU's features, each with its sign ("+fma")."""
    return target()[1].split(",")


@cache
def processor() -> str:
    """What the target depends on, without asking LLVM: the first processor's identity and abilities."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = file.read(8192).split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    values = {line.partition(":")[0].strip(): line for line in lines}
    for names in _IDENTITIES:
        if names <= values.keys():
            return "\n".join(line for name, line in values.items() if name in names)
    return repr(target())


#: How hard LLVM works on what is left to it, and on code that is written in the order in which it is to run: not to put that in
#: another order once more takes a tenth off its time, and code runs as fast.
OPTIMISED, ORDERED = 3, 1


@cache
def machine(level: int = OPTIMISED) -> Any:
    """The LLVM target machine of the host CPU."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = target()
    triple = llvm.Target.from_default_triple()
    return triple.create_target_machine(cpu=cpu, features=features, opt=level, reloc="pic", codemodel="small")


def compile_text(module: str) -> bytes:
    """The object code of a module that is given as LLVM assembly, not optimised, its instructions in the order given."""
    import llvmlite.binding as llvm

    target = machine(ORDERED)  # first: it brings LLVM up
    code: bytes = target.emit_object(llvm.parse_assembly(module))
    return code


def load(objects: Sequence[tuple[bytes, Sequence[str]]]) -> list[tuple[int, ...]]:
    """Load object files; for each, the addresses of the functions named with it."""
    with _lock:
        try:
            linked = _link([_read(code) for code, _ in objects])
        except _Foreign:
            linked = _link_with_llvm(objects)
    try:
        return [tuple(found[name] for name in names) for found, (_, names) in zip(linked, objects, strict=True)]
    except KeyError as error:
        raise RuntimeError(f"object code lacks the entry point {error}") from None


def called(code: bytes) -> set[str]:
    """The functions that object code calls and does not contain; empty too if the format is not known here."""
    try:
        return {symbol.name for symbol in _read(code).symbols if symbol.section == 0 and symbol.name}
    except _Foreign:
        return set()


class _Foreign(Exception):
    """Object code that this linker does not know."""


@dataclass(slots=True)
class _Symbol:
    name: str
    section: int
    value: int


@dataclass(slots=True)
class _Object:
    processor: Processor
    sections: dict[int, tuple[bytes, int]]  # what goes to memory: the bytes and their alignment
    symbols: list[_Symbol]
    relocations: list[tuple[int, int, int, int, int]]  # section, offset in it, kind, symbol, addend


def _read(code: bytes) -> _Object:
    """Take an ELF file apart."""
    if code[:6] != b"\x7fELF\x02\x01":
        raise _Foreign
    header = _HEADER.unpack_from(code)
    if header[1] != 1 or header[2] not in PROCESSORS:  # not relocatable, or not known
        raise _Foreign
    start, size, count = header[6], header[11], header[12]
    heads = [_SECTION.unpack_from(code, start + size * i) for i in range(count)]
    names = heads[header[13]]
    result = _Object(PROCESSORS[header[2]], {}, [], [])

    def text(table: tuple[int, ...], at: int) -> str:
        begin = table[4] + at
        return code[begin : code.index(b"\0", begin)].decode()

    for i, (name, kind, flags, _, offset, length, _, _, align, _) in enumerate(heads):
        if flags & 2 and length and text(names, name) != ".eh_frame":  # goes to memory
            if kind != 1 or flags & 1:  # not plain content, or written
                raise _Foreign
            result.sections[i] = code[offset : offset + length], align
    for _, kind, _, _, offset, length, link, info, _, _ in heads:
        if kind == 2:
            for name, _, _, section, value, _ in _SYMBOL.iter_unpack(code[offset : offset + length]):
                result.symbols.append(_Symbol(text(heads[link], name), section, value))
        elif kind == 9 and info in result.sections:
            raise _Foreign
        elif kind == 4 and info in result.sections:
            for at, what, addend in _RELOCATION.iter_unpack(code[offset : offset + length]):
                result.relocations.append((info, at, what & 0xFFFFFFFF, what >> 32, addend))
    return result


def _link(objects: Sequence[_Object]) -> list[dict[str, int]]:
    """Bring objects into memory together; their symbols' addresses."""
    size = 0
    places: list[dict[int, int]] = []
    processor = objects[0].processor
    for item in objects:
        places.append({})
        for i, (content, align) in item.sections.items():
            size = -(-size // align) * align
            places[-1][i] = size
            size += len(content)
    jumps: dict[str, int] = {}
    for item in objects:
        for _, _, _, number, _ in item.relocations:
            symbol = item.symbols[number]
            if symbol.section == 0 and symbol.name not in jumps:
                if symbol.name not in CALLED:
                    raise _Foreign
                size = -(-size // 16) * 16
                jumps[symbol.name] = size
                size += len(processor.jump) + 8
    memory = mmap.mmap(-1, max(size, 1))
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    library = ctypes.CDLL(None, use_errno=True)
    for name, at in jumps.items():
        address = ctypes.cast(getattr(ctypes.CDLL(CALLED[name]), name), ctypes.c_void_p).value
        code = processor.jump + struct.pack("<Q", address)
        memory[at : at + len(code)] = code
    found: list[dict[str, int]] = []
    for item, place in zip(objects, places, strict=True):
        for i, (content, _) in item.sections.items():
            memory[place[i] : place[i] + len(content)] = content
        for section, at, kind, number, addend in item.relocations:
            symbol = item.symbols[number]
            at += place[section]
            value = addend + (place[symbol.section] + symbol.value if symbol.section in place else jumps[symbol.name])
            if not processor.fill(memory, at, kind, value, base):
                raise _Foreign
        found.append({s.name: base + place[s.section] + s.value for s in item.symbols if s.section in place})
    if not processor.coherent:
        ctypes.CDLL("libgcc_s.so.1").__clear_cache(ctypes.c_void_p(base), ctypes.c_void_p(base + len(memory)))
    protect = library.mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(base, len(memory), mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "Memory for kernels cannot be made executable")
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # threads may run kernels until the very end of the process
    return found


@cache
def _engine() -> Any:
    import llvmlite.binding as llvm

    machine()
    triple = llvm.Target.from_default_triple()
    cpu, features = target()
    return llvm.create_mcjit_compiler(
        llvm.parse_assembly(""), triple.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    )


def _link_with_llvm(objects: Sequence[tuple[bytes, Sequence[str]]]) -> list[dict[str, int]]:
    import llvmlite.binding as llvm

    engine = _engine()
    for code, _ in objects:
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    found = [{name: engine.get_function_address(name) for name in names} for _, names in objects]
    return [{name: address for name, address in names.items() if address} for names in found]
