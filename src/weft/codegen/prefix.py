"""Running results of contiguous elements: the fixed order that `weft.ir.kernel.Kernel` describes, as explicit LLVM vectors.

For each ``op`` (sum, prod) there are, to be called from generated source, for elements of a block that follow one another::

    total_op(x, n, own)                         the block's result so far, given what it was before these n elements
    scan_op(to, x, n, before, own, stream)      the same; the running results, of the whole row, go to ``to``

and for rows of elements, which lie ``stride`` and ``to_stride`` elements apart and begin with the first one of the scan::

    scan_rows_op(c, to, to_stride, x, stride, rows, n, stream)      ``c``: what the columns gave before

``own`` and the result have the type that the scan runs in, as has ``before``, what the blocks before gave. Whole groups but in
the last call of a block. ``total_back_op`` and ``scan_back_op`` begin with the last of the n elements. With ``stream``, whole
cache lines are written past the caches; a ``fence()`` must follow.

Imports numba: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from weft.codegen.columns import Columns
from weft.codegen.lanes import I32, I64, combined, looped, size_of, splat_value
from weft.ir.kernel import GROUP, SCAN_GROUP

#: Elements of a vector: four float64 are one of AVX2's.
QUAD = 4
LINE_BYTES = 64


def identity(op: str, value: Any) -> Any:
    """The LLVM constant that changes no number it is combined with: a sum begins with -0.0, for 0.0 would take it to 0.0."""
    if op == "prod":
        return value(1)
    return value(-0.0 if isinstance(value, ir.FloatType | ir.DoubleType) else 0)


class _Scan:
    """The intrinsics of one op in one direction."""

    def __init__(self, op: str, back: bool) -> None:
        self.op, self.back, self.size = op, back, SCAN_GROUP[op]

    def _combined(self, b: Any, x: Any, y: Any) -> Any:
        return combined(b, self.op, False, x, y)

    def _mask(self, mask: Sequence[int]) -> Any:
        """A shuffle's constant, from lanes as the scan meets them: those of a vector, then QUAD for the identity."""
        if self.back:
            mask = [QUAD if k == QUAD else QUAD - 1 - k for k in reversed(mask)]
        return ir.Constant(ir.VectorType(I32, QUAD), list(mask))

    def _group(self, b: Any, quads: list[Any]) -> tuple[list[Any], Any]:
        """The running results of a group, given in the order of the scan, and the last of them in every lane."""
        none = splat_value(b, identity(self.op, quads[0].type.element), QUAD)
        for mask in ((QUAD, 0, QUAD, 2), (QUAD, QUAD, 1, 1)):
            quads = [self._combined(b, b.shuffle_vector(q, none, self._mask(mask)), q) for q in quads]
        last = self._mask((QUAD - 1,) * QUAD)
        half = 1
        while half < len(quads):
            for right in range(half, len(quads), 2 * half):
                left = b.shuffle_vector(quads[right - 1], none, last)
                for k in range(right, right + half):
                    quads[k] = self._combined(b, left, quads[k])
            half *= 2
        return quads, b.shuffle_vector(quads[-1], none, last)

    def _pointers(self, b: Any, pointer: Any) -> list[Any]:
        """The vectors of a group, in the order of the scan."""
        vector = ir.VectorType(pointer.type.pointee, QUAD).as_pointer()
        found = [b.bitcast(b.gep(pointer, [I64(k)]), vector) for k in range(0, self.size, QUAD)]
        return found[::-1] if self.back else found

    def _each(self, b: Any, source: Any, n: Any, own: Any, take: Callable[[Any, Any, Any, Any], None]) -> Any:
        """Go through the groups; ``take(number, results, own, tail)`` gets their running results and the block's before them.

        What is missing in a smaller group, the ``tail``, is the identity. The value is the block's result.
        """
        value, wide = source.type.pointee, own.type
        whole, rest = b.udiv(n, I64(self.size)), b.urem(n, I64(self.size))
        groups = b.add(whole, b.zext(b.icmp_signed("!=", rest, I64(0)), I64))
        tail = entry_array(b, value)
        carried = splat_value(b, own, QUAD)

        def group(g: Any, carried: list[Any]) -> list[Any]:
            smaller = b.icmp_signed("==", g, whole)
            with b.if_then(smaller, likely=False):
                self._copied(b, tail, source, rest, n, identity(self.op, value))
            at = b.select(smaller, tail, b.gep(source, [self.start(b, g, n)]))
            quads = []
            for pointer in self._pointers(b, at):
                x = b.load(pointer)
                x.align = size_of(value)
                quads.append(x if value == wide else b.fpext(x, ir.VectorType(wide, QUAD)))
            results, total = self._group(b, quads)
            take(g, results, carried[0], smaller)
            return [self._combined(b, carried[0], total)]

        (final,) = looped(b, groups, [carried], group)
        return b.extract_element(final, I32(0))

    def start(self, b: Any, g: Any, n: Any) -> Any:
        """Where group g of n elements begins in memory."""
        if self.back:
            return b.sub(n, b.mul(b.add(g, I64(1)), I64(self.size)))
        return b.mul(g, I64(self.size))

    def first_of_rest(self, b: Any, rest: Any, n: Any) -> tuple[Any, Any]:
        """Where the last, smaller group begins in memory, and in an array for a whole one."""
        if self.back:
            return I64(0), b.sub(I64(self.size), rest)
        return b.sub(n, rest), I64(0)

    def _copied(self, b: Any, array: Any, source: Any, rest: Any, n: Any, none: Any) -> None:
        """A smaller group in an array, filled up with the identity."""
        for k in range(self.size):
            b.store(none, b.gep(array, [I64(k)]))
        there, here = self.first_of_rest(b, rest, n)

        def one(i: Any, _: list[Any]) -> list[Any]:
            b.store(b.load(b.gep(source, [b.add(there, i)])), b.gep(array, [b.add(here, i)]))
            return []

        looped(b, rest, [], one)

    def total(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        source, n, own = args
        return self._each(b, source, n, own, lambda *_: None)

    def scan(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        to, source, n, before, own, stream = args
        value = to.type.pointee
        size = size_of(value)
        rest = b.urem(n, I64(self.size))
        out = entry_array(b, value)
        everywhere = splat_value(b, before, QUAD)
        first = b.ptrtoint(b.gep(to, [self.start(b, I64(0), n)]), I64)
        lines = b.icmp_signed("==", b.and_(first, I64(LINE_BYTES - 1)), I64(0))
        stream = b.and_(lines, cgutils.as_bool_bit(b, stream))

        def take(g: Any, results: list[Any], mine: Any, smaller: Any) -> None:
            values = []
            for x in results:
                x = self._combined(b, everywhere, self._combined(b, mine, x))
                values.append(x if x.type.element == value else b.fptrunc(x, ir.VectorType(value, QUAD)))
            at = b.select(smaller, out, b.gep(to, [self.start(b, g, n)]))
            with b.if_else(b.and_(stream, b.not_(smaller))) as (past, through):
                with past:
                    hint = b.module.add_metadata([I32(1)])
                    for x, pointer in zip(values, self._pointers(b, at), strict=True):
                        b.store(x, pointer, align=QUAD * size).set_metadata("nontemporal", hint)
                with through:
                    for x, pointer in zip(values, self._pointers(b, at), strict=True):
                        b.store(x, pointer, align=size)
            with b.if_then(smaller, likely=False):
                there, here = self.first_of_rest(b, rest, n)

                def one(i: Any, _: list[Any]) -> list[Any]:
                    b.store(b.load(b.gep(out, [b.add(here, i)])), b.gep(to, [b.add(there, i)]))
                    return []

                looped(b, rest, [], one)

        return self._each(b, source, n, own, take)

    def rows(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        carried, to, to_stride, source, stride, rows, n, stream = args
        value, wide = to.type.pointee, carried.type.pointee
        columns = Columns(b, value, n)
        ends = b.or_(b.ptrtoint(to, I64), b.mul(to_stride, I64(size_of(value))))
        lines = b.icmp_signed("==", b.and_(ends, I64(LINE_BYTES - 1)), I64(0))
        stream = b.and_(lines, cgutils.as_bool_bit(b, stream))
        whole = b.udiv(rows, I64(GROUP))

        def take(first: Any, count: int) -> None:
            """Some rows from ``first`` on, column by column."""

            def column() -> None:
                own = columns.load(carried)
                for k in range(count):
                    row = b.add(first, I64(k))
                    x = columns.load(b.gep(source, [b.mul(row, stride)]), b.mul(stride, I64(GROUP)))
                    own = self._combined(b, own, columns.wide(x, wide))
                    columns.store(columns.narrow(own, value), b.gep(to, [b.mul(row, to_stride)]), stream)
                columns.store(own, carried)

            columns.each(column)

        def group(i: Any, _: list[Any]) -> list[Any]:
            take(b.mul(i, I64(GROUP)), GROUP)
            return []

        def single(i: Any, _: list[Any]) -> list[Any]:
            take(b.add(b.mul(whole, I64(GROUP)), i), 1)
            return []

        looped(b, whole, [], group)
        looped(b, b.urem(rows, I64(GROUP)), [], single)
        return context.get_dummy_value()


def entry_array(b: Any, value: Any) -> Any:
    """A pointer to an array for a group in the function's frame."""
    with b.goto_entry_block():
        array = b.alloca(ir.ArrayType(value, max(SCAN_GROUP.values())))
    array.align = LINE_BYTES
    return b.bitcast(array, value.as_pointer())


def _intrinsics(op: str, back: bool) -> dict[str, Any]:
    s = _Scan(op, back)

    def total(typingctx: Any, x: Any, n: Any, own: Any) -> Any:
        return own(x, types.int64, own), s.total

    def scan(typingctx: Any, to: Any, x: Any, n: Any, before: Any, own: Any, stream: Any) -> Any:
        return own(to, x, types.int64, own, own, types.boolean), s.scan

    def rows(typingctx: Any, c: Any, to: Any, step: Any, x: Any, stride: Any, rows: Any, n: Any, stream: Any) -> Any:
        size = types.int64
        return types.void(c, to, size, x, size, size, size, types.boolean), s.rows

    rows.__name__ = "scan_rows"
    found: dict[str, Any] = {}
    functions: list[Any] = [total, scan, *([] if back else [rows])]
    for function in functions:
        function.__name__ = f"{function.__name__}_{'back_' if back else ''}{op}"
        found[function.__name__] = intrinsic(function)
    return found


NAMESPACE: dict[str, Any] = {}
for _op in ("sum", "prod"):
    for _back in (False, True):
        NAMESPACE.update(_intrinsics(_op, _back))
