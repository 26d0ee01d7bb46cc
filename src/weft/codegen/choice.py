"""Which tile the products of a type use (`weft.codegen.microkernel`): the one that is set, else remembered, else modelled.

The model counts cycles, which is as far as registers, loads and latencies decide. What it cannot tell apart is measured when
the first large product is built on a machine (`WORTH`): the full tiles alone, each compiled by itself in some 15 ms, over
packed operands as the driver has them. What was found is remembered in the kernel cache, for this CPU, number of threads,
version of LLVM and source of the tiles, and later processes measure nothing; nor do they ask LLVM what CPU this is, for the
model's choice is remembered too. `weft info --tune` measures whole products instead, and replaces it. Where nothing can be
remembered, nothing is measured. All tiles give the same bits, so that none of this changes a result.
"""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from weft import _native, config
from weft.codegen import llvmtext, microkernel, packing, zeros
from weft.codegen.microkernel import Shape
from weft.dtypes import DType
from weft.runtime import cache as disk
from weft.runtime import loader

#: Multiply-adds of a product (a millisecond or so) from which on measuring pays: it takes as long as 50 of them, once.
WORTH = 1 << 26
#: Rows and columns that such a product has at least: others are hardly made of full tiles.
WORTH_SIDE = 16
#: How much worse than the best a tile may be by the model and still be measured.
PLAUSIBLE = 1.05
#: By how much another tile must be faster than the model's before it is preferred: alone, because packing and edges make as
#: much of a difference to whole products; in whole products, because less may be chance.
MARGIN_ALONE, MARGIN = 0.05, 0.02
#: Seconds of measuring after which no further tile is tried.
BUDGET = 0.1
#: Turns in which tiles are measured, so that what else the machine does meets them all, and calls in each, of some 20 us.
TURNS, CALLS = 24, 4
#: What is measured: packed rows of A, which an L2 cache holds, times a panel of B, which an L1 cache holds.
ROWS, DEPTH = 192, 192
#: Multiply-adds and loads of vectors that a core begins in a cycle, and cycles after which a sum can be added to again.
STARTED, LATENCY = 2, 4

SET = "set by WEFT_TILES"
MEASURED = "measured at first use"
TUNED = "measured by weft info --tune"
MODEL = "the model's choice"


@dataclass(frozen=True, slots=True)
class Choice:
    """A tile, and who chose it."""

    shape: Shape
    origin: str


