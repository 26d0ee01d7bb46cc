"""Fusion: which nodes get memory of their own, and which are computed together.

The graph is walked from its roots to its leaves, so that when a node's turn comes, every group that needs it is known, with
the index map it is needed by. The node is then either

* *inlined*: computed inside the groups that need it, each time its value is needed; or
* *stored*: given memory. It is computed by one group, preferably one that needs it anyway ("hosted"), or one that reads the
  same operand over the same loops (a sibling); the other groups then depend on that group and load it.

A node must be stored if it is an output, if an input receives it, if something needs it as memory (operand of a matmul, an
attention, a gather, an update), if it is itself a matmul, an attention, an update or a nonzero, or if loops cannot follow its
axes. Otherwise:

* movements and leaves are always inlined;
* an elementwise node is stored if computing it again costs more than reading it: several groups (or maps of one group) need
  it and it has an expensive op or more than two loads under it, or it is expensive and smaller than the loops around it;
* a reduction is inlined where the loops around it are its own kept axes (its group then reduces: a value computed from the
  result is an epilogue), or its own operand's axes, reduced ones last (the group becomes a row kernel), or where the
  group already reduces over the same axes. It is stored if several groups need it;
* a scan is inlined where the loops of the one group that needs it are its own axes: that group then scans.

Everything that joins a group must leave the groups free of cycles: a group hosts a node only if it does not depend on any
other group that will load the node. `Group.deps` holds every dependence that is known so far, and the walk adds one only after
this check, so a cycle can never arise; a group of its own is always possible. Only the copy of an input that loops cannot
follow may have its group before the need for it is known: if that group depends by then on one that needs the copy, another
attempt at the schedule leaves the copy a group of its own.
"""

from __future__ import annotations

from collections import Counter

from weft.ir.graph import Graph
from weft.ir.node import Node, const, make, toposort
from weft.passes.attention import GRADIENTS, call_of
from weft.passes.classify import EXPENSIVE, Costs
from weft.passes.groups import Constraints, Group, Port, Retry, Sinks, Use
from weft.passes.indexmap import IndexMap, is_row_major, through
from weft.passes.rows import Rows
from weft.passes.scans import attach_scan
from weft.passes.tile import innermost_of_tiling

#: Loads from which a value used twice is stored, not computed twice.
MANY_LOADS = 3
#: Different maps by which a cheap value may be inlined in one group.
MAX_MAPS = 4
#: Limits of one kernel.
MAX_ITEMS = 200
MAX_STORES = 12
#: Nodes under a node that are searched for something that another group reads too.
NEAR = 16


