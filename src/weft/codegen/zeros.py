"""Products that skip the zeros of an operand, as LLVM code for the CPU's vectors.

What a relu or dropout has gone through is zero at half of its elements, and so is the gradient that goes back through it. A
row of such an operand picks, out of a *panel* (some rows of the other operand, `width` columns of them, one after the
other), the rows that it multiplies by something else than zero, and adds these up in registers. Up to 64 rows of a panel are
named by the bits of one integer, the row's *mask*.

``skip``
    ``void (rows, masks, all, cut, values, value_row, value_step, panel, partial, resumed, to, to_row, add)``: for r < rows, the
    sum over those bits p of ``masks[r] | all`` that ``cut`` has too, the lowest first, of ``values[r * value_row + p *
    value_step]`` times row p of the panel; begun at zero or, where ``resumed``, at row r of ``partial`` (rows of ``width``).
    Stored at ``to + r * to_row``, or added to what is there where ``add``; then the sum over the bits that ``cut`` has not,
    begun at zero, is added. Each is one chain of multiply-adds, as in a tile (`weft.codegen.microkernel`).
``nonzero``
    ``void (rows, count, from, step, masks)``: of row r of ``count`` elements, 1 ... 64, at ``from + r * step``, those that
    are not zero (what is no number, too), as the bits of ``masks[r]``.
``extent``
    ``void (rows, count, from, step, out)``: of such rows, of any length, as two integers at ``out``: the largest magnitude's
    bits; and the least of all magnitudes' bits less one, as unsigned numbers, so that zeros do not count.
``nonzero_across``
    ``void (rows, count, from, step, masks, out)``: the masks and the extent of rows that lie side by side: element p of row r
    is at ``from + r + p * step``.
``copy_wide``
    ``void (rows, from, step, to, out)``: such rows, as long as a panel's, become a panel, and their extent.

A row of a panel is `SUMS` vectors: enough sums to cover the latency of multiply-adds. Each of these loads its vector, which
costs no more on a CPU that loads as often as it multiplies, and skips what a tile has to compute.
"""

from __future__ import annotations

from collections.abc import Callable

from weft.codegen.llvmtext import BIT, I64, POINTER, Function, Value, Vectors, number

#: Vectors of a row of a panel.
SUMS = 8


def width(lanes: int) -> int:
    """Columns of a panel, of vectors of so many elements."""
    return SUMS * lanes


def declarations(vectors: Vectors) -> str:
    """The intrinsics that these functions call, besides those of `llvmtext.declarations`."""
    kind, lanes, bits = _integers(vectors), vectors.lanes, 8 * vectors.size
    text = "declare i64 @llvm.cttz.i64(i64, i1)\n"
    for name in ("umin", "umax"):
        text += f"declare {kind} @llvm.{name}.v{lanes}i{bits}({kind}, {kind})\n"
        text += f"declare i{bits} @llvm.vector.reduce.{name}.v{lanes}i{bits}({kind})\n"
    words = vectors.of(I64)
    return text + f"declare void @llvm.masked.store.v{lanes}i64.p0({words}, ptr, i32, {vectors.of(BIT)})\n"


def functions(vectors: Vectors) -> list[Function]:
    """The functions, in the order of `NAMES`."""
    return [_skip(vectors), _nonzero(vectors), _extent(vectors), _nonzero_across(vectors), _copy_wide(vectors)]


NAMES = ("skip", "nonzero", "extent", "nonzero_across", "copy_wide")


def _integers(vectors: Vectors) -> str:
    """The type of a vector's elements as integers."""
    return vectors.of(f"i{8 * vectors.size}")


def _word(f: Function, base: Value, index: Value) -> Value:
    """The address of a 64-bit integer."""
    return f.new(POINTER, f"getelementptr i64, {base}, {index}")


