"""The generated tiles of float matrix products (`weft.codegen.microkernel`): choosing, caching, loading, making them known.

A type's code stands in the kernel cache under one key, whatever the tile, so that a better tile found by measuring
(`weft info --tune`) replaces the one that the model chose. The code's name says which tile it is.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from weft import _native, locks
from weft.codegen import counters, microkernel
from weft.codegen.microkernel import Shape
from weft.dtypes import DType
from weft.interrupts import put_off
from weft.runtime import cache as disk
from weft.runtime import loader

#: The tiles in use, by type; the types of products not run yet are missing.
current: dict[DType, Shape] = {}

_lock = locks.shared("compile")


def ensure(dtype: DType) -> None:
    """See to it that the native runtime has tiles for products of this type; integers and bool need none."""
    if dtype.kind != "f":
        return
    dtype = dtype.compute
    if dtype in current:
        return
    with _lock:
        if dtype not in current:
            key = cache_key(dtype)
            code = disk.load(key)
            counters["kernels_compiled" if code is None else "kernels_loaded"] += 1
            if code is None:
                code = compile_tiles(dtype, candidates(dtype)[0])
                disk.save(key, code)
            use(dtype, code)


def cache_key(dtype: DType) -> str:
    """Under which the code of a type's tiles is kept."""
    return hashlib.sha256(f"tiles {dtype.name} {_environment()}".encode()).hexdigest()


def candidates(dtype: DType) -> list[Shape]:
    """The tiles worth trying on this CPU, the one that the model prefers first."""
    features = loader.target()[1].split(",")
    if "+avx512f" in features:
        registers, width = 32, 64
    elif "+avx" in features:
        registers, width = 16, 32
    else:
        registers, width = 32 if "+neon" in features else 16, 16
    return microkernel.shapes(registers, width // dtype.itemsize)


def compile_tiles(dtype: DType, shape: Shape) -> disk.Code:
    """The machine code of one tile and what belongs to it."""
    with put_off():
        import llvmlite.binding as llvm

        machine = loader.machine()
        features = loader.target()[1].split(",")
        fused = any(f in features for f in ("+fma", "+avx512f", "+neon"))
        module = llvm.parse_assembly(str(microkernel.build(dtype.name, shape, fused)))
        name = f"gemm_{dtype.name}_{shape.rows}x{shape.vectors}x{shape.lanes}"
        return disk.Code(name, microkernel.symbols(shape), machine.emit_object(module))


def use(dtype: DType, code: disk.Code) -> None:
    """Load compiled tiles and have products that begin from now on use them."""
    rows, vectors, lanes = map(int, code.name.rpartition("_")[2].split("x"))
    shape = Shape(rows, vectors, lanes)
    (addresses,) = loader.load([(code.object, code.symbols)])
    _native.set_tiles(dtype.code, shape.rows, shape.columns, shape.packed_rows, addresses)
    current[dtype] = shape


@cache
def _environment() -> str:
    """What the tiles' code depends on: the sources that write it, LLVM's version, and the CPU."""
    import llvmlite

    digest = hashlib.sha256()
    for file in (__file__, microkernel.__file__, loader.__file__):
        digest.update(Path(file).read_bytes())
    return f"{digest.hexdigest()} {llvmlite.__version__} {loader.processor()}"
