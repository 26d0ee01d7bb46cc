"""Object code brought to memory by our own linker and by LLVM's, and what it may call."""

from __future__ import annotations

import ctypes
import mmap
import struct
from pathlib import Path

import numpy as np
import pytest

from weft.codegen import loops
from weft.dtypes import float64
from weft.ir.kernel import Apply, Kernel, Load, Scalar, Store
from weft.runtime import loader, relocations

from .nest import ENTRY

FILL = Kernel("map", "o", (float64,), (Scalar(float64), Store(0, "c", 0)))
FMOD = Kernel(
    "map", "o", (float64, float64), (Load(0, "c"), Load(1, "c"), Apply("fmod", (0, 1), float64), Store(0, "c", 2))
)


def compiled(kernel: Kernel, name: str) -> bytes:
    """The object code of a kernel, whose entry point gets the given name."""
    from weft.codegen.cpu import compile_functions

    return compile_functions(loops.functions(kernel, {"fmod": "fmod(x, y)"}, name), [name])


def call(address: int, arrays: list[np.ndarray], params: list[int], n: int) -> None:
    """Run an entry point over [0, n)."""
    buffers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    ENTRY(address)(ctypes.addressof(buffers), ctypes.addressof((ctypes.c_int64 * len(params))(*params)), 0, n)


@pytest.mark.parametrize("link", [loader.load, lambda o: [tuple(x.values()) for x in loader._link_with_llvm(o)]])
def test_two_objects_at_once(link: object) -> None:
    objects = [(compiled(FILL, "fill"), ("fill",)), (compiled(FMOD, "rest"), ("rest",))]
    (fill,), (rest,) = link(objects)  # type: ignore[operator]
    x, y = np.full(99, 7.5), np.full(99, 1e300)
    call(rest, [y, x], [99], 99)
    np.testing.assert_array_equal(y, np.fmod(1e300, x))
    call(fill, [x], [99, 0], 99)
    assert not x.any()


def test_calls() -> None:
    assert loader.called(compiled(FILL, "fill")) <= {"memset"}
    assert loader.called(compiled(FMOD, "rest")) <= {"fmod"}
    assert loader.called(b"neither ELF nor anything else") == set()


@pytest.mark.parametrize(
    ("kind", "word", "at", "value", "filled"),
    [
        (275, 0x90000000, 0x1FF0, 0x5678, 0x90000020),  # adrp x0, four pages on
        (275, 0x90000003, 0x5000, 0x4FFF, 0xF0FFFFE3),  # adrp x3, one page back
        (277, 0x91000000, 0, 0x5678, 0x9119E000),  # add x0, x0, #0x678
        (278, 0x39400000, 0, 0x5678, 0x3959E000),  # ldrb w0, [x0, #0x678]
        (284, 0x79400000, 0, 0x5678, 0x794CF000),  # ldrh w0, [x0, #0x678]
        (285, 0xB9400000, 0, 0x5678, 0xB9467800),  # ldr w0, [x0, #0x678]
        (286, 0xF9400000, 0, 0x5678, 0xF9433C00),  # ldr x0, [x0, #0x678]
        (299, 0x3DC00000, 0, 0x5670, 0x3DC19C00),  # ldr q0, [x0, #0x670]
        (283, 0x94000000, 0x100, 0x108, 0x94000002),  # bl, two instructions on
        (282, 0x14000000, 0x104, 0x100, 0x17FFFFFF),  # b, one back
        (261, 0, 0x100, 0xF0, 0xFFFFFFF0),
        (257, 0, 0, 0x10, 0x7010),
        (260, 0, 8, 0, 0xFFFFFFF8),
    ],
)
def test_what_aarch64_relocations_fill_in(kind: int, word: int, at: int, value: int, filled: int) -> None:
    with mmap.mmap(-1, 0x6000) as memory:
        struct.pack_into("<I", memory, at, word)
        assert relocations.PROCESSORS[183].fill(memory, at, kind, value, 0x7000)
        assert struct.unpack_from("<I", memory, at) == (filled,)
        assert not relocations.PROCESSORS[183].fill(memory, at, 9999, value, 0x7000)
        assert struct.unpack_from("<I", memory, at) == (filled,)


def test_unknown_entry_point() -> None:
    with pytest.raises(RuntimeError, match="lacks the entry point 'other'"):
        loader.load([(compiled(FILL, "fill"), ("other",))])


def test_processor_is_known_without_llvm() -> None:
    info = Path("/proc/cpuinfo")
    if info.exists() and any(names[0] in info.read_text() for names in (("vendor_id",), ("CPU implementer",))):
        assert "flags" in loader.processor() or "Features" in loader.processor()
