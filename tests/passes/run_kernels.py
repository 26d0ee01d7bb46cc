"""Run a schedule in NumPy: what its kernels and its memory plan mean, without generated code.

Every buffer is a flat byte array, so that a wrong stride, a wrong arena offset, or memory reused too early shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from weft.dtypes import DType, bfloat16, bool_
from weft.ir import kernel as K
from weft.ir.interpreter import elementwise, held_as, reduce_ordered, rounded, scan_ordered
from weft.ops.registry import OPS
from weft.passes.attention import GRADIENTS, Attention
from weft.passes.schedule import KernelCall, Product, Schedule


def stored_as(dtype: DType) -> np.dtype:
    """The NumPy type of a buffer's elements."""
    return np.dtype(np.uint16) if dtype is bfloat16 else dtype.numpy


def widened(raw: np.ndarray, dtype: DType) -> np.ndarray:
    """Elements as the interpreter holds them."""
    return (raw.astype(np.uint32) << 16).view(np.float32) if dtype is bfloat16 else raw


def narrowed(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Elements as a buffer holds them."""
    if dtype is bfloat16:
        return (np.asarray(values, np.float32, order="C").view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(dtype.numpy)


class Strided:
    """An input: a flat array of elements in which a tensor lies at an offset."""

    def __init__(self, array: np.ndarray, strides: Sequence[int], dtype: DType) -> None:
        low = sum(min(0, (n - 1) * s) for n, s in zip(array.shape, strides, strict=True)) if array.size else 0
        high = sum(max(0, (n - 1) * s) for n, s in zip(array.shape, strides, strict=True)) if array.size else 0
        self.memory = np.zeros((high - low + 1) * dtype.itemsize, np.uint8)
        self.start = -low * dtype.itemsize
        self.dtype = dtype
        flat = self.memory.view(stored_as(dtype))
        self.positions = positions(array.shape, strides, -low)
        flat[self.positions] = narrowed(array, dtype)

    def value(self) -> np.ndarray:
        return widened(self.memory.view(stored_as(self.dtype))[self.positions], self.dtype)


def positions(sizes: Sequence[int], strides: Sequence[int], offset: int) -> np.ndarray:
    """The element number at each position of a loop nest."""
    at = np.full(tuple(sizes), offset, np.int64)
    for d, (n, s) in enumerate(zip(sizes, strides, strict=True)):
        at += (np.arange(n) * s).reshape((-1,) + (1,) * (len(sizes) - d - 1))
    return at


def in_order(plan: Schedule, late: bool) -> list[list[Any]]:
    """The launches of a schedule; where ``late``, those beside a product come after it."""
    order: list[list[Any]] = []
    for launch in plan.launches:
        beside = sum(i.beside for i in launch if isinstance(i, Product) and not i.along) if late else 0
        order.insert(len(order) - beside, launch)
    return order


class Runner:
    """One run of a schedule. After it ``outputs`` and ``inputs`` hold what a program would leave.

    ``late``: what runs beside a product does so after it.
    """

    def __init__(
        self, plan: Schedule, arrays: Sequence[np.ndarray], scalars: Sequence[Any] = (), late: bool = False
    ) -> None:
        self.scalars = scalars
        graph = plan.graph
        self.inputs = [Strided(a, i.strides, i.dtype) for a, i in zip(arrays, graph.inputs, strict=True)]
        arena = np.full(plan.arena, 0xA5, np.uint8)
        fresh = {
            k: np.full(o.dtype.itemsize * int(np.prod(o.shape, dtype=np.int64)), 0xA5, np.uint8)
            for k, o in enumerate(plan.outputs)
        }
        self.memory: list[tuple[np.ndarray, int]] = []
        for kind, n in plan.buffers:
            if kind == "input":
                self.memory.append((self.inputs[n].memory, self.inputs[n].start))
            else:
                self.memory.append((fresh[n], 0) if kind == "output" else (arena, n))
        with np.errstate(all="ignore"):
            for launch in in_order(plan, late):
                instr = launch[0]
                if any(isinstance(i, Product) for i in launch):
                    self.launch(launch)
                elif isinstance(instr, Attention):
                    self.attention(instr)
                else:
                    self.kernel(instr)
        self.outputs: list[np.ndarray] = []
        for out in plan.outputs:
            if out.slot < 0:
                memory, start = self.memory[out.buffer]
                raw = memory[start:].view(stored_as(out.dtype))[: int(np.prod(out.shape, dtype=np.int64))]
                self.outputs.append(widened(raw.reshape(out.shape), out.dtype))
            elif out.layout is None:
                self.outputs.append(self.inputs[out.slot].value())
            else:
                given = self.inputs[out.slot]
                strides, offset = out.layout
                at = positions(out.shape, strides, offset + given.start // out.dtype.itemsize)
                self.outputs.append(widened(given.memory.view(stored_as(out.dtype))[at], out.dtype))

    def elements(self, buffer: tuple[int, int], dtype: DType) -> tuple[np.ndarray, int]:
        """A buffer's elements, and the number of the one that it begins with."""
        memory, start = self.memory[buffer[0]]
        if dtype is bool_:
            return memory.view(np.bool_), start + buffer[1]
        size = memory.size // dtype.itemsize * dtype.itemsize
        return memory[:size].view(stored_as(dtype)), (start + buffer[1]) // dtype.itemsize

    def kernel(self, call: KernelCall, row: int = 0, rows: int = 1) -> None:
        """Run a kernel, or the share of one row of a product."""
        kernel = call.kernel
        names = K.param_names(kernel)
        assert len(names) == len(call.params) or kernel.form == "nonzero"
        params = dict(zip(names, call.params, strict=False))
        for p, s in call.patches:
            value = self.scalars[s]
            params[names[p]] = np.float64(value).view(np.int64) if isinstance(value, float) else int(value)
        if kernel.form == "nonzero":
            mask, start = self.elements(call.buffers[0], kernel.buffers[0])
            found = np.flatnonzero(mask[start : start + call.params[0]])
            out, start = self.elements(call.buffers[1], kernel.buffers[1])
            out[start : start + found.size] = found
            return
        sizes = [params[f"n{d}"] for d in range(len(kernel.dims))]
        types = K.value_dtypes(kernel)
        values: list[np.ndarray] = []
        stores: list[tuple[np.ndarray, Any, np.ndarray]] = []

        def access(i: int, text: str) -> tuple[list[int], list[int]]:
            strides = [0 if a == "b" else 1 if a == "c" else params[f"{i}_s{d}"] for d, a in enumerate(text)]
            return [n if s else 1 for n, s in zip(sizes, strides, strict=True)], strides

        for i, instr in enumerate(kernel.body):
            dtype = types[i]
            value = np.zeros(())
            match instr:
                case K.Load():
                    flat, start = self.elements(call.buffers[instr.buffer], dtype)
                    value = widened(flat[positions(*access(i, instr.access), start)], dtype)
                case K.Index():
                    value = positions(*access(i, instr.access), params[f"{i}_base"])
                case K.Scalar():
                    bits = np.int64(params[f"{i}_value"])
                    value = rounded(np.array(bits.view(np.float64) if dtype.kind == "f" else bits), dtype)
                case K.LoadAt():
                    flat, start = self.elements(call.buffers[instr.buffer], dtype)
                    at = start + sum(values[a] * params[f"{i}_s{d}"] for d, a in enumerate(instr.indices))
                    value = widened(flat[np.asarray(at)], dtype)
                case K.Apply():
                    value = elementwise(instr.op, [values[a] for a in instr.args], dtype)
                case K.Reduce():
                    r = kernel.dims.index("r")
                    x = values[instr.arg]
                    shape = [n if x.ndim and x.shape[d] != 1 else 1 for d, n in enumerate(sizes)]
                    shape[r] = sizes[r]
                    x = np.broadcast_to(x, shape)
                    before = int(np.prod(shape[:r], dtype=np.int64))
                    after = int(np.prod(shape[r + 1 :], dtype=np.int64))
                    flat = reduce_ordered(instr.op, x.reshape(before, shape[r], after), kernel.form == "outer", dtype)
                    shape[r] = 1
                    value = flat.reshape(shape)
                case K.Across():
                    x = np.broadcast_to(values[instr.arg], sizes)[None]
                    value = reduce_ordered(instr.op, x, True, dtype).reshape(1, sizes[1])
                case K.Scan():
                    r = kernel.dims.index("r")
                    given = np.broadcast_arrays(*(values[a] for a in instr.args))
                    shape = [
                        n if d == r or (given[0].ndim and given[0].shape[d] != 1) else 1 for d, n in enumerate(sizes)
                    ]
                    before = int(np.prod(shape[:r], dtype=np.int64))
                    given = [np.broadcast_to(x, shape).reshape(before, shape[r], -1) for x in given]
                    outer = kernel.dims.endswith("i")
                    value = scan_ordered(instr.op, given, outer, dtype, instr.reverse).reshape(shape)
                case K.Store():
                    dims, strides = access(i, instr.access)
                    flat, start = self.elements(call.buffers[instr.buffer], dtype)
                    at = positions(dims, strides, start)
                    stores.append((flat, at, np.broadcast_to(narrowed(values[instr.arg], dtype), at.shape)))
                case K.StoreAt():
                    flat, start = self.elements(call.buffers[instr.buffer], dtype)
                    at = start + sum(values[a] * params[f"{i}_s{d}"] for d, a in enumerate(instr.indices))
                    at = np.broadcast_to(np.asarray(at), sizes).reshape(-1)
                    new = np.broadcast_to(values[instr.arg], sizes).reshape(-1)
                    for k, v in zip(at, new, strict=True):
                        if instr.accumulate:
                            old = widened(flat[k : k + 1], dtype)
                            flat[k : k + 1] = narrowed(
                                elementwise("add", [old, np.asarray([v], old.dtype)], dtype), dtype
                            )
                        else:
                            flat[k : k + 1] = narrowed(np.asarray([v]), dtype)
            values.append(value)
        share = int(np.prod(sizes[: len(kernel.dims.rstrip("ri"))])) // rows
        for flat, at, new in stores:
            if rows == 1:
                flat[at] = new
                continue
            shape = [n if d == "o" else at.shape[k] for k, (n, d) in enumerate(zip(sizes, kernel.dims, strict=True))]
            mine = np.s_[row * share : (row + 1) * share]
            at, new = (np.broadcast_to(x, shape).reshape(share * rows, -1)[mine] for x in (at, new))
            flat[at] = new

    def matrix(self, p: Any, m: Any, rows: int, columns: int, dtype: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The flat array that a matrix operand lies in, and the element number at each of its positions."""
        buffer, offset, batch, row, column = m
        flat, start = self.elements((buffer, offset), dtype or p.dtype)
        return flat, positions((*p.batch, rows, columns), (*batch, row, column), start)

    def launch(self, launch: Sequence[Any]) -> None:
        """Run a product with its prologue and epilogue row by row: the later rows are not made yet, nor their operands."""
        at = next(k for k, i in enumerate(launch) if isinstance(i, Product))
        p, before, after = launch[at], launch[:at], launch[at + 1 :]
        if len(launch) == 1:
            self.product(p)
            return
        rows = prod(p.batch) * p.m
        for row in range(rows):
            for call in before:
                self.kernel(call, row, rows)
            self.product(p, row)
            for call in after:
                if isinstance(call, Product):
                    assert (rows, ()) == (call.m, call.batch)
                    self.product(call, row)
                else:
                    self.kernel(call, row, rows)

    def product(self, p: Product, row: int | None = None) -> None:
        """Run a product, or one row of it."""
        (a, i), (b, j) = self.matrix(p, p.a, p.m, p.k), self.matrix(p, p.b, p.k, p.n)
        c, k = self.matrix(p, p.c, p.m, p.n)
        wide = held_as(p.dtype.compute)
        x, y = (widened(flat[at], p.dtype).astype(wide, order="C") for flat, at in ((a, i), (b, j)))
        result = narrowed(rounded(np.matmul(x, y), p.dtype), p.dtype)
        if row is None:
            c[k] = result
        else:
            c[k.reshape(-1, p.n)[row]] = result.reshape(-1, p.n)[row]

    def attention(self, p: Attention) -> None:
        """By the references of its ops; the scale is read from the kernel's parameters."""
        rows, keys, width, value_width = p.sizes
        shapes = ((rows, width), (keys, width), (keys, value_width), (rows, value_width), (rows, keys))
        given = []
        for m, shape in zip((p.q, p.k, p.v, p.g, p.mask), shapes, strict=True):
            if m is not None:
                flat, at = self.matrix(p, m, *shape, p.mask_dtype if m is p.mask else None)
                given.append(flat[at])
        attrs = (p.causal, p.weights.params[3])
        for op, buffer in zip(("attention", *GRADIENTS), p.results, strict=True):
            if buffer is not None:
                value = np.asarray(OPS[op].reference(*given, attrs=attrs)).astype(held_as(p.dtype))
                flat, start = self.elements((buffer, 0), p.dtype)
                flat[start : start + value.size] = value.reshape(-1)
