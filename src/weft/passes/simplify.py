"""Algebraic simplification, of what is exact for every value of the operands: signed zeros, infinities and NaN included.

So ``x * 1`` and ``-(-x)`` go, but not ``x + 0`` (which turns -0.0 into 0.0) or ``x * 0``. Each rule takes a node and returns
what it may be replaced by, or None for "unchanged"; `RULES` lists them by op.
"""

from __future__ import annotations

from collections.abc import Callable

from weft.dtypes import DType
from weft.ir.node import Node, const, const_value, make, rewrite, toposort
from weft.passes.indexmap import row_major_strides

Rule = Callable[[Node], Node | None]
_SIGNIFICAND = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
_LEAST_EXPONENT = {"float16": 14, "bfloat16": 126, "float32": 126, "float64": 1022}


def simplify(roots: list[Node]) -> list[Node]:
    """The roots' graph after every rule has been tried everywhere, operands first."""
    return rewrite(roots, _rule)


def _rule(node: Node) -> Node | None:
    for rule in RULES.get(node.op, ()):
        found = rule(node)
        if found is not None:
            return found
    return None


def same_value(node: Node) -> int | float | bool | None:
    """The constant that every element of a node is, if it is one seen through movements and casts are not."""
    while node.op in ("expand", "reshape", "permute", "slice", "copy"):
        node = node.inputs[0]
    return const_value(node) if node.op == "const" else None


def filled(value: int | float | bool, node: Node) -> Node:
    """A constant of a node's shape and type."""
    found = const(value, node.dtype)
    if not node.shape:
        return found
    ones = (1,) * node.ndim
    found = make("reshape", (found,), (ones,), ones, node.dtype, node.where)
    return found if node.shape == ones else make("expand", (found,), (node.shape,), node.shape, node.dtype, node.where)


# Movements


def _movement_identity(node: Node) -> Node | None:
    x = node.inputs[0]
    if node.shape != x.shape:
        return None
    if node.op in ("reshape", "expand"):
        return x
    if node.op == "permute" and node.attrs[0] == tuple(range(node.ndim)):
        return x
    if (
        node.op == "slice"
        and not any(node.attrs[0])
        and all(k == 1 or n <= 1 for k, n in zip(node.attrs[1], node.shape, strict=True))
    ):
        return x
    if node.op == "as_strided" and not node.attrs[0] and list(node.attrs[1]) == row_major_strides(node.shape):
        return x
    return None


def _movement_chain(node: Node) -> Node | None:
    """Two movements of a kind in a row are one."""
    x = node.inputs[0]
    if x.op != node.op:
        return None
    y = x.inputs[0]
    attrs: tuple
    if node.op in ("reshape", "expand"):
        attrs = node.attrs
    elif node.op == "permute":
        attrs = (tuple(x.attrs[0][p] for p in node.attrs[0]), *node.attrs[1:])
    elif node.op == "slice":
        starts = tuple(a + k * b for a, k, b in zip(x.attrs[0], x.attrs[1], node.attrs[0], strict=True))
        steps = tuple(a * b for a, b in zip(x.attrs[1], node.attrs[1], strict=True))
        attrs = (starts, steps, *node.attrs[2:])
    else:
        return None
    return make(node.op, (y,), attrs, node.shape, node.dtype, node.where)


# Arithmetic


def _one(node: Node) -> Node | None:
    """x * 1 and x / 1."""
    x, y = node.inputs
    if same_value(y) == 1 and not isinstance(same_value(y), bool):
        return x
    if node.op == "multiply" and same_value(x) == 1 and not isinstance(same_value(x), bool):
        return y
    return None


def _integer_zero(node: Node) -> Node | None:
    """n + 0 and n - 0, of integers."""
    if node.dtype.kind not in "iu":
        return None
    x, y = node.inputs
    if same_value(y) == 0:
        return x
    if node.op == "add" and same_value(x) == 0:
        return y
    return None


def _minus_zero(node: Node) -> Node | None:
    """x - 0.0: exact, unlike x + 0.0."""
    y = same_value(node.inputs[1])
    if node.dtype.kind == "f" and y == 0 and str(y)[0] != "-":
        return node.inputs[0]
    return None


def _involution(node: Node) -> Node | None:
    """-(-x) and not not x."""
    x = node.inputs[0]
    return x.inputs[0] if x.op == node.op else None


