"""Attention in schedules: what is computed together, what it reads, what it waits for."""

from __future__ import annotations

from typing import Any

from tests.passes.build import Builder, check, forms, op
from weft import dtypes
from weft.ir.node import Node, make
from weft.ops.attention import bits_of
from weft.passes.attention import Attention

F32 = dtypes.float32
ATTRS = (False, bits_of(0.5))


def attention(q: Node, k: Node, v: Node, *mask: Node, attrs: Any = ATTRS) -> Node:
    return make("attention", (q, k, v, *mask), attrs, (*q.shape[:-1], v.shape[-1]), F32)


def gradients(q: Node, k: Node, v: Node, g: Node, *mask: Node, attrs: Any = ATTRS) -> list[Node]:
    return [
        make(f"attention_d{letter}", (q, k, v, g, *mask), attrs, x.shape, F32)
        for letter, x in zip("qkv", (q, k, v), strict=True)
    ]


def test_producers_and_consumers_are_kernels() -> None:
    b = Builder()
    q, k, v = b.input(2, 5, 4), b.input(2, 6, 4), b.input(2, 6, 3)
    out = op("tanh", attention(op("exp", q), k, v, attrs=(True, bits_of(0.25))))
    assert forms(check(b.graph(out))) == ["map", "attention", "map"]


def test_operands_are_read_where_they_are() -> None:
    """Heads that come after positions, keys with features first, a broadcast mask: no copies."""
    b = Builder()
    q = op("permute", b.input(5, 2, 4), attrs=((1, 0, 2),))
    k = op("permute", b.input(2, 4, 6), attrs=((0, 2, 1),))
    v = op("expand", b.input(1, 6, 3), attrs=((2, 6, 3),))
    mask = op("expand", b.input(1, 1, 6, dtype=dtypes.bool_), attrs=((2, 5, 6),))
    plan = check(b.graph(attention(q, k, v, mask)))
    assert forms(plan) == ["attention"]
    (call,) = plan.instrs
    assert isinstance(call, Attention)
    assert call.mask is not None
    assert call.mask[2:] == ((0,), 0, 1)
    assert call.v[2][0] == 0


def test_gradients_are_one_launch() -> None:
    b = Builder()
    q, k, v, g = b.input(2, 5, 4), b.input(2, 6, 4), b.input(2, 6, 3), b.input(2, 5, 3)
    mask = b.input(2, 5, 6)
    dq, dk, dv = gradients(q, k, v, g, mask)
    assert forms(check(b.graph(dq, dk, dv))) == ["attention"]
    assert forms(check(b.graph(op("add", dk, k), op("exp", dv)))) in (["attention", "map"], ["attention", "map", "map"])
    assert forms(check(b.graph(dv))) == ["attention"]
    other = gradients(q, k, v, g, mask, attrs=(True, ATTRS[1]))
    assert forms(check(b.graph(dq, other[1]))) == ["attention", "attention"]


def test_gradients_that_need_one_another() -> None:
    """Two calls, the second reading a gradient of the first."""
    b = Builder()
    q, k, v, g = b.input(2, 5, 4), b.input(2, 6, 4), b.input(2, 6, 3), b.input(2, 5, 3)
    dq, dk, dv = gradients(q, k, v, g)
    again = gradients(dq, dk, dv, g)
    assert forms(check(b.graph(*again, op("exp", dv)))).count("attention") == 2


def test_a_written_input_receives_the_result() -> None:
    b = Builder()
    q, k, v = b.input(2, 5, 4), b.input(2, 6, 4), b.input(2, 6, 4)
    plan = check(b.graph(writes=[(q, attention(q, k, v))]))
    assert forms(plan) == ["attention", "map"]