def candidates(dtype: DType) -> list[Shape]:
    """The tiles worth trying on this CPU, the one that the model prefers first."""
    features = loader.features()
    if "+avx512f" in features:
        registers, width = 32, 64
    elif "+avx" in features:
        registers, width = 16, 32
    else:
        registers, width = 32 if "+neon" in features else 16, 16
    return microkernel.shapes(registers, width // dtype.itemsize)


def fused() -> bool:
    """Whether this CPU has fused multiply-adds."""
    return any(f in loader.features() for f in ("+fma", "+avx512f", "+neon"))


def cycles(shape: Shape) -> float:
    """Cycles that the model expects for each vector of sums and step of k."""
    sums = shape.rows * shape.vectors
    return max(sums / STARTED, (shape.rows + shape.vectors) / STARTED, LATENCY) / sums


def plausible(shapes: list[Shape]) -> list[Shape]:
    """Those of the tiles, the model's choice first, that the model does not tell apart from it."""
    return [shape for shape in shapes if cycles(shape) <= PLAUSIBLE * cycles(shapes[0])]


def worth(m: int, n: int, work: int) -> bool:
    """Whether measuring pays for a product of so many rows, columns and multiply-adds."""
    return min(m, n) >= WORTH_SIDE and work >= WORTH


def known(dtype: DType) -> Choice | None:
    """The tile for a type that is set or remembered.

    Raises ``ValueError`` if the switch "tiles" names a tile that there is not.
    """
    return _set(dtype) or _remembered(dtype)


def modelled(dtype: DType) -> Choice:
    """The tile for a type that the model prefers."""
    return Choice(candidates(dtype)[0], MODEL)


def remember(dtype: DType, choice: Choice) -> None:
    """Keep a choice in the kernel cache."""
    shape = choice.shape
    text = f"{shape.rows} {shape.vectors} {shape.lanes} {choice.origin}"
    disk.save(_key(dtype), disk.Code(f"tiles_{dtype.name}", (), text.encode()))


def measured(dtype: DType) -> Choice:
    """The fastest of the plausible tiles."""
    start = time.perf_counter()
    shapes = plausible(candidates(dtype))
    runs: list[Callable[[], None]] = []
    for shape in shapes:
        if not runs or time.perf_counter() - start < BUDGET:
            runs.append(_trial(dtype, shape))
    if len(runs) == 1:
        return Choice(shapes[0], MEASURED)
    turns: list[list[float]] = []
    for _ in range(TURNS):
        turns.append([])
        for shape, run in zip(shapes, runs, strict=False):
            run()  # the first finds caches as the last tile left them
            start = time.perf_counter()
            for _ in range(CALLS):
                run()
            took = time.perf_counter() - start
            turns[-1].append(took / (_tiles(shape) * shape.rows * shape.columns))
    # Beside the first in the same turn, and not the quickest of all turns: a core may be quicker for some of them.
    relative = [sorted(turn[i] / turn[0] for turn in turns)[len(turns) // 2] for i in range(len(runs))]
    return Choice(shapes[best(relative, MARGIN_ALONE)], MEASURED)


def best(seconds: list[float], margin: float) -> int:
    """The fastest, or the first, which the model prefers, unless it is slower by more than a margin."""
    return min(range(len(seconds)), key=lambda i: seconds[i] * (1 if i else 1 - margin))


@cache
def environment() -> str:
    """What the tiles' code depends on: the sources that write it, LLVM's version, and the CPU."""
    import llvmlite

    digest = hashlib.sha256()
    for file in (__file__, *(str(module.__file__) for module in (microkernel, packing, zeros, llvmtext, loader))):
        digest.update(Path(file).read_bytes())
    return f"{digest.hexdigest()} {llvmlite.__version__} {loader.processor()}"


def _set(dtype: DType) -> Choice | None:
    """What the switch "tiles" says of a type."""
    found = None
    for entry in config.current().tiles:
        name, _, size = entry.partition(":")
        if name not in ("float32", "float64"):
            raise ValueError(f"WEFT_TILES is {entry!r}; it takes entries such as float32:6x16, of float32 and float64.")
        if name == dtype.name:
            fitting = {f"{shape.rows}x{shape.columns}": shape for shape in candidates(dtype)}
            if size not in fitting:
                raise ValueError(f"WEFT_TILES is {entry!r}; the tiles of {name} on this CPU are {', '.join(fitting)}.")
            found = Choice(fitting[size], SET)
    return found


def _remembered(dtype: DType) -> Choice | None:
    kept = disk.load(_key(dtype))
    if kept is None:
        return None
    rows, vectors, lanes, origin = kept.object.decode().split(" ", 3)
    return Choice(Shape(int(rows), int(vectors), int(lanes)), origin)


def _key(dtype: DType) -> str:
    text = f"choice of tiles {dtype.name} {_native.get_num_threads()} {environment()}"
    return hashlib.sha256(text.encode()).hexdigest()


def _tiles(shape: Shape) -> int:
    return ROWS // shape.rows


def _trial(dtype: DType, shape: Shape) -> Callable[[], None]:
    """What runs a tile over packed rows."""
    code = loader.compile_text(microkernel.build_trial(dtype.name, shape, fused()))
    ((address,),) = loader.load([(code, ("column",))])
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    run = ctypes.CFUNCTYPE(None, size, size, size, *[pointer] * 3, size, ctypes.c_bool, pointer, size, size, size)(
        address
    )
    sizes = [_tiles(shape) * DEPTH * shape.packed_rows, DEPTH * shape.columns, ROWS * shape.columns]
    memory = [ctypes.create_string_buffer(size * dtype.itemsize + 64) for size in sizes]
    a, b, c = (-(-ctypes.addressof(block) // 64) * 64 for block in memory)

    def call(memory: object = memory) -> None:  # which lives as long as what reads it
        run(DEPTH, 0, _tiles(shape), a, b, c, shape.columns, False, b, 0, 0, 0)

    return call
