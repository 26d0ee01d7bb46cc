"""The in-place update rules that optimisers are made of: each writes one tensor, in one kernel.

Numbers such as learning rates are operands, so that changing them compiles nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.ir.node import Node, Where
from weft.ops.elementwise import add, divide, multiply, sqrt, subtract
from weft.ops.nodes import node
from weft.ops.registry import Operand, cast, inplace


def _descend(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    p, g, lr = operands
    return node(subtract, p, node(multiply, g, lr))


def _decay_add(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    average, value, keep = operands
    return node(add, node(multiply, average, keep), value)


def _approach(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    average, value, weight = operands
    return node(add, average, node(multiply, node(subtract, value, average), weight))


def _approach_square(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    average, value, keep, weight = operands
    return node(add, node(multiply, average, keep), node(multiply, node(multiply, value, value), weight))


def _adam(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    p, mean, square, step_size, root, eps = operands
    assert isinstance(p, Node)
    spread = node(add, node(divide, node(sqrt, square), cast(root, p.dtype)), eps)
    return node(subtract, p, node(multiply, cast(step_size, p.dtype), node(divide, mean, spread)))


#: p <- p - lr * g, of (p, g, lr).
descend_ = inplace("descend_", 3, _descend)
#: a <- a * keep + x, of (a, x, keep).
decay_add_ = inplace("decay_add_", 3, _decay_add)
#: a <- a + (x - a) * weight, of (a, x, weight).
approach_ = inplace("approach_", 3, _approach)
#: a <- a * keep + x * x * weight, of (a, x, keep, weight).
approach_square_ = inplace("approach_square_", 4, _approach_square)
#: p <- p - step_size * (mean / (sqrt(square) / root + eps)), of (p, mean, square, step_size, root, eps).
adam_ = inplace("adam_", 6, _adam)
