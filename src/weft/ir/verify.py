"""The verifier: every rule about types and shapes that a graph must keep, checked node by node.

It runs before and after the passes when the switch ``verify`` is on, which it is throughout the tests. A broken rule is a
mistake in Weft, not in the user's program.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from weft.dtypes import bool_, int64
from weft.ir.graph import Graph
from weft.ir.node import Node


class InvalidGraph(AssertionError):
    """A graph breaks a rule of the representation."""


def verify(graph: Graph) -> None:
    """Check a graph. Raises `InvalidGraph` naming the node and the rule."""
    from weft.ops.registry import OPS  # a layer above

    for node in graph.nodes:
        rule = RULES.get(node.op)
        if rule is None and node.op in OPS:
            rule = KINDS.get(OPS[node.op].kind)
        if rule is None:
            raise InvalidGraph(f"{node!r}: no primitive op has this name")
        _check(all(n >= 0 for n in node.shape), node, "sizes are not negative")
        rule(node, graph)
    written = [w.slot for w in graph.writes]
    if len(set(written)) != len(written):
        raise InvalidGraph(f"an input slot is written twice: {written}")
    for w in graph.writes:
        target = graph.inputs[w.slot]
        if (w.value.shape, w.value.dtype) != (target.shape, target.dtype):
            raise InvalidGraph(
                f"{w.value!r} is written to slot {w.slot}, which is {target.dtype.name}{list(target.shape)}"
            )


def _check(holds: bool, node: Node, rule: str) -> None:
    if not holds:
        given = ", ".join(repr(x) for x in node.inputs)
        raise InvalidGraph(f"{node!r} of ({given}) with attributes {node.attrs}: {rule}")


def _arity(node: Node, n: int) -> None:
    _check(len(node.inputs) == n, node, f"takes {n} operands")


def _input(node: Node, graph: Graph) -> None:
    _arity(node, 0)
    slot, strides = node.attrs
    _check(0 <= slot < len(graph.inputs), node, "names a slot of the graph")
    given = graph.inputs[slot]
    _check((given.shape, given.strides, given.dtype) == (node.shape, strides, node.dtype), node, f"matches {given}")


def _scalar(node: Node, graph: Graph) -> None:
    _arity(node, 0)
    _check(0 <= node.attrs[0] < len(graph.scalars), node, "names a scalar of the graph")
    kind = graph.scalars[node.attrs[0]].kind
    _check(node.shape == () and (kind == "f") == (node.dtype.kind == "f"), node, "is a number of the scalar's kind")


def _const(node: Node, graph: Graph) -> None:
    _arity(node, 0)
    _check(node.shape == () and len(node.attrs) == 1, node, "is one number")


def _iota(node: Node, graph: Graph) -> None:
    _arity(node, 0)
    _check(node.ndim == 1 and node.dtype is int64, node, "is int64 with one axis")


def _elementwise(node: Node, graph: Graph) -> None:
    from weft.ops.registry import OPS

    _arity(node, OPS[node.op].arity)
    _check(all(x.shape == node.shape for x in node.inputs), node, "operands have the result's shape")
    if node.op in ("cast", "copy"):
        _check(node.op == "cast" or node.inputs[0].dtype is node.dtype, node, "keeps the type")
    elif node.op == "where":
        _check(node.inputs[0].dtype is bool_, node, "the condition is bool")
        _check(all(x.dtype is node.dtype for x in node.inputs[1:]), node, "the choices have the result's type")
    else:
        _check(len({x.dtype for x in node.inputs}) <= 1, node, "operands have one type")


def _same_type(node: Node) -> None:
    _arity(node, 1)
    _check(node.inputs[0].dtype is node.dtype, node, "keeps the type")


def _reshape(node: Node, graph: Graph) -> None:
    _same_type(node)
    _check(node.inputs[0].size == node.size, node, "keeps the number of elements")


def _permute(node: Node, graph: Graph) -> None:
    _same_type(node)
    shape, perm = node.inputs[0].shape, node.attrs[0]
    _check(sorted(perm) == list(range(len(shape))), node, "permutes the axes")
    _check(node.shape == tuple(shape[p] for p in perm), node, "has the permuted shape")


def _expand(node: Node, graph: Graph) -> None:
    _same_type(node)
    old = node.inputs[0].shape
    _check(len(old) == node.ndim, node, "keeps the number of axes")
    _check(all(a in (1, b) for a, b in zip(old, node.shape, strict=True)), node, "only axes of size 1 grow")


def _slice(node: Node, graph: Graph) -> None:
    _same_type(node)
    starts, steps = node.attrs[:2]
    shape = node.inputs[0].shape
    _check(len(shape) == node.ndim == len(starts) == len(steps), node, "has a start and a step for each axis")
    for n, m, a, k in zip(shape, node.shape, starts, steps, strict=True):
        _check(m == 0 or (0 <= a < n and 0 <= a + (m - 1) * k < n), node, "stays inside its operand")


def _as_strided(node: Node, graph: Graph) -> None:
    _same_type(node)
    offset, strides = node.attrs[:2]
    _check(len(strides) == node.ndim, node, "has a stride for each axis")
    _check(_inside(node.shape, offset, strides, node.inputs[0].size), node, "stays inside its operand")


def _inside(shape: tuple[int, ...], offset: int, strides: tuple[int, ...], size: int) -> bool:
    if 0 in shape:
        return True
    ends = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    return offset + sum(min(e, 0) for e in ends) >= 0 and offset + sum(max(e, 0) for e in ends) < size


def _reduction(node: Node, graph: Graph) -> None:
    _arity(node, 1)
    x = node.inputs[0]
    lo, hi = node.attrs
    _check(0 <= lo <= hi <= x.ndim, node, "reduces axes that its operand has")
    _check(node.shape == x.shape[:lo] + (1,) * (hi - lo) + x.shape[hi:], node, "keeps reduced axes with size 1")
    if node.op.startswith("arg"):
        _check(node.dtype is int64, node, "gives int64")
    else:
        _check(node.dtype is x.dtype, node, "keeps the type")


def _scan(node: Node, graph: Graph) -> None:
    from weft.ops.registry import OPS

    _arity(node, OPS[node.op].arity)
    axis, reverse = node.attrs
    _check(0 <= axis < node.ndim and isinstance(reverse, bool), node, "runs along an axis that it has")
    _check(all(x.shape == node.shape and x.dtype is node.dtype for x in node.inputs), node, "is like its operands")
    _check(node.dtype.kind != "b", node, "is numeric")


def _index(node: Node, x: Node, index: tuple[Node, ...], shape: tuple[int, ...]) -> None:
    _check(len(index) == x.ndim, node, "has an index for each axis")
    _check(all(i.dtype is int64 and i.shape == shape for i in index), node, "indices are int64 of the value's shape")


def _gather(node: Node, graph: Graph) -> None:
    x, *index = node.inputs
    _check(x.dtype is node.dtype, node, "keeps the type")
    _index(node, x, tuple(index), node.shape)


def _scatter(node: Node, graph: Graph) -> None:
    base, value, *index = node.inputs
    _check(base.shape == node.shape and base.dtype is value.dtype is node.dtype, node, "is like its base")
    _index(node, base, tuple(index), value.shape)


def _assign(node: Node, graph: Graph) -> None:
    _arity(node, 2)
    base, value = node.inputs
    offset, strides = node.attrs
    _check(base.shape == node.shape and base.dtype is value.dtype is node.dtype, node, "is like its base")
    _check(len(strides) == value.ndim, node, "has a stride for each axis of the value")
    _check(_inside(value.shape, offset, strides, base.size), node, "stays inside its base")


def _matmul(node: Node, graph: Graph) -> None:
    _arity(node, 2)
    a, b = node.inputs
    _check(a.ndim == b.ndim == node.ndim >= 2, node, "has operands of one number of axes, at least two")
    _check(a.shape[:-2] == b.shape[:-2] == node.shape[:-2], node, "has one batch shape")
    _check(a.shape[-1] == b.shape[-2], node, "inner sizes agree")
    _check(node.shape[-2:] == (a.shape[-2], b.shape[-1]), node, "has the product's shape")
    _check(a.dtype is b.dtype is node.dtype and node.dtype.kind != "b", node, "has one numeric type")


def _attention(node: Node, graph: Graph) -> None:
    gradient = node.op != "attention"
    _check(len(node.inputs) in ((4, 5) if gradient else (3, 4)), node, "has queries, keys, values, and a mask or none")
    q, k, v, *rest = node.inputs
    batch, rows, keys = q.shape[:-2], q.shape[-2], k.shape[-2]
    _check(all(x.ndim >= 2 and x.shape[:-2] == batch for x in node.inputs), node, "has one batch shape")
    _check(k.shape[-1] == q.shape[-1] and v.shape[-2] == keys, node, "queries, keys and values fit together")
    out = (*batch, rows, v.shape[-1])
    if gradient:
        g = rest.pop(0)
        _check(g.shape == out and g.dtype is node.dtype, node, "the gradient is like the output")
        out = (q, k, v)[("attention_dq", "attention_dk", "attention_dv").index(node.op)].shape
    _check(node.shape == out, node, "has the shape of what it gives")
    _check(q.dtype is k.dtype is v.dtype is node.dtype, node, "has one type")
    _check(node.dtype.kind == "f" and not node.dtype.is_half, node, "is of float32 or float64")
    _check(all(m.dtype in (bool_, node.dtype) and m.shape == (*batch, rows, keys) for m in rest), node, "the mask fits")


def _nonzero(node: Node, graph: Graph) -> None:
    _arity(node, 1)
    x = node.inputs[0]
    _check(x.ndim == 1 and x.dtype is bool_ and node.dtype is int64, node, "is int64 of a bool operand with one axis")
    _check(node.ndim == 1 and 0 <= node.shape[0] <= math.prod(x.shape), node, "has at most the operand's size")


Rule = Callable[[Node, Graph], None]
RULES: dict[str, Rule] = {
    "input": _input,
    "scalar": _scalar,
    "const": _const,
    "iota": _iota,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "slice": _slice,
    "as_strided": _as_strided,
    "gather": _gather,
    "scatter_add": _scatter,
    "scatter_set": _scatter,
    "assign": _assign,
    "matmul": _matmul,
    "nonzero": _nonzero,
}
KINDS: dict[str, Rule] = {
    "elementwise": _elementwise,
    "reduction": _reduction,
    "scan": _scan,
    "attention": _attention,
}
