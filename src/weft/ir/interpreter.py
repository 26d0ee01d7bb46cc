"""The interpreter: what a graph means, in NumPy, one node at a time. The tests' oracle; nothing else runs it.

Reductions follow the fixed order that `weft.ir.kernel.Kernel` lays down, so that an interpreted result can be compared bit for
bit wherever NumPy's elementwise functions agree with the kernels'. Values of bfloat16, which NumPy lacks, are held as float32
arrays of representable values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.dtypes import DType, bfloat16, bool_, float64
from weft.ir.graph import Graph
from weft.ir.kernel import BLOCK, FOLDED, GROUP, LANES, OUTER_BLOCK, RUN, SCAN_GROUP, tree
from weft.ir.node import Node, const_value


def interpret(
    graph: Graph, arrays: Sequence[np.ndarray], scalars: Sequence[bool | int | float] = ()
) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
    """The outputs of a graph, and the value that each written input slot ends up with.

    ``arrays[k]`` has the shape of input k; its strides do not matter. Nothing passed in is modified.

    Raises:
        IndexError: a check_index found an index out of range.
    """
    values: dict[Node, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            values[node] = evaluate(node, [values[i] for i in node.inputs], arrays, scalars)
    outputs = [np.array(values[n]) for n in graph.outputs]
    return outputs, {w.slot: np.array(values[w.value]) for w in graph.writes}


def held_as(dtype: DType) -> np.dtype:
    """The NumPy type in which the interpreter holds values of a type."""
    return np.dtype(np.float32) if dtype is bfloat16 else dtype.numpy


def evaluate(
    node: Node, args: list[np.ndarray], arrays: Sequence[np.ndarray], scalars: Sequence[bool | int | float]
) -> np.ndarray:
    """The value of one node from those of its operands."""
    from weft.ops.registry import OPS  # a layer above

    op = node.op
    record = OPS.get(op)
    if op == "input":
        slot, _ = node.attrs
        return np.array(arrays[slot], dtype=held_as(node.dtype)).reshape(node.shape)
    if op == "const":
        return rounded(np.array(const_value(node)), node.dtype)
    if op == "scalar":
        return rounded(np.array(scalars[node.attrs[0]]), node.dtype)
    if op == "iota":
        return np.arange(node.shape[0], dtype=np.int64)
    if record is None:
        raise NotImplementedError(f"{op} is no op of the registry.")
    if record.kind == "elementwise":
        return elementwise(op, args, node.dtype)
    if record.kind == "reduction":
        lo, hi = node.attrs
        x = args[0]
        outer = int(np.prod(node.shape[hi:], dtype=np.int64)) > 1
        kept = int(np.prod(x.shape[:lo], dtype=np.int64))
        flat = x.reshape(kept, int(np.prod(x.shape[lo:hi], dtype=np.int64)), int(np.prod(x.shape[hi:], dtype=np.int64)))
        return reduce_ordered(op.removeprefix("reduce_"), flat, outer, node.dtype).reshape(node.shape)
    if record.kind == "scan":
        axis, reverse = node.attrs
        before, after = (int(np.prod(n, dtype=np.int64)) for n in (node.shape[:axis], node.shape[axis + 1 :]))
        given = [x.reshape(before, node.shape[axis], after) for x in args]
        return scan_ordered(op.removeprefix("scan_"), given, after > 1, node.dtype, reverse).reshape(node.shape)
    assert record.reference is not None
    if record.kind == "movement":
        return np.asarray(record.reference(args[0], attrs=node.attrs)).reshape(node.shape)
    if record.kind == "matmul":
        wide = held_as(node.dtype.compute)
        return rounded(np.matmul(*(a.astype(wide, order="C") for a in args)), node.dtype)
    if op == "scatter_add" and node.dtype is bfloat16:
        return _scatter_add(*args)
    return np.asarray(record.reference(*args, attrs=node.attrs), dtype=held_as(node.dtype)).reshape(node.shape)


def _scatter_add(base: np.ndarray, value: np.ndarray, *index: np.ndarray) -> np.ndarray:
    """Each sum rounded, as in memory of 16 bits."""
    out = base.copy()
    for at, v in zip(zip(*(i.reshape(-1) for i in index), strict=True), value.reshape(-1), strict=True):
        out[at] = to_bfloat16(np.asarray(out[at] + v))
    return out


def elementwise(op: str, args: Sequence[np.ndarray], dtype: DType) -> np.ndarray:
    """The result of an elementwise op, of the given type: 16-bit floats are computed in float32 and rounded."""
    from weft.ops.registry import OPS

    wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in args]
    if op == "cast":
        return cast(wide[0], dtype)
    reference: Any = OPS[op].reference
    if reference is None:
        raise NotImplementedError(f"The record of {op} has no reference.")
    out = np.asarray(reference(*wide))
    return rounded(out, dtype)


def rounded(x: np.ndarray, dtype: DType) -> np.ndarray:
    """An array as it is held for a type, rounded to it."""
    if dtype is bfloat16:
        return to_bfloat16(x.astype(np.float32))
    if dtype.is_half:
        return x.astype(np.float32).astype(np.float16)
    return x.astype(dtype.numpy)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 values rounded to the nearest that bfloat16 has, ties to even."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)
    out = bits.astype(np.uint32).view(np.float32).reshape(x.shape)
    return np.where(np.isnan(x), x, out)


def cast(x: np.ndarray, dtype: DType) -> np.ndarray:
    """Conversion as kernels do it: float to integer truncates, saturates, and takes NaN to 0."""
    if dtype is bool_:
        return x != 0
    if x.dtype.kind == "f" and dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        wide = x.astype(np.float64)
        inside = np.where(np.isnan(wide), 0.0, np.clip(np.trunc(wide), float(info.min), float(info.max)))
        top = inside >= float(info.max)
        return np.where(top, info.max, np.where(top, 0, inside).astype(dtype.numpy)).astype(dtype.numpy)
    return rounded(x, dtype)


# Reductions in the fixed order


def reduce_ordered(op: str, x: np.ndarray, outer: bool, dtype: DType) -> np.ndarray:
    """Reduce the middle axis of a (kept, reduced, kept) array in the order of ``inner`` or ``outer`` kernels."""
    if op in ("argmax", "argmin"):
        return _arg(op, x)
    if op in ("any", "all"):
        truth = x != 0
        return truth.any(axis=1) if op == "any" else truth.all(axis=1)
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    step, part = (OUTER_BLOCK, _outer_block) if outer else (BLOCK, _inner_block)
    parts = [part(op, wide[:, start : start + step]) for start in range(0, x.shape[1], step)]
    if not parts:
        total = np.full((x.shape[0], x.shape[2]), identity(op, wide.dtype), dtype=wide.dtype)
    elif op == "m2":
        total = _merged([(part[0], part[1], min(step, x.shape[1] - k * step)) for k, part in enumerate(parts)])
    else:
        for i, j in tree(len(parts)):
            parts[i] = combine(op, parts[i], parts[j])
        total = parts[0]
    return rounded(total.astype(np.float32) if wide.dtype == np.float32 else total, dtype)


def _merged(blocks: list[tuple[np.ndarray, np.ndarray, int]]) -> np.ndarray:
    """The m2 of blocks, each with its mean, m2, and number of elements."""
    for i, j in tree(len(blocks)):
        (mean, m2, n), (other, more, m) = blocks[i], blocks[j]
        share, d = m / (n + m), other - mean
        blocks[i] = mean + d * share, (m2 + more) + (d * d) * (n * share), n + m
    return blocks[0][1]


def combine(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two partial results made one."""
    if op == "sum":
        return np.add(a, b)
    if op == "prod":
        return np.multiply(a, b)
    return np.maximum(a, b) if op == "max" else np.minimum(a, b)


