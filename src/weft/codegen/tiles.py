"""The generated tiles of float matrix products (`weft.codegen.microkernel`): compiling, caching, loading, making them known.

Which tile a type's products use is chosen in `weft.codegen.choice`. Code stands in the kernel cache by type and tile.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from weft import _native, config, locks
from weft.codegen import choice, counters, microkernel
from weft.codegen.choice import Choice, candidates
from weft.codegen.microkernel import Shape
from weft.dtypes import DType
from weft.interrupts import put_off
from weft.runtime import cache as disk
from weft.runtime import loader

#: The tiles in use, by type; the types of products not run yet are missing.
current: dict[DType, Shape] = {}

#: Turns in which `tune` measures every tile, so that what else the machine does meets them all.
TURNS = 5

_lock = locks.shared("compile")
#: Types whose choice is made: for those that are missing, a large product has it measured.
_settled: set[DType] = set()


@dataclass(frozen=True, slots=True)
class Trial:
    """A tile that was measured: milliseconds it took to compile, and seconds of the quickest run."""

    shape: Shape
    compiled: float
    seconds: float
    chosen: bool


def ensure(dtype: DType, m: int = 0, n: int = 0, work: int = 0) -> None:
    """See to it that the native runtime has tiles for products of this type; integers and bool need none.

    Before the first product on this machine that is worth it, the tile is chosen by measuring (`weft.codegen.choice`), unless
    the switch "tune" is off.

    Args:
        dtype: the type of a product that is going to run.
        m, n, work: if known, the rows and columns of its result, and how many multiply-adds it takes.
    """
    if dtype.kind != "f":
        return
    dtype = dtype.compute
    if dtype in _settled:
        return
    with _lock:
        if dtype not in current:
            known = choice.known(dtype)
            if known is None:
                known = choice.modelled(dtype)
                choice.remember(dtype, known)
            use(dtype, _code(dtype, known.shape))
            if known.origin != choice.MODEL:
                _settled.add(dtype)
        if dtype not in _settled and choice.worth(m, n, work) and config.current().tune and disk.usable():
            _settled.add(dtype)  # first, so that nobody tries again if measuring fails
            found = choice.measured(dtype)
            if found.shape != current[dtype]:
                use(dtype, _code(dtype, found.shape))
            choice.remember(dtype, found)


def packed_bytes(dtype: DType, k: int, n: int) -> int:
    """Bytes of a right operand of k x n elements that is packed into panels of the tile's width, the last one whole too."""
    if dtype.kind != "f":
        return k * n * dtype.itemsize
    ensure(dtype)
    columns = current[dtype.compute].columns
    return k * -(-n // columns) * columns * dtype.compute.itemsize


def compile_tiles(dtype: DType, shape: Shape) -> disk.Code:
    """The machine code of one tile and what belongs to it."""
    with put_off():
        code = loader.compile_text(microkernel.build(dtype.name, shape, choice.fused()))
        name = f"gemm_{dtype.name}_{shape.rows}x{shape.vectors}x{shape.lanes}"
        return disk.Code(name, microkernel.symbols(shape), code)


def use(dtype: DType, code: disk.Code) -> None:
    """Load compiled tiles and have products that begin from now on use them."""
    rows, vectors, lanes = map(int, code.name.rpartition("_")[2].split("x"))
    shape = Shape(rows, vectors, lanes)
    (addresses,) = loader.load([(code.object, code.symbols)])
    _native.set_tiles(dtype.code, shape.rows, shape.columns, shape.packed_rows, shape.lanes, shape.turned, addresses)
    current[dtype] = shape


def tune(dtype: DType, run: Callable[[], None]) -> list[Trial]:
    """Measure the candidates, the model's first, use the best from now on, and remember it in the kernel cache.

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
        unit = _native.use_matrix_unit(False)  # its products have no tiles of ours
        try:
            for _ in range(TURNS):
                for i, code in enumerate(codes):
                    use(dtype, code)
                    run()  # the first finds caches as the last tile left them
                    start = time.perf_counter()
                    run()
                    quickest[i] = min(quickest[i], time.perf_counter() - start)
        finally:
            _native.use_matrix_unit(unit)
        best = choice.best(quickest, choice.MARGIN)
        use(dtype, codes[best])
        disk.save(_key(dtype, shapes[best]), codes[best])
        choice.remember(dtype, Choice(shapes[best], choice.TUNED))
        _settled.add(dtype)
    return [Trial(shapes[i], compiled[i], quickest[i], i == best) for i in range(len(codes))]


def _code(dtype: DType, shape: Shape) -> disk.Code:
    """The code of a tile, from the disk cache or compiled."""
    key = _key(dtype, shape)
    code = disk.load(key)
    counters["kernels_compiled" if code is None else "kernels_loaded"] += 1
    if code is None:
        code = compile_tiles(dtype, shape)
        disk.save(key, code)
    return code


def _key(dtype: DType, shape: Shape) -> str:
    return hashlib.sha256(f"tiles {dtype.name} {shape!r} {choice.environment()}".encode()).hexdigest()
