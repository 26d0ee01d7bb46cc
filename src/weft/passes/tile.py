"""Concatenations: chains of assigns that together replace every element, so that what they began from is never seen."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from weft.ir.node import Node
from weft.passes.indexmap import Linear, Space

#: (first, size) along each axis.
Box = list[tuple[int, int]]


def innermost_of_tiling(node: Node, users: Mapping[Node, int], counts: dict[Node, int]) -> Node | None:
    """The first assign of a chain that ends in ``node`` and leaves nothing of its base, or None.

    ``users`` counts who needs a node: the links of the chain must have no other user. ``counts`` is kept between calls.
    """
    if _assigned(node, users, counts) != node.size:
        return None
    boxes: list[Box] = []
    link = node
    while True:
        box = region(link)
        if box is None:
            return None
        boxes.append(box)
        if link.inputs[0].op != "assign":
            return link if tiles(boxes, node.shape) else None
        link = link.inputs[0]


def _assigned(node: Node, users: Mapping[Node, int], counts: dict[Node, int]) -> int:
    """The elements that the assigns of a chain replace, all together; 0 if it is no chain.

    Counted once for each node of a chain, of which every one is asked for: only one of them can fill its base.
    """
    chain = [node]
    while chain[-1] not in counts and chain[-1].inputs[0].op == "assign":
        chain.append(chain[-1].inputs[0])
    for link in reversed(chain):
        base, value = link.inputs
        if link in counts:
            continue
        if base.op != "assign":
            counts[link] = value.size
        else:
            counts[link] = counts[base] + value.size if value.size and counts[base] and users[base] == 1 else 0
    return counts[node]


def region(node: Node) -> Box | None:
    """The box of its base that an assign replaces, or None where it is no box."""
    base, value = node.inputs
    if not value.size:
        return None
    offset, strides = node.attrs
    space = Space(rigid=True)
    linear: Linear = space.linear(space.natural(value.shape), strides)
    terms = tuple(sorted(linear.coefficients.items()))
    flat = space.make((base.size,), ((offset, terms) if base.size != 1 else (0, ()),))
    m = space.reshaped(flat, base.shape)
    if m is None:
        return None
    box = []
    for start, along in m.coordinates:
        if len(along) > 1 or (along and along[0][1] != 1):
            return None
        box.append((start, space.sizes[along[0][0]] if along else 1))
    return box if prod(size for _, size in box) == value.size else None  # a diagonal runs along two axes at once


def tiles(boxes: list[Box], shape: tuple[int, ...]) -> bool:
    """Whether boxes that differ along one axis at most fill a shape without overlap."""
    split = [d for d, n in enumerate(shape) if any(box[d] != (0, n) for box in boxes)]
    if not split:
        return len(boxes) == 1
    if len(split) > 1:
        return False
    at = 0
    for start, size in sorted(box[split[0]] for box in boxes):
        if start != at:
            return False
        at += size
    return at == shape[split[0]]