def identity(op: str, dtype: np.dtype) -> Any:
    """What a reduction starts from."""
    if op in ("sum", "prod", "m2"):
        return dtype.type(op == "prod")
    if dtype.kind == "b":
        return op == "min"
    if dtype.kind == "f":
        return dtype.type(-np.inf if op == "max" else np.inf)
    return np.iinfo(dtype).min if op == "max" else np.iinfo(dtype).max


def _wide(op: str, x: np.ndarray) -> np.ndarray:
    """Values in the type of partial results."""
    return x.astype(np.float64) if op in ("sum", "m2") and x.dtype.kind == "f" else x


def _inner_block(op: str, block: np.ndarray, left: int = LANES) -> np.ndarray:
    """A block's partial result; ``left``: how many lanes of a run are widened."""
    if op == "m2":
        size = block.shape[1]
        shift = (_inner_block("sum", block[:, :RUN], FOLDED) / min(size, RUN)).astype(block.dtype)
        apart = block - shift[:, None]
        d, q = (_inner_block("sum", x, FOLDED) for x in (apart, apart * apart))
        return _moments(d, q, shift, size)
    kept, length, last = block.shape
    start = identity(op, block.dtype)
    runs = -(-length // RUN)
    padded = np.full((kept, runs * RUN, last), start, dtype=block.dtype)
    padded[:, :length] = block
    lanes = _wide(op, np.full((kept, left, last), start, dtype=block.dtype))
    for run in range(0, runs * RUN, RUN):
        own = np.full((kept, LANES, last), start, dtype=block.dtype)
        for k in range(run, run + RUN, LANES):
            own = combine(op, own, padded[:, k : k + LANES])
        lanes = combine(op, lanes, _wide(op, _folded(op, own, left)))
    return _folded(op, lanes, 1)[:, 0]


def _folded(op: str, lanes: np.ndarray, left: int) -> np.ndarray:
    """Lanes combined, each with the one half of their number further, until so many are left."""
    while (half := lanes.shape[1] // 2) >= left:
        lanes = combine(op, lanes[:, :half], lanes[:, half:])
    return lanes


def _outer_block(op: str, block: np.ndarray) -> np.ndarray:
    if op == "m2":
        shift = _group("sum", block[:, :GROUP]) / block.dtype.type(min(GROUP, block.shape[1]))
        apart = block - shift[:, None]
        return _moments(_outer_block("sum", apart), _outer_block("sum", apart * apart), shift, block.shape[1])
    total = _wide(op, np.full((block.shape[0], block.shape[2]), identity(op, block.dtype), dtype=block.dtype))
    for k in range(0, block.shape[1], GROUP):
        total = combine(op, total, _wide(op, _group(op, block[:, k : k + GROUP])))
    return total


def _group(op: str, rows: np.ndarray) -> np.ndarray:
    total = rows[:, 0]
    for k in range(1, rows.shape[1]):
        total = combine(op, total, rows[:, k])
    return total


def _moments(d: np.ndarray, q: np.ndarray, shift: np.ndarray, size: int) -> np.ndarray:
    """The mean and m2 of elements whose deviations from a shift sum to d, and their squares to q."""
    off = d / size
    m2 = q - d * off
    return np.stack([shift.astype(np.float64) + off, np.where(m2 < 0, 0.0, m2)])


def _arg(op: str, x: np.ndarray) -> np.ndarray:
    return np.asarray(x.argmax(axis=1) if op == "argmax" else x.argmin(axis=1), dtype=np.int64)


# Scans in the fixed order


def scan_ordered(op: str, given: Sequence[np.ndarray], outer: bool, dtype: DType, reverse: bool) -> np.ndarray:
    """The running results along the middle axis of (kept, scanned, kept) arrays, in the order of scan kernels."""
    wide = [x.astype(np.float64) if dtype.kind == "f" else x.astype(dtype.numpy) for x in given]
    if reverse:
        wide = [x[:, ::-1] for x in wide]
    if op == "linear":
        out = _recurrence(*wide)
    elif outer or dtype.is_integer or (op == "prod" and dtype is float64):
        out = (np.add if op == "sum" else np.multiply).accumulate(wide[0], axis=1, dtype=wide[0].dtype)
    else:
        out = _scan_groups(op, wide[0])
    if dtype.kind == "f":
        out = out.astype(held_as(dtype) if not dtype.is_half else np.float32)
    return rounded(out[:, ::-1] if reverse else out, dtype)


def _recurrence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = b.copy()
    for i in range(1, b.shape[1]):
        out[:, i] = b[:, i] + a[:, i - 1] * out[:, i - 1]
    return out


def _scan_groups(op: str, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    none = np.full((x.shape[0], 1, x.shape[2]), -0.0 if op == "sum" else 1.0)
    before = own = none
    step = SCAN_GROUP[op]
    for block in range(0, x.shape[1], BLOCK):
        if op == "sum":
            own = none
        for at in range(block, min(block + BLOCK, x.shape[1]), step):
            group = x[:, at : min(at + step, block + BLOCK)].copy()
            half = 1
            while half < step:
                for right in range(half, group.shape[1], 2 * half):
                    group[:, right : right + half] = combine(
                        op, group[:, right - 1 : right], group[:, right : right + half]
                    )
                half *= 2
            local = combine(op, own, group)
            out[:, at : at + group.shape[1]] = combine(op, before, local)
            own = local[:, -1:]
        if op == "sum":
            before = before + own
    return out


__all__ = [
    "combine",
    "elementwise",
    "evaluate",
    "held_as",
    "identity",
    "interpret",
    "reduce_ordered",
    "rounded",
    "scan_ordered",
]
