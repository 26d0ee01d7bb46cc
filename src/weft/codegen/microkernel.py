"""The innermost parts of a float matrix product, as LLVM IR for the vectors that the CPU has: register tiles and packing.

One module for each type holds, for a tile of ``mr`` rows and ``nr`` columns (`Shape`):

``tile_R`` (R = 1 ... mr)
    ``void (k, a, a_row, a_k, b, b_k, c, c_row, add)``: C[R, nr] = A[R, k] @ B[k, nr], or += where ``add``. Element (i, p) of
    A is at ``i * a_row + p * a_k``, row p of B at ``p * b_k``, row i of C at ``i * c_row``: strides in elements.
``edge_R`` (R = 1 ... mr, 8, 12)
    the same with one more argument, the number of columns, 1 ... nr: no other column of B is read or of C written. Where R
    is more than mr, one vector of columns at the most: of so few columns, a tile of mr rows has too few sums.
``pack_b``, ``pack_a``
    ``void (k, from, line, step, to, lines)``: to[p * W + j] = from[j * line + p * step] for all p < k and j < lines, where W is
    nr (``pack_b``) or mr rounded up to vectors (``pack_a``); what the places of the other j hold afterwards is not said.

Every element of C is one chain of fused multiply-adds over p, begun at zero, whatever the shape of the tile (on a CPU without
such an instruction a product and a sum, which round twice): bits do not depend on the tile.

The sums are held in registers while k runs; a row of B is loaded once for the tile, each element of A is broadcast. So a
tile needs ``mr * vectors`` registers for sums, ``vectors`` for B and one for A, and enough sums to cover the latency of the
multiply-adds (about eight on current CPUs). Source: Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", ACM TOMS 34 (2008); Van Zee and van de Geijn, "BLIS", ACM TOMS 41 (2015).

Building the module imports llvmlite and not numba; loading it from the disk cache imports neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llvmlite import ir

#: Steps of k in one turn of a full tile's loop: enough that counting costs nothing.
UNROLL = 4
#: Rows of the highest tile: each height is a function to be compiled. The native driver has room for as many.
MOST_ROWS = 12
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
    def packed_rows(self) -> int:
        """The width of a packed panel of A: the rows, rounded up to whole vectors."""
        return -(-self.rows // self.lanes) * self.lanes


def shapes(registers: int, lanes: int) -> list[Shape]:
    """The tiles worth trying on a CPU with so many vector registers, the most promising first.

    For each width, the highest tile whose sums, row of B and element of A fit in the registers. First come those that load no
    more often than they multiply, then those with more sums, then the narrower, which waste less at the edges of C.
    """
    found = []
    for vectors in (1, 2, 3, 4):
        rows = min(MOST_ROWS, (registers - 1 - vectors) // vectors)
        found.append(Shape(rows, vectors, lanes))

    def order(shape: Shape) -> tuple[bool, int, int]:
        sums = shape.rows * shape.vectors
        return shape.rows + shape.vectors > sums, -sums, shape.vectors

    return sorted(found, key=order)


class _Writer:
    """Writes the functions of one type and shape into an LLVM module."""

    def __init__(self, dtype: str, shape: Shape, fused: bool) -> None:
        from llvmlite import ir

        self.ir = ir
        self.shape = shape
        self.fused = fused
        self.scalar = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.size = 4 if dtype == "float32" else 8
        self.vector = ir.VectorType(self.scalar, shape.lanes)
        self.pointer = self.scalar.as_pointer()
        self.index = ir.IntType(64)
        self.module = ir.Module(f"gemm_{dtype}")
        self.builder: Any = None
        self.suffix = f"v{shape.lanes}{'f32' if dtype == 'float32' else 'f64'}"

    def function(self, name: str, arguments: dict[str, ir.Type]) -> list[Any]:
        """Begin a function; its arguments."""
        kind = self.ir.FunctionType(self.ir.VoidType(), list(arguments.values()))
        made = self.ir.Function(self.module, kind, name)
        for argument, label in zip(made.args, arguments, strict=True):
            argument.name = label
            if label in ("b", "c", "to"):
                argument.add_attribute("noalias")
        self.builder = self.ir.IRBuilder(made.append_basic_block("entry"))
        return list(made.args)

    def intrinsic(self, name: str, result: Any, arguments: list[Any]) -> Any:
        """The LLVM intrinsic of this name, declared once."""
        if name in self.module.globals:
            return self.module.globals[name]
        return self.ir.Function(self.module, self.ir.FunctionType(result, arguments), name)

    def at(self, base: Any, offset: Any) -> Any:
        return self.builder.gep(base, [offset])

    def load(self, at: Any, mask: Any = None) -> Any:
        """The vector at an address; lanes that the mask leaves out are not read, and zero."""
        b = self.builder
        at = b.bitcast(at, self.vector.as_pointer())
        if mask is None:
            return b.load(at, align=self.size)
        kinds = [at.type, self.ir.IntType(32), mask.type, self.vector]
        f = self.intrinsic(f"llvm.masked.load.{self.suffix}.p0", self.vector, kinds)
        return b.call(f, [at, self.ir.IntType(32)(self.size), mask, self.zero()])

    def store(self, value: Any, at: Any) -> None:
        self.builder.store(value, self.builder.bitcast(at, value.type.as_pointer()), align=self.size)

    def opaque(self, value: Any) -> Any:
        """The value, of which LLVM then knows nothing."""
        kind = self.ir.FunctionType(value.type, [value.type])
        return self.builder.call(self.ir.InlineAsm(kind, "", "=r,0"), [value])

    def zero(self) -> Any:
        return self.ir.Constant(self.vector, [0.0] * self.shape.lanes)

    def broadcast(self, value: Any) -> Any:
        """A vector with a number in every lane."""
        kind = self.ir.VectorType(value.type, self.shape.lanes)
        undefined = self.ir.Constant(kind, self.ir.Undefined)
        i32 = self.ir.IntType(32)
        one = self.builder.insert_element(undefined, value, i32(0))
        return self.builder.shuffle_vector(one, undefined, self.lanes([0] * self.shape.lanes))

    def lanes(self, numbers: list[int]) -> Any:
        return self.ir.Constant(self.ir.VectorType(self.ir.IntType(32), len(numbers)), numbers)

    def mask(self, count: Any) -> Any:
        """Which lanes are among the first ``count``."""
        kind = self.ir.VectorType(self.index, self.shape.lanes)
        numbers = self.ir.Constant(kind, list(range(self.shape.lanes)))
        return self.builder.icmp_signed("<", numbers, self.broadcast(count))

    def multiply_add(self, x: Any, y: Any, sum_: Any) -> Any:
        b = self.builder
        if not self.fused:
            return b.fadd(b.fmul(x, y), sum_)
        f = self.intrinsic(f"llvm.fma.{self.suffix}", self.vector, [self.vector] * 3)
        return b.call(f, [x, y, sum_])

    def loop(self, count: Any, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Run ``body(number, values)`` for 0 ... count - 1, each turn with the values of the one before; the last values."""
        b = self.builder
        before = b.block
        turn, end = b.append_basic_block("turn"), b.append_basic_block("end")
        b.cbranch(b.icmp_signed("<", self.index(0), count), turn, end)
        b.position_at_end(turn)
        number = b.phi(self.index)
        number.add_incoming(self.index(0), before)
        values = [b.phi(v.type) for v in start]
        for phi, v in zip(values, start, strict=True):
            phi.add_incoming(v, before)
        new = body(number, values)
        following = b.add(number, self.index(1))
        number.add_incoming(following, b.block)
        for phi, v in zip(values, new, strict=True):
            phi.add_incoming(v, b.block)
        b.cbranch(b.icmp_signed("<", following, count), turn, end)
        last = b.block
        b.position_at_end(end)
        result = []
        for v, w in zip(start, new, strict=True):
            phi = b.phi(v.type)
            phi.add_incoming(v, before)
            phi.add_incoming(w, last)
            result.append(phi)
        return result

    def unrolled(self, count: Any, start: list[Any], step: Callable[[list[Any]], list[Any]]) -> list[Any]:
        """Run ``step(values)`` so many times, each time with the values of the one before; the last values."""

        def turn(number: Any, values: list[Any]) -> list[Any]:
            for _ in range(UNROLL):
                values = step(values)
            return values

        b = self.builder
        turns = b.sdiv(count, self.index(UNROLL))
        values = self.loop(turns, start, turn)
        rest = b.sub(count, b.mul(turns, self.index(UNROLL)))
        return self.loop(rest, values, lambda number, values: step(values))

    def tile(self, rows: int) -> None:
        self._tile(f"tile_{rows}", rows, masked=False)

    def edge(self, rows: int) -> None:
        self._tile(f"edge_{rows}", rows, masked=True)

    def _tile(self, name: str, rows: int, masked: bool) -> None:
        p, i = self.pointer, self.index
        arguments = {
            "k": i,
            "a": p,
            "a_row": i,
            "a_k": i,
            "b": p,
            "b_k": i,
            "c": p,
            "c_row": i,
            "add": self.ir.IntType(1),
        }
        if masked:
            arguments["columns"] = i
        given = self.function(name, arguments)
        for argument in self.module.globals[name].args:
            if argument.name == "add":
                argument.add_attribute("zeroext")
        if not masked:
            self._sums(rows, self.shape.vectors, given, None)
            self.builder.ret_void()
            return
        b, columns = self.builder, given.pop()
        most = self.shape.vectors if rows <= self.shape.rows else 1
        storing, last = b.append_basic_block("storing"), []
        for vectors in range(1, most + 1):
            here, after = b.append_basic_block(f"vectors_{vectors}"), b.append_basic_block("more")
            if vectors < most:
                b.cbranch(b.icmp_signed("<=", columns, i(vectors * self.shape.lanes)), here, after)
            else:
                b.branch(here)
            b.position_at_end(here)
            before = i((vectors - 1) * self.shape.lanes)
            count = b.sub(columns, before)
            sums = self._sums(rows, vectors, given, count)
            last.append((b.block, [count, before, *sums]))
            b.branch(storing)
            b.position_at_end(after)
        b.unreachable()
        b.position_at_end(storing)
        count, before, *sums = self.joined(*last)
        c, c_row = given[6:8]
        self.store_some(sums, [self.at(self.at(c, b.mul(c_row, i(r))), before) for r in range(rows)], count)
        b.ret_void()

    def _sums(self, rows: int, vectors: int, given: list[Any], count: Any) -> list[Any]:
        """The body of a tile: the loop over k and what becomes of the sums. ``count``: how much of the last vector of a row
        there is, if not all; the last vectors are then not stored but the result."""
        b, i, lanes = self.builder, self.index, self.shape.lanes
        k, a, a_row, a_k, right, b_k, c, c_row, add = given
        mask = None if count is None else self.mask(count)
        masks = [None] * (vectors - 1) + [mask]
        # Three rows to a pointer. LLVM must not know how the addresses belong together: it would go from row to row by
        # additions, each of which waits for the one before, or keep more of them than there are registers.
        offsets = [i(0), *(self.opaque(b.mul(a_row, i(r))) for r in (1, 2))]
        lefts = [self.at(a, b.mul(a_row, i(r))) for r in range(0, rows, 3)]
        outs = [self.at(c, b.mul(c_row, i(r))) for r in range(rows)]

        def added(sums: list[Any], y: Any, left: Callable[[int], Any]) -> list[Any]:
            row = [self.load(self.at(y, i(v * lanes)), masks[v]) for v in range(vectors)]
            new = []
            for r in range(rows):
                x = self.broadcast(b.load(left(r), align=self.size))
                new += [self.multiply_add(x, row[v], sums[r * vectors + v]) for v in range(vectors)]
            return new

        def step(values: list[Any]) -> list[Any]:
            xs, y, sums = values[: len(lefts)], values[len(lefts)], values[len(lefts) + 1 :]
            new = added(sums, y, lambda r: self.at(xs[r // 3], offsets[r % 3]))
            return [*(self.opaque(self.at(x, a_k)) for x in xs), self.opaque(self.at(y, b_k)), *new]

        # Packed operands: what moves is known, so that between loads and multiply-adds nothing is computed. The pointers are
        # half a turn ahead: most offsets then take one byte. Steps stay apart, because LLVM would put the multiply-adds
        # of one sum right after each other, where with few sums one waits for the other.
        half = UNROLL // 2 * self.shape.packed_rows, UNROLL // 2 * self.shape.columns

        def packed_step(values: list[Any]) -> list[Any]:
            x, y, *sums = values
            new = added(sums, self.at(y, i(-half[1])), lambda r: self.at(x, i(r - half[0])))
            b.call(self.ir.InlineAsm(self.ir.FunctionType(self.ir.VoidType(), []), "", "", side_effect=True), [])
            return [self.at(x, i(self.shape.packed_rows)), self.at(y, i(self.shape.columns)), *new]

        prefetch = self.intrinsic("llvm.prefetch.p0", self.ir.VoidType(), [self.pointer] + [self.ir.IntType(32)] * 3)
        for out in outs:
            b.call(prefetch, [out, *(self.ir.IntType(32)(n) for n in (1, 3, 1))])  # to be written, near, data
        sums = [self.zero()] * (rows * vectors)
        start = [*lefts, right]
        if mask is not None:
            sums = self.loop(k, [*start, *sums], lambda number, values: step(values))[len(start) :]
        elif 2 * rows <= self.shape.rows:  # such low tiles are rare, and each loop takes time to compile
            sums = self.unrolled(k, [*start, *sums], step)[len(start) :]
        else:
            packed, other, after = (b.append_basic_block(n) for n in ("packed", "other", "after"))
            strides = [(a_row, 1), (a_k, self.shape.packed_rows), (b_k, self.shape.columns)]
            wrong = [b.xor(stride, i(n)) for stride, n in strides]
            b.cbranch(b.icmp_signed("==", b.or_(b.or_(wrong[0], wrong[1]), wrong[2]), i(0)), packed, other)
            b.position_at_end(packed)
            ahead = [self.opaque(self.at(x, i(n))) for x, n in zip((a, right), half, strict=True)]
            quick = self.unrolled(k, [*ahead, *sums], packed_step)[2:]
            packed = b.block
            b.branch(after)
            b.position_at_end(other)
            sums = self.unrolled(k, [*start, *sums], step)[len(start) :]
            other = b.block
            b.branch(after)
            b.position_at_end(after)
            for n, pair in enumerate(zip(quick, sums, strict=True)):
                sums[n] = b.phi(self.vector)
                for value, block in zip(pair, (packed, other), strict=True):
                    sums[n].add_incoming(value, block)
        adding, setting, done = (b.append_basic_block(n) for n in ("adding", "setting", "done"))
        b.cbranch(add, adding, setting)
        last: list[tuple[Any, list[Any]]] = []  # the last vectors of the rows, by where they come from
        for block in (adding, setting):
            b.position_at_end(block)
            last.append((block, []))
            for r in range(rows):
                for v in range(vectors):
                    at, value = self.at(outs[r], i(v * lanes)), sums[r * vectors + v]
                    if block is adding:
                        value = b.fadd(self.load(at, masks[v]), value)
                    if masks[v] is None:
                        self.store(value, at)
                    else:
                        last[-1][1].append(value)
            b.branch(done)
        b.position_at_end(done)
        return self.joined(*last)

    def joined(self, *given: tuple[Any, list[Any]]) -> list[Any]:
        """Values that depend on which of some blocks came before."""
        result = []
        for n, value in enumerate(given[0][1]):
            result.append(self.builder.phi(value.type))
            for block, values in given:
                result[-1].add_incoming(values[n], block)
        return result

    def store_some(self, values: list[Any], at: list[Any], count: Any) -> None:
        """Store the first ``count`` lanes of vectors: halves, quarters and so on, since some CPUs are slow to store by a mask
        (18 cycles a vector on Zen 4)."""
        b, i, lanes = self.builder, self.index, self.shape.lanes
        whole, part, done = (b.append_basic_block(n) for n in ("whole", "part", "done"))
        b.cbranch(b.icmp_signed("<", count, i(lanes)), part, whole)
        b.position_at_end(whole)
        for value, to in zip(values, at, strict=True):
            self.store(value, to)
        b.branch(done)
        b.position_at_end(part)
        offset: Any = i(0)
        size = lanes // 2
        while size:
            before, here, after = b.block, b.append_basic_block("here"), b.append_basic_block("after")
            b.cbranch(b.icmp_signed("!=", b.and_(count, i(size)), i(0)), here, after)
            b.position_at_end(here)
            rest = []
            for value, to in zip(values, at, strict=True):
                low = b.shuffle_vector(value, value, self.lanes(list(range(size))))
                self.store(low, self.at(to, offset))
                rest.append(b.shuffle_vector(value, value, self.lanes([(n + size) % lanes for n in range(lanes)])))
            following = b.add(offset, i(size))
            b.branch(after)
            b.position_at_end(after)
            offset, *values = self.joined((before, [offset, *values]), (here, [following, *rest]))
            size //= 2
        b.branch(done)
        b.position_at_end(done)

    def pack(self, name: str, width: int) -> None:
        """A packing function for panels of ``width`` lines, a whole number of vectors."""
        p, i = self.pointer, self.index
        k, start, line, step, to, lines = self.function(
            name, {"k": i, "from": p, "line": i, "step": i, "to": p, "lines": i}
        )
        b, lanes = self.builder, self.shape.lanes
        across, other, along, rest = (b.append_basic_block(n) for n in ("across", "other", "along", "rest"))
        b.cbranch(b.icmp_signed("==", line, i(1)), across, other)

        b.position_at_end(across)  # the lines lie side by side: copy k rows
        masks = [self.mask(b.sub(lines, i(v))) for v in range(0, width, lanes)]

        def copy(whole: bool) -> None:
            def turn(number: Any, values: list[Any]) -> list[Any]:
                x, y = values
                for v in range(0, width, lanes):
                    value = self.load(self.at(x, i(v)), None if whole else masks[v // lanes])
                    self.store(value, self.at(y, i(v)))
                return [self.at(x, step), self.at(y, i(width))]

            self.loop(k, [start, to], turn)
            b.ret_void()

        full, part = b.append_basic_block("full"), b.append_basic_block("part")
        b.cbranch(b.icmp_signed("<", lines, i(width)), part, full)
        for block in (full, part):
            b.position_at_end(block)
            copy(block is full)

        # Each line by itself; the lines that there are not repeat the last.
        b.position_at_end(other)
        last = b.sub(lines, i(1))
        froms = [
            self.at(start, b.mul(b.select(b.icmp_signed("<", i(j), last), i(j), last), line)) for j in range(width)
        ]
        whole = b.select(b.icmp_signed("==", step, i(1)), b.sdiv(k, i(lanes)), i(0))
        b.branch(along)

        b.position_at_end(along)  # squares of a vector's length, transposed in registers

        def squares(number: Any, values: list[Any]) -> list[Any]:
            at = b.mul(number, i(lanes))
            for v in range(0, width, lanes):
                square = self.transposed([self.load(self.at(froms[v + j], at)) for j in range(lanes)])
                for q, value in enumerate(square):
                    self.store(value, self.at(to, b.add(b.mul(at, i(width)), i(q * width + v))))
            return []

        self.loop(whole, [], squares)
        b.branch(rest)

        b.position_at_end(rest)
        first = b.mul(whole, i(lanes))

        def one(number: Any, values: list[Any]) -> list[Any]:
            q = b.add(first, number)
            for j in range(width):
                value = b.load(self.at(froms[j], b.mul(q, step)))
                b.store(value, self.at(to, b.add(b.mul(q, i(width)), i(j))))
            return []

        self.loop(b.sub(k, first), [], one)
        b.ret_void()

    def transposed(self, rows: list[Any]) -> list[Any]:
        """A square of vectors transposed, in log2(lanes) rounds that each exchange blocks of half the size."""
        b, lanes = self.builder, self.shape.lanes
        half = lanes // 2
        while half:
            new = list(rows)
            low = [n if not n & half else n - half + lanes for n in range(lanes)]
            high = [n + half if not n & half else n + lanes for n in range(lanes)]
            for r in range(lanes):
                if not r & half:
                    x, y = rows[r], rows[r + half]
                    new[r] = b.shuffle_vector(x, y, self.lanes(low))
                    new[r + half] = b.shuffle_vector(x, y, self.lanes(high))
            rows = new
            half //= 2
        return rows


def symbols(shape: Shape) -> tuple[str, ...]:
    """The names of a module's functions, in the order in which the native driver takes their addresses."""
    tiles = (f"tile_{r}" for r in range(1, shape.rows + 1))
    return (*tiles, *(f"edge_{r}" for r in shape.edges), "pack_a", "pack_b")


def build(dtype: str, shape: Shape, fused: bool) -> ir.Module:
    """The module of a type ("float32" or "float64") and shape, for a CPU with or without fused multiply-adds."""
    writer = _Writer(dtype, shape, fused)
    for rows in range(1, shape.rows + 1):
        writer.tile(rows)
    for rows in shape.edges:
        writer.edge(rows)
    writer.pack("pack_a", shape.packed_rows)
    writer.pack("pack_b", shape.columns)
    return writer.module
