"""The graph's own tools: the verifier, the printer, the interpreter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from weft import dtypes
from weft.ir.graph import Graph, Write
from weft.ir.interpreter import cast, interpret, reduce_ordered, scan_ordered, to_bfloat16
from weft.ir.node import Node, make
from weft.ir.printer import node_text, text
from weft.ir.verify import InvalidGraph, verify

from .build import Builder, op, softmax

b = Builder()
x = b.input(4, 6)
i = b.input(3, dtype=dtypes.int64)
f32, i64 = dtypes.float32, dtypes.int64


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        (make("nonsense", (x,), (), (4, 6), f32), "no primitive op"),
        (make("input", (), (9, (6, 1)), (4, 6), f32), "names a slot"),
        (make("input", (), (0, (1, 4)), (4, 6), f32), "matches"),
        (make("add", (x, x), (), (6, 4), f32), "the result's shape"),
        (make("add", (x,), (), (4, 6), f32), "takes 2 operands"),
        (make("add", (x, op("cast", x, attrs=dtypes.float64)), (), (4, 6), f32), "one type"),
        (make("where", (x, x, x), (), (4, 6), f32), "condition is bool"),
        (make("reshape", (x,), ((5,),), (5,), f32), "number of elements"),
        (make("permute", (x,), ((0, 0),), (4, 4), f32), "permutes the axes"),
        (make("expand", (x,), ((4, 12),), (4, 12), f32), "size 1 grow"),
        (make("slice", (x,), ((0, 3), (1, 2), (4, 3)), (4, 3), f32), "inside its operand"),
        (make("as_strided", (x,), (20, (1,), (5,)), (5,), f32), "inside its operand"),
        (make("reduce_sum", (x,), (1, 2), (4,), f32), "with size 1"),
        (make("reduce_sum", (x,), (1, 3), (4, 1), f32), "axes that its operand has"),
        (make("argmax", (x,), (1, 2), (4, 1), f32), "gives int64"),
        (make("gather", (x, i), (), (3,), f32), "index for each axis"),
        (make("assign", (x, x), (1, (6, 1)), (4, 6), f32), "inside its base"),
        (make("matmul", (x, x), (), (4, 6), f32), "inner sizes"),
        (make("nonzero", (x,), (4,), (4,), i64), "bool operand"),
        (make("scalar", (), (0,), (), f32), "names a scalar"),
    ],
)
def test_broken_rules_are_named(node: Node, rule: str) -> None:
    with pytest.raises(InvalidGraph, match=rule):
        verify(b.graph(node))


def test_writes_are_verified() -> None:
    verify(b.graph(softmax(x), writes=[(x, op("exp", x))]))
    with pytest.raises(InvalidGraph, match="twice"):
        verify(b.graph(writes=[(x, op("exp", x)), (x, x)]))
    with pytest.raises(InvalidGraph, match="is written to slot 1"):
        verify(Graph(tuple(b.inputs), (), (), (Write(1, x, "copy_"),)))


def test_a_graph_as_text() -> None:
    c = Builder()
    y, z = c.input(4, 6), c.input(6, strides=(2,))
    s = c.scalar()
    wide = op("expand", op("reshape", s, attrs=((1, 1),)), attrs=((4, 6),))
    value = op(
        "add", op("multiply", y, wide), op("reduce_sum", op("slice", z, attrs=((5,), (-1,), (6,))), attrs=(0, 1))
    )
    printed = text(c.graph(value, op("maximum", y, 0.5), writes=[(y, value)]))
    assert printed == (
        "%0 = input(0) float32[4, 6]\n"
        "%1 = scalar(0) float32[]\n"
        "%2 = reshape(%1, [1, 1]) float32[1, 1]\n"
        "%3 = expand(%2, [4, 6]) float32[4, 6]\n"
        "%4 = multiply(%0, %3) float32[4, 6]\n"
        "%5 = input(1, strides [2]) float32[6]\n"
        "%6 = slice(%5, [5], [-1], [6]) float32[6]\n"
        "%7 = reduce_sum(%6, 0, 1) float32[1]\n"
        "%8 = reshape(%7, [1, 1]) float32[1, 1]\n"
        "%9 = expand(%8, [4, 6]) float32[4, 6]\n"
        "%10 = add(%4, %9) float32[4, 6]\n"
        "%11 = const(0.5) float32[]\n"
        "%12 = reshape(%11, [1, 1]) float32[1, 1]\n"
        "%13 = expand(%12, [4, 6]) float32[4, 6]\n"
        "%14 = maximum(%0, %13) float32[4, 6]\n"
        "return %10, %14\n"
        "write input 0 = %10 (write)"
    )
    assert node_text(y) == "%0 = input(0) float32[4, 6]"


def test_the_interpreter_reduces_in_the_documented_order() -> None:
    """The order of `weft.ir.kernel.Kernel`, written as plain loops."""
    rng = np.random.default_rng(0)
    for length in (0, 1, 31, 32, 33, 100, 256, 257, 2048, 2049, 9000):
        values = rng.standard_normal(length).astype(np.float32)
        parts: list[float] = []
        for start in range(0, length, 2048):
            lanes = [0.0] * 32
            for run in range(start, min(start + 2048, length), 256):
                own = [np.float32(0)] * 32
                for k, v in enumerate(values[run : min(run + 256, start + 2048)]):
                    own[k % 32] = own[k % 32] + v
                lanes = [a + float(b) for a, b in zip(lanes, own, strict=True)]
            while len(lanes) > 1:
                half = len(lanes) // 2
                lanes = [a + c for a, c in zip(lanes[:half], lanes[half:], strict=True)]
            parts.append(lanes[0])
        while len(parts) > 1:
            parts = [sum(parts[k : k + 2]) for k in range(0, len(parts), 2)]
        total = np.float32(parts[0]) if parts else None
        got = reduce_ordered("sum", values.reshape(1, length, 1), False, f32)[0, 0]
        assert got == (0 if total is None else total)
        parts = []
        for start in range(0, length, 256):
            part = 0.0
            for first in range(start, min(start + 256, length), 8):
                own_sum, *others = values[first : min(first + 8, start + 256)]
                for v in others:
                    own_sum = own_sum + v
                part += float(own_sum)
            parts.append(part)
        while len(parts) > 1:
            parts = [sum(parts[k : k + 2]) for k in range(0, len(parts), 2)]
        total = np.float32(parts[0]) if parts else None
        got = reduce_ordered("sum", np.repeat(values, 2).reshape(1, length, 2), True, f32)[0]
        assert list(got) == [0 if total is None else total] * 2


def test_interpreted_scans() -> None:
    """The order of `weft.ir.kernel.Kernel`, written as plain loops."""

    def group(values: list[float], combine: Any) -> list[float]:
        if len(values) < 2:
            return values
        half = 1 << (len(values) - 1).bit_length() - 1  # of a whole group, of which the rest is missing
        left, right = group(values[:half], combine), group(values[half:], combine)
        return [*left, *(combine(left[-1], v) for v in right)]

    rng = np.random.default_rng(0)
    for length in (0, 1, 7, 16, 17, 100, 2048, 2049, 4500):
        values = rng.standard_normal(length).astype(np.float32) + np.float32(0.5)
        sums: list[float] = []
        before = -0.0
        for start in range(0, length, 2048):
            own = -0.0
            block = values[start : start + 2048].astype(float).tolist()
            for first in range(0, len(block), 16):
                running = [own + v for v in group(block[first : first + 16], lambda a, b: a + b)]
                sums += [before + v for v in running]
                own = running[-1]
            before += own
        products: list[float] = []
        for first in range(0, length, 8):
            last = products[-1] if products else 1.0
            products += [last * v for v in group(values[first : first + 8].astype(float).tolist(), lambda a, b: a * b)]
        in_turn = [0.0] * length
        for k, v in enumerate(values):
            in_turn[k] = float(v) + (in_turn[k - 1] if k else -0.0)
        flat = values.reshape(1, length, 1)
        for reverse in (False, True):
            given = flat[:, ::-1] if reverse else flat
            for name, want in (("sum", sums), ("prod", products)):
                got = scan_ordered(name, [given], False, f32, reverse)[0, :, 0]
                assert (got[::-1] if reverse else got).tolist() == np.array(want, float).astype(np.float32).tolist()
            got = scan_ordered("sum", [np.repeat(given, 2, axis=2)], True, f32, reverse)[0, :, 1]
            assert (got[::-1] if reverse else got).tolist() == np.array(in_turn, float).astype(np.float32).tolist()


def test_interpreted_types() -> None:
    with np.errstate(all="ignore"):
        assert cast(np.array([1e30, -1e30, np.nan, 2.9, -2.9]), dtypes.int32).tolist() == [
            2**31 - 1,
            -(2**31),
            0,
            2,
            -2,
        ]
        assert cast(np.array([1e30, -1.0]), dtypes.uint64).tolist() == [2**64 - 1, 0]
        assert cast(np.array([300, -1]), dtypes.uint8).tolist() == [44, 255]
        assert cast(np.array([0.0, np.nan, 0.5]), dtypes.bool_).tolist() == [False, True, True]
    assert to_bfloat16(np.array([1.0, 1.00390625, 1.01171875, math.pi], np.float32)).tolist() == [
        1.0,
        1.0,
        1.015625,
        3.140625,
    ]
    c = Builder()
    h = c.input(3, dtype=dtypes.float16)
    outputs, _ = interpret(c.graph(op("add", op("add", h, 1.0), -1.0)), [np.array([1e-4, 1.0, 2.0], np.float16)])
    assert outputs[0].tolist() == [0.0, 1.0, 2.0]  # rounded after each op


def test_interpreted_writes_leave_the_operands_alone() -> None:
    given = np.ones((4, 6), np.float32)
    outputs, writes = interpret(Graph(tuple(b.inputs), (), (x,), (Write(0, op("add", x, 1.0), "add_"),)), [given, None])
    assert given.max() == outputs[0].max() == 1
    assert writes[0].min() == 2