def _skip(vectors: Vectors) -> Function:
    arguments = {"rows": I64, "masks": POINTER, "all": I64, "cut": I64, "values": POINTER, "value_row": I64}
    arguments |= {"value_step": I64, "panel": POINTER, "partial": POINTER, "resumed": BIT, "to": POINTER, "to_row": I64}
    arguments |= {"add": BIT}
    f = Function(vectors, "skip", arguments)
    rows, masks, everything, cut, values, value_row, value_step, panel, partial, resumed, to, to_row, add = f.args
    lanes = vectors.lanes

    def row(r: Value, _: list[Value]) -> list[Value]:
        mask = f.integer("or", f.new(I64, f"load i64, {_word(f, masks, r)}"), everything)
        value = f.at(values, f.integer("mul", r, value_row))
        out = f.at(to, f.integer("mul", r, to_row))

        def begun() -> list[Value]:
            at = f.at(partial, f.times(r, width(lanes)))
            return [f.load(f.at(at, v * lanes)) for v in range(SUMS)]

        sums = f.either(resumed, begun, [f.zero()] * SUMS)

        def step(p: Value, sums: list[Value]) -> list[Value]:
            x = f.broadcast(f.element(f.at(value, f.integer("mul", p, value_step))))
            right = f.at(panel, f.times(p, width(lanes)))
            return [f.multiply_add(x, f.load(f.at(right, v * lanes)), sums[v]) for v in range(SUMS)]

        sums = _for_bits(f, f.integer("and", mask, cut), sums, step)
        sums = f.either(add, lambda: [f.add(f.load(f.at(out, v * lanes)), sums[v]) for v in range(SUMS)], sums)
        rest = f.integer("and", mask, f.integer("xor", cut, number(-1)))

        def following() -> list[Value]:
            return [f.add(x, y) for x, y in zip(sums, _for_bits(f, rest, [f.zero()] * SUMS, step), strict=True)]

        sums = f.either(f.new(BIT, f"icmp ne {rest}, 0"), following, sums)
        for v, value in enumerate(sums):
            f.store(value, f.at(out, v * lanes))
        return []

    f.loop(rows, [], row)
    f.do("ret void")
    return f


def _for_bits(
    f: Function, bits: Value, start: list[Value], body: Callable[[Value, list[Value]], list[Value]]
) -> list[Value]:
    """Run ``body(position, values)`` for each bit that is set, the lowest first; the last values."""

    def turn(left: Value, values: list[Value]) -> tuple[Value, Value, list[Value]]:
        position = f.new(I64, f"call i64 @llvm.cttz.i64({left}, i1 true)")
        new = body(position, values)
        rest = f.integer("and", left, f.integer("sub", left, number(1)))
        return rest, f.new(BIT, f"icmp ne {rest}, 0"), new

    return f.turns(f.new(BIT, f"icmp ne {bits}, 0"), bits, start, turn)


def _each_vector(
    f: Function,
    count: Value,
    start: Value,
    first: list[Value],
    body: Callable[[Value, Value, list[Value]], list[Value]],
) -> list[Value]:
    """Run ``body(position, vector, values)`` for the vectors of so many elements; of the last, lanes beyond them are zero."""
    shift = f.vectors.lanes.bit_length() - 1
    whole = f.integer("lshr", count, number(shift))

    def turn(at: Value, values: list[Value]) -> list[Value]:
        position = f.integer("shl", at, number(shift))
        return body(position, f.load(f.at(start, position)), values)

    values = f.loop(whole, first, turn)
    done = f.integer("shl", whole, number(shift))
    left = f.integer("sub", count, done)

    def last() -> list[Value]:
        return body(done, f.load(f.at(start, done), f.mask(left)), values)

    return f.either(f.less(number(0), left), last, values)


def _nonzero(vectors: Vectors) -> Function:
    arguments = {"rows": I64, "count": I64, "from": POINTER, "step": I64, "masks": POINTER}
    f = Function(vectors, "nonzero", arguments)
    rows, count, start, step, masks = f.args
    lanes = vectors.lanes

    def some(position: Value, vector: Value, found: list[Value]) -> list[Value]:
        unequal = f.new(vectors.of(BIT), f"fcmp une {vector}, zeroinitializer")
        bits = f.new(f"i{lanes}", f"bitcast {unequal} to i{lanes}")
        return [f.integer("or", found[0], f.integer("shl", f.new(I64, f"zext {bits} to i64"), position))]

    def row(r: Value, _: list[Value]) -> list[Value]:
        (mask,) = _each_vector(f, count, f.at(start, f.integer("mul", r, step)), [number(0)], some)
        f.do(f"store {mask}, {_word(f, masks, r)}")
        return []

    f.loop(rows, [], row)
    f.do("ret void")
    return f


class _Magnitudes:
    """The largest of some vectors' magnitudes, and the least of these less one: as integers, a vector of each."""

    def __init__(self, f: Function) -> None:
        self.f, self.kind, self.bits = f, _integers(f.vectors), 8 * f.vectors.size
        self.name = f"v{f.vectors.lanes}i{self.bits}"
        self.start = [Value(self.kind, "zeroinitializer"), self.splat(-1)]

    def splat(self, n: int) -> Value:
        """A vector of as many times the same."""
        return Value(self.kind, "<" + ", ".join(f"i{self.bits} {n}" for _ in range(self.f.vectors.lanes)) + ">")

    def also(self, vector: Value, found: list[Value]) -> list[Value]:
        """Of one vector more."""
        pattern = self.f.new(self.kind, f"bitcast {vector} to {self.kind}")
        magnitude = self.f.integer("and", pattern, self.splat((1 << (self.bits - 1)) - 1))
        less = self.f.integer("add", magnitude, self.splat(-1))
        return self.both(found, [magnitude, less])

    def both(self, found: list[Value], others: list[Value]) -> list[Value]:
        """Of two such pairs."""
        return [
            self.f.new(self.kind, f"call {self.kind} @llvm.{what}.{self.name}({x}, {y})")
            for what, x, y in zip(("umax", "umin"), found, others, strict=True)
        ]

    def store(self, found: list[Value], out: Value) -> None:
        """As two 64-bit integers."""
        for at, (what, value) in enumerate(zip(("umax", "umin"), found, strict=True)):
            scalar = self.f.new(f"i{self.bits}", f"call i{self.bits} @llvm.vector.reduce.{what}.{self.name}({value})")
            if self.bits < 64:
                scalar = self.f.new(I64, f"zext {scalar} to i64")
            self.f.do(f"store {scalar}, {_word(self.f, out, number(at))}")


