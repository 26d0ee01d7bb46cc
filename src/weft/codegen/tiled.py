"""Maps with strided operands: the last two loops run tile by tile, and the operands come through arrays on the stack.

A transposed operand's elements that share a cache line are so read together, by vectors, and what is done with them vectorises.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.codegen.emit import Body, Place, Writer, storage
from weft.codegen.loops import unravel
from weft.ir.kernel import Load, Store, StoreAt

#: The most memory that the tiles of a kernel take: what fits in a CPU's first cache.
TILE_BYTES = 32768
#: Bytes from which a copy is written past the caches, where it would only push out what is in them.
STREAM_BYTES = 1 << 24


def strided(body: Body) -> list[int]:
    """The loads that go through tiles: those that jump in both of the last two loops, of memory that is not written."""
    kernel = body.kernel
    if len(kernel.dims) < 2 or any(isinstance(s, StoreAt) for s in kernel.body):
        return []
    written = {s.buffer for s in body.stores.values()}
    found = []
    room = TILE_BYTES
    for i, s in enumerate(kernel.body):
        if isinstance(s, Load) and s.access[-2:] == "ss" and s.buffer not in written:
            room -= _side(body, [i]) ** 2 * storage(body.types[i]).itemsize
            if room >= 0:
                found.append(i)
    return found


def _side(body: Body, loads: Sequence[int]) -> int:
    """The side of a tile, in elements: four cache lines."""
    return 32 if max(storage(body.types[i]).itemsize for i in loads) == 8 else 64


def tiles(body: Body, w: Writer, loads: Sequence[int]) -> None:
    """The loops of a map, given its loads that go through tiles. Long narrow operands have long narrow tiles."""
    kernel = body.kernel
    last = len(kernel.dims) - 1
    everything = range(len(kernel.body))
    side = _side(body, loads)
    m, n = f"n{last - 1}", f"n{last}"
    w.line("if begin >= end:")
    w.line("    return")
    for i in loads:
        w.line(f"tile{i} = stack({storage(body.types[i]).name}, {side * side})")
    w.assign("width", "int64", f"imin({n}, udiv({side * side}, imin({m}, {side})))")
    w.assign("height", "int64", f"imin({m}, udiv({side * side}, width))")
    plain = _is_copy(body)
    if plain:
        total = " * ".join(f"n{d}" for d in range(last + 1))
        w.assign("stream", "boolean", f"{total} >= {STREAM_BYTES // storage(body.types[0]).itemsize}")
    w.assign("row", "int64", f"udiv(begin, {n})")
    w.assign("stop", "int64", f"udiv(end - 1, {n}) + 1")
    with w.block("while row < stop:"):
        counters = unravel(w, range(last), "row")
        w.assign("rows", "int64", f"imin(imin(height, {m} - {counters[last - 1]}), stop - row)")
        place = body.place(w, everything, counters)
        with w.block(f"for left in range(0, {n}, width):"):
            w.assign("columns", "int64", f"imin(width, {n} - left)")
            for i in loads:
                b = kernel.body[i].buffer  # type: ignore[union-attr]
                source = f"advance(b{b}, {place.position(i, {last: 'left'})})"
                w.line(f"gather_tile(tile{i}, width, {source}, s{i}_{last - 1}, s{i}_{last}, rows, columns, {side})")
            if plain:
                _copied(w, place, side, last)
            else:
                with w.block("for k in range(0, rows):"):
                    _bounds(w, n)
                    with w.block(f"for i{last} in range(lo, hi):"):
                        near = {i: f"tile{i}[k * width + i{last} - left]" for i in loads}
                        place.element(w, everything, {last - 1: "k", last: f"i{last}"}, near)
        w.line("row += rows")
    if plain:
        with w.block("if stream:"):
            w.line("fence()")


def _bounds(w: Writer, n: str) -> None:
    """The elements of row k of a tile that the chunk has: from ``lo`` to ``hi``."""
    w.assign("lo", "int64", f"imax(begin - (row + k) * {n}, left)")
    w.assign("hi", "int64", f"imin(end - (row + k) * {n}, left + columns)")


def _is_copy(body: Body) -> bool:
    """Whether a kernel with a strided load does nothing but store it by rows."""
    instrs = body.kernel.body
    return len(instrs) == 2 and isinstance(instrs[1], Store) and instrs[1].access[-2:] == "sc"


def _copied(w: Writer, place: Place, side: int, last: int) -> None:
    """Write a tile out: at once where its rows follow one another, else row by row."""
    n = f"n{last}"
    buffer = f"b{place.body.kernel.body[1].buffer}"  # type: ignore[union-attr]
    with w.block(f"if width == {n} and s1_{last - 1} == {n}:"):
        w.assign("lo", "int64", f"imax(begin - row * {n}, 0)")
        w.assign("hi", "int64", f"imin(end - row * {n}, rows * {n})")
        with w.block("for at in range(lo, hi):"):
            w.line(f"{buffer}[{place.position(1, {last: 'at'})}] = tile0[at]")
    with w.block("else:"), w.block("for k in range(0, rows):"):
        _bounds(w, n)
        with w.block(f"if hi - lo == {side}:"):
            to = f"advance({buffer}, {place.position(1, {last - 1: 'k', last: 'lo'})})"
            w.line(f"copy_row({to}, advance(tile0, k * width + lo - left), {side}, stream)")
        with w.block("else:"), w.block(f"for i{last} in range(lo, hi):"):
            w.line(
                f"{buffer}[{place.position(1, {last - 1: 'k', last: f'i{last}'})}] = tile0[k * width + i{last} - left]"
            )
