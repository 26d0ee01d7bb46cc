"""Graphs of whole training steps, with their gradients written out by hand."""

from __future__ import annotations

from itertools import pairwise

from weft import dtypes
from weft.ir.graph import Graph
from weft.ir.node import Node

from .build import Builder, linear, log_softmax, op, total


def transpose(x: Node) -> Node:
    return op("permute", x, attrs=((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2),))


def flat(x: Node, *shape: int) -> Node:
    return op("reshape", x, attrs=(shape,))


def mlp_step(batch: int = 32, sizes: tuple[int, ...] = (20, 16, 12, 5), adam: bool = False) -> Graph:
    """A classifier's forward pass, gradients, and the update of its parameters in place."""
    b = Builder()
    x = b.input(batch, sizes[0])
    labels = b.input(batch, dtype=dtypes.int64)
    params = []
    for n, m in pairwise(sizes):
        params.append((b.input(n, m), b.input(m)))
    rate = b.scalar()
    activations, before = [x], []
    h = x
    for k, (w, bias) in enumerate(params):
        h = linear(h, w, bias)
        before.append(h)
        if k < len(params) - 1:
            h = op("maximum", h, 0.0)
            activations.append(h)
    logp = log_softmax(h)
    rows = op("iota", attrs=(batch,))
    picked = op("gather", logp, rows, op("check_index", labels, sizes[-1]), attrs=((batch,),))
    loss = flat(op("multiply", total(picked, 0, 1), -1.0 / batch))
    one_hot = op("equal", flat(labels, batch, 1), op("iota", attrs=(sizes[-1],)))
    g = op("multiply", op("subtract", op("exp", logp), op("cast", one_hot, attrs=dtypes.float32)), 1.0 / batch)
    writes: list[tuple[Node, Node]] = []
    for k in reversed(range(len(params))):
        w, bias = params[k]
        gw = op("matmul", transpose(activations[k]), g)
        gb = flat(total(g, 0, 1), sizes[k + 1])
        for p, gp in ((w, gw), (bias, gb)):
            if adam:
                m, v = b.input(*p.shape), b.input(*p.shape)
                m1 = op("add", op("multiply", m, 0.9), op("multiply", gp, 0.1))
                v1 = op("add", op("multiply", v, 0.999), op("multiply", op("multiply", gp, gp), 0.001))
                step = op("divide", m1, op("add", op("sqrt", v1), 1e-8))
                writes += [(m, m1), (v, v1), (p, op("subtract", p, op("multiply", step, rate)))]
            else:
                writes.append((p, op("subtract", p, op("multiply", gp, rate))))
        if k:
            g = op("matmul", g, transpose(w))
            g = op("where", op("greater", before[k - 1], 0.0), g, 0.0)
    return b.graph(loss, writes=writes)
