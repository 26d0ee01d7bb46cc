"""The contraction primitive: a batched matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.errors import ShapeError
from weft.ir.node import Node, Where, make
from weft.ops.movement import permute, reshape
from weft.ops.registry import Op, Operand, Saved, broadcast, broadcast_shape, cast, common_dtype, register


def _build_matmul(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    a, b = operands
    assert isinstance(a, Node)
    assert isinstance(b, Node)
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul cannot multiply shapes {list(a.shape)} and {list(b.shape)}: the inner sizes "
            f"{a.shape[-1]} and {b.shape[-2]} differ."
        )
    # A batch of vectors that one matrix multiplies is one product of matrices, and is summed like one.
    if len(a.shape) > 2 and a.shape[-2] == 1 and len(b.shape) == 2:
        rows = _reshaped(a, (*a.shape[:-2], a.shape[-1]), where)
        return _reshaped(_build_matmul((rows, b), attrs, where), (*a.shape[:-1], b.shape[-1]), where)
    if len(b.shape) > 2 and b.shape[-1] == 1 and len(a.shape) == 2:
        rows, turned = (
            _reshaped(b, b.shape[:-1], where),
            make("permute", (a,), ((1, 0),), a.shape[::-1], a.dtype, where),
        )
        return _reshaped(_build_matmul((rows, turned), attrs, where), (*b.shape[:-2], a.shape[0], 1), where)
    dtype = common_dtype([a, b])
    if dtype.kind == "b":
        raise TypeError("matmul does not take bool: it takes integer and floating-point types.")
    batch = broadcast_shape("matmul", [a.shape[:-2], b.shape[:-2]])
    a = broadcast(cast(a, dtype), batch + a.shape[-2:])
    b = broadcast(cast(b, dtype), batch + b.shape[-2:])
    return make("matmul", (a, b), (), (*batch, a.shape[-2], b.shape[-1]), dtype, where)


def _reshaped(node: Node, shape: tuple[int, ...], where: Where) -> Node:
    return make("reshape", (node,), (shape,), shape, node.dtype, where)


def transpose_last(x: Any) -> Any:
    """The last two axes exchanged."""
    n = x.ndim
    return permute(x, attrs=((*range(n - 2), n - 1, n - 2),))


def _rows(x: Any) -> Any:
    """The rows of all matrices as those of one."""
    return reshape(x, attrs=((math.prod(x.shape[:-1]), x.shape[-1]),))


def _grad_matmul(g: Any, c: Saved) -> Sequence[Any]:
    x, y = c.x, c.y
    left = matmul(g, transpose_last(y)) if c.needs[0] else None
    if not c.needs[1]:
        return left, None
    if y.ndim == 2 and x.ndim > 2:  # one matrix for all: one product, not the sum of one for each
        return left, matmul(transpose_last(_rows(x)), _rows(g))
    return left, matmul(transpose_last(x), g)


#: operands of at least two axes; leading axes broadcast
matmul = register(Op("matmul", "matmul", 2, _build_matmul, grad=_grad_matmul, reference=np.matmul))
