"""Reductions of rows into columns: the "outer" order of `weft.ir.kernel.Kernel`, as explicit LLVM vectors along the columns.

``x`` is the first element of the first of ``rows`` rows, which lie ``stride`` elements apart and have ``n`` elements. There
is a partial result for each column, in arrays ``a`` and, where a reduction has two, ``c``; to be called from generated source::

    fill_op(a, n)                               no rows so far
    rows_op(a, x, stride, rows, n)              take rows, of which the first begins a group
    join_op(a, other, n)                        take the partial results of a later block

    fill_argmax(a, c, n)
    rows_argmax(a, c, x, stride, rows, n, first)      c: positions, counted from ``first``, that of the first row
    join_argmax(a, c, other_a, other_c, n)

    fill_m2(a, c, s, x, stride, rows, n)        the shifts s, of these rows, at most a group
    rows_m2(a, c, s, x, stride, rows, n)        a: sums of deviations from s, c: of their squares
    end_m2(a, c, s, n, count)                   from then on a: means, c: m2, of ``count`` rows
    join_m2(a, c, other_a, other_c, n, count, other_count)

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.lanes import (
    F64,
    I64,
    combined,
    frozen,
    identity,
    looped,
    moments,
    size_of,
    splat_value,
    widened,
    wins,
)
from weft.codegen.types import declared, intrinsic
from weft.ir.kernel import GROUP

I32 = ir.IntType(32)
BYTES = ir.IntType(8).as_pointer()


#: Widths of the vectors in bytes: a cache line, so that rows whose distance is a multiple of the cache's size, which compete
#: for the same few places in it, need not come twice; and what is left of the columns by halves.
LINE = 64
WIDTHS = (LINE, LINE // 2)


class Columns:
    """Writes a loop over the columns, a wide vector at a time, then narrower ones, and the last few one by one."""

    def __init__(self, b: Any, value: Any, n: Any) -> None:
        self.b, self.n = b, n
        self.widths = [lanes for size in WIDTHS if (lanes := size // size_of(value)) > 1]
        self.at: Any = None
        self.width = 1

    def each(self, write: Callable[[], None], following: Any = None, stride: Any = None) -> None:
        """Call ``write`` for vectors of columns, and for a single one.

        Meanwhile a group of rows that begins at ``following``, if given, is fetched into the second-level cache.
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
                return self._fetched(place, stride, visits) if place else []

            looped(b, count, [following, visits] if fetching else [], some)
            done = b.add(done, b.mul(count, I64(width)))

    def _fetched(self, place: list[Any], stride: Any, visits: Any) -> list[Any]:
        """Fetch as many cache lines as a group has rows, from a place on: where, and how many more visits fetch this row.

        That is the order in which rows lie in memory, which is faster than the same columns of all rows. The place after them.
        """
        line, left = place
        b, size = self.b, self.width * GROUP
        kind = ir.FunctionType(ir.VoidType(), [BYTES, I32, I32, I32])
        prefetch = declared(b.module, kind, "llvm.prefetch.p0")
        for k in range(0, size, self.width):
            at = b.bitcast(b.gep(line, [I64(k)]), BYTES)
            b.call(prefetch, [at, I32(0), I32(2), I32(1)])  # to read, into the second-level cache, data
        left = b.sub(left, I64(1))
        over = b.icmp_signed("==", left, I64(0))
        to_next = b.add(b.sub(stride, b.mul(visits, I64(size))), I64(size))
        return [b.gep(line, [b.select(over, to_next, I64(size))]), b.select(over, visits, left)]

    def load(self, pointer: Any) -> Any:
        """The elements at the columns of the array or row that begins at ``pointer``."""
        value = self.b.load(self._at(pointer))
        value.align = size_of(pointer.type.pointee)
        return value

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


def _groups(b: Any, x: Any, stride: Any, rows: Any, write: Callable[[Any, Sequence[Any], Any], None]) -> None:
    """``write(first, pointers, more)`` for each group: the number of its first row, and where its rows begin.

    ``more`` is None for a whole group. For a smaller one at the end there is one pointer, and more is how many rows follow it.
    """
    whole = b.udiv(rows, I64(GROUP))

    def group(i: Any, _: list[Any]) -> list[Any]:
        first = b.mul(i, I64(GROUP))
        write(first, [b.gep(x, [b.mul(b.add(first, I64(j)), stride)]) for j in range(GROUP)], None)
        return []

    looped(b, whole, [], group)
    rest = b.urem(rows, I64(GROUP))
    with b.if_then(b.icmp_signed("!=", rest, I64(0))):
        first = b.mul(whole, I64(GROUP))
        write(first, [b.gep(x, [b.mul(first, stride)])], b.sub(rest, I64(1)))


def _following(b: Any, pointers: Sequence[Any], stride: Any, more: Any) -> Any:
    """Where the next group begins; None after a smaller one, which is the last."""
    return b.gep(pointers[0], [b.mul(stride, I64(GROUP))]) if more is None else None


