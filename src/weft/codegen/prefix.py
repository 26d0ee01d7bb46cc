"""Running results of contiguous elements: the fixed order that `weft.ir.kernel.Kernel` describes, as explicit LLVM vectors.

For each ``op`` (sum, prod) there are, to be called from generated source, for elements of a block that follow one another::

    total_op(x, n, own)                         the block's result so far, given what it was before these n elements
    scan_op(to, x, n, before, own, stream)      the same; the running results, of the whole row, go to ``to``

and for rows of elements, which lie ``stride`` and ``to_stride`` elements apart and begin with the first one of the scan::

    scan_rows_op(c, to, to_stride, x, stride, rows, n, stream)      ``c``: what the columns gave before

``own`` and the result have the type that the scan runs in, as has ``before``, what the blocks before gave. Whole groups but in
the last call of a block. ``total_back_op`` and ``scan_back_op`` begin with the last of the n elements. With ``stream``, whole
cache lines are written past the caches; a ``fence()`` must follow.

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.columns import Columns
from weft.codegen.lanes import I32, I64, combined, looped, size_of, splat_value
from weft.codegen.types import as_bit, declared, intrinsic
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

    def _in_order(self, of_memory: list[Any]) -> list[Any]:
        """Vectors in the order of the scan, given in that of memory; or the other way round."""
        return of_memory[::-1] if self.back else of_memory

    def _each(
        self,
        b: Any,
        source: Any,
        n: Any,
        own: Any,
        take: Callable[[Any, list[Any], Any], None],
        end: Callable[[Any, list[Any], Any, Any], None],
    ) -> Any:
        """Go through the groups: ``take(position, results, own)`` gets running results and what the block gave before them.

        ``end`` does the same with a smaller group at the end, for which there are fewer vectors, and is given the lanes in use
        too, as booleans. Results are in the order of memory, the value is the block's result.
        """
        value, wide = source.type.pointee, own.type
        whole, rest = b.udiv(n, I64(self.size)), b.urem(n, I64(self.size))

        def scanned(vectors: list[Any]) -> tuple[list[Any], Any]:
            widened = [x if value == wide else b.fpext(x, ir.VectorType(wide, QUAD)) for x in vectors]
            results, total = self._group(b, self._in_order(widened))
            return self._in_order(results), total

        def group(g: Any, carried: list[Any]) -> list[Any]:
            at = b.mul(g, I64(self.size))
            if self.back:
                at = b.sub(b.sub(n, at), I64(self.size))
            results, total = scanned([self._load(b, source, b.add(at, I64(k))) for k in range(0, self.size, QUAD)])
            take(at, results, carried[0])
            return [self._combined(b, carried[0], total)]

        (final,) = looped(b, whole, [splat_value(b, own, QUAD)], group)
        with b.goto_entry_block():
            result = b.alloca(wide)
        b.store(b.extract_element(final, I32(0)), result)

        def last(count: int) -> None:
            """At most ``count`` vectors are left, and more than half of that."""
            width = count * QUAD
            at = b.sub(rest, I64(width)) if self.back else b.sub(n, rest)
            first = b.sub(I64(width), rest) if self.back else None
            lanes = ir.Constant(ir.VectorType(I64, QUAD), list(range(QUAD)))
            masks = []
            for k in range(0, width, QUAD):
                numbers = b.add(lanes, splat_value(b, I64(k), QUAD))
                if first is not None:
                    masks.append(b.icmp_signed(">=", numbers, splat_value(b, first, QUAD)))
                else:
                    masks.append(b.icmp_signed("<", numbers, splat_value(b, rest, QUAD)))
            none = splat_value(b, identity(self.op, value), QUAD)
            vectors = [
                masked_load(b, b.gep(source, [b.add(at, I64(k * QUAD))]), mask, none) for k, mask in enumerate(masks)
            ]
            results, total = scanned(vectors)
            end(at, results, final, masks)
            b.store(b.extract_element(self._combined(b, final, total), I32(0)), result)

        def tail(count: int) -> None:
            if count == 1:
                last(1)
                return
            with b.if_else(b.icmp_signed("<=", rest, I64(count // 2 * QUAD))) as (fewer, more):
                with fewer:
                    tail(count // 2)
                with more:
                    last(count)

        with b.if_then(b.icmp_signed("!=", rest, I64(0))):
            tail(self.size // QUAD)
        return b.load(result)

    def _load(self, b: Any, source: Any, at: Any) -> Any:
        x = b.load(vector_at(b, source, at))
        x.align = size_of(source.type.pointee)
        return x

    def total(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        source, n, own = args
        return self._each(b, source, n, own, lambda *_: None, lambda *_: None)

    def scan(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        to, source, n, before, own, stream = args
        value = to.type.pointee
        size = size_of(value)
        everywhere = splat_value(b, before, QUAD)
        ends = b.ptrtoint(b.gep(to, [n]) if self.back else to, I64)
        lines = b.icmp_signed("==", b.and_(ends, I64(LINE_BYTES - 1)), I64(0))
        stream = b.and_(lines, as_bit(b, stream))

        def finished(results: list[Any], mine: Any) -> list[Any]:
            wide = [self._combined(b, everywhere, self._combined(b, mine, x)) for x in results]
            return [x if x.type.element == value else b.fptrunc(x, ir.VectorType(value, QUAD)) for x in wide]

        def take(at: Any, results: list[Any], mine: Any) -> None:
            values = finished(results, mine)
            pointers = [vector_at(b, to, b.add(at, I64(k * QUAD))) for k in range(len(values))]
            with b.if_else(stream) as (past, through):
                with past:
                    hint = b.module.add_metadata([I32(1)])
                    for x, pointer in zip(values, pointers, strict=True):
                        b.store(x, pointer, align=QUAD * size).set_metadata("nontemporal", hint)
                with through:
                    for x, pointer in zip(values, pointers, strict=True):
                        b.store(x, pointer, align=size)

        def end(at: Any, results: list[Any], mine: Any, masks: Any) -> None:
            for k, (x, mask) in enumerate(zip(finished(results, mine), masks, strict=True)):
                used = [b.extract_element(mask, I32(lane)) for lane in range(QUAD)]
                position = b.add(at, I64(k * QUAD))
                with b.if_else(b.and_(used[0], used[-1])) as (all_, some):
                    with all_:
                        b.store(x, vector_at(b, to, position), align=size)
                    with some:
                        for lane in range(QUAD):
                            with b.if_then(used[lane]):
                                b.store(b.extract_element(x, I32(lane)), b.gep(to, [b.add(position, I64(lane))]))

        return self._each(b, source, n, own, take, end)

    def rows(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        carried, to, to_stride, source, stride, rows, n, stream = args
        value, wide = to.type.pointee, carried.type.pointee
        columns = Columns(b, value, n)
        ends = b.or_(b.ptrtoint(to, I64), b.mul(to_stride, I64(size_of(value))))
        lines = b.icmp_signed("==", b.and_(ends, I64(LINE_BYTES - 1)), I64(0))
        stream = b.and_(lines, as_bit(b, stream))
        whole = b.udiv(rows, I64(GROUP))

        def take(first: Any, count: int) -> None:
            """Some rows from ``first`` on, column by column."""

            def column() -> None:
                own = columns.load(carried)
                for k in range(count):
                    row = b.add(first, I64(k))
                    x = columns.load(b.gep(source, [b.mul(row, stride)]))
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


def vector_at(b: Any, pointer: Any, at: Any) -> Any:
    """The vector that begins at an element, as a pointer."""
    return b.bitcast(b.gep(pointer, [at]), ir.VectorType(pointer.type.pointee, QUAD).as_pointer())


def masked_load(b: Any, pointer: Any, mask: Any, others: Any) -> Any:
    """The elements at a pointer in the lanes of a mask; the other lanes, of ``others``, may have no memory."""
    value, vector = pointer.type.pointee, others.type
    size = size_of(value)
    number = {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(value), f"i{8 * size}")
    kind = ir.FunctionType(vector, [vector.as_pointer(), I32, mask.type, vector])
    load = declared(b.module, kind, f"llvm.masked.load.v{QUAD}{number}.p0")
    return b.call(load, [vector_at(b, pointer, I64(0)), I32(size), mask, others])


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
