"""The innermost parts of a float matrix product, as LLVM IR for the vectors that the CPU has: register tiles and packing.

One module for each type holds, for a tile of ``mr`` rows and ``nr`` columns (`Shape`):

``tile_R`` (R = 1 ... mr)
    ``void (k, first, a, a_row, a_k, b, b_k, c, c_row, add)``: C[R, nr] = A[R, k] @ B[k, nr], or += where ``add``. Element
    (i, p) of A is at ``i * a_row + p * a_k``, row p of B at ``p * b_k``, row i of C at ``i * c_row``: strides in elements.
    Where ``first`` is not 0, so many steps are a chain of their own, to which that of the others is added.
``edge_R`` (R = 1 ... mr, 8, 12)
    the same with one more argument, the number of columns, 1 ... nr: no other column of B is read or of C written. Where R
    is more than mr, one vector of columns at the most: of so few columns, a tile of mr rows has too few sums.
``column``
    ``void (k, first, tiles, a, b, c, c_row, add, ahead, lines, runs, apart)``: so many full tiles, one below the other, of
    packed rows of A and a packed panel of B. Meanwhile what is at ``ahead`` is brought into the L2 cache: ``runs`` times
    ``lines`` cache lines, each run ``apart`` bytes after the one before.
``opening``
    ``void (k, first, a, b, b_k, to, c, c_row, add)``: one full tile of packed rows of A and a panel of B that lies where its
    rows are ``b_k`` apart; it packs the panel into ``to`` on the way, for the tiles below it.
``pack_a``, ``pack_b``, ``pack_wide``, ``stream_b``
    ``void (k, from, line, step, to, lines)``: to[p * W + j] = from[j * line + p * step] for all p < k and j < lines, where W is
    `Shape.packed_rows` (``pack_a``), nr (``pack_b``, ``stream_b``) or `Shape.wide` (``pack_wide``); what the places of the
    other j hold afterwards is not said, but ``pack_wide`` leaves none as it was. Where ``line`` is 1, ``stream_b`` writes
    past the caches, to an address that is a multiple of a vector's size.
``turn``
    lines that become columns (`weft.codegen.packing`).
``skip``, ``nonzero``, ``extent``, ``nonzero_across``, ``copy_wide``
    products that skip zeros (`weft.codegen.zeros`).

Every element of C is one chain of fused multiply-adds over p, begun at zero, or the sum of two, whatever the shape of the tile
(on a CPU without such an instruction a product and a sum, which round twice): bits do not depend on the tile. Two chains go
through one tile, because the second then finds in the nearest cache what the first has stored.

The sums are held in registers while k runs; a row of B is loaded once for the tile, each element of A is broadcast. So a
tile needs ``mr * vectors`` registers for sums, ``vectors`` for B and one for A, and enough sums to cover the latency of the
multiply-adds (about eight on current CPUs). Source: Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", ACM TOMS 34 (2008); Van Zee and van de Geijn, "BLIS", ACM TOMS 41 (2015).

The code is written as text (`weft.codegen.llvmtext`), packing by `weft.codegen.packing`. Compiling it imports llvmlite, writing
it and loading it from the disk cache do not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from weft.codegen import packing, zeros
from weft.codegen.llvmtext import BIT, I64, POINTER, Function, Value, Vectors, declarations, number

#: Steps of k in one turn of a loop, a power of two: enough that counting costs nothing. A step of so many multiply-adds takes
#: long enough for that, and for finding the operands wherever they lie: one loop of single steps is all that such a tile has.
UNROLL, MANY = 4, 16
#: Turns before the end of a column's tile when its part of C is fetched. Earlier, it would be driven out of the nearest cache
#: again, or drive out what the tile reads: rows of C often compete for the same places.
LATE = 16
#: What a loop does in a turn: the next values.
Turn = Callable[[list[Value]], list[Value]]
#: Bytes of a cache line.
LINE = 64
#: Bytes of a vector whose parts are loaded and stored as quickly as all of it.
QUICK_MASKS = 64
#: Rows of the highest tile: each height is a function to be compiled. The native driver has room for as many.
MOST_ROWS = 12
#: Rows below which a tile is low.
LOW = 6
#: Heights of edges of one vector that are higher than the tile.
TALL = (8, 12)


@dataclass(frozen=True, slots=True)
class Shape:
    """A register tile: ``rows`` by ``vectors`` vectors of ``lanes`` elements."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Columns of the tile."""
        return self.vectors * self.lanes

    @property
    def edges(self) -> tuple[int, ...]:
        """The heights of edges."""
        return (*range(1, self.rows + 1), *(rows for rows in TALL if rows > self.rows))

    @property
    def wide(self) -> int:
        """The width of a panel out of which rows are picked (`weft.codegen.zeros`)."""
        return zeros.width(self.lanes)

    @property
    def turned(self) -> int:
        """The lines that ``turn`` takes at once."""
        return packing.group(self.lanes, self.packed.values())

    @property
    def packed(self) -> dict[str, int]:
        """The widths of packed panels, by what packs them."""
        return {"pack_a": self.packed_rows, "pack_b": self.columns, "pack_wide": self.wide, "stream_b": self.columns}

    @property
    def packed_rows(self) -> int:
        """The width of a packed panel of A: the rows, rounded up to whole vectors, or to what is turned at once, if less:
        what is wasted is written and read too."""
        whole = min(self.lanes, packing.MOST_LINES)
        return -(-self.rows // whole) * whole


def shapes(registers: int, lanes: int) -> list[Shape]:
    """The tiles worth trying on a CPU with so many vector registers, the most promising first.

    For each width, the highest tile whose sums, row of B and element of A fit in the registers; above eight rows, a multiple of
    four, which packing and most matrices divide by. First come those that load no more often than they multiply, then those
    with more sums. Of tiles with as many, those with fewer loads come first, but not the low ones: a panel of B, of which the
    nearest cache does not hold all, is read again for each tile.
    """
    found = []
    for vectors in (1, 2, 3, 4):
        rows = min(MOST_ROWS, (registers - 1 - vectors) // vectors)
        found.append(Shape(rows if rows <= 8 else rows // 4 * 4, vectors, lanes))

    def order(shape: Shape) -> tuple[bool, int, bool, int]:
        sums, loads = shape.rows * shape.vectors, shape.rows + shape.vectors
        return loads > sums, -sums, shape.rows < LOW, loads

    return sorted(found, key=order)


def _tile(vectors: Vectors, shape: Shape, rows: int, masked: bool) -> Function:
    """The tile of so many rows or, where ``masked``, the edge."""
    arguments = {"k": I64, "first": I64, "a": POINTER, "a_row": I64, "a_k": I64, "b": POINTER, "b_k": I64, "c": POINTER}
    arguments |= {"c_row": I64, "add": BIT}
    if masked:
        arguments["columns"] = I64
    f = Function(vectors, f"{'edge' if masked else 'tile'}_{rows}", arguments, own=("b", "c"))
    given = Operands(f, rows)

    def chain(values: list[Value]) -> list[Value]:
        given.take(values)
        if masked:
            _edge_sums(f, shape, given)
        else:
            whole: list[Value | None] = [None] * shape.vectors
            sums = given.sums(shape, whole, packed=2 * rows > shape.rows)
            _store_rows(f, shape, _added(f, given.add, given.outs, sums, whole), given.outs)
        return given.following()

    _chains(f, f.args[0], f.args[1], f.args[9], given.start, chain)
    f.do("ret void")
    return f


def _chains(
    f: Function, k: Value, first: Value, add: Value, start: list[Value], chain: Callable[[list[Value]], list[Value]]
) -> list[Value]:
    """Run ``chain`` for all steps, or where there are ``first`` ones for these and then for the others. It is given the steps
    and whether to add, and the values with which it begins, ``start``; it gives back those with which the next one does."""
    two = f.less(number(0), first)
    steps = f.new(I64, f"select i1 {two.name}, {first}, {k}")

    def run(values: list[Value]) -> list[Value]:
        return [f.integer("sub", k, values[0]), Value(BIT, "true"), *chain(values)]

    count = f.integer("add", f.new(I64, f"zext {two} to i64"), number(1))
    return f.repeat(count, [steps, add, *start], run)[2:]


def _edge_sums(f: Function, shape: Shape, given: Operands) -> None:
    """One chain of an edge: its sums, stored."""
    columns, rows = f.args[10], given.rows
    most = shape.vectors if rows <= shape.rows else 1
    storing, last = f.label("storing"), []
    for width in range(1, most + 1):
        before = number((width - 1) * shape.lanes)
        if width < most:
            here, more = f.label("here"), f.label("more")
            f.fork(f.less(columns, number(width * shape.lanes + 1)), here, more)
            f.begin(here)
        count = f.integer("sub", columns, before)
        masks = [*[None] * (width - 1), f.mask(count)]
        sums = _added(f, given.add, given.outs, given.sums(shape, masks, packed=False), masks)
        for r, out in enumerate(given.outs):
            for v in range(width - 1):
                f.store(sums[r * width + v], f.at(out, v * shape.lanes))
        last.append((f.here, [count, before, *sums[width - 1 :: width]]))
        f.jump(storing)
        if width < most:
            f.begin(more)
    f.begin(storing)
    count, offset, *sums = f.joined(*last)
    _store_some(f, sums, [f.at(out, offset) for out in given.outs], count)


def _row(
    f: Function, rows: int, values: list[Value], y: Value, masks: list[Value | None], left: Callable[[int], Value]
) -> list[Value]:
    """Sums to which row ``y`` of B has been added, times the elements of A at ``left(row)``."""
    right = [f.load(f.at(y, v * f.vectors.lanes), mask) for v, mask in enumerate(masks)]
    return _products(f, rows, values, right, left)


def _products(
    f: Function, rows: int, values: list[Value], right: list[Value], left: Callable[[int], Value]
) -> list[Value]:
    """Sums to which a row of B, loaded, has been added, times the elements of A at ``left(row)``."""
    result, width = [], len(right)
    for r in range(rows):
        x = f.broadcast(f.element(left(r)))
        result += [f.multiply_add(x, right[v], values[r * width + v]) for v in range(width)]
    return result


class Packed:
    """Sums over k of packed operands, which stand at ``a`` and ``b``.

    What moves is known, so that between loads and multiply-adds nothing is computed. The pointers are half a turn ahead: most
    offsets then take one byte. Steps stay apart, because LLVM would put the multiply-adds of one sum right after each other,
    where with few sums one waits for the other.
    """

    def __init__(self, f: Function, shape: Shape, rows: int) -> None:
        self.f, self.shape, self.rows = f, shape, rows
        self.masks: list[Value | None] = [None] * shape.vectors
        self.ahead = UNROLL // 2 * shape.packed_rows, UNROLL // 2 * shape.columns

    def start(self, a: Value, b: Value) -> list[Value]:
        """The values with which turns begin."""
        pointers = [self.f.opaque(self.f.at(x, n)) for x, n in zip((a, b), self.ahead, strict=True)]
        return [*pointers, *[self.f.zero()] * (self.rows * self.shape.vectors)]

    def step(self, values: list[Value]) -> list[Value]:
        """One step of k."""
        f, (x, y, *sums) = self.f, values
        new = _row(f, self.rows, sums, f.at(y, -self.ahead[1]), self.masks, lambda r: f.at(x, r - self.ahead[0]))
        f.barrier()
        return [f.at(x, self.shape.packed_rows), f.at(y, self.shape.columns), *new]

    def turn(self, values: list[Value]) -> list[Value]:
        """As many as there are in a turn."""
        for _ in range(UNROLL):
            values = self.step(values)
        return values


class Operands:
    """What a tile of ``rows`` rows is given: its arguments, and the addresses of its rows, those of one chain after another."""

    def __init__(self, f: Function, rows: int) -> None:
        self.f, self.rows = f, rows
        self.k, _, a, a_row, self.a_k, b, self.b_k, c, c_row, self.add = f.args[:10]
        self.a_row = a_row
        # Six rows to a pointer, since an address may have an offset times 2 or 4; three where a tile has more rows, and loads
        # as often as it can. LLVM must not know how the addresses belong together: it would go from row to row by additions,
        # each of which waits for the one before, or keep more of them than there are registers.
        self.group = 6 if rows <= 6 else 3
        self.offsets = {r: f.opaque(f.times(a_row, r * f.vectors.size)) for r in (1, 3, 5) if r < min(rows, self.group)}
        self.start = [*(f.at(a, f.times(a_row, r)) for r in range(0, rows, self.group)), b]
        *self.lefts, self.b = self.start
        self.outs = [f.at(c, f.times(c_row, r)) for r in range(rows)]
        for out in self.outs:
            f.prefetch(out)

    def row(self, pointers: list[Value], r: int) -> Value:
        """Where row r is."""
        base, r = pointers[r // self.group], r % self.group
        if r == 0:
            return base
        odd = r // (r & -r)
        return self.f.byte(base, self.f.times(self.offsets[odd], r // odd))

    def take(self, values: list[Value]) -> None:
        """The steps of a chain, whether it is added, and where its operands begin."""
        self.k, self.add, *self.lefts, self.b = values

    def following(self) -> list[Value]:
        """Where the operands of the chain after this one begin."""
        f = self.f
        along, down = (f.integer("mul", self.k, stride) for stride in (self.a_k, self.b_k))
        return [*(f.at(left, along) for left in self.lefts), f.at(self.b, down)]

    def sums(self, shape: Shape, masks: list[Value | None], packed: bool) -> list[Value]:
        """The sums over k, row by row, of as many vectors as there are masks. ``packed``: with loops of their own for packed
        operands, and for rows or columns of A that lie as they are, unless a step is `MANY` multiply-adds. An edge that is
        higher than a tile has one for rows."""
        f = self.f
        start = [*self.lefts, self.b, *[f.zero()] * (self.rows * len(masks))]
        pointers = len(self.lefts)

        def step(values: list[Value]) -> list[Value]:
            xs, y, sums = values[:pointers], values[pointers], values[pointers + 1 :]
            new = _row(f, self.rows, sums, y, masks, functools.partial(self.row, xs))
            return [*(f.opaque(f.at(x, self.a_k)) for x in xs), f.opaque(f.at(y, self.b_k)), *new]

        def turn(values: list[Value]) -> list[Value]:
            for _ in range(UNROLL):
                values = step(values)
            return values

        if (masks[-1] is not None and self.rows <= shape.rows) or self.rows * len(masks) >= MANY:
            return f.repeat(self.k, start, step)[pointers + 1 :]
        turns = f.integer("lshr", self.k, number(UNROLL.bit_length() - 1))
        left_over = f.integer("and", self.k, number(UNROLL - 1))
        if not packed and masks[-1] is None:
            return f.repeat(left_over, f.repeat(turns, start, turn), step)[pointers + 1 :]

        def offsets(stride: Value) -> list[Value]:
            """Where the steps of a turn begin, and the next turn."""
            return [number(0), stride, *(f.opaque(f.times(stride, p)) for p in range(2, UNROLL + 1))]

        def turned(right: list[Value], left: Callable[[list[Value], int, int], Value], moved: Value | int) -> Turn:
            """A turn in which nothing is added between steps: the element of row r at step p is at ``left(pointers, r, p)``,
            the row of B ``right[p]`` on."""

            def run(values: list[Value]) -> list[Value]:
                xs, y, sums = values[:pointers], values[pointers], values[pointers + 1 :]
                for p in range(UNROLL):
                    lefts = [left(xs, r, p) for r in range(self.rows)]
                    sums = _row(f, self.rows, sums, f.at(y, right[p]), masks, lefts.__getitem__)
                    f.barrier()
                return [*(f.opaque(f.at(x, moved)) for x in xs), f.opaque(f.at(y, right[UNROLL])), *sums]

            return run

        def line() -> Turn:
            return turned(offsets(self.b_k), lambda xs, r, p: f.at(self.row(xs, r), p), UNROLL)

        if masks[-1] is not None:  # high edges
            turns = f.new(I64, f"select {f.new(BIT, f'icmp eq {self.a_k}, 1')}, {turns}, i64 0")
            begun = f.repeat(turns, start, line())
            return f.repeat(f.integer("sub", self.k, f.times(turns, UNROLL)), begun, step)[pointers + 1 :]
        here, other, near, far, left, after = (f.label(x) for x in ("packed", "other", "near", "far", "left", "after"))
        beside, apart = f.label("beside"), f.label("apart")
        strides = [(self.a_row, 1), (self.a_k, shape.packed_rows), (self.b_k, shape.columns)]
        wrong = [f.integer("xor", stride, number(n)) for stride, n in strides]
        neither = f.integer("or", f.integer("or", wrong[0], wrong[1]), wrong[2])
        f.fork(f.new(BIT, f"icmp eq {neither}, 0"), here, other)
        f.begin(here)
        operands = Packed(f, shape, self.rows)
        quick = f.repeat(turns, operands.start(self.lefts[0], self.b), operands.turn)
        quick = f.repeat(left_over, quick, operands.step)[2:]
        here = f.here
        f.jump(after)
        f.begin(other)
        f.fork(f.new(BIT, f"icmp eq {self.a_k}, 1"), near, far)
        f.begin(near)
        lines = f.repeat(turns, start, line())
        near = f.here
        f.jump(left)
        f.begin(far)
        f.fork(f.new(BIT, f"icmp eq {self.a_row}, 1"), beside, apart)
        f.begin(beside)
        along = offsets(self.a_k)
        column = turned(offsets(self.b_k), lambda xs, r, p: f.at(f.at(xs[0], along[p]), r), along[UNROLL])
        columns = f.repeat(turns, start, column)
        beside = f.here
        f.jump(left)
        f.begin(apart)  # seldom: step by step
        apart = f.here
        f.jump(left)
        f.begin(left)
        count, *begun = f.joined(
            (near, [left_over, *lines]), (beside, [left_over, *columns]), (apart, [self.k, *start])
        )
        slow = f.repeat(count, begun, step)[pointers + 1 :]
        other = f.here
        f.jump(after)
        f.begin(after)
        return f.joined((here, quick), (other, slow))


def _added(f: Function, add: Value, outs: list[Value], sums: list[Value], masks: list[Value | None]) -> list[Value]:
    """Sums of some rows, to which what stands at ``outs`` is added where ``add``."""

    def both() -> list[Value]:
        new = []
        for n, value in enumerate(sums):
            r, v = divmod(n, len(masks))
            new.append(f.add(f.load(f.at(outs[r], v * f.vectors.lanes), masks[v]), value))
        return new

    return f.either(add, both, sums)


def _store_rows(f: Function, shape: Shape, sums: list[Value], outs: list[Value]) -> None:
    """Store whole rows of a tile."""
    for n, value in enumerate(sums):
        r, v = divmod(n, shape.vectors)
        f.store(value, f.at(outs[r], v * shape.lanes))


def _column(vectors: Vectors, shape: Shape) -> Function:
    """Full tiles, one below the other, of packed operands."""
    kinds = {"k": I64, "first": I64, "tiles": I64, "a": POINTER, "b": POINTER, "c": POINTER, "c_row": I64, "add": BIT}
    kinds |= {"ahead": POINTER, "lines": I64, "runs": I64, "apart": I64}
    f = Function(vectors, "column", kinds, own=("b", "c"))
    k, first, tiles, a, b, c, c_row, add, ahead, lines, runs, apart = f.args

    def turns_of(steps: Value) -> Value:
        return f.integer("lshr", steps, number(UNROLL.bit_length() - 1))

    turns = f.integer("add", turns_of(first), turns_of(f.integer("sub", k, first)))
    operands = Packed(f, shape, shape.rows)
    offsets = [f.times(c_row, r) for r in range(shape.rows + 1)]
    # Some lines in each turn, not all at once: what waits for memory keeps what the tile reads waiting too. Where there is
    # one run of fewer lines than turns, as there is most often, the place moves by less than a line, and nothing is counted.
    all_turns = f.new(I64, f"call i64 @llvm.smax.i64({f.integer('mul', tiles, turns)}, i64 1)")
    total = f.integer("mul", lines, runs)
    per_turn = f.integer("udiv", f.integer("add", total, f.integer("sub", all_turns, number(1))), all_turns)
    bytes_ = f.integer("add", f.times(total, LINE), f.integer("sub", all_turns, number(1)))
    moved = f.integer("udiv", bytes_, all_turns)
    single = f.new(BIT, f"icmp sle {f.integer('or', per_turn, runs)}, 1")
    run_bytes = f.times(lines, LINE)

    def fetch(values: list[Value]) -> list[Value]:
        f.prefetch(values[0], write=False, level=2)
        return [f.byte(values[0], number(LINE))]

    def turn(values: list[Value]) -> list[Value]:
        *values, place, run, left = values
        f.prefetch(place, write=False, level=2)
        return [*operands.turn(values), f.byte(place, moved), run, left]

    def turn_of_runs(values: list[Value]) -> list[Value]:
        *values, place, run, left = values
        count = f.new(I64, f"select i1 {f.less(number(0), left).name}, {per_turn}, i64 0")
        (place,) = f.repeat(count, [place], fetch)
        values = operands.turn(values)
        ended = f.new(BIT, f"icmp uge {place}, {f.byte(run, run_bytes).name}")
        run = f.new(POINTER, f"select {ended}, {f.byte(run, apart)}, {run}")
        place = f.new(POINTER, f"select {ended}, {run}, {place}")
        left = f.integer("sub", left, f.new(I64, f"zext {ended} to i64"))
        return [*values, place, run, left]

    def tile(values: list[Value]) -> list[Value]:
        a, c, *fetched = values
        outs = [f.at(c, offset) for offset in offsets[:-1]]

        def chain(values: list[Value]) -> list[Value]:
            steps, added, left, right, *fetched = values
            turns = turns_of(steps)
            early = f.new(I64, f"call i64 @llvm.smax.i64({f.integer('sub', turns, number(LATE))}, i64 0)")
            late = f.integer("sub", turns, early)

            def part(second: Value, values: list[Value]) -> list[Value]:
                # One loop for the turns before C is fetched and those after: its code is long.
                count = f.new(I64, f"select i1 {f.less(second, number(1)).name}, {early}, {late}")
                simple, other, after = f.label("simple"), f.label("other"), f.label("after")
                f.fork(single, simple, other)
                f.begin(simple)
                plain = f.repeat(count, values, turn)
                simple = f.here
                f.jump(after)
                f.begin(other)
                in_runs = f.repeat(count, values, turn_of_runs)
                other = f.here
                f.jump(after)
                f.begin(after)
                values = f.joined((simple, plain), (other, in_runs))
                for out in outs:
                    for line in _lines(shape, vectors):
                        f.prefetch(f.at(out, line))
                return values

            *values, place, run, waiting = f.loop(number(2), [*operands.start(left, right), *fetched], part)
            x, y, *sums = f.repeat(f.integer("and", steps, number(UNROLL - 1)), values, operands.step)
            _store_rows(f, shape, _added(f, added, outs, sums, operands.masks), outs)
            return [f.at(x, -operands.ahead[0]), f.at(y, -operands.ahead[1]), place, run, waiting]

        left, _, *fetched = _chains(f, k, first, add, [a, b, *fetched], chain)
        return [left, f.at(c, offsets[-1]), *fetched]

    f.repeat(tiles, [a, c, ahead, ahead, runs], tile)
    f.do("ret void")
    return f


def _opening(vectors: Vectors, shape: Shape) -> Function:
    """A full tile that packs the panel of B it reads."""
    arguments = {"k": I64, "first": I64, "a": POINTER, "b": POINTER, "b_k": I64, "to": POINTER, "c": POINTER}
    arguments |= {"c_row": I64, "add": BIT}
    f = Function(vectors, "opening", arguments, own=("b", "to", "c"))
    k, first, a, b, b_k, to, c, c_row, add = f.args
    outs = [f.at(c, f.times(c_row, r)) for r in range(shape.rows)]
    rows = [number(0), b_k, *(f.opaque(f.times(b_k, p)) for p in range(2, UNROLL + 1))]
    masks: list[Value | None] = [None] * shape.vectors

    def steps(values: list[Value], count: int) -> list[Value]:
        x, y, z, *sums = values

        def element(p: int, r: int) -> Value:
            return f.at(x, p * shape.packed_rows + r)

        for p in range(count):
            right = [f.load(f.at(f.at(y, rows[p]), v * shape.lanes)) for v in range(shape.vectors)]
            for v, value in enumerate(right):
                f.store(value, f.at(z, p * shape.columns + v * shape.lanes))
            sums = _products(f, shape.rows, sums, right, functools.partial(element, p))
            f.barrier()
        x, z = (f.opaque(f.at(at, count * width)) for at, width in ((x, shape.packed_rows), (z, shape.columns)))
        return [x, f.opaque(f.at(y, rows[count])), z, *sums]

    def chain(values: list[Value]) -> list[Value]:
        k, added, *begun = values
        start = [*begun, *[f.zero()] * (shape.rows * shape.vectors)]
        turns = f.integer("lshr", k, number(UNROLL.bit_length() - 1))
        values = f.repeat(turns, start, lambda values: steps(values, UNROLL))
        for out in outs:
            for line in _lines(shape, vectors):
                f.prefetch(f.at(out, line))
        values = f.repeat(f.integer("and", k, number(UNROLL - 1)), values, lambda values: steps(values, 1))
        _store_rows(f, shape, _added(f, added, outs, values[3:], masks), outs)
        return values[:3]

    _chains(f, k, first, add, [a, b, to], chain)
    f.do("ret void")
    return f


def _lines(shape: Shape, vectors: Vectors) -> range:
    """Where the cache lines of a tile's row of C begin, in elements from its own begin."""
    return range(0, shape.columns, LINE // vectors.size)


def _store_some(f: Function, values: list[Value], at: list[Value], count: Value) -> None:
    """Store the first ``count`` lanes of vectors: by a mask where AVX-512 has them, else halves, quarters and so on, since some
    CPUs are slow to store by AVX2's (18 cycles a vector on Zen 4)."""
    size = f.vectors.lanes
    if size * f.vectors.size == QUICK_MASKS:
        mask = f.mask(count)
        for value, to in zip(values, at, strict=True):
            f.store_some(value, to, mask)
        return
    whole, part, done = (f.label(name) for name in ("whole", "part", "done"))
    f.fork(f.less(count, number(size)), part, whole)
    f.begin(whole)
    for value, to in zip(values, at, strict=True):
        f.store(value, to)
    f.jump(done)
    f.begin(part)
    offset = number(0)
    while size > 1:  # the first elements of vectors of this size are left to be stored, fewer than all
        size //= 2
        low = [f.shuffle(value, value, range(size)) for value in values]
        before, here, after = f.here, f.label("here"), f.label("after")
        wanted = f.integer("and", count, number(size))
        f.fork(f.new(BIT, f"icmp ne {wanted}, 0"), here, after)
        f.begin(here)
        for value, to in zip(low, at, strict=True):
            f.store(value, f.at(to, offset))
        if size > 1:
            high = [f.shuffle(value, value, range(size, 2 * size)) for value in values]
            following = f.integer("add", offset, number(size))
        f.jump(after)
        f.begin(after)
        if size > 1:
            offset, *values = f.joined((before, [offset, *low]), (here, [following, *high]))
    f.jump(done)
    f.begin(done)


def symbols(shape: Shape) -> tuple[str, ...]:
    """The names of a module's functions, in the order in which the native driver takes their addresses."""
    tiles = (f"tile_{r}" for r in range(1, shape.rows + 1))
    return (*tiles, *(f"edge_{r}" for r in shape.edges), "column", "opening", *shape.packed, "turn", *zeros.NAMES)


def build_trial(dtype: str, shape: Shape, fused: bool) -> str:
    """A module with ``column`` alone."""
    vectors = Vectors(dtype, shape.lanes, fused)
    return declarations(vectors) + _column(vectors, shape).text()


def build(dtype: str, shape: Shape, fused: bool) -> str:
    """The module of a type ("float32" or "float64") and shape, for a CPU with or without fused multiply-adds."""
    vectors = Vectors(dtype, shape.lanes, fused)
    functions = [_tile(vectors, shape, rows, masked=False) for rows in range(1, shape.rows + 1)]
    functions += [_tile(vectors, shape, rows, masked=True) for rows in shape.edges]
    functions += [
        _column(vectors, shape),
        _opening(vectors, shape),
        *packing.pack(vectors, shape.packed),
        *zeros.functions(vectors),
    ]
    intrinsics = declarations(vectors, packing.narrow(vectors, shape.packed.values())) + zeros.declarations(vectors)
    return intrinsics + "".join(function.text() for function in functions)
