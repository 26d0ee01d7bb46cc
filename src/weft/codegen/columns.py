"""Reductions of rows into columns: the "outer" order of `weft.ir.kernel.Kernel`, as explicit LLVM vectors along the columns.

``x`` is the first element of the first of ``rows`` rows, which lie ``stride`` elements apart and have ``n`` elements. There
is a partial result for each column, in arrays ``a`` and, where a reduction has two, ``c``; to be called from generated source::

    fill_op(a, n)                               no rows so far
    rows_op(a, x, stride, rows, n)              take rows, of which the first begins a group
    ahead_op(a, x, stride, rows, n, all)        the same of an array of ``all`` elements, which may be too many for the caches
    join_op(a, other, n)                        take the partial results of a later block

    fill_argmax(a, c, n)
    rows_argmax(a, c, x, stride, rows, n, first)      c: positions, counted from ``first``, that of the first row
    ahead_argmax(a, c, x, stride, rows, n, all, first)
    join_argmax(a, c, other_a, other_c, n)

    fill_m2(a, c, s, x, stride, rows, n)        s: the shifts, negated, of these rows, at most a group
    rows_m2(a, c, s, x, stride, rows, n)        a: sums of deviations from the shifts, c: of their squares
    ahead_m2(a, c, s, x, stride, rows, n, all)
    end_m2(a, c, s, n, count)                   from then on a: means, c: m2, of ``count`` rows
    join_m2(a, c, other_a, other_c, n, count, other_count)

Where the elements of a column follow one another and columns lie ``stride`` apart, ``turned_op`` and ``turned_fill_m2`` are to
be called with the same arguments: squares of elements are transposed in registers.

Of rows whose sums go by lanes (`weft.codegen.strips`)::

    folded_m2(a, c, s, x, stride, rows, n)      the elements of a run that one of its FOLDED lanes takes, as rows
    shift_m2(s, a, n, count)                    the shifts, negated, that sums of ``count`` elements give

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.lanes import (
    F64,
    I64,
    LINE,
    by_processor,
    combined,
    fetched,
    frozen,
    identity,
    is_float,
    looped,
    moments,
    size_of,
    splat_value,
    whole_lines,
    widened,
    wins,
)
from weft.codegen.transpose import LANE_BYTES, interleaved
from weft.codegen.types import intrinsic
from weft.ir.kernel import FOLDED, GROUP, LANES, RUN

I32 = ir.IntType(32)
#: Widths of the vectors in bytes: a cache line, so that rows whose distance is a multiple of the cache's size, which compete
#: for the same few places in it, need not come twice; and what is left of the columns by halves.
WIDTHS = (LINE, LINE // 2)
#: The bytes of an array from which on caches hold too little of it to matter.
FAR = 48 << 20
#: How often each line of such an array is fetched where vectors are cache lines, by what the names of processors begin with,
#: and where two vectors make a line: asked for one several times, most processors themselves look further ahead.
INSISTING, INSISTING_ON_HALVES = {"znver": 4, "": 1}, 3


class Columns:
    """Writes a loop over the columns, a wide vector at a time, then narrower ones, and the last few one by one."""

    def __init__(self, b: Any, value: Any, n: Any) -> None:
        self.b, self.n = b, n
        self.widths = [lanes for size in WIDTHS if (lanes := size // size_of(value)) > 1]
        self.at: Any = None
        self.width = 1

    def each(self, write: Callable[[], None], following: Any = None, stride: Any = None, far: Any = None) -> None:
        """Call ``write`` for vectors of columns, and for a single one.

        Meanwhile a group of rows that begins at ``following``, if given, is fetched into the second-level cache, and
        insistently so where ``far`` is given and holds.
        """
        b = self.b
        done: Any = I64(0)
        for width in (*self.widths, 1):
            count = b.udiv(b.sub(self.n, done), I64(width))
            before = done
            fetching = following is not None and width == self.widths[0]
            # visits that fetch a row; 0, of narrow rows: on and on, as if no gap were between them
            visits = b.udiv(count, I64(GROUP)) if fetching else None

            def some(
                i: Any, place: list[Any], before: Any = before, width: int = width, visits: Any = visits
            ) -> list[Any]:
                self.at, self.width = b.add(before, b.mul(i, I64(width))), width
                write()
                return self._fetched(place, stride, visits, far) if place else []

            looped(b, count, [following, visits] if fetching else [], some)
            done = b.add(done, b.mul(count, I64(width)))

    def _fetched(self, place: list[Any], stride: Any, visits: Any, far: Any) -> list[Any]:
        """Fetch as many cache lines as a group has rows, from a place on: where, and how many more visits fetch this row.

        That is the order in which rows lie in memory, which is faster than the same columns of all rows. The place after them.
        """
        line, left = place
        b, size = self.b, self.width * GROUP

        def lines(times: int) -> None:
            for k in range(0, size, self.width):
                for _ in range(times):
                    fetched(b, b.gep(line, [I64(k)]))

        often = by_processor(INSISTING) if whole_lines() else INSISTING_ON_HALVES
        if far is None or often == 1:
            lines(1)
        else:
            with b.if_else(far) as (insisting, once):
                with insisting:
                    lines(often)
                with once:
                    lines(1)
        left = b.sub(left, I64(1))
        over = b.icmp_signed("==", left, I64(0))
        to_next = b.add(b.sub(stride, b.mul(visits, I64(size))), I64(size))
        return [b.gep(line, [b.select(over, to_next, I64(size))]), b.select(over, visits, left)]

    def load(self, pointer: Any) -> Any:
        """The elements at the columns of the array or row that begins at ``pointer``."""
        value = self.b.load(self._at(pointer))
        value.align = size_of(pointer.type.pointee)
        return value

    def across(self, place: Any) -> Any:
        """The elements at the columns of the row that begins at ``place``."""
        return self.load(place)

    def held(self, pointer: Any) -> Any:
        """The partial results at the columns of the array that begins at ``pointer``, where others are to be stored."""
        return frozen(self.b, self.load(pointer))

    def store(self, value: Any, pointer: Any, stream: Any = None) -> None:
        """Write the elements at the columns: past the caches, if ``stream`` holds, which goes for aligned lines alone."""
        b, size = self.b, size_of(pointer.type.pointee)
        at = self._at(pointer)
        if stream is None or self.width * size != LINE:
            b.store(value, at).align = size
            return
        with b.if_else(stream) as (past, through):
            with past:
                b.store(value, at, align=LINE).set_metadata("nontemporal", b.module.add_metadata([I32(1)]))
            with through:
                b.store(value, at).align = size

    def _at(self, pointer: Any) -> Any:
        at = self.b.gep(pointer, [self.at])
        if self.width == 1:
            return at
        return self.b.bitcast(at, ir.VectorType(pointer.type.pointee, self.width).as_pointer())

    def every(self, value: Any) -> Any:
        """The same number for each column."""
        return value if self.width == 1 else splat_value(self.b, value, self.width)

    def narrow(self, x: Any, to: Any) -> Any:
        """Partial results in the type of the elements, ``to``: float64 may become float32."""
        kind = to if self.width == 1 else ir.VectorType(to, self.width)
        return x if x.type == kind else self.b.fptrunc(x, kind)

    def wide(self, x: Any, to: Any) -> Any:
        """Elements in the number type ``to``."""
        return widened(self.b, x, to if self.width == 1 else ir.VectorType(to, self.width))


class _Rows:
    """Rows that are taken into partial results: a group for all columns, then the next."""

    def __init__(self, b: Any, x: Any, stride: Any, rows: Any, n: Any) -> None:
        self.b, self.x, self.stride, self.rows = b, x, stride, rows
        self.columns = Columns(b, x.type.pointee, n)
        self.far: Any = None

    def take(self, state: Sequence[Any], known: Callable[[], Any], step: Callable[..., list[Any]]) -> None:
        """Take all rows into the arrays ``state``: ``step(group, old, known())`` gives what ``old()`` becomes."""

        def group(group: _Group) -> None:
            def column() -> None:
                found = known()
                new = step(group, lambda: [self.columns.held(pointer) for pointer in state], found)
                for value, pointer in zip(new, state, strict=True):
                    self.columns.store(value, pointer)

            self.columns.each(column, self.following(group) if group.more is None else None, self.stride, self.far)

        self._groups(group)

    def following(self, group: _Group) -> Any:
        """Where the rows begin that are taken after a whole group."""
        return self.b.gep(group.place, [self.b.mul(self.stride, I64(GROUP))])

    def _groups(self, write: Callable[[_Group], None]) -> None:
        b, stride = self.b, self.stride
        whole = b.udiv(self.rows, I64(GROUP))

        def group(i: Any, _: list[Any]) -> list[Any]:
            first = b.mul(i, I64(GROUP))
            pointers = [b.gep(self.x, [b.mul(b.add(first, I64(j)), stride)]) for j in range(GROUP)]
            write(_Group(self.columns, first, pointers[0], [partial(self.columns.load, p) for p in pointers], stride))
            return []

        looped(b, whole, [], group)
        rest = b.urem(self.rows, I64(GROUP))
        with b.if_then(b.icmp_signed("!=", rest, I64(0))):
            first = b.mul(whole, I64(GROUP))
            place = b.gep(self.x, [b.mul(first, stride)])
            more = b.sub(rest, I64(1))
            write(_Group(self.columns, first, place, [partial(self.columns.load, place)], stride, more))


class _Ahead(_Rows):
    """The same for rows of an array that may be too large for the caches."""

    def __init__(self, b: Any, x: Any, stride: Any, rows: Any, n: Any, elements: Any) -> None:
        super().__init__(b, x, stride, rows, n)
        self.far = b.icmp_unsigned(">=", elements, I64(FAR // size_of(x.type.pointee)))


class _Lanes(_Rows):
    """The same for rows that are LANES elements apart, after which those come that follow each of them."""

    def following(self, group: _Group) -> Any:
        return self.b.gep(group.place, [self.b.udiv(self.stride, I64(LANES))])


class _Turned:
    """The same where a column's elements follow one another: some columns for all rows, then the next."""

    def __init__(self, b: Any, x: Any, stride: Any, rows: Any, n: Any) -> None:
        self.b, self.x, self.rows = b, x, rows
        self.columns = _Squares(b, x.type.pointee, n, stride)

    def take(self, state: Sequence[Any], known: Callable[[], Any], step: Callable[..., list[Any]]) -> None:
        """As of `_Rows`."""
        b, columns = self.b, self.columns
        whole, rest = b.udiv(self.rows, I64(GROUP)), b.urem(self.rows, I64(GROUP))

        def column() -> None:
            found = known()

            def group(i: Any, carried: list[Any]) -> list[Any]:
                first = b.mul(i, I64(GROUP))
                place = b.gep(self.x, [first])
                columns.fetch(place, i)
                loads = [partial(lambda row: row, row) for row in columns.square_of(place)]
                return step(_Group(columns, first, place, loads, I64(1)), lambda: carried, found)

            carried = looped(b, whole, [columns.held(pointer) for pointer in state], group)
            for value, pointer in zip(carried, state, strict=True):
                columns.store(value, pointer)
            with b.if_then(b.icmp_signed("!=", rest, I64(0))):
                first = b.mul(whole, I64(GROUP))
                place = b.gep(self.x, [first])
                last = _Group(columns, first, place, [partial(columns.across, place)], I64(1), b.sub(rest, I64(1)))
                for value, pointer in zip(step(last, lambda: carried, found), state, strict=True):
                    columns.store(value, pointer)

        columns.each(column)


