"""Graphs for the tests of the passes: nodes made by the op records, and a check of a schedule against the interpreter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import weft.ops.contraction
import weft.ops.elementwise
import weft.ops.indexed
import weft.ops.movement
import weft.ops.reduction
import weft.ops.scan  # noqa: F401 - the records are registered as they are imported
from weft import config, dtypes
from weft.dtypes import DType
from weft.ir.graph import Graph, Input, Write
from weft.ir.interpreter import held_as, interpret, rounded
from weft.ir.node import Node, const, make
from weft.ops.registry import OPS, Weak
from weft.passes.attention import Attention
from weft.passes.pipeline import optimise
from weft.passes.schedule import KernelCall, Product, Schedule, schedule

from .run_kernels import Runner


class Builder:
    """The inputs and scalars of a graph under construction."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.scalars: list[DType] = []

    def input(self, *shape: int, dtype: DType = dtypes.float32, strides: Sequence[int] | None = None) -> Node:
        if strides is None:
            strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
        slot = len(self.inputs)
        self.inputs.append(Input(tuple(shape), tuple(strides), dtype))
        return make("input", (), (slot, tuple(strides)), tuple(shape), dtype)

    def scalar(self, dtype: DType = dtypes.float32) -> Node:
        self.scalars.append(dtype)
        return make("scalar", (), (len(self.scalars) - 1,), (), dtype)

    def graph(self, *outputs: Node, writes: Sequence[tuple[Node, Node]] = (), alias: bool = False) -> Graph:
        """``writes``: (input, value)."""
        return Graph(
            tuple(self.inputs),
            tuple(self.scalars),
            outputs,
            tuple(Write(x.attrs[0], v, "write") for x, v in writes),
            alias,
        )


def op(name: str, *operands: Node | bool | int | float, attrs: Any = None) -> Node:
    """The node of a primitive op."""
    record = OPS[name]
    assert record.build is not None
    given = [o if isinstance(o, Node) else Weak(type(o), lambda d, o=o: const(o, d)) for o in operands]
    return record.build(given, attrs, None)


def total(x: Node, lo: int, hi: int, name: str = "reduce_sum") -> Node:
    return op(name, x, attrs=(lo, hi))


def mean(x: Node, axis: int = -1) -> Node:
    axis %= x.ndim
    return op("multiply", total(x, axis, axis + 1), 1.0 / x.shape[axis])


def softmax(x: Node) -> Node:
    e = op("exp", op("subtract", x, total(x, x.ndim - 1, x.ndim, "reduce_max")))
    return op("divide", e, total(e, x.ndim - 1, x.ndim))


def log_softmax(x: Node) -> Node:
    y = op("subtract", x, total(x, x.ndim - 1, x.ndim, "reduce_max"))
    return op("subtract", y, op("log", total(op("exp", y), x.ndim - 1, x.ndim)))


def layer_norm(x: Node, w: Node, b: Node) -> tuple[Node, Node, Node]:
    """The result, the mean and the reciprocal deviation."""
    mu = mean(x)
    d = op("subtract", x, mu)
    r = op("divide", 1.0, op("sqrt", op("add", mean(op("multiply", d, d)), 1e-5)))
    return op("add", op("multiply", op("multiply", d, r), w), b), mu, r


def linear(x: Node, w: Node, b: Node) -> Node:
    return op("add", op("matmul", x, w), b)


def arrays_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Values for a graph's inputs: small numbers, exact in every type where that can be."""
    rng = np.random.default_rng(seed)
    found = []
    for given in graph.inputs:
        if given.dtype.kind == "b":
            a = rng.random(given.shape) < 0.5
        elif given.dtype.kind == "f":
            a = rounded(rng.standard_normal(given.shape), given.dtype)
        else:
            a = rng.integers(0, 5, given.shape).astype(given.dtype.numpy)
        expanded = tuple(slice(0, 1) if s == 0 else slice(None) for s in given.strides)
        found.append(np.array(np.broadcast_to(a[expanded], given.shape), dtype=held_as(given.dtype)))
    return found


def check(
    graph: Graph, arrays: Sequence[np.ndarray] | None = None, scalars: Sequence[Any] = (), optimised: bool = True
) -> Schedule:
    """Schedule a graph, run the schedule in NumPy, and compare every bit with the interpreted graph."""
    arrays = arrays_for(graph) if arrays is None else arrays
    with config.override(skip_passes=("fold",)):  # folding computes with the kernels' functions, not NumPy's
        plan = schedule(optimise(graph)[0] if optimised else graph)
    want, writes = interpret(graph, arrays, scalars)
    runs = [Runner(plan, arrays, scalars)]
    if any(isinstance(i, Product) and i.beside for i in plan.instrs):
        runs.append(Runner(plan, arrays, scalars, late=True))
    for run in runs:
        for k, (got, expected) in enumerate(zip(run.outputs, want, strict=True)):
            same(got, expected, f"output {k}\n{plan}")
        for slot, array in enumerate(arrays):
            same(run.inputs[slot].value(), writes.get(slot, array), f"input {slot}\n{plan}")
    return plan


def same(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.shape == want.shape, what
    assert got.dtype == want.dtype, what
    np.testing.assert_array_equal(got, want, err_msg=what)


def counts(plan: Schedule) -> tuple[int, int]:
    """(kernels, products) of a run."""
    return (
        sum(isinstance(i, KernelCall) for i in plan.instrs),
        sum(isinstance(i, Product) for i in plan.instrs),
    )


def forms(plan: Schedule) -> list[str]:
    """The form of each launch."""
    names = {Product: "matmul", Attention: "attention"}
    return [i.kernel.form if isinstance(i, KernelCall) else names[type(i)] for i in plan.instrs]