def _in_turn(
    b: Any,
    pointers: Sequence[Any],
    more: Any,
    stride: Any,
    start: list[Any],
    step: Callable[[Any, Any, list[Any]], Any],
) -> list[Any]:
    """Carry values over the rows of a group but its first: ``step(number, pointer, carried)``."""
    carried = start
    for j, pointer in enumerate(pointers[1:], 1):
        carried = step(I64(j), pointer, carried)
    if more is not None:

        def one(i: Any, carried: list[Any]) -> list[Any]:
            j = b.add(i, I64(1))
            return list(step(j, b.gep(pointers[0], [b.mul(j, stride)]), carried))

        carried = looped(b, more, carried, one)
    return carried


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

    def rows(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, x, stride, rows, n = args
        dtype = signature.args[1].dtype
        partial = context.get_data_type(signature.args[0].dtype)
        signed = getattr(dtype, "signed", False)
        columns = Columns(b, context.get_data_type(dtype), n)

        def group(_: Any, pointers: Sequence[Any], more: Any) -> None:
            def column() -> None:
                (total,) = _in_turn(
                    b,
                    pointers,
                    more,
                    stride,
                    [columns.load(pointers[0])],
                    lambda _, at, c: [combined(b, self.op, signed, c[0], columns.load(at))],
                )
                total = columns.wide(total, partial)
                columns.store(combined(b, self.op, signed, columns.held(a), total), a)

            columns.each(column, _following(b, pointers, stride, more), stride)

        _groups(b, x, stride, rows, group)
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

    def rows(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, c, x, stride, rows, n, start = args
        dtype = signature.args[2].dtype
        number = c.type.pointee
        signed = getattr(dtype, "signed", False)
        columns = Columns(b, context.get_data_type(dtype), n)

        def group(first: Any, pointers: Sequence[Any], more: Any) -> None:
            first = b.add(start, first)

            def column() -> None:
                def step(j: Any, at: Any, carried: list[Any]) -> list[Any]:
                    e = columns.load(at)
                    better = wins(b, self.op, signed, e, carried[0])
                    at = b.add(first, j)
                    at = columns.every(b.trunc(at, number) if number.width < 64 else at)
                    return [b.select(better, e, carried[0]), b.select(better, at, carried[1])]

                carried = step(I64(0), pointers[0], [columns.held(a), columns.held(c)])
                for value, pointer in zip(_in_turn(b, pointers, more, stride, carried, step), (a, c), strict=True):
                    columns.store(value, pointer)

            columns.each(column, _following(b, pointers, stride, more), stride)

        _groups(b, x, stride, rows, group)
        return context.get_dummy_value()

    def join(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, c, other_a, other_c, n = args
        dtype = signature.args[0].dtype
        signed = getattr(dtype, "signed", False)
        columns = Columns(b, context.get_data_type(dtype), n)

        def column() -> None:
            mine, theirs = columns.held(a), columns.load(other_a)
            better = wins(b, self.op, signed, theirs, mine)
            columns.store(b.select(better, theirs, mine), a)
            columns.store(b.select(better, columns.load(other_c), columns.held(c)), c)

        columns.each(column)
        return context.get_dummy_value()


def _fill_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, x, stride, rows, n = args
    value = x.type.pointee
    columns = Columns(b, value, n)
    count = b.uitofp(rows, value)

    def column() -> None:
        (total,) = looped(
            b,
            b.sub(rows, I64(1)),
            [columns.load(x)],
            lambda i, t: [b.fadd(t[0], columns.load(b.gep(x, [b.mul(b.add(i, I64(1)), stride)])))],
        )
        columns.store(b.fdiv(total, columns.every(count)), s)
        for pointer in (a, c):
            columns.store(columns.every(F64(0.0)), pointer)

    columns.each(column)
    return context.get_dummy_value()


def _rows_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, x, stride, rows, n = args
    columns = Columns(b, x.type.pointee, n)

    def group(_: Any, pointers: Sequence[Any], more: Any) -> None:
        def column() -> None:
            shift = columns.load(s)

            def terms(at: Any) -> tuple[Any, Any]:
                d = b.fsub(columns.load(at), shift)
                return d, b.fmul(d, d)

            sums = _in_turn(
                b,
                pointers,
                more,
                stride,
                list(terms(pointers[0])),
                lambda _, at, old: [b.fadd(t, e) for t, e in zip(old, terms(at), strict=True)],
            )
            for total, pointer in zip(sums, (a, c), strict=True):
                columns.store(b.fadd(columns.load(pointer), columns.wide(total, F64)), pointer)

        columns.each(column, _following(b, pointers, stride, more), stride)

    _groups(b, x, stride, rows, group)
    return context.get_dummy_value()


def _end_m2(context: Any, b: Any, signature: Any, args: Any) -> Any:
    a, c, s, n, count = args
    columns = Columns(b, F64, n)
    size = b.uitofp(count, F64)

    def column() -> None:
        shift = columns.wide(columns.load(s), F64)
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


for _op in ("sum", "prod", "max", "min", "any", "all"):
    _r = _Reduction(_op)
    _define(f"fill_{_op}", "pn", _r.fill)
    _define(f"rows_{_op}", "ppnnn", _r.rows)
    _define(f"join_{_op}", "ppn", _r.join)
for _op in ("argmax", "argmin"):
    _p = _Position(_op)
    _define(f"fill_{_op}", "ppn", _p.fill)
    _define(f"rows_{_op}", "pppnnnn", _p.rows)
    _define(f"join_{_op}", "ppppn", _p.join)
_define("fill_m2", "ppppnnn", _fill_m2)
_define("rows_m2", "ppppnnn", _rows_m2)
_define("end_m2", "pppnn", _end_m2)
_define("join_m2", "ppppnnn", _join_m2)
