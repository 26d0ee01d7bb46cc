"""Packing the operands of matrix products into panels, as LLVM code (`weft.codegen.microkernel` says what it does).

``turn``
    ``void (k, from, line, step, to, first, last, width)``: to[p * width + j] = from[i * line + p * step] for p < k and
    j < `group`, where i is first + j or, beyond it, ``last``: lines become columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from weft.codegen.llvmtext import I64, POINTER, Function, Value, Vectors, number

#: Lines that are read side by side, if a vector has no more elements: each needs a register for where it is.
MOST_LINES = 8


def group(lanes: int, widths: Iterable[int]) -> int:
    """The lines that ``turn`` takes at once in a module with packing functions for panels of so many lines."""
    common = math.gcd(*widths)
    return lanes if common > MOST_LINES else common


def narrow(vectors: Vectors, widths: Iterable[int]) -> Vectors:
    """The vectors of a panel that is narrower than `vectors`, and of ``turn`` in its module."""
    return vectors.narrowed(math.gcd(*widths))


def pack(vectors: Vectors, widths: Mapping[str, int]) -> list[Function]:
    """Packing functions of these names for panels of so many lines, whole numbers of vectors or less than one, a power of two,
    and ``turn``, the last. Those whose names begin with ``stream`` write past the caches where lines lie side by side."""
    size, small = group(vectors.lanes, widths.values()), narrow(vectors, widths.values())
    made = [_pack(vectors if width >= vectors.lanes else small, name, width, size) for name, width in widths.items()]
    return [*made, _turn(small, size)]


def _pack(vectors: Vectors, name: str, width: int, group: int) -> Function:
    arguments = {"k": I64, "from": POINTER, "line": I64, "step": I64, "to": POINTER, "lines": I64}
    f = Function(vectors, name, arguments, own=("to",))
    k, start, line, step, to, lines = f.args
    across, other = f.label("across"), f.label("other")
    f.fork(f.new("i1", f"icmp eq {line}, 1"), across, other)

    f.begin(across)  # the lines lie side by side: copy k rows
    offsets = range(0, width, vectors.lanes)
    full, part = f.label("full"), f.label("part")
    f.fork(f.less(lines, number(width)), part, full)
    for block in (full, part):
        f.begin(block)
        masks = [f.mask(f.integer("sub", lines, number(v))) if block is part else None for v in offsets]

        def turn(number_: Value, values: list[Value], masks: list[Value | None] = masks) -> list[Value]:
            x, y = values
            for v, mask in zip(offsets, masks, strict=True):
                f.store(f.load(f.at(x, v), mask), f.at(y, v), stream=name.startswith("stream"))
            return [f.at(x, step), f.at(y, width)]

        f.loop(k, [start, to], turn)
        f.do("ret void")

    f.begin(other)
    last, done = f.integer("sub", lines, number(1)), f.label("done")
    for v in range(0, width, group):
        if v > 0 and name != "pack_wide":
            more = f.label("more")
            f.fork(f.less(number(v), lines), more, done)
            f.begin(more)
        given = (k, start, line, step, f.at(to, v), number(v), last, number(width))
        f.do(f"call void @turn({', '.join(map(str, given))})")
    f.jump(done)
    f.begin(done)
    f.do("ret void")
    return f


def _turn(vectors: Vectors, group: int) -> Function:
    arguments = {"k": I64, "from": POINTER, "line": I64, "step": I64, "to": POINTER, "first": I64, "last": I64}
    f = Function(vectors, "turn", {**arguments, "width": I64}, own=("to",))
    k, start, line, step, to, first, last, width = f.args
    lanes = vectors.lanes
    froms = []
    for j in range(group):
        at = f.integer("add", first, number(j))
        at = f.new(I64, f"call i64 @llvm.smin.i64({at}, {last})")
        froms.append(f.at(start, f.integer("mul", at, line)))
    adjacent = f.new("i1", f"icmp eq {step}, 1")
    shift = lanes.bit_length() - 1
    whole = f.new(I64, f"select {adjacent}, {f.integer('lshr', k, number(shift))}, i64 0")

    def square(number_: Value, values: list[Value]) -> list[Value]:
        """Squares of a vector's length, transposed in registers."""
        (to,) = values
        at = f.integer("shl", number_, number(shift))
        rows = [to]
        while len(rows) <= lanes:
            rows.append(f.at(rows[-1], width))
        for v in range(0, group, lanes):
            for row, value in zip(rows, _transposed(f, [f.at(x, at) for x in froms[v : v + lanes]]), strict=False):
                f.store(value, f.at(row, v))
        return rows[lanes:]

    (to,) = f.loop(whole, [to], square)
    done = f.integer("shl", whole, number(shift))

    def one(number_: Value, values: list[Value]) -> list[Value]:
        (to,) = values
        at = f.integer("mul", f.integer("add", done, number_), step)
        for j, x in enumerate(froms):
            f.store(f.element(f.at(x, at)), f.at(to, j))
        return [f.at(to, width)]

    f.loop(f.integer("sub", k, done), [to], one)
    f.do("ret void")
    return f


def _transposed(f: Function, rows: list[Value]) -> list[Value]:
    """The square of the vectors at these addresses, as many as a vector has lanes, transposed.

    Registers exchange elements quickest within 128 bits, so squares of so many are put side by side while they are loaded, each
    where it belongs, and then transposed in log2 of their size rounds that interleave ever larger parts of two vectors.
    """
    lanes = len(rows)
    size = min(lanes, 16 // f.vectors.size)
    columns: list[Value] = []
    for column in range(0, lanes, size):
        parts = [[f.load_first(size, f.at(row, column)) for row in rows[r::size]] for r in range(size)]
        square = [_side_by_side(f, some) for some in parts]
        some = 1
        while some < size:
            square = [
                f.shuffle(square[at], square[at + some], _interleaved(lanes, size, some, high))
                for first in range(0, size, 2 * some)
                for at in range(first, first + some)
                for high in (False, True)
            ]
            some *= 2
        columns += square
    return columns


def _side_by_side(f: Function, parts: list[Value]) -> Value:
    """One vector of the elements of several, a power of two."""
    while len(parts) > 1:
        both = range(2 * f.vectors.lanes // len(parts))
        parts = [f.shuffle(x, y, both) for x, y in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _interleaved(lanes: int, size: int, some: int, high: bool) -> list[int]:
    """The lanes of two vectors of which, in each part of ``size`` elements, ``some`` of one and of the other take turns: those
    of the part's first or second half."""
    found = []
    for part in range(0, lanes, size):
        start = part + high * size // 2
        for at in range(start, start + size // 2, some):
            found += [*range(at, at + some), *range(lanes + at, lanes + at + some)]
    return found
