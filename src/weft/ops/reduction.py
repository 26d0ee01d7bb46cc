"""Reduction primitives: attrs (lo, hi) reduce the adjacent axes lo..hi-1, which stay with size 1.

The order of a floating-point reduction depends on the reduced length alone, and on whether a kept axis larger than 1
follows the reduced ones; see `weft.ir.kernel.Kernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from weft import dtypes
from weft.errors import ShapeError
from weft.ir.node import Node, Where, make
from weft.ops import elementwise as E
from weft.ops.movement import expand
from weft.ops.registry import Grad, Op, Operand, Saved, register


def _reduction(
    name: str, kernel: str, reference: Any, grad: Grad | None = None, empty: bool = True, takes: str = "all"
) -> Op:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        (x,) = operands
        assert isinstance(x, Node)
        lo, hi = attrs
        if takes == "float" and x.dtype.kind != "f":
            raise TypeError(f"{name} does not take {x.dtype.name}: it takes floating-point types.")
        if not empty and 0 in x.shape[lo:hi]:
            raise ShapeError(
                f"{name} of no elements is undefined: axes {lo} to {hi - 1} of shape {list(x.shape)} are empty."
            )
        shape = x.shape[:lo] + (1,) * (hi - lo) + x.shape[hi:]
        dtype = dtypes.int64 if name.startswith("arg") else x.dtype
        return make(name, (x,), (lo, hi), shape, dtype, where)

    def ref(x: np.ndarray, attrs: Any) -> np.ndarray:
        lo, hi = attrs
        flat = x.reshape((*x.shape[:lo], -1, *x.shape[hi:]))
        return reference(flat, lo).reshape(x.shape[:lo] + (1,) * (hi - lo) + x.shape[hi:])

    return register(Op(name, "reduction", 1, build, kernel, grad, ref, takes=takes))


def _grad_sum(g: Any, c: Saved) -> Sequence[Any]:
    return (expand(g, attrs=(tuple(c.x.shape),)),)


def _grad_prod(g: Any, c: Saved) -> Sequence[Any]:
    """The product of the others: by division, unless a zero is among the elements."""
    zero = E.equal(c.x, 0)
    zeros = reduce_sum(E.cast_(zero, attrs=dtypes.int64), attrs=c.attrs)
    others = reduce_prod(E.where(zero, 1.0, c.x), attrs=c.attrs)  # the product without the zeros
    at_zero = E.where(E.equal(zeros, 1), E.multiply(g, others), 0.0)
    safe = E.where(zero, 1.0, c.x)
    elsewhere = E.where(E.equal(zeros, 0), E.divide(E.multiply(g, others), safe), 0.0)
    return (E.where(zero, at_zero, elsewhere),)


def _grad_extreme(g: Any, c: Saved) -> Sequence[Any]:
    """Equal extremes share the gradient."""
    mask = E.equal(c.x, c.out)
    count = reduce_sum(E.cast_(mask, attrs=c.x.dtype), attrs=c.attrs)
    return (E.where(mask, E.divide(g, count), 0.0),)


def _grad_m2(g: Any, c: Saved) -> Sequence[Any]:
    """Twice the deviations from the mean."""
    lo, hi = c.attrs
    n = prod(c.x.shape[lo:hi])
    apart = E.subtract(c.x, E.divide(reduce_sum(c.x, attrs=c.attrs), float(n)))
    return (E.multiply(E.add(g, g), apart),)


def _m2(x: np.ndarray, a: int) -> np.ndarray:
    return np.square(x - x.mean(axis=a, keepdims=True)).sum(axis=a)


reduce_sum = _reduction("reduce_sum", "sum", lambda x, a: x.sum(axis=a, dtype=x.dtype), _grad_sum)
#: The sum of the squared deviations from the mean, in one pass.
reduce_m2 = _reduction("reduce_m2", "m2", _m2, _grad_m2, takes="float")
reduce_prod = _reduction("reduce_prod", "prod", lambda x, a: x.prod(axis=a, dtype=x.dtype), _grad_prod)
reduce_max = _reduction("reduce_max", "max", lambda x, a: x.max(axis=a), _grad_extreme, empty=False)
reduce_min = _reduction("reduce_min", "min", lambda x, a: x.min(axis=a), _grad_extreme, empty=False)
reduce_any = _reduction("reduce_any", "any", lambda x, a: x.any(axis=a))
reduce_all = _reduction("reduce_all", "all", lambda x, a: x.all(axis=a))
argmax = _reduction("argmax", "argmax", lambda x, a: x.argmax(axis=a), empty=False)
argmin = _reduction("argmin", "argmin", lambda x, a: x.argmin(axis=a), empty=False)
