"""How the instructions of each kind of processor take the addresses that a linker fills in.

Formats: System V ABI, AMD64 supplement, version 1.0, section 4.4; ELF for the Arm 64-bit Architecture, 2024Q3, section 5.7.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Processor:
    """What a linker has to know of a kind of processor."""

    jump: bytes  #: instructions that go where the eight bytes after them say
    #: ``(memory, at, kind, value, base)``: fill in, at an offset in memory, the offset of what is meant, or its address, as
    #: a relocation of this kind wants it. The memory starts at the address ``base``, which is that of a page. False: unknown.
    fill: Callable[[mmap.mmap, int, int, int, int], bool]
    coherent: bool  #: whether it sees code that was just written


def _amd64(memory: mmap.mmap, at: int, kind: int, value: int, base: int) -> bool:
    if kind in (2, 4):  # R_X86_64_PC32, R_X86_64_PLT32: relative to here, in 32 bits
        struct.pack_into("<i", memory, at, value - at)
    elif kind == 1:  # R_X86_64_64
        struct.pack_into("<Q", memory, at, base + value)
    elif kind == 24:  # R_X86_64_PC64
        struct.pack_into("<q", memory, at, value - at)
    else:
        return False
    return True


#: Of AArch64's relocations that put the low twelve bits of an address into bits 10 to 21 of an instruction: by how many bits
#: they are shifted, for loads and stores count in units of what they move.
_LOW_BITS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}


def _aarch64(memory: mmap.mmap, at: int, kind: int, value: int, base: int) -> bool:
    if kind == 257:  # R_AARCH64_ABS64
        struct.pack_into("<Q", memory, at, base + value)
    elif kind == 260:  # R_AARCH64_PREL64
        struct.pack_into("<q", memory, at, value - at)
    elif kind == 261:  # R_AARCH64_PREL32
        struct.pack_into("<i", memory, at, value - at)
    elif kind in (282, 283):  # R_AARCH64_JUMP26, R_AARCH64_CALL26: instructions from here
        _insert(memory, at, 0x03FFFFFF, (value - at) >> 2)
    elif kind == 275:  # R_AARCH64_ADR_PREL_PG_HI21: pages from here, the two low bits at 29, the others at 5
        pages = (value >> 12) - (at >> 12)
        _insert(memory, at, 0x60FFFFE0, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)
    elif kind in _LOW_BITS:
        _insert(memory, at, 0x003FFC00, (value & 0xFFF) >> _LOW_BITS[kind] << 10)
    else:
        return False
    return True


def _insert(memory: mmap.mmap, at: int, mask: int, bits: int) -> None:
    """Replace some bits of an instruction."""
    (word,) = struct.unpack_from("<I", memory, at)
    struct.pack_into("<I", memory, at, word & ~mask | bits & mask)


#: By the number in an ELF file's header.
PROCESSORS = {
    62: Processor(b"\xff\x25\x00\x00\x00\x00", _amd64, coherent=True),  # jmp *0(%rip)
    183: Processor(b"\x50\x00\x00\x58\x00\x02\x1f\xd6", _aarch64, coherent=False),  # ldr x16, . + 8; br x16
}