class _Squares(Columns):
    """Columns that lie ``apart`` from one another in memory, while their partial results follow one another."""

    def __init__(self, b: Any, value: Any, n: Any, apart: Any) -> None:
        super().__init__(b, value, n)
        self.apart, self.size = apart, size_of(value)
        self.side = LANE_BYTES // self.size  # of a square; two of them fill a vector
        self.widths = [max(2 * self.side, GROUP)]

    def fetch(self, place: Any, i: Any) -> None:
        """Fetch what the next columns have at group i, which is at ``place`` in the first, into the second-level cache."""
        b = self.b
        if self.width == 1:
            return
        groups = LINE // (GROUP * self.size)  # in a cache line: each fetches some of the columns
        many = self.width // groups
        first = b.add(b.add(self.at, I64(self.width)), b.mul(b.urem(i, I64(groups)), I64(many)))
        for k in range(many):
            fetched(b, b.gep(place, [b.mul(b.add(first, I64(k)), self.apart)]))

    def across(self, place: Any) -> Any:
        """The elements of a row, one by one; in the first column it is at ``place``."""
        b = self.b
        values = [b.load(b.gep(place, [b.mul(b.add(self.at, I64(k)), self.apart)])) for k in range(self.width)]
        if self.width == 1:
            return values[0]
        row: Any = ir.Constant(ir.VectorType(place.type.pointee, self.width), ir.Undefined)
        for k, value in enumerate(values):
            row = b.insert_element(row, value, I32(k))
        return row

    def square_of(self, place: Any) -> list[Any]:
        """The rows of a group, the first of which is at ``place`` in the first column."""
        if self.width == 1:
            return [self.across(self.b.gep(place, [I64(j)])) for j in range(GROUP)]
        rows: list[Any] = []
        for j in range(0, GROUP, self.side):
            pieces = [self._pair(place, j, k) for k in range(0, self.width, 2 * self.side)]
            rows += [self._joined(row) for row in zip(*pieces, strict=True)]
        return rows

    def _pair(self, place: Any, j: int, k: int) -> list[Any]:
        """The rows of two squares side by side, from row j and column k on."""
        b, n = self.b, self.side
        lane = ir.VectorType(place.type.pointee, n)

        def column(k: int) -> Any:
            at = b.gep(place, [b.add(b.mul(b.add(self.at, I64(k)), self.apart), I64(j))])
            return b.load(b.bitcast(at, lane.as_pointer()), align=self.size)

        together = ir.Constant(ir.VectorType(I32, 2 * n), list(range(2 * n)))
        return interleaved([b.shuffle_vector(column(i), column(i + n), together) for i in range(k, k + n)], b)

    def _joined(self, pieces: Sequence[Any]) -> Any:
        row, *others = pieces
        for piece in others:
            both = ir.Constant(
                ir.VectorType(I32, row.type.count + piece.type.count), list(range(row.type.count + piece.type.count))
            )
            row = self.b.shuffle_vector(row, piece, both)
        return row