class Fusion:
    """The groups of a graph. ``home[node]`` is the group that stores a node.

    Raises `Retry` where a group that stores the copy of an input came to need what reads the copy.
    """

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
        self.together: dict[tuple, Group] = {}  # gradients of attention, by what they are gradients of
        self.seamless: set[Node] = set()  # assigns at the start of a chain that replaces all of the base
        self.assigned: dict[Node, int] = {}  # see `innermost_of_tiling`
        costs = Costs(order, self.users, {*sinks.of, *constraints.stored})
        self.kinds, self.weights = costs.kind, costs.of
        self.rows = Rows(costs.beneath, constraints)
        self.circular = False  # whether a copy cannot be loaded: see `_copied`
        for node in reversed(order):
            self._visit(node)
        if self.circular:  # only now, for there may be several
            raise Retry

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
        elif kind == "scan":
            self._scan(node, uses)
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
            self._copied(copy, failing)

    def _copied(self, copy: Node, uses: list[Use]) -> None:
        """Have the copy of an input loaded, which may be stored already, as an output or a value of the graph."""
        home = self.home.get(copy)
        if home is None:
            self._store(copy, uses, alone=True)
        elif any(self.depends(home, use.group) for use in uses):  # a guest of its group needs what one of them makes
            self.constraints.stored.add(copy)
            self.constraints.no_guests.add(copy)
            self.circular = True
        else:
            for use in uses:
                self._load(copy, use)

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
        return not self.rows.promote(use.group, node, m)

    def _reduction(self, node: Node, uses: list[Use]) -> None:
        use = uses[0] if len(uses) == 1 and not self._must_store(node, uses) else None
        fits = use is not None and len(use.group.items) < MAX_ITEMS
        if use and fits and self.rows.attach(use.group, node, use.map, use.over):
            self._inline(node, use.group, use.group.space.resolve(use.map), use.over)
        else:
            self._store(node, uses)

    def _scan(self, node: Node, uses: list[Use]) -> None:
        use = uses[0] if len(uses) == 1 and not self._must_store(node, uses) else None
        if use and len(use.group.items) < MAX_ITEMS and attach_scan(use.group, node, use.map):
            self._inline(node, use.group, use.group.space.resolve(use.map), use.over)
        else:
            self._store(node, uses)

    def _heavy(self, node: Node, uses: list[Use], kind: str) -> None:
        call = call_of(node) if node.op in GRADIENTS else None
        group = self.together.get(call) if call else None
        if group is not None:  # safe: both depend on the same nodes, none of which has been visited
            group.made.append(node)
        else:
            group = self._group("loops" if kind == "update" else kind, node)
            if call:
                self.together[call] = group
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
                start = innermost_of_tiling(node, self.users, self.assigned)
                if start is not None:
                    self.seamless.add(start)
            if node not in self.seamless:
                self._port(group, base, whole=True)
            for x in (value, *index):
                self._need(x, group, m, m.mask)
        elif node is group.node:
            for x in node.inputs:
                self._port(group, x, whole=kind == "nonzero")

    # Stored nodes

    def _store(self, node: Node, uses: list[Use], alone: bool = False) -> None:
        """Give the node memory, written by a group that is found or made for it (made, if ``alone``)."""
        found = None
        if not alone and node not in self.constraints.stored:
            found = self._host(node, uses) or self._sibling(node, uses)
        if found is None:
            group = self._group("loops", node)
            m = group.space.natural(node.shape)
            kind = self.kinds.get(node)
            if (kind == "reduction" and not self.rows.attach(group, node, m, 0)) or (
                kind == "scan" and not attach_scan(group, node, m)
            ):
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
        use.group.need(home)

    def _may_host(self, group: Group, node: Node) -> bool:
        if group.kind != "loops" or group.update is not None or len(group.stores) >= MAX_STORES:
            return False
        if group.node in self.constraints.no_guests or (group.form or "").startswith("scan"):
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
                if self.rows.attach(group, node, m, mine[0].over):
                    return group, m
                continue
            if self.kinds[node] == "scan":
                if attach_scan(group, node, m):
                    return group, m
                continue
            if self.kinds[node] == "movement" and through(node, space.resolve(m), space) is None:
                continue
            if self._covers(group, m) and not self.rows.keeps_apart(group, node, m):
                return group, m
            if not space.reduced and self.rows.promote(group, node, m):
                return group, m
        return None

    def _covers(self, group: Group, m: IndexMap) -> bool:
        """Whether the group meets each element of the node once: in each position, or in each row."""
        space = group.space
        m = space.resolve(m)
        if space.reduced and not m.mask & space.reduced_mask:
            return space.covers(m, space.kept)
        return space.covers(m, [*space.kept, *(space.reduced or ())])

    def _sibling(self, node: Node, uses: list[Use]) -> tuple[Group, IndexMap] | None:
        """A group over the same loops that reads something that the node is made from anyway."""
        kind = self.kinds.get(node)
        if kind not in ("elementwise", "reduction") or node.op in ("copy", "check_index"):
            return None
        near = dict.fromkeys(node.inputs)
        for x in (todo := list(near)):
            if self.kinds[x] == "elementwise" and len(near) < NEAR:
                todo += [y for y in x.inputs if y not in near]
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
                    if not self.rows.keeps_apart(group, node, m):
                        return group, m
                    continue
                at = self.rows.reduced_with(group, node, m)
                if at is not None and self.rows.attach(group, node, at, at.mask):
                    return group, at
        return None

    # Building groups

    def _group(self, kind: str, node: Node) -> Group:
        group = Group(len(self.groups), kind, node)
        self.groups.append(group)
        return group

    def _port(self, group: Group, node: Node, whole: bool = False) -> Port:
        port = Port(group, node, whole)
        group.ports.append(port)
        self._need(
            node, group, port.space.natural(node.shape) if node.size else port.space.make(node.shape, ()), 0, port
        )
        return port

    def _inline(self, node: Node, group: Group, m: IndexMap, over: int) -> None:
        """Compute the node in the group, by the map."""
        if (node, m) in group.items:
            return
        kind = self.kinds[node]
        space = group.space
        over |= m.mask
        if kind == "elementwise" or kind == "scan":
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
            assert at is not None
            assert space.reduced
            lo, hi = node.attrs
            x = node.inputs[0]
            along = space.row_major(space.reduced)
            inner = space.make(
                x.shape[:lo] + along.shape + x.shape[hi:],
                at.coordinates[:lo] + along.coordinates + at.coordinates[hi:],
            )
            group.items[node, m] = [(x, inner)]
            self._need(x, group, inner, over | inner.mask | space.reduced_mask)
        elif kind == "movement":
            moved = through(node, m, space)
            assert moved is not None
            x = node.inputs[0]
            group.items[node, m] = [(x, moved)]
            self._need(x, group, moved, over)
        else:
            group.items[node, m] = []

    def depends(self, group: Group, other: Group) -> bool:
        """Whether a group needs another one, directly or not, as far as is known."""
        return depends(self.groups, group, other)


def depends(groups: list[Group], group: Group, other: Group) -> bool:
    """Whether a group needs another one, directly or not. Searched from both, for often one has little on its side."""
    needed, users = group.deps, other.users
    below, above = needed | group.bit, users | other.bit
    while needed and users:
        if below & above:
            return True
        low = needed & -needed
        new = groups[low.bit_length() - 1].deps & ~below
        below |= new
        needed ^= low | new
        low = users & -users
        new = groups[low.bit_length() - 1].users & ~above
        above |= new
        users ^= low | new
    return bool(below & above)
