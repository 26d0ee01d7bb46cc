"""Reductions over the rows of a row kernel join it: when they do, when they must not, and the same bits either way."""

from __future__ import annotations

import numpy as np
import pytest

import weft
from weft.ir.graph import Graph
from weft.ir.node import Node
from weft.passes import across
from weft.passes.across import JOINED_ROWS

from .build import Builder, check, forms, mean, op, softmax, total

ROWS = JOINED_ROWS + 3


def normalised(x: Node) -> Node:
    centred = op("subtract", x, mean(x))
    return op("divide", centred, op("sqrt", op("add", mean(op("multiply", centred, centred)), 1e-5)))


def gradients(rows: int) -> Graph:
    b = Builder()
    x, w, g = b.input(rows, 40), b.input(40), b.input(rows, 40)
    y, gw = normalised(x), op("multiply", g, w)
    back = op("subtract", op("subtract", gw, mean(gw)), op("multiply", y, mean(op("multiply", gw, y))))
    return b.graph(back, total(op("multiply", g, y), 0, 1), total(g, 0, 1))


def test_gradients_of_weight_and_bias_join_that_of_the_operand() -> None:
    plan = check(gradients(ROWS))
    assert forms(plan) == ["columns"]
    # what the sums are over is not stored: the arena holds partial results alone
    assert plan.arena < ROWS * 40 * 4


def test_few_rows_stay_apart() -> None:
    assert forms(check(gradients(JOINED_ROWS - 1))) == ["row", "outer"]


def test_a_value_that_is_wanted_besides_is_stored() -> None:
    b = Builder()
    y = softmax(b.input(ROWS, 70))
    assert forms(check(b.graph(y, total(y, 0, 1)))) == ["columns"]
    b = Builder()
    y = softmax(b.input(ROWS, 70))
    plan = check(b.graph(op("matmul", y, b.input(70, 4)), total(y, 0, 1)))
    assert sorted(forms(plan)) == ["columns", "matmul"]


def test_what_is_made_of_the_sums_is_made_in_the_same_kernel() -> None:
    """A weight that is updated by a sum over rows, in place, while the rows are made from it."""
    b = Builder()
    x, w = b.input(ROWS, 70), b.input(70)
    y = softmax(op("multiply", x, w))
    new = op("subtract", w, op("reshape", op("multiply", total(y, 0, 1), 0.1), attrs=((70,),)))
    plan = check(b.graph(y, writes=[(w, new)]))
    assert forms(plan) == ["columns"]


def test_several_reductions_and_types() -> None:
    b = Builder()
    x = b.input(ROWS, 70, dtype=weft.float64)
    y = softmax(x)
    plan = check(b.graph(total(y, 0, 1), op("reduce_max", y, attrs=(0, 1)), op("reduce_min", x, attrs=(0, 1)), y))
    assert forms(plan) == ["columns"]


@pytest.mark.parametrize("kind", ["argmax", "reduce_any"])
def test_other_reductions_stay_apart(kind: str) -> None:
    b = Builder()
    y = softmax(b.input(ROWS, 70))
    z = op("greater", y, 0.2) if kind == "reduce_any" else y
    assert sorted(forms(check(b.graph(y, op(kind, z, attrs=(0, 1)))))) == ["outer", "row"]


def test_sums_that_need_the_rows_through_another_kernel_stay_apart() -> None:
    b = Builder()
    x = b.input(ROWS, 70)
    y = softmax(x)
    z = op("matmul", y, b.input(70, 70))
    plan = check(b.graph(y, total(op("multiply", x, z), 0, 1)))
    assert "columns" not in forms(plan)


def test_rows_that_read_a_product_run_with_it_instead() -> None:
    b = Builder()
    y = softmax(op("matmul", b.input(ROWS, 4), b.input(4, 70)))
    assert "columns" not in forms(check(b.graph(y, total(y, 0, 1))))


def test_the_bits_are_those_of_separate_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w, c, g = (weft.from_numpy(rng.standard_normal(s, dtype=np.float32)) for s in ((ROWS, 70), 70, 70, (ROWS, 70)))

    def gradient(x: weft.Tensor, w: weft.Tensor, c: weft.Tensor, g: weft.Tensor) -> tuple[weft.Tensor, ...]:
        for t in (x, w, c):
            t.requires_grad = True
        return weft.grad(weft.layer_norm(x, 70, w, c), (x, w, c), g)

    found = []
    for rows in (JOINED_ROWS, ROWS + 1):
        monkeypatch.setattr(across, "JOINED_ROWS", rows)
        for threads in (1, 2):
            before = weft.get_num_threads()
            weft.set_num_threads(threads)
            made = weft.static(lambda x, w, c, g: gradient(x, w, c, g))(x.clone(), w.clone(), c.clone(), g)
            weft.set_num_threads(before)
            found.append([t.numpy().tobytes() for t in made])
    assert all(f == found[0] for f in found)


def test_short_rows_go_together_instead() -> None:
    b = Builder()
    y = softmax(b.input(ROWS, 6))
    assert forms(check(b.graph(y, total(y, 0, 1)))) == ["row", "outer"]


@pytest.mark.parametrize("rows", [JOINED_ROWS - 1, ROWS])
def test_the_gradient_of_a_sum_reaches_weight_and_bias(rows: int) -> None:
    """It is one number for all rows and columns: the bias's gradient has nothing that a row would give it."""
    rng = np.random.default_rng(1)
    values = [rng.standard_normal(shape).astype(np.float32) for shape in ((rows, 256), (256,), (256,))]
    x, weight, bias = (weft.tensor(v, requires_grad=True) for v in values)
    y = weft.nn.functional.layer_norm(x, (256,), weight, bias)
    y.sum().backward()
    assert bias.grad is not None
    assert weight.grad is not None
    assert x.grad is not None
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(256, rows, np.float32))
    plain = (values[0] - values[0].mean(1, keepdims=True)) / np.sqrt(values[0].var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(weight.grad.numpy(), plain.sum(0), rtol=1e-4, atol=1e-2)
    assert x.grad.shape == x.shape