def _idempotent(node: Node) -> Node | None:
    """Ops that change nothing the second time."""
    x = node.inputs[0]
    return x if x.op == node.op else None


def _same_operands(node: Node) -> Node | None:
    """max(x, x), x & x."""
    x, y = node.inputs
    return x if x is y else None


def _where(node: Node) -> Node | None:
    condition, x, y = node.inputs
    if x is y:
        return None if any(n.op == "check_index" for n in toposort([condition])) else x  # the check stays
    known = same_value(condition)
    if known is None:
        return None
    return x if known else y


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` is one of ``wide``."""
    if narrow is wide or narrow.kind == "b":
        return True
    if wide.kind == "b":
        return False
    if narrow.kind == "f":
        return (
            wide.kind == "f"
            and _SIGNIFICAND[wide.name] >= _SIGNIFICAND[narrow.name]
            and _LEAST_EXPONENT[wide.name] >= _LEAST_EXPONENT[narrow.name]
        )
    bits = 8 * narrow.itemsize - (narrow.kind == "i")
    if wide.kind == "f":
        return _SIGNIFICAND[wide.name] >= bits and wide.name != "float16"
    if narrow.kind == "i" and wide.kind == "u":
        return False
    return 8 * wide.itemsize - (wide.kind == "i") >= bits


def _cast(node: Node) -> Node | None:
    x = node.inputs[0]
    if x.dtype is node.dtype:
        return x
    if x.op == "cast":
        y = x.inputs[0]
        if holds(x.dtype, y.dtype):  # the first cast loses nothing
            if y.dtype is node.dtype:
                return y
            saturates = x.dtype.kind == "f" and node.dtype.is_integer  # where integers wrap
            if not (saturates and y.dtype.is_integer and not holds(node.dtype, y.dtype)):
                return make("cast", (y,), node.attrs, node.shape, node.dtype, node.where)
    if x.op == "const":
        return None if node.dtype.is_half else _cast_const(x, node.dtype)
    return None


def _cast_const(x: Node, dtype: DType) -> Node | None:
    """A constant of another type, where both types hold its value."""
    value = const_value(x)
    if dtype.kind == "b":
        return const(value != 0, dtype)
    if dtype.kind == "f":
        if x.dtype.kind == "f":
            return const(value, dtype) if holds(dtype, x.dtype) and not x.dtype.is_half else None
        return const(value, dtype) if abs(int(value)) <= 1 << _SIGNIFICAND[dtype.name] else None
    if x.dtype.kind == "f":
        return None
    return const(value, dtype)


# Reductions and updates of nothing


def _empty_update(node: Node) -> Node | None:
    return node.inputs[0] if not node.inputs[1].size else None


def _whole_assign(node: Node) -> Node | None:
    """An assign that replaces everything, in order."""
    base, value = node.inputs
    offset, strides = node.attrs
    if offset or value.size != base.size or not base.size:
        return None
    step = 1
    for n, s in zip(reversed(value.shape), reversed(strides), strict=True):
        if n != 1:
            if s != step:
                return None
            step *= n
    if value.shape == base.shape:
        return value
    return make("reshape", (value,), (base.shape,), base.shape, node.dtype, node.where)


def _empty_product(node: Node) -> Node | None:
    return filled(0, node) if not node.inputs[0].shape[-1] and node.size else None


_MOVEMENT: list[Rule] = [_movement_identity, _movement_chain]
RULES: dict[str, list[Rule]] = {
    "reshape": _MOVEMENT,
    "expand": _MOVEMENT,
    "permute": _MOVEMENT,
    "slice": _MOVEMENT,
    "as_strided": _MOVEMENT,
    "multiply": [_one],
    "divide": [_one],
    "add": [_integer_zero],
    "subtract": [_integer_zero, _minus_zero],
    "negative": [_involution],
    "bitwise_invert": [_involution],
    "abs": [_idempotent],
    "floor": [_idempotent],
    "ceil": [_idempotent],
    "trunc": [_idempotent],
    "round": [_idempotent],
    "copy": [_idempotent],
    "maximum": [_same_operands],
    "minimum": [_same_operands],
    "bitwise_and": [_same_operands],
    "bitwise_or": [_same_operands],
    "where": [_where],
    "cast": [_cast],
    "assign": [_empty_update, _whole_assign],
    "scatter_add": [_empty_update],
    "scatter_set": [_empty_update],
    "matmul": [_empty_product],
}
