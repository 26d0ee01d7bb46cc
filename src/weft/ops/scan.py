"""Scan primitives: attrs (axis, reverse) give the running results along an axis, or from its end.

``scan_linear`` of (a, b) is the recurrence ``y[i] = b[i] + a[i - 1] * y[i - 1]``, with ``y[0] = b[0]``. What is the gradient
of a scan is again one, so that all of them can be differentiated any number of times, in a time that grows with the size.

The order depends on the length alone, and on whether an axis larger than 1 follows; see `weft.ir.kernel.Kernel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft.ir.node import Node, Where, make
from weft.ops import elementwise as E
from weft.ops.indexed import full
from weft.ops.joining import joined
from weft.ops.registry import Grad, Op, Operand, Saved, register
from weft.ops.shape import sliced


def _scan(name: str, arity: int, reference: Callable[..., np.ndarray], grad: Grad) -> Op:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        nodes = [x for x in operands if isinstance(x, Node)]
        assert len(nodes) == arity
        axis, _ = attrs
        x = nodes[-1]  # what an axis of one element gives
        if x.dtype.kind == "b":
            raise TypeError(f"{name} does not take bool: it takes integer and floating-point types.")
        return x if x.shape[axis] <= 1 or not x.size else make(name, nodes, attrs, x.shape, x.dtype, where)

    def ref(*given: np.ndarray, attrs: Any) -> np.ndarray:
        axis, reverse = attrs
        turned = [np.flip(x, axis) for x in given] if reverse else given
        out = reference(*turned, axis)
        return np.flip(out, axis) if reverse else out

    return register(Op(name, "scan", arity, build, "", grad, ref))


def _recurrence(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    a, out = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0).copy()
    for i in range(1, len(out)):
        out[i] += a[i - 1] * out[i - 1]
    return np.moveaxis(out, 0, axis)


def delayed(x: Any, axis: int, reverse: bool, first: float) -> Any:
    """Every element moved one place along an axis, in the direction of a scan, which begins with ``first``."""
    shape = tuple(x.shape)
    rest = sliced(x, axis, int(reverse), shape[axis] - 1)
    edge = full(first, attrs=((*shape[:axis], 1, *shape[axis + 1 :]), x.dtype))
    return joined(*((rest, edge) if reverse else (edge, rest)), attrs=(axis,))


def _grad_sum(g: Any, c: Saved) -> Sequence[Any]:
    axis, reverse = c.attrs
    return (scan_sum(g, attrs=(axis, not reverse)),)


def _grad_prod(g: Any, c: Saved) -> Sequence[Any]:
    """What is before an element, times the recurrence over what is after: no division, so that zeros need no other way."""
    axis, reverse = c.attrs
    if c.x.shape[axis] <= 1:
        return (g,)
    before = delayed(c.out, axis, reverse, 1.0)
    after = scan_linear(c.x, g, attrs=(axis, not reverse))
    # after a zero the rest may overflow, and 0 * inf is no gradient
    nothing = E.bitwise_and(E.equal(before, 0), E.isinf(after))
    return (E.multiply(before, E.where(nothing, 0.0, after)),)


def _grad_linear(g: Any, c: Saved) -> Sequence[Any]:
    a, _ = c.operands
    axis, reverse = c.attrs
    if a.shape[axis] <= 1:
        return None, g
    of_b = scan_linear(delayed(a, axis, reverse, 0.0), g, attrs=(axis, not reverse))
    of_a = E.multiply(delayed(of_b, axis, not reverse, 0.0), c.out) if c.needs[0] else None
    return of_a, of_b


scan_sum = _scan("scan_sum", 1, lambda x, d: np.add.accumulate(x, d, dtype=x.dtype), _grad_sum)
scan_prod = _scan("scan_prod", 1, lambda x, d: np.multiply.accumulate(x, d, dtype=x.dtype), _grad_prod)
scan_linear = _scan("scan_linear", 2, _recurrence, _grad_linear)
