"""Transposed products: ``(a @ b).T`` is ``b.T @ a.T``, which the next kernel can read without a stride.

Exact, to the last bit: an element is a chain of multiply-adds over the same pairs in the same order, and a product does not
depend on the order of its two factors. The gradient of a linear layer's weight comes out of its rule in the first form.
"""

from __future__ import annotations

from collections import Counter

from weft.ir.node import Node, make, rewrite, toposort


def turn_products(roots: list[Node]) -> list[Node]:
    """The roots' graph with every transposed product turned, where nothing else reads the product."""
    readers = Counter(i for node in toposort(roots) for i in node.inputs)
    readers.update(roots)

    def rule(node: Node) -> Node | None:
        if node.op != "permute" or node.inputs[0].op != "matmul" or readers[node.inputs[0]] != 1:
            return None
        n = node.ndim
        swap = (*range(n - 2), n - 1, n - 2)
        if node.attrs[0] != swap:
            return None
        a, b = node.inputs[0].inputs
        return make("matmul", (_swapped(b, swap), _swapped(a, swap)), (), node.shape, node.dtype, node.where)

    return rewrite(roots, rule)


def _swapped(x: Node, swap: tuple[int, ...]) -> Node:
    if x.op == "permute" and x.attrs[0] == swap:
        return x.inputs[0]
    shape = tuple(x.shape[p] for p in swap)
    return make("permute", (x,), (swap,), shape, x.dtype, x.where)