def _extent(vectors: Vectors) -> Function:
    arguments = {"rows": I64, "count": I64, "from": POINTER, "step": I64, "out": POINTER}
    f = Function(vectors, "extent", arguments)
    rows, count, start, step, out = f.args
    magnitudes = _Magnitudes(f)

    def row(r: Value, found: list[Value]) -> list[Value]:
        line = f.at(start, f.integer("mul", r, step))
        return _each_vector(f, count, line, found, lambda _, vector, found: magnitudes.also(vector, found))

    magnitudes.store(f.loop(rows, magnitudes.start, row), out)
    f.do("ret void")
    return f


def _nonzero_across(vectors: Vectors) -> Function:
    arguments = {"rows": I64, "count": I64, "from": POINTER, "step": I64, "masks": POINTER, "out": POINTER}
    f = Function(vectors, "nonzero_across", arguments)
    rows, count, start, step, masks, out = f.args
    magnitudes = _Magnitudes(f)
    kind, bits, lanes, words = magnitudes.kind, magnitudes.bits, vectors.lanes, vectors.of(I64)

    def some(group: Value, found: list[Value]) -> list[Value]:
        first = f.times(group, lanes)
        present = f.mask(f.new(I64, f"call i64 @llvm.smin.i64({f.integer('sub', rows, first)}, {number(lanes)})"))

        def element(p: Value, values: list[Value]) -> list[Value]:
            at, bit, mask, *found = values
            vector = f.load(at, present)
            unequal = f.new(vectors.of(BIT), f"fcmp une {vector}, zeroinitializer")
            both = f.integer("or", mask, bit)
            mask = f.new(kind, f"select {unequal}, {both}, {mask}")
            return [f.at(at, step), f.integer("add", bit, bit), mask, *magnitudes.also(vector, found)]

        def part(n: Value, values: list[Value]) -> list[Value]:
            """As many elements as an integer of a lane has bits."""
            at, masks, *found = values
            begin = f.times(n, bits)
            here = f.new(I64, f"call i64 @llvm.smin.i64({f.integer('sub', count, begin)}, {number(bits)})")
            begun = [at, magnitudes.splat(1), Value(kind, "zeroinitializer"), *found]
            at, _, mask, *found = f.loop(here, begun, element)
            wide = f.new(words, f"zext {mask} to {words}") if bits < 64 else mask
            return [at, f.integer("or", masks, f.integer("shl", wide, f.broadcast(begin))), *found]

        all_parts = f.integer("lshr", f.integer("add", count, number(bits - 1)), number(bits.bit_length() - 1))
        begun = [f.at(start, first), Value(words, "zeroinitializer"), *found]
        _, all_masks, *found = f.loop(all_parts, begun, part)
        to = _word(f, masks, first)
        f.do(f"call void @llvm.masked.store.v{lanes}i64.p0({all_masks}, {to}, i32 8, {present})")
        return found

    groups = f.integer("lshr", f.integer("add", rows, number(lanes - 1)), number(lanes.bit_length() - 1))
    magnitudes.store(f.loop(groups, magnitudes.start, some), out)
    f.do("ret void")
    return f


def _copy_wide(vectors: Vectors) -> Function:
    arguments = {"rows": I64, "from": POINTER, "step": I64, "to": POINTER, "out": POINTER}
    f = Function(vectors, "copy_wide", arguments, own=("to",))
    rows, start, step, to, out = f.args
    magnitudes = _Magnitudes(f)

    def row(_: Value, values: list[Value]) -> list[Value]:
        x, y, *found = values
        for at in range(0, width(vectors.lanes), vectors.lanes):
            vector = f.load(f.at(x, at))
            f.store(vector, f.at(y, at))
            # Two pairs in turns: each vector's comparisons wait for those of the one before the last.
            found = [*found[2:], *magnitudes.also(vector, found[:2])]
        return [f.at(x, step), f.at(y, width(vectors.lanes)), *found]

    _, _, *found = f.loop(rows, [start, to, *magnitudes.start, *magnitudes.start], row)
    magnitudes.store(magnitudes.both(found[:2], found[2:]), out)
    f.do("ret void")
    return f
