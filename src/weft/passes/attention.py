"""Attention as an instruction: the operands and results of `native/attention/attention.h`, and the kernels for its rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

from weft.dtypes import DType, bool_
from weft.ir import kernel as K
from weft.ir.node import Node, Where
from weft.ops.attention import bits_of

#: A matrix operand: buffer, byte offset, strides of the batch axes, of the rows, of the columns (in elements).
Matrix = tuple[int, int, tuple[int, ...], int, int]

#: Rows of scores that are in scratch memory at once: as in the runtime.
ROWS = 48
#: The gradients of one call, in the order of their operands; they are computed together.
GRADIENTS = ("attention_dq", "attention_dk", "attention_dv")


@dataclass(frozen=True, slots=True)
class RowKernel:
    """A kernel over rows of scores in scratch memory, with its parameters."""

    kernel: K.Kernel
    params: tuple[int, ...]


@dataclass(slots=True)
class Attention:
    """``out = softmax(scale * q @ k.T + mask) @ v`` for each index of the batch, or, given ``g``, gradients of q, k and v.

    ``sizes``: the query's rows, the keys, their features, the values' features. ``results``: the buffers of out, dq, dk, dv.
    """

    dtype: DType
    causal: bool
    batch: tuple[int, ...]
    sizes: tuple[int, int, int, int]
    pitch: int
    q: Matrix
    k: Matrix
    v: Matrix
    g: Matrix | None
    mask: Matrix | None
    mask_dtype: DType | None
    results: tuple[int | None, ...]
    weights: RowKernel
    slopes: RowKernel | None
    where: Where

    @property
    def work(self) -> int:
        rows, keys, width, value_width = self.sizes
        return prod(self.batch) * rows * keys * (width + value_width) * (1 if self.g is None else 3)

    @property
    def kernels(self) -> list[K.Kernel]:
        """The kernels that it calls."""
        return [call.kernel for call in (self.weights, self.slopes) if call is not None]


def pitch_of(keys: int) -> int:
    """Elements from one row of scores to the next: whole cache lines, not a multiple of a page, where rows would collide."""
    return -(-keys // 32) * 32 + 16


class _Body:
    """A kernel's instructions and parameters in the making."""

    def __init__(self, keys: int, pitch: int) -> None:
        self.instrs: list[K.Instr] = []
        self.params = [ROWS, keys]
        self.pitch = pitch

    def add(self, instr: K.Instr, *params: int) -> int:
        self.instrs.append(instr)
        self.params += params
        return len(self.instrs) - 1

    def load(self, buffer: int) -> int:
        """A row of scratch memory."""
        return self.add(K.Load(buffer, "sc"), self.pitch)

    def load_mask(self, buffer: int, row: int, column: int) -> int:
        """A row of the mask, which has these strides."""
        return self.add(K.Load(buffer, "sc"), row) if column == 1 else self.add(K.Load(buffer, "ss"), row, column)

    def number(self, value: float, dtype: DType) -> int:
        return self.add(K.Scalar(dtype), bits_of(value))

    def apply(self, op: str, dtype: DType, *args: int) -> int:
        return self.add(K.Apply(op, args, dtype))

    def finish(self, value: int, buffer: int, dtypes: tuple[DType, ...]) -> RowKernel:
        self.add(K.Store(buffer, "sc", value), self.pitch)
        return RowKernel(K.Kernel("row", "or", dtypes, tuple(self.instrs)), tuple(self.params))


def weights(
    dtype: DType, keys: int, pitch: int, scale: float, mask: tuple[DType, int, int] | None, whole: bool
) -> RowKernel:
    """Scores become weights in place: scaled, masked (type, strides of the mask), their softmax; 0 where nothing is seen.

    Unless ``whole`` they lack a factor for each row, which goes to buffer 2: it is cheaper to scale rows of the result.
    """
    b = _Body(keys, pitch)
    x, factor = b.load(0), b.number(scale, dtype)
    if mask is None:  # rounding keeps order: the largest product is that of the largest score, or of the smallest
        top = b.apply("multiply", dtype, b.add(K.Reduce("min" if scale < 0 else "max", x, dtype)), factor)
        x = b.apply("multiply", dtype, x, factor)
    else:
        kind, row, column = mask
        m = b.load_mask(1, row, column)
        x = b.apply("multiply", dtype, x, factor)
        x = b.apply("where", dtype, m, x, b.number(-inf, dtype)) if kind is bool_ else b.apply("add", dtype, x, m)
        top = b.add(K.Reduce("max", x, dtype))
    nothing = b.apply("equal", bool_, top, b.number(-inf, dtype))
    top = b.apply("where", dtype, nothing, b.number(0.0, dtype), top)
    e = b.apply("exp_nonpositive", dtype, b.apply("subtract", dtype, x, top))
    total = b.add(K.Reduce("sum", e, dtype))
    empty = b.apply("equal", bool_, total, b.number(0.0, dtype))
    share = b.apply("reciprocal", dtype, b.apply("where", dtype, empty, b.number(1.0, dtype), total))
    types = (dtype, mask[0] if mask else bool_)
    if whole:
        x = b.apply("multiply", dtype, e, share)
        if mask is not None and mask[0] is bool_:  # a score that is NaN makes the sum NaN, but not what is hidden
            x = b.apply("where", dtype, m, x, b.number(0.0, dtype))
        return b.finish(x, 0, types if mask else (dtype,))
    b.add(K.Store(2, "sb", share), 1)
    return b.finish(e, 0, (*types, dtype))


def slopes(dtype: DType, keys: int, pitch: int, scale: float, mask: tuple[DType, int, int] | None) -> RowKernel:
    """The weights' gradients (buffer 1) become the products' in place, given the weights (buffer 0); 0 where a mask of
    booleans (buffer 2) hides them, whatever they are."""
    b = _Body(keys, pitch)
    p, g = b.load(0), b.load(1)
    types: tuple[DType, ...] = (dtype, dtype)
    seen = zero = None
    if mask is not None and mask[0] is bool_:
        types += (bool_,)
        seen, zero = b.load_mask(2, *mask[1:]), b.number(0.0, dtype)
        g = b.apply("where", dtype, seen, g, zero)
    mean = b.add(K.Reduce("sum", b.apply("multiply", dtype, p, g), dtype))
    x = b.apply("multiply", dtype, p, b.apply("subtract", dtype, g, mean))
    x = b.apply("multiply", dtype, x, b.number(scale, dtype))
    if seen is not None and zero is not None:  # the mean may be NaN
        x = b.apply("where", dtype, seen, x, zero)
    return b.finish(x, 1, types)


def call_of(node: Node) -> tuple:
    """What the gradients of one call have in common."""
    return node.inputs, node.attrs