class _Group:
    """Up to GROUP rows at the columns: the number of the first, and what loads each.

    Of a smaller group at the end the first alone is in ``loads``, and ``more`` is how many follow it.
    """

    def __init__(
        self,
        columns: Columns,
        first: Any,
        place: Any,
        loads: Sequence[Callable[[], Any]],
        stride: Any,
        more: Any = None,
    ) -> None:
        self.columns, self.first, self.place, self.loads = columns, first, place, loads
        self.stride, self.more = stride, more

    def in_turn(self, start: Callable[[Any], list[Any]], step: Callable[[Any, Any, list[Any]], list[Any]]) -> list[Any]:
        """Carry values over the rows: ``start(row)``, then ``step(number, row, carried)``."""
        b, columns = self.columns.b, self.columns
        carried = start(self.loads[0]())
        for j, load in enumerate(self.loads[1:], 1):
            carried = step(I64(j), load(), carried)
        if self.more is not None:

            def one(i: Any, carried: list[Any]) -> list[Any]:
                j = b.add(i, I64(1))
                return step(j, columns.across(b.gep(self.place, [b.mul(j, self.stride)])), carried)

            carried = looped(b, self.more, carried, one)
        return carried

    def in_pairs(
        self, start: Callable[[Any, Any], list[Any]], step: Callable[[list[Any], list[Any]], list[Any]]
    ) -> list[Any]:
        """Combine what ``start(number, row)`` makes of a whole group's rows, neighbours with ``step(earlier, later)``.

        Where the order does not matter and a step takes several cycles, that is faster than one after another.
        """

        def some(low: int, high: int) -> list[Any]:
            if high - low == 1:
                return start(I64(low), self.loads[low]())
            middle = (low + high) // 2
            return step(some(low, middle), some(middle, high))

        return some(0, GROUP)


