"""Fusion: which nodes get memory of their own, and which are computed together.

The graph is walked from its roots to its leaves, so that when a node's turn comes, every group that needs it is known, with
the index map it is needed by. The node is then either

* *inlined*: computed inside the groups that need it, each time its value is needed; or
* *stored*: given memory. It is computed by one group, preferably one that needs it anyway ("hosted"), or one that reads the
  same operand over the same loops (a sibling); the other groups then depend on that group and load it.

A node must be stored if it is an output, if an input receives it, if something needs it as memory (operand of a matmul, a
gather, an update), if it is itself a matmul, an update or a nonzero, or if loops cannot follow its axes. Otherwise:

* movements and leaves are always inlined;
* an elementwise node is stored if computing it again costs more than reading it: several groups (or maps of one group) need
  it and it has an expensive op or more than two loads under it, or it is expensive and smaller than the loops around it;
* a reduction is inlined where the loops around it are its own kept axes (its group then reduces: a value computed from the
  result is an epilogue), or its own operand's axes, reduced ones last (the group becomes a row kernel), or where the
  group already reduces over the same axes. It is stored if several groups need it.

Everything that joins a group must leave the groups free of cycles: a group hosts a node only if it does not depend on any
other group that will load the node. `Group.deps` holds every dependence that is known so far, and the walk adds one only after
this check, so a cycle can never arise; a group of its own is always possible.
"""

from __future__ import annotations

from collections import Counter

from weft.ir.graph import Graph
from weft.ir.node import Node, const, make, toposort
from weft.ops.registry import OPS
from weft.passes.groups import Constraints, Group, Port, Sinks, Use
from weft.passes.indexmap import IndexMap, Space, is_row_major, mask_of, through
from weft.passes.tile import innermost_of_tiling

LEAVES = frozenset(("input", "const", "scalar", "iota"))
UPDATES = frozenset(("assign", "scatter_add", "scatter_set"))
#: Cost from which a value is not computed twice.
EXPENSIVE = 8
#: What a position in memory that is computed costs to read again.
GATHER_COST = 8
#: Loads from which a value used twice is stored, not computed twice.
MANY_LOADS = 3
#: Different maps by which a cheap value may be inlined in one group.
MAX_MAPS = 4
#: Limits of one kernel.
MAX_ITEMS = 200
MAX_STORES = 12
#: A row kernel runs one thread a row: long rows must be many.
LONG_ROW = 65536
MANY_ROWS = 8


def kind_of(node: Node) -> str:
    """How the scheduler treats a node: leaf, movement, elementwise, gather, reduction, update, matmul or nonzero."""
    op = node.op
    if op in LEAVES:
        return "leaf"
    kind = OPS[op].kind
    if kind == "indexed":
        return "gather" if op == "gather" else "update" if op in UPDATES else op
    return kind


def reduced_length(node: Node) -> int:
    """The number of elements that each element of a reduction is made from."""
    lo, hi = node.attrs
    n = 1
    for s in node.inputs[0].shape[lo:hi]:
        n *= s
    return n


def reduction_form(node: Node) -> str:
    """ "inner" if nothing kept follows the reduced axes, else "outer"; it fixes the order of the reduction."""
    n = 1
    for s in node.shape[node.attrs[1] :]:
        n *= s
    return "inner" if n == 1 else "outer"


