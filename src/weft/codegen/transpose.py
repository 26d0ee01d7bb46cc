"""Tiles of strided operands: the intrinsics that copy one to a stack array and write its rows out.

A transposed tile goes through vector registers: a square of as many elements as a 128-bit lane has is transposed by
interleaving pairs of its rows, as often as halving takes to reach one; two squares, side by side, fill a 256-bit
vector. In a tile of full height the operand's contiguous pieces are first copied to the stage, a few at a time, so that
each cache line is asked for once, even where the strides let all of them compete for one place in the cache.

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.types import as_bit, counting, intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
LANE_BYTES = 16
LINE_BYTES = 64


def interleaved(rows: Sequence[Any], builder: Any) -> list[Any]:
    """The rows of lanes with as many elements as there are rows, transposed lane by lane."""
    n = len(rows)
    width = rows[0].type.count
    masks = []
    for half in (0, n // 2):
        pairs = [(k, width + k) for lane in range(0, width, n) for k in range(lane + half, lane + half + n // 2)]
        masks.append(ir.Constant(ir.VectorType(I32, width), [k for pair in pairs for k in pair]))
    for _ in range(n.bit_length() - 1):
        pairs_of_rows = zip(rows[: n // 2], rows[n // 2 :], strict=True)
        rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs_of_rows for mask in masks]
    return list(rows)


class _Gather:
    """The body of the function ``(to, pitch, source, down, right, rows, columns)``: element (i, j), at
    ``source[i * down + j * right]``, goes to ``to[i * pitch + j]``. ``side`` is the height of a full tile."""

    def __init__(self, function: Any, element: Any, size: int, side: int) -> None:
        self.to, self.pitch, self.source, self.down, self.right, self.rows, self.columns = function.args
        self.builder = b = ir.IRBuilder(function.append_basic_block())
        self.square = LANE_BYTES // size
        self.lane = ir.VectorType(element, self.square)
        self.both = ir.VectorType(element, 2 * self.square)
        self.size, self.side = size, side
        stage = b.alloca(ir.ArrayType(element, 2 * self.square * side))
        stage.align = LINE_BYTES
        self.stage = b.bitcast(stage, element.as_pointer())
        straight = b.icmp_signed("==", self.down, I64(1))  # whether the elements of a column are contiguous
        down = b.select(straight, b.and_(self.rows, I64(-self.square)), I64(0))
        right = b.select(straight, b.and_(self.columns, I64(-2 * self.square)), I64(0))
        with self._loop(I64(0), down, side) as top:
            left = b.sub(down, top)
            full = b.icmp_signed(">=", left, I64(side))
            with self._loop(I64(0), right, 2 * self.square) as j:
                piece = self._from(top, j)
                with b.if_then(full), self._loop(I64(0), I64(2 * self.square), 1) as k:
                    column = vectors(b, self._from(top, b.add(j, k)), side)
                    for at, value in zip(
                        vectors(b, b.gep(self.stage, [b.mul(k, I64(side))]), side),
                        [b.load(v, align=size) for v in column],
                        strict=True,
                    ):
                        b.store(value, at, align=2 * LANE_BYTES)
                piece = b.select(full, self.stage, piece)
                pitch = b.select(full, I64(side), self.right)
                with self._loop(I64(0), b.select(full, I64(side), left), self.square) as i:
                    self._squares(b.gep(piece, [i]), pitch, self._at(b.add(top, i), j))
        # what is left: a strip below, then a strip at the right
        with self._loop(I64(0), I64(2), 1) as strip:
            below = b.icmp_signed("==", strip, I64(0))
            self._each(
                b.select(below, down, I64(0)),
                self.rows,
                b.select(below, I64(0), right),
                b.select(below, right, self.columns),
            )
        b.ret_void()

    def _loop(self, start: Any, stop: Any, step: int) -> AbstractContextManager[Any]:
        return counting(self.builder, start, stop, I64(step))

    def _from(self, i: Any, j: Any) -> Any:
        b = self.builder
        return b.gep(self.source, [b.add(b.mul(i, self.down), b.mul(j, self.right))])

    def _at(self, i: Any, j: Any) -> Any:
        return self.builder.gep(self.to, [self.builder.add(self.builder.mul(i, self.pitch), j)])

    def _squares(self, source: Any, pitch: Any, to: Any) -> None:
        """Transpose two squares, whose columns begin ``pitch`` apart; side by side, they go to ``to``."""
        b, n = self.builder, self.square

        def column(k: int) -> Any:
            pointer = b.gep(source, [b.mul(pitch, I64(k))])
            return b.load(b.bitcast(pointer, self.lane.as_pointer()), align=self.size)

        together = ir.Constant(ir.VectorType(I32, 2 * n), list(range(2 * n)))
        columns = [b.shuffle_vector(column(k), column(k + n), together) for k in range(n)]
        for k, row in enumerate(interleaved(columns, b)):
            pointer = b.gep(to, [b.mul(self.pitch, I64(k))])
            b.store(row, b.bitcast(pointer, self.both.as_pointer()), align=self.size)

    def _each(self, top: Any, bottom: Any, left: Any, right: Any) -> None:
        """The elements of a rectangle one by one, the longer side in the inner loop."""
        b = self.builder
        height, width = b.sub(bottom, top), b.sub(right, left)
        tall = b.icmp_signed(">", height, width)

        def chosen(down: Any, across: Any) -> tuple[Any, Any]:
            """What belongs to the outer and to the inner loop."""
            return b.select(tall, across, down), b.select(tall, down, across)

        (outer, inner), (source, step), (to, pace) = (
            chosen(*pair) for pair in ((height, width), (self.down, self.right), (self.pitch, I64(1)))
        )
        first, target = self._from(top, left), self._at(top, left)
        with self._loop(I64(0), outer, 1) as i, self._loop(I64(0), inner, 1) as j:
            value = b.load(b.gep(first, [b.add(b.mul(i, source), b.mul(j, step))]))
            b.store(value, b.gep(target, [b.add(b.mul(i, to), b.mul(j, pace))]))


def vectors(b: Any, pointer: Any, count: int) -> list[Any]:
    """Pointers to the 256-bit vectors of ``count`` elements."""
    element = pointer.type.pointee
    size = element.width // 8 if isinstance(element, ir.IntType) else {"float": 4, "double": 8}[str(element)]
    vector = ir.VectorType(element, 2 * LANE_BYTES // size)
    return [b.bitcast(b.gep(pointer, [I64(k)]), vector.as_pointer()) for k in range(0, count, vector.count)]


@intrinsic(prefer_literal=True)
def gather_tile(
    typingctx: Any, to: Any, pitch: Any, source: Any, down: Any, right: Any, rows: Any, columns: Any, side: Any
) -> Any:
    """Copy a strided tile: element (i, j), at ``source[i * down + j * right]``, goes to ``to[i * pitch + j]``.

    ``side``, a constant, is the height of a full tile.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = args[0].type.pointee
        name = f"gather_tile.{element}"
        function = builder.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [args[0].type, I64, args[2].type, I64, I64, I64, I64])
            function = ir.Function(builder.module, kind, name)
            for k in (0, 2):
                function.args[k].add_attribute("noalias")
            function.attributes.add("noinline")  # on its own it is optimised in half the time
            _Gather(function, element, context.get_abi_sizeof(element), side.literal_value)
        numbers = [
            a if isinstance(a.type, ir.PointerType) else context.cast(builder, a, given, types.int64)
            for a, given in zip(args[:-1], signature.args[:-1], strict=True)
        ]
        builder.call(function, numbers)
        return context.get_dummy_value()

    return types.void(to, pitch, source, down, right, rows, columns, side), codegen


