"""Groups: what becomes one instruction of a program, with the nodes that it computes."""

from __future__ import annotations

from weft.ir.graph import Graph
from weft.ir.node import Node, make
from weft.passes.indexmap import IndexMap, Space, through

MOVEMENTS = frozenset(("reshape", "permute", "expand", "slice", "as_strided"))

#: A node as read by a map: one value of a kernel.
Key = tuple[Node, IndexMap]


class Port:
    """An operand that must be memory: of a product, of a gather, of an update.

    ``base`` is the node whose memory it is (an input, or a node that a group stores), read by ``map`` over loops that are the
    operand's own axes. A ``whole`` operand is a whole row-major buffer.
    """

    __slots__ = ("base", "group", "map", "node", "space", "whole")

    def __init__(self, group: Group, node: Node, whole: bool = False) -> None:
        self.group = group
        self.node = node
        self.whole = whole
        self.space = Space(rigid=True)
        self.base: Node | None = None
        self.map: IndexMap | None = None


class Use:
    """A need for a node: by a group's loops or by one of its ports, through a map.

    ``over`` are the loops along which the values made from it change.
    """

    __slots__ = ("group", "map", "over", "port")

    def __init__(self, group: Group, m: IndexMap, over: int, port: Port | None) -> None:
        self.group = group
        self.map = m
        self.over = over
        self.port = port


class Group:
    """Nodes computed together.

    ``kind`` is "loops" (one kernel), "matmul", "attention" or "nonzero"; but for loops, ``made`` are the nodes that it gives. A
    group of loops has a `Space`, and stores the nodes ``stores``, each by its map. ``items`` holds every value of the kernel
    with the values it is made from; None marks a value read from memory. With ``form`` "inner" or "outer" the space has
    reduced loops. An ``update`` (assign, scatter) stores its node's second operand into the memory of the first.
    """

    __slots__ = (
        "bit",
        "deps",
        "fallible",
        "form",
        "items",
        "kind",
        "made",
        "node",
        "number",
        "ports",
        "reads",
        "reductions",
        "sources",
        "space",
        "stores",
        "update",
        "users",
        "writes",
    )

    def __init__(self, number: int, kind: str, node: Node) -> None:
        self.number = number
        self.bit = 1 << number
        self.kind = kind
        self.node = node  # the first node it was made for
        self.made = [] if kind == "loops" else [node]
        self.space = Space()
        self.form: str | None = None
        self.stores: list[tuple[Node, IndexMap]] = []
        self.items: dict[Key, list[Key] | None] = {}
        self.ports: list[Port] = []
        self.sources: dict[Key, Port] = {}  # of each gather: where it reads
        self.reads: set[Node] = set()
        self.reductions: list[Node] = []
        self.deps = 0  # the groups it needs, as bits
        self.users = 0  # the groups that need it, as bits
        self.update: list[Key] | None = None  # value, indices
        self.fallible = False
        self.writes = False  # whether it may write a program's input

    def need(self, other: Group) -> None:
        """The other group must come before this one."""
        self.deps |= other.bit
        other.users |= self.bit

    def __repr__(self) -> str:
        return f"<group {self.number} {self.kind} {self.node.op}>"


class Sinks:
    """Where nodes' values must end up: ``of[node]`` lists ("out", k) and ("in", slot).

    Reshapes are looked through, since they change nothing in memory, and a leaf is copied.
    """

    def __init__(self, graph: Graph) -> None:
        self.of: dict[Node, list[tuple[str, int]]] = {}
        self.aliases: dict[int, tuple[int, Layout | None]] = {}  # outputs in inputs' own memory: slot, layout
        written = {write.slot for write in graph.writes}
        for k, node in enumerate(graph.outputs):
            found = alias_of(node) if graph.alias else None
            if found is not None and found[0] not in written:
                self.aliases[k] = found
            else:
                self.add(node, ("out", k))
        for write in graph.writes:
            root = write.value
            if root.op == "input" and root.attrs[0] == write.slot and root.shape == graph.inputs[write.slot].shape:
                continue  # its own value
            self.add(root, ("in", write.slot))

    def add(self, node: Node, sink: tuple[str, int]) -> None:
        while node.op == "reshape":
            node = node.inputs[0]
        if not node.inputs and node.op in ("input", "const", "scalar", "iota"):
            node = make("copy", (node,), (), node.shape, node.dtype, node.where)
        self.of.setdefault(node, []).append(sink)

    def written(self, node: Node) -> bool:
        """Whether an input receives the node's value."""
        return any(kind == "in" for kind, _ in self.of.get(node, ()))


#: Strides and offset, in elements.
Layout = tuple[tuple[int, ...], int]


def alias_of(node: Node) -> tuple[int, Layout | None] | None:
    """The input whose memory a node is only a view of, with the layout unless that is the input's own; else None."""
    space = Space(rigid=True)
    m = space.natural(node.shape) if node.size else space.make(node.shape, ())
    x = node
    while x.op in MOVEMENTS:
        if not node.size:
            return None
        found = through(x, m, space)
        if found is None:
            return None
        m, x = found, x.inputs[0]
    if x.op != "input":
        return None
    slot, strides = x.attrs
    if x is node:
        return slot, None
    at = space.reshaped(m, x.shape)
    if at is None:
        return None
    linear = space.linear(at, strides)
    loops = iter(space.kept)
    out = tuple(0 if n == 1 else linear.coefficients.get(next(loops), 0) for n in node.shape)
    return slot, (out, linear.offset)


class Constraints:
    """What an earlier attempt at a schedule taught.

    ``stored`` nodes must have memory, written by a group of their own; ``kept`` are those that have it now. Groups made for
    the nodes ``no_rows`` must not become rows, those made for ``no_guests`` must not store other nodes.
    """

    def __init__(self) -> None:
        self.stored: set[Node] = set()
        self.kept: frozenset[Node] = frozenset()
        self.no_rows: set[Node] = set()
        self.no_guests: set[Node] = set()

    def begin(self) -> None:
        """Another attempt begins."""
        self.kept = frozenset(self.stored)


class Retry(Exception):
    """The groups cannot be made into kernels; the constraints were extended, so schedule again."""