class Fusion:
    """The groups of a graph. ``home[node]`` is the group that stores a node."""

    def __init__(self, graph: Graph, sinks: Sinks, constraints: Constraints) -> None:
        self.graph = graph
        self.sinks = sinks
        self.constraints = constraints
        self.groups: list[Group] = []
        self.home: dict[Node, Group] = {}
        self.uses: dict[Node, dict[IndexMap, Use]] = {}
        order = toposort(sinks.of)
        self.users = Counter(x for node in order for x in node.inputs)
        self.users.update(list(sinks.of))
        self.seamless: set[Node] = set()  # assigns at the start of a chain that replaces all of the base
        self.kinds = {node: kind_of(node) for node in order}
        self.weights: dict[Node, tuple[int, int]] = {}
        self.beneath: dict[Node, tuple[Node, ...]] = {}
        for node in order:
            self._weigh(node)
        for node in reversed(order):
            self._visit(node)

    # Costs

    def _weigh(self, node: Node) -> None:
        """(cost, loads) of computing an element from what is likely to be memory, and the reductions it is made from."""
        kind = self.kinds[node]
        beneath: tuple[Node, ...] = ()
        if kind == "leaf":
            weight = (0, int(node.op == "input"))
        elif kind == "movement":
            x = node.inputs[0]
            cost, loads = self.weights[x]
            weight = (cost, 0 if x.size * 4 <= node.size else loads)
            beneath = self.beneath[x]
        elif kind == "elementwise" or kind == "gather":
            cost, loads = (OPS[node.op].cost, 0) if kind == "elementwise" else (GATHER_COST, 1)
            for x in node.inputs if kind == "elementwise" else node.inputs[1:]:
                c, n = self.weights[x]
                cost, loads = cost + c, loads + n
                beneath += self.beneath[x]
            weight = (min(cost, 1000), min(loads, 1000))
            if len(beneath) > 4:
                beneath = beneath[:4]
        else:
            weight = (0, 1)
            if kind == "reduction":
                beneath = (node,)
        if node in self.sinks.of or node in self.constraints.stored:
            weight = (0, 1)
        self.weights[node] = weight
        self.beneath[node] = beneath

    # The walk

    def _need(self, node: Node, group: Group, m: IndexMap, over: int, port: Port | None = None) -> None:
        uses = self.uses.setdefault(node, {})
        use = uses.get(m)
        if use is None:
            uses[m] = Use(group, m, over, port)
        else:
            use.over |= over

    def _collect(self, node: Node) -> list[Use]:
        """Every use of a node so far, by maps over the loops there are now."""
        found: dict[IndexMap, Use] = {}
        for m, use in self.uses.pop(node, {}).items():
            space = use.port.space if use.port else use.group.space
            use.map = space.resolve(m)
            if use.map in found:
                found[use.map].over |= use.over
            else:
                found[use.map] = use
        return list(found.values())

    def _visit(self, node: Node) -> None:
        uses = self._collect(node)
        if not uses and node not in self.sinks.of:
            return
        if node.size == 0:
            for use in uses:
                if use.port:
                    use.port.base, use.port.map = node, use.map
                else:  # reduced over nothing: its elements are never looked at
                    zero = const(0, node.dtype)
                    self.kinds[zero] = "leaf"
                    use.group.items[node, use.map] = [(zero, use.map)]
                    use.group.items[zero, use.map] = []
            return
        kind = self.kinds[node]
        if kind == "leaf":
            while uses:
                self._leaf(node, uses)
                uses = self._collect(node)
        elif kind == "movement":
            self._movement(node, uses)
        elif kind == "reduction":
            self._reduction(node, uses)
        elif kind == "elementwise" or kind == "gather":
            self._elementwise(node, uses)
        else:
            self._heavy(node, uses, kind)

    def _leaf(self, node: Node, uses: list[Use]) -> None:
        if node.op != "input":
            if ports := [u for u in uses if u.port]:
                self._store(node, ports)
            for use in uses:
                if not use.port:
                    use.group.items[node, use.map] = []
            return
        strides = node.attrs[1]
        flat = is_row_major(node.shape, strides)
        apart = node in self.constraints.stored
        failing = []
        for use in uses:
            port = use.port
            if apart and port is None and (use.group.node.op != "copy" or use.group.node.inputs[0] is not node):
                failing.append(use)
            elif port is not None:
                if port.whole and not flat and port.group.update is None:
                    failing.append(use)
                    continue
                m = port.space.reshaped(use.map, node.shape) if not flat else use.map
                if m is None:
                    failing.append(use)
                else:
                    port.base, port.map = node, m
            elif flat or use.group.space.reshaped(use.map, node.shape) is not None:
                use.group.items[node, use.map] = None
            else:
                failing.append(use)
        if failing:
            copy = make("copy", (node,), (), node.shape, node.dtype, node.where)
            self.kinds[copy] = "elementwise"
            for use in failing:
                if use.port is None:
                    m = use.group.space.resolve(use.map)
                    use.group.items[node, m] = [(copy, m)]
                    use.map = m
            if copy in self.home:
                for use in failing:
                    self._load(copy, use)
            else:
                self._store(copy, failing, alone=True)

    def _movement(self, node: Node, uses: list[Use]) -> None:
        if node.op != "reshape" and (node in self.sinks.of or node in self.constraints.stored):
            return self._store(node, uses)
        moved = []
        for use in uses:
            port = use.port
            space = port.space if port else use.group.space
            m = None
            if not (port and port.whole and node.op != "reshape"):
                m = through(node, space.resolve(use.map), space)
            if m is None:
                for again in uses:
                    again.map = (again.port.space if again.port else again.group.space).resolve(again.map)
                return self._store(node, uses)
            moved.append(m)
        x = node.inputs[0]
        for use, m in zip(uses, moved, strict=True):
            if use.port is None:
                use.group.items[node, use.map] = [(x, m)]
            self._need(x, use.group, m, use.over | use.map.mask, use.port)
        return None

    def _elementwise(self, node: Node, uses: list[Use]) -> None:
        if self._must_store(node, uses):
            return self._store(node, uses)
        groups = {use.group for use in uses}
        cost, loads = self.weights[node]
        if len(groups) > 1:
            again = cost >= EXPENSIVE or loads >= MANY_LOADS
        elif len(uses) > 1:
            again = cost >= EXPENSIVE or len(uses) > MAX_MAPS
        else:
            again = cost >= EXPENSIVE and self._repeated(node, uses[0])
        if again or any(len(g.items) > MAX_ITEMS for g in groups):
            return self._store(node, uses)
        for use in uses:
            self._inline(node, use.group, use.map, use.over)
        return None

    def _must_store(self, node: Node, uses: list[Use]) -> bool:
        if node in self.sinks.of or node in self.constraints.stored or any(use.port for use in uses):
            return True
        # A kernel that writes an input must not fail half-way.
        return node.op == "check_index" and any(use.group.writes for use in uses)

    def _repeated(self, node: Node, use: Use) -> bool:
        """Whether inlining would compute an element more than once."""
        space = use.group.space
        m = use.map
        reduced = space.reduced or []
        if reduced and not m.mask & space.reduced_mask:
            return node.size < space.size(space.kept)
        if node.size >= space.size(space.kept) * space.size(reduced):
            return False
        return not self._promote(use.group, node, m)

    def _reduction(self, node: Node, uses: list[Use]) -> None:
        alone = len(uses) == 1 and not self._must_store(node, uses)
        if alone and self._attach(use_group := uses[0].group, node, uses[0].map, uses[0].over):
            self._inline(node, use_group, use_group.space.resolve(uses[0].map), uses[0].over)
        else:
            self._store(node, uses)

    def _heavy(self, node: Node, uses: list[Use], kind: str) -> None:
        group = self._group("loops" if kind == "update" else kind, node)
        self.home[node] = group
        for use in uses:
            self._load(node, use)
        if kind == "update":
            base, value, *index = node.inputs
            if not value.size:
                index = []
            m = group.space.natural(value.shape)
            group.update = [(x, m) for x in (value, *index)]
            group.writes = bool(self.graph.writes)
            if node.op == "assign" and node not in self.seamless:
                start = innermost_of_tiling(node, self.users)
                if start is not None:
                    self.seamless.add(start)
            if node not in self.seamless:
                self._port(group, base, whole=True)
            for x in (value, *index):
                self._need(x, group, m, m.mask)
        else:
            for x in node.inputs:
                self._port(group, x, whole=kind == "nonzero")

    # Stored nodes

    def _store(self, node: Node, uses: list[Use], alone: bool = False) -> None:
        """Give the node memory, written by a group that is found or made for it (made, if ``alone``)."""
        reduction = self.kinds.get(node) == "reduction"
        found = None
        if not alone and node not in self.constraints.stored:
            found = self._host(node, uses) or self._sibling(node, uses)
        if found is None:
            group = self._group("loops", node)
            m = group.space.natural(node.shape)
            if reduction and not self._attach(group, node, m, 0):
                raise AssertionError(f"a group of its own cannot compute {node}")
        else:
            group, m = found
        self.home[node] = group
        group.stores.append((node, group.space.resolve(m)))
        group.writes |= self.sinks.written(node)
        over = 0
        for use in uses:
            if use.group is not group or use.port:
                self._load(node, use)
            else:
                over |= use.over
        self._inline(node, group, group.space.resolve(m), over)

    def _load(self, node: Node, use: Use) -> None:
        home = self.home[node]
        if use.port:
            use.port.base, use.port.map = node, use.map
        else:
            use.group.items[node, use.group.space.resolve(use.map)] = None
        use.group.reads.add(node)
        use.group.deps |= home.bit

    def _may_host(self, group: Group, node: Node) -> bool:
        if group.kind != "loops" or group.update is not None or len(group.stores) >= MAX_STORES:
            return False
        return not (group.fallible and self.sinks.written(node)) and len(group.items) < MAX_ITEMS

    def _host(self, node: Node, uses: list[Use]) -> tuple[Group, IndexMap] | None:
        """A group that needs the node and can store it while it is at it."""
        if node.op == "check_index" and any(use.group.writes for use in uses):
            return None
        by_group: dict[Group, list[Use]] = {}
        for use in uses:
            by_group.setdefault(use.group, []).append(use)
        for group, mine in by_group.items():
            if len(mine) > 1 or mine[0].port or not self._may_host(group, node):
                continue
            if any(self.depends(group, other) for other in by_group if other is not group):
                continue
            m = mine[0].map
            space = group.space
            if self.kinds[node] == "reduction":
                if self._attach(group, node, m, mine[0].over):
                    return group, m
                continue
            if self.kinds[node] == "movement" and through(node, space.resolve(m), space) is None:
                continue
            if self._covers(group, m) and not self._keeps_apart(group, node, m):
                return group, m
            if not space.reduced and self._promote(group, node, m):
                return group, m
        return None

    def _keeps_apart(self, group: Group, node: Node, m: IndexMap) -> bool:
        """Whether the node, met at each element, is made from other reductions than the group's: a row kernel's work."""
        space = group.space
        if not space.reduced or not space.resolve(m).mask & space.reduced_mask:
            return False
        own = (group.form, space.size(space.reduced), space.size(space.kept))
        return any((reduction_form(d), reduced_length(d), d.size) != own for d in self.beneath[node])

    def _covers(self, group: Group, m: IndexMap) -> bool:
        """Whether the group meets each element of the node once: in each position, or in each row."""
        space = group.space
        m = space.resolve(m)
        if space.reduced and not m.mask & space.reduced_mask:
            return space.covers(m, space.kept)
        return space.covers(m, [*space.kept, *(space.reduced or ())])

    def _sibling(self, node: Node, uses: list[Use]) -> tuple[Group, IndexMap] | None:
        """A group over the same loops that reads an operand of the node, or an operand's operand, anyway."""
        kind = self.kinds.get(node)
        if kind not in ("elementwise", "reduction") or node.op in ("copy", "check_index"):
            return None
        near = dict.fromkeys(node.inputs)
        for x in node.inputs:
            if self.kinds[x] == "elementwise":
                near.update(dict.fromkeys(x.inputs))
        users = {use.group for use in uses}
        for x in near:
            if x.shape != node.inputs[0].shape or not self.weights[x][1]:  # another shape, or nothing that is loaded
                continue
            for use in list(self.uses.get(x, {}).values()):
                group = use.group
                if use.port or group in users or not self._may_host(group, node):
                    continue
                space = group.space
                m = space.resolve(use.map)
                if not space.covers(m, [*space.kept, *(space.reduced or ())]):
                    continue
                if any(self.depends(group, user) for user in users):
                    continue
                if kind == "elementwise":
                    if not self._keeps_apart(group, node, m):
                        return group, m
                    continue
                at = self._reduced_with(group, node, m)
                if at is not None and self._attach(group, node, at, at.mask):
                    return group, at
        return None

    def _reduced_with(self, group: Group, node: Node, m: IndexMap) -> IndexMap | None:
        """The map of a reduction in a group that reads its operand by ``m`` and reduces the same way."""
        space = group.space
        if not space.reduced or group.form != reduction_form(node):
            return None
        lo, hi = node.attrs
        shape = node.inputs[0].shape
        parts = [1, reduced_length(node), 1]
        for s in shape[:lo]:
            parts[0] *= s
        for s in shape[hi:]:
            parts[2] *= s
        split = space.reshaped(m, tuple(parts))
        if split is None:
            return None
        before, along, after = split.coordinates
        if along != space.row_major(space.reduced).coordinates[0]:
            return None
        return space.make((parts[0], 1, parts[2]), (before, (0, ()), after))

    # Reductions and rows

    def _attach(self, group: Group, node: Node, m: IndexMap, over: int) -> bool:
        """Make the group reduce what this reduction reduces, if its loops allow it."""
        if group.kind != "loops" or group.update is not None or len(group.items) > MAX_ITEMS:
            return False
        space = group.space
        found = space.reshaped(space.resolve(m), node.shape)
        if found is None:
            return False
        m = found
        form, length = reduction_form(node), reduced_length(node)
        if not space.reduced:
            if space.covers(m, space.kept):  # an epilogue follows the reduction, or nothing
                space.reduced = [space.loop(length)]
                group.form = form
                group.reductions.append(node)
                return True
            if not self._promote(group, node, m):
                return False
        if group.form != form or space.size(space.reduced or ()) != length or m.mask & space.reduced_mask:
            return False
        if not space.covers(m, space.kept):
            return False
        if space.live(over) & space.reduced_mask and not (form == "inner" and self._rows_allowed(group)):
            return False
        group.reductions.append(node)
        return True

    def _rows_allowed(self, group: Group) -> bool:
        space = group.space
        if group.node in self.constraints.no_rows:
            return False
        return space.size(space.kept) >= MANY_ROWS or space.size(space.reduced or ()) <= LONG_ROW

    def _promote(self, group: Group, node: Node, m: IndexMap) -> bool:
        """Make a map group a row group, where a value that is the same along some loops comes from reductions over them."""
        space = group.space
        if group.kind != "loops" or group.update is not None or space.reduced or group.node in self.constraints.no_rows:
            return False
        m = space.resolve(m)
        rows = [loop for loop in space.kept if m.mask >> loop & 1]
        along = [loop for loop in space.kept if not m.mask >> loop & 1]
        if not along or not space.covers(m, rows):
            return False
        length = space.size(along)
        if space.size(rows) < MANY_ROWS and length > LONG_ROW:
            return False
        if not any(
            d.size == node.size and reduced_length(d) == length and reduction_form(d) == "inner"
            for d in self.beneath[node]
        ):
            return False
        space.kept, space.reduced = rows, along
        group.form = "inner"
        return True

    # Building groups

    def _group(self, kind: str, node: Node) -> Group:
        group = Group(len(self.groups), kind, node)
        self.groups.append(group)
        return group

    def _port(self, group: Group, node: Node, whole: bool = False) -> Port:
        port = Port(group, node, whole)
        group.ports.append(port)
        self._need(node, group, port.space.natural(node.shape) if node.size else port.space.make(node.shape, ()), 0, port)
        return port

    def _inline(self, node: Node, group: Group, m: IndexMap, over: int) -> None:
        """Compute the node in the group, by the map."""
        if (node, m) in group.items:
            return
        kind = self.kinds[node]
        space = group.space
        over |= m.mask
        if kind == "elementwise":
            group.items[node, m] = [(x, m) for x in node.inputs]
            group.fallible |= node.op == "check_index"
            for x in node.inputs:
                self._need(x, group, m, over)
        elif kind == "gather":
            group.items[node, m] = [(x, m) for x in node.inputs[1:]]
            group.sources[node, m] = self._port(group, node.inputs[0])
            for x in node.inputs[1:]:
                self._need(x, group, m, over)
        elif kind == "reduction":
            at = space.reshaped(m, node.shape)
            assert at is not None and space.reduced
            lo, hi = node.attrs
            x = node.inputs[0]
            along = space.row_major(space.reduced)
            inner = space.make(
                x.shape[:lo] + along.shape + x.shape[hi:],
                at.coordinates[:lo] + along.coordinates + at.coordinates[hi:],
            )
            group.items[node, m] = [(x, inner)]
            self._need(x, group, inner, over | inner.mask)
        elif kind == "movement":
            inner = through(node, m, space)
            assert inner is not None
            x = node.inputs[0]
            group.items[node, m] = [(x, inner)]
            self._need(x, group, inner, over)
        else:
            group.items[node, m] = []

    def depends(self, group: Group, other: Group) -> bool:
        """Whether a group needs another one, directly or not, as far as is known."""
        return depends(self.groups, group, other)


def depends(groups: list[Group], group: Group, other: Group) -> bool:
    """Whether a group needs another one, directly or not."""
    target = other.bit
    seen = group.deps
    todo = seen
    while todo:
        if seen & target:
            return True
        low = todo & -todo
        new = groups[low.bit_length() - 1].deps & ~seen
        seen |= new
        todo = (todo ^ low) | new
    return False


__all__ = ["Fusion", "Space", "depends", "kind_of", "mask_of", "reduced_length", "reduction_form"]
