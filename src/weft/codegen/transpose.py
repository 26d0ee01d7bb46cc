"""Tiles of strided operands: the intrinsics that copy one to a stack array and write its rows out.

A transposed tile goes through vector registers: a square of as many elements as a 128-bit lane has is transposed by
interleaving pairs of its rows, as often as halving takes to reach one; two squares, side by side, fill a 256-bit
vector. In a tile of full height the operand's contiguous pieces are first copied to the stage, a few at a time, so that
each cache line is asked for once, even where the strides let all of them compete for one place in the cache.

Imports numba: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
LANE_BYTES = 16
LINE_BYTES = 64


def _interleaved(rows: Sequence[Any], builder: Any) -> list[Any]:
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
        whole = b.select(straight, b.and_(self.rows, I64(-side)), I64(0))
        with self._loop(I64(0), whole, side) as top, self._loop(I64(0), right, 2 * self.square) as j:
            with self._loop(I64(0), I64(2 * self.square), 1) as k:
                copy_vectors(b, b.gep(self.stage, [b.mul(k, I64(side))]), self._from(top, b.add(j, k)), side)
            with self._loop(I64(0), I64(side), self.square) as i:
                self._squares(b.gep(self.stage, [i]), I64(side), self._at(b.add(top, i), j))
        with self._loop(I64(0), right, 2 * self.square) as j, self._loop(whole, down, self.square) as i:
            self._squares(self._from(i, j), self.right, self._at(i, j))
        self._each(down, self.rows, I64(0), right)
        self._each(I64(0), self.rows, right, self.columns)
        b.ret_void()

    @contextmanager
    def _loop(self, start: Any, stop: Any, step: int) -> Iterator[Any]:
        with cgutils.for_range_slice(self.builder, start, stop, I64(step), I64) as (i, _):
            yield i

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
        for k, row in enumerate(_interleaved(columns, b)):
            pointer = b.gep(to, [b.mul(self.pitch, I64(k))])
            b.store(row, b.bitcast(pointer, self.both.as_pointer()), align=self.size)

    def _each(self, top: Any, bottom: Any, left: Any, right: Any) -> None:
        """The elements of a rectangle one by one, the longer side in the inner loop."""
        b = self.builder
        tall = b.icmp_signed(">", b.sub(bottom, top), b.sub(right, left))
        with b.if_else(tall) as (down, across):
            with down, self._loop(left, right, 1) as j, self._loop(top, bottom, 1) as i:
                b.store(b.load(self._from(i, j)), self._at(i, j))
            with across, self._loop(top, bottom, 1) as i, self._loop(left, right, 1) as j:
                b.store(b.load(self._from(i, j)), self._at(i, j))


def copy_vectors(b: Any, to: Any, source: Any, count: int, aligned: int | None = None, stream: bool = False) -> None:
    """Emit a copy of ``count`` elements by 256-bit vectors. ``to`` is so ``aligned``, in bytes, if that is known."""
    element = to.type.pointee
    size = element.width // 8 if isinstance(element, ir.IntType) else {"float": 4, "double": 8}[str(element)]
    vector = ir.VectorType(element, 2 * LANE_BYTES // size)

    def at(pointer: Any, k: int) -> Any:
        return b.bitcast(b.gep(pointer, [I64(k)]), vector.as_pointer())

    values = [(k, b.load(at(source, k), align=size)) for k in range(0, count, vector.count)]
    for k, value in values:
        store = b.store(value, at(to, k), align=aligned or size)
        if stream:
            store.set_metadata("nontemporal", b.module.add_metadata([I32(1)]))


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
        b = builder
        lines = b.icmp_signed("==", b.and_(b.ptrtoint(args[0], I64), I64(LINE_BYTES - 1)), I64(0))
        with b.if_else(b.and_(lines, cgutils.as_bool_bit(b, args[3]))) as (past, through):
            with past:
                copy_vectors(b, args[0], args[1], count.literal_value, 2 * LANE_BYTES, stream=True)
            with through:
                copy_vectors(b, args[0], args[1], count.literal_value)
        return context.get_dummy_value()

    return types.void(to, source, count, stream), codegen


@intrinsic
def fence(typingctx: Any) -> Any:
    """Wait until what was written past the caches can be seen by all threads."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


NAMESPACE: dict[str, Any] = {"gather_tile": gather_tile, "copy_row": copy_row, "fence": fence}
