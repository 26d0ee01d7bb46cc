"""Turning transposed products."""

from __future__ import annotations

from weft.ir.node import make, toposort
from weft.ops.contraction import matmul
from weft.ops.elementwise import exp
from weft.ops.movement import permute
from weft.passes.products import turn_products

from .build import Builder


def _ops(roots: list) -> list[str]:
    return sorted(n.op for n in toposort(roots))


def test_a_weight_gradient_is_read_straight() -> None:
    g = Builder()
    x, out = g.input(8, 5), g.input(8, 3)
    xt = permute.build([x], ((1, 0),), None)
    product = matmul.build([xt, out], None, None)
    (turned,) = turn_products([permute.build([product], ((1, 0),), None)])
    assert turned.op == "matmul"
    assert turned.shape == (3, 5)
    assert turned.inputs[1] is x
    assert turned.inputs[0] is permute.build([out], ((1, 0),), None)


def test_batches_turn_their_last_two_axes_only() -> None:
    g = Builder()
    a, b = g.input(4, 2, 3), g.input(4, 3, 5)
    product = matmul.build([a, b], None, None)
    (turned,) = turn_products([permute.build([product], ((0, 2, 1),), None)])
    assert turned.op == "matmul"
    assert turned.shape == (4, 5, 2)
    (kept,) = turn_products([permute.build([product], ((1, 0, 2),), None)])
    assert kept.op == "permute"


def test_a_product_that_is_read_elsewhere_is_left() -> None:
    g = Builder()
    product = matmul.build([g.input(4, 3), g.input(3, 5)], None, None)
    transposed = permute.build([product], ((1, 0),), None)
    assert turn_products([transposed, exp.build([product], None, None)])[0] is transposed
    assert turn_products([transposed, product])[0] is transposed
    assert _ops([make("exp", (transposed,), (), transposed.shape, transposed.dtype)]).count("matmul") == 1