class _Reduction:
    """The intrinsics of a reduction with one partial result."""

    def __init__(self, op: str) -> None:
        self.op = op

    def fill(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, n = args
        dtype = signature.args[0].dtype
        value = context.get_data_type(dtype)
        columns = Columns(b, value, n)
        columns.each(lambda: columns.store(columns.every(identity(self.op, dtype, value)), a))
        return context.get_dummy_value()

    def rows(self, walk: Any, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, *given = args
        total = context.get_data_type(signature.args[0].dtype)
        signed = getattr(signature.args[1].dtype, "signed", False)
        rows = walk(b, *given)

        def step(group: _Group, old: Callable[[], list[Any]], _: Any) -> list[Any]:
            (new,) = group.in_turn(lambda row: [row], lambda _, row, c: [combined(b, self.op, signed, c[0], row)])
            return [combined(b, self.op, signed, old()[0], rows.columns.wide(new, total))]

        rows.take([a], lambda: None, step)
        return context.get_dummy_value()

    def join(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, other, n = args
        dtype = signature.args[0].dtype
        signed = getattr(dtype, "signed", False)
        columns = Columns(b, context.get_data_type(dtype), n)
        columns.each(lambda: columns.store(combined(b, self.op, signed, columns.held(a), columns.load(other)), a))
        return context.get_dummy_value()


class _Position:
    """The intrinsics of argmax and argmin."""

    def __init__(self, op: str) -> None:
        self.op = op

    def fill(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, c, n = args
        dtype = signature.args[0].dtype
        value, number = context.get_data_type(dtype), c.type.pointee
        columns = Columns(b, value, n)

        def column() -> None:
            columns.store(columns.every(identity(self.op, dtype, value)), a)
            columns.store(columns.every(number(0)), c)

        columns.each(column)
        return context.get_dummy_value()

    def rows(self, walk: Any, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, c, *given, start = args
        number = c.type.pointee
        signed = getattr(signature.args[2].dtype, "signed", False)
        rows = walk(b, *given)
        columns = rows.columns
        better = partial(self._better, b, signed)

        def step(group: _Group, old: Callable[[], list[Any]], _: Any) -> list[Any]:
            first = b.add(start, group.first)

            def placed(j: Any, row: Any) -> list[Any]:
                at = b.add(first, j)
                return [row, columns.every(b.trunc(at, number) if number.width < 64 else at)]

            carried = old()
            if is_float(carried[0]) and group.more is None:
                return better(carried, group.in_pairs(placed, better))
            return group.in_turn(
                lambda row: better(carried, placed(I64(0), row)),
                lambda j, row, carried: better(carried, placed(j, row)),
            )

        rows.take([a, c], lambda: None, step)
        return context.get_dummy_value()

    def join(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, c, other_a, other_c, n = args
        dtype = signature.args[0].dtype
        signed = getattr(dtype, "signed", False)
        columns = Columns(b, context.get_data_type(dtype), n)

        def column() -> None:
            mine, theirs = [columns.held(a), columns.held(c)], [columns.load(other_a), columns.load(other_c)]
            for result, pointer in zip(self._better(b, signed, mine, theirs), (a, c), strict=True):
                columns.store(result, pointer)

        columns.each(column)
        return context.get_dummy_value()

    def _better(self, b: Any, signed: bool, earlier: list[Any], later: list[Any]) -> list[Any]:
        """Of two partial results, each a number and its position: the earlier one, unless the later one wins."""
        wanted = wins(b, self.op, signed, later[0], earlier[0])
        return [b.select(wanted, y, x) for x, y in zip(earlier, later, strict=True)]


def _fill_m2(walk: Any, context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, x, stride, rows, n = args
    value = x.type.pointee
    columns = walk(b, x, stride, rows, n).columns
    count = b.sitofp(b.neg(rows), value)
    down = I64(1) if walk is _Turned else stride

    def column() -> None:
        group = _Group(columns, I64(0), x, [partial(columns.across, x)], down, b.sub(rows, I64(1)))
        (total,) = group.in_turn(lambda row: [row], lambda _, row, t: [b.fadd(t[0], row)])
        columns.store(b.fdiv(total, columns.every(count)), s)
        for pointer in (a, c):
            columns.store(columns.every(F64(0.0)), pointer)

    columns.each(column)
    return context.get_dummy_value()


def _deviations(b: Any, row: Any, minus: Any) -> list[Any]:
    """What m2 sums up: the deviations from the shift, which is given negated, and their squares.

    ``row + -s`` can be one instruction with the load of the row, and ``row - s`` cannot.
    """
    d = b.fadd(row, minus)
    return [d, b.fmul(d, d)]


def _sums(b: Any, old: list[Any], new: list[Any]) -> list[Any]:
    return [b.fadd(x, y) for x, y in zip(old, new, strict=True)]


def _rows_m2(walk: Any, context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, *given = args
    rows = walk(b, *given)
    columns = rows.columns

    def step(group: _Group, old: Callable[[], list[Any]], shift: Any) -> list[Any]:
        new = group.in_turn(
            lambda row: _deviations(b, row, shift), lambda _, row, c: _sums(b, c, _deviations(b, row, shift))
        )
        return _sums(b, old(), [columns.wide(x, F64) for x in new])

    rows.take([a, c], lambda: Columns.load(columns, s), step)
    return context.get_dummy_value()


#: The rows of a run that a folded lane takes, and the chains of them that are added on their own.
FOLDED_ROWS, CHAINS = RUN // FOLDED, LANES // FOLDED


def _folded_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, x, stride, rows, n = args
    value = x.type.pointee
    columns = Columns(b, value, n)

    def row(i: Any) -> Any:
        return columns.load(b.gep(x, [b.mul(i, stride)]))

    def chain_of_a_run(k: int, shift: Any) -> list[Any]:
        found = _deviations(b, row(I64(k)), shift)
        for i in range(k + CHAINS, FOLDED_ROWS, CHAINS):
            found = _sums(b, found, _deviations(b, row(I64(i)), shift))
        return found

    def chain(k: int, shift: Any) -> list[Any]:
        count = b.udiv(b.sub(b.add(rows, I64(CHAINS - 1)), I64(k)), I64(CHAINS))
        none = columns.every(value(0.0))
        return looped(
            b,
            count,
            [none, none],
            lambda i, old: _sums(b, old, _deviations(b, row(b.add(b.mul(i, I64(CHAINS)), I64(k))), shift)),
        )

    def taken(one: Callable[[int, Any], list[Any]]) -> None:
        def column() -> None:
            shift = columns.load(s)
            chains = [one(k, shift) for k in range(CHAINS)]
            while len(chains) > 1:
                half = len(chains) // 2
                chains = [_sums(b, low, high) for low, high in zip(chains[:half], chains[half:], strict=True)]
            for new, pointer in zip(chains[0], (a, c), strict=True):
                columns.store(b.fadd(columns.load(pointer), columns.wide(new, F64)), pointer)

        columns.each(column)

    with b.if_else(b.icmp_signed("==", rows, I64(FOLDED_ROWS))) as (whole, less):
        with whole:
            taken(chain_of_a_run)
        with less:
            taken(chain)
    return context.get_dummy_value()


def _shift_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    s, a, n, count = args
    columns = Columns(b, s.type.pointee, n)
    size = b.sitofp(b.neg(count), F64)
    columns.each(lambda: columns.store(columns.narrow(b.fdiv(columns.load(a), columns.every(size)), s.type.pointee), s))
    return context.get_dummy_value()


def _end_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, n, count = args
    columns = Columns(b, F64, n)
    size = b.uitofp(count, F64)

    def column() -> None:
        shift = b.fneg(columns.wide(columns.load(s), F64))
        results = moments(b, columns.load(a), columns.load(c), shift, columns.every(size))
        for result, pointer in zip(results, (a, c), strict=True):
            columns.store(result, pointer)

    columns.each(column)
    return context.get_dummy_value()


def _join_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, other_a, other_c, n, count, other_count = args
    columns = Columns(b, F64, n)
    size = b.uitofp(count, F64)
    share = b.fdiv(b.uitofp(other_count, F64), b.uitofp(b.add(count, other_count), F64))
    weight = b.fmul(size, share)

    def column() -> None:
        mean = columns.load(a)
        d = b.fsub(columns.load(other_a), mean)
        columns.store(b.fadd(mean, b.fmul(d, columns.every(share))), a)
        both = b.fadd(columns.load(c), columns.load(other_c))
        columns.store(b.fadd(both, b.fmul(b.fmul(d, d), columns.every(weight))), c)

    columns.each(column)
    return context.get_dummy_value()


NAMESPACE: dict[str, Any] = {}


def _define(name: str, numbers: str, codegen: Any) -> None:
    """An intrinsic whose arguments are pointers ("p") and int64 numbers ("n")."""

    def typer(typingctx: Any, *args: Any) -> Any:
        return types.void(*(a if kind == "p" else types.int64 for a, kind in zip(args, numbers, strict=True))), codegen

    typer.__name__ = name
    NAMESPACE[name] = intrinsic(typer)


#: By name, and the arguments that a walk takes.
_WALKS = {"rows": (_Rows, "pnnn"), "ahead": (_Ahead, "pnnnn"), "lanes": (_Lanes, "pnnn"), "turned": (_Turned, "pnnn")}

for _op in ("sum", "prod", "max", "min", "any", "all"):
    _r = _Reduction(_op)
    _define(f"fill_{_op}", "pn", _r.fill)
    for _name, (_walk, _given) in _WALKS.items():
        _define(f"{_name}_{_op}", f"p{_given}", partial(_r.rows, _walk))
    _define(f"join_{_op}", "ppn", _r.join)
for _op in ("argmax", "argmin"):
    _p = _Position(_op)
    _define(f"fill_{_op}", "ppn", _p.fill)
    for _name, (_walk, _given) in _WALKS.items():
        _define(f"{_name}_{_op}", f"pp{_given}n", partial(_p.rows, _walk))
    _define(f"join_{_op}", "ppppn", _p.join)
_define("fill_m2", "ppppnnn", partial(_fill_m2, _Rows))
_define("turned_fill_m2", "ppppnnn", partial(_fill_m2, _Turned))
for _name, (_walk, _given) in _WALKS.items():
    _define(f"{_name}_m2", f"ppp{_given}", partial(_rows_m2, _walk))
_define("folded_m2", "ppppnnn", _folded_m2)
_define("shift_m2", "ppnn", _shift_m2)
_define("end_m2", "pppnn", _end_m2)
_define("join_m2", "ppppnnn", _join_m2)
