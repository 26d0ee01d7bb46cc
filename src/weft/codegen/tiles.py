"""The generated tiles of float matrix products (`weft.codegen.microkernel`): choosing, caching, loading, making them known.

A type's code stands in the kernel cache under one key, whatever the tile, so that a better tile found by measuring
(`weft info --tune`) replaces the one that the model chose. The code's name says which tile it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
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

#: By how much another tile must be faster than the model's before it is preferred: less may be chance.
MARGIN = 0.02
#: Turns in which tuning measures every tile, so that what else the machine does meets them all.
TURNS = 5

_lock = locks.shared("compile")


@dataclass(frozen=True, slots=True)
class Trial:
    """A tile that was measured: milliseconds it took to compile, and seconds of the quickest run."""

    shape: Shape
    compiled: float
    seconds: float
    chosen: bool


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


def known(dtype: DType) -> Shape:
    """The tile that a new process will use for products of a type: what the kernel cache holds, else the model's choice."""
    code = disk.load(cache_key(dtype))
    return candidates(dtype)[0] if code is None else shape_of(code)


def shape_of(code: disk.Code) -> Shape:
    """The tile that compiled code is of."""
    rows, vectors, lanes = map(int, code.name.rpartition("_")[2].split("x"))
    return Shape(rows, vectors, lanes)


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
    shape = shape_of(code)
    (addresses,) = loader.load([(code.object, code.symbols)])
    _native.set_tiles(dtype.code, shape.rows, shape.columns, shape.packed_rows, shape.lanes, addresses)
    current[dtype] = shape


def tune(dtype: DType, run: Callable[[], None]) -> list[Trial]:
    """Measure the candidates, the model's first, use the best from now on, and keep it in the kernel cache.

    Results do not change: all tiles give the same bits.

    Args:
        dtype: float32 or float64.
        run: what to measure, some products of this type.
    """
    with _lock:
        shapes, codes, compiled = candidates(dtype), [], []
        for shape in shapes:
            start = time.perf_counter()
            codes.append(compile_tiles(dtype, shape))
            compiled.append((time.perf_counter() - start) * 1e3)
        quickest = [float("inf")] * len(codes)
        for _ in range(TURNS):
            for i, code in enumerate(codes):
                use(dtype, code)
                run()  # the first finds caches as the last tile left them
                start = time.perf_counter()
                run()
                quickest[i] = min(quickest[i], time.perf_counter() - start)
        best = min(range(len(codes)), key=lambda i: quickest[i] * (1 if i else 1 - MARGIN))
        use(dtype, codes[best])
        disk.save(cache_key(dtype), codes[best])
    return [Trial(shapes[i], compiled[i], quickest[i], i == best) for i in range(len(codes))]


@cache
def _environment() -> str:
    """What the tiles' code depends on: the sources that write it, LLVM's version, and the CPU."""
    import llvmlite

    digest = hashlib.sha256()
    for file in (__file__, microkernel.__file__, loader.__file__):
        digest.update(Path(file).read_bytes())
    return f"{digest.hexdigest()} {llvmlite.__version__} {loader.processor()}"