@intrinsic(prefer_literal=True)
def copy_row(typingctx: Any, to: Any, source: Any, count: Any, stream: Any) -> Any:
    """Copy ``count`` (a constant) elements, past the caches if ``stream`` holds and whole cache lines are written."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b, to, source, n = builder, args[0], args[1], count.literal_value
        size = context.get_abi_sizeof(to.type.pointee)
        values = [b.load(v, align=size) for v in vectors(b, source, n)]
        lines = b.icmp_signed("==", b.and_(b.ptrtoint(to, I64), I64(LINE_BYTES - 1)), I64(0))
        with b.if_else(b.and_(lines, as_bit(b, args[3]))) as (past, through):
            with past:
                for value, at in zip(values, vectors(b, to, n), strict=True):
                    hint = b.module.add_metadata([I32(1)])
                    b.store(value, at, align=2 * LANE_BYTES).set_metadata("nontemporal", hint)
            with through:
                for value, at in zip(values, vectors(b, to, n), strict=True):
                    b.store(value, at, align=size)
        return context.get_dummy_value()

    return types.void(to, source, count, stream), codegen


@intrinsic
def fence(typingctx: Any) -> Any:
    """Wait until what was written past the caches can be seen by all threads."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _laying(name: str, across: bool) -> Any:
    """The intrinsics ``lay_across(near, stride, far, n, rows, side)`` and ``lay_along``, which copies the other way.

    There are ``rows`` rows of ``n`` elements, ``stride`` apart at ``near``. At ``far``, element k of row q is at
    ``k * rows + q``: the same element of all rows is a vector. It goes by squares of ``side`` elements, two below one another.
    ``rows`` and ``side`` are constants; a row has at least a square's elements, and the last squares overlap those before.
    """

    def definition(typingctx: Any, near: Any, stride: Any, far: Any, n: Any, rows: Any, side: Any) -> Any:
        def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
            near, stride, far, n = args[:4]
            count, square = rows.literal_value, side.literal_value
            size = context.get_abi_sizeof(near.type.pointee)
            low, high, both = (
                ir.Constant(ir.VectorType(I32, end - start), list(range(start, end)))
                for start, end in ((0, square), (square, 2 * square), (0, 2 * square))
            )

            def pointer(at: Any, width: int) -> Any:
                return b.bitcast(at, ir.VectorType(near.type.pointee, width).as_pointer())

            def piece(row: int) -> Any:
                """Where a square's elements of a row are."""
                return pointer(b.gep(near, [b.add(b.mul(stride, I64(row)), column)]), square)

            def vector(k: int) -> Any:
                """Where element k of a square's columns is, of the rows of both squares."""
                return pointer(b.gep(far, [b.add(b.mul(b.add(column, I64(k)), I64(count)), I64(first))]), 2 * square)

            last = b.sub(n, I64(square))
            with counting(b, I64(0), n, I64(square)) as k:
                column = b.select(b.icmp_signed("<", k, last), k, last)
                for first in range(0, count, 2 * square):
                    pairs = [(piece(first + q), piece(first + q + square)) for q in range(square)]
                    vectors = [vector(k) for k in range(square)]
                    if across:
                        loaded = [[b.load(at, align=size) for at in pair] for pair in pairs]
                        made = interleaved([b.shuffle_vector(x, y, both) for x, y in loaded], b)
                        for at, value in zip(vectors, made, strict=True):
                            b.store(value, at, align=size)
                    else:
                        made = interleaved([b.load(at, align=size) for at in vectors], b)
                        for value, pair in zip(made, pairs, strict=True):
                            for at, half in zip(pair, (low, high), strict=True):
                                b.store(b.shuffle_vector(value, value, half), at, align=size)
            return context.get_dummy_value()

        return types.void(near, types.int64, far, types.int64, rows, side), codegen

    definition.__name__ = name
    return intrinsic(definition, prefer_literal=True)


NAMESPACE: dict[str, Any] = {
    "gather_tile": gather_tile,
    "lay_across": _laying("lay_across", True),
    "lay_along": _laying("lay_along", False),
    "copy_row": copy_row,
    "fence": fence,
}
