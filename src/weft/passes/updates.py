"""Updates in place: which memory is overwritten, and what must have been read before.

An assign or a scatter changes the memory of its base. If anything else still needs the base's value, or has to stay (an
output), the base is copied first; otherwise update and base are one memory, and the base's other readers come earlier.

A value that an input receives is stored straight into that input's memory where every other read of the input comes earlier and
the storing kernel itself reads it only at the element that it writes. Otherwise the value goes to memory of its own
and is copied when all is done. A kernel that may find an index out of range never writes an input, nor does one whose
result such a kernel needs: a program that fails has changed nothing.
"""

from __future__ import annotations

from weft.ir.graph import Graph
from weft.ir.node import Node
from weft.passes.fuse import Fusion, depends
from weft.passes.groups import Constraints, Group, Retry, Sinks
from weft.passes.indexmap import Linear, Space, is_row_major
from weft.passes.lower import Nest, Place, Step, joined, place_of
from weft.passes.memory import closed


class Updates:
    """Decides for each place which memory it is: ``memory[place]`` is a place of kind "in", "out" or "n" (temporary).

    Adds the dependences that make this right to the groups, and the groups that copy.
    """

    def __init__(
        self, graph: Graph, sinks: Sinks, fusion: Fusion, nests: dict[Group, Nest], constraints: Constraints
    ) -> None:
        self.graph, self.sinks, self.fusion, self.nests, self.constraints = graph, sinks, fusion, nests, constraints
        self.groups = fusion.groups
        self.memory: dict[Place, Place] = {}
        self.rank: dict[Group, float] = {group: -group.number for group in self.groups}
        self.readers: dict[Place, list[Group]] = {}
        for group in self.groups:
            for place in reads(group, nests.get(group)):
                self.readers.setdefault(place, []).append(group)
        self.checks = [group for group in self.groups if group in nests and nests[group].fallible]
        self.before_checks = closed(self.groups, sum(group.bit for group in self.checks))  # bits; the checks too
        self.writers = 0  # of inputs, as bits
        self.originals = list(self.groups)
        again = False
        for group in self.originals:  # users come before what they use
            try:
                self._decide(group)
            except Retry:  # only once all have said what they need
                again = True
        if again:
            raise Retry

    # Deciding

    def _decide(self, group: Group) -> None:
        if group.update is not None:
            self._update(group)
        elif group.kind == "loops":
            for node, _ in group.stores:
                self._stored(group, node)
        else:
            for node in group.made:
                self._stored(group, node)

    def _own(self, node: Node) -> Place:
        """The memory that a node gets if it shares none: that of the first output it is, or temporary."""
        for kind, k in self.sinks.of.get(node, ()):
            if kind == "out":
                return ("out", k)
        return ("n", node)

    def _stored(self, group: Group, node: Node) -> None:
        place: Place = ("n", node)
        if place not in self.memory:
            self.memory[place] = self._own(node)
        nest = self.nests.get(group)
        outs = 0
        for kind, k in self.sinks.of.get(node, ()):
            if kind == "out":
                outs += 1
                if outs > 1 and (nest is None or group.update is not None):
                    self._copy(group, node, ("out", k))
            elif not self._write(group, nest, node, k):
                self._drop(nest, ("in", k))
                self._copy(group, node, ("in", k))

    def _write(self, group: Group, nest: Nest | None, node: Node, slot: int) -> bool:
        """Let the group store the node straight into an input, if that is safe."""
        place: Place = ("in", slot)
        if group.kind == "matmul" and self._write_product(group, node, place):
            return True
        if nest is None or group.update is not None or self._before_checks(group):
            return False
        store = next((s for s in nest.stores if s.place == place), None)
        if store is None or not self._first(group, place):
            return False
        for step in nest.steps:
            if step.place == place:
                if step.name != "load" or (step.offset, step.strides) != (store.offset, store.strides):
                    return False
                if nest.form in ("reduce", "strips", "outer") and any(_along(nest, step)):
                    return False
        given = self.graph.inputs[slot]
        others = [g for g in self.readers.get(("n", node), ()) if g is not group]
        if self.memory["n", node] == ("n", node) and (not others or is_row_major(given.shape, given.strides)):
            self.memory["n", node] = place
            nest.stores = [s for s in nest.stores if s.place != ("n", node)]
        self._order(group, place)
        self.writers |= group.bit
        return True

    def _write_product(self, group: Group, node: Node, place: Place) -> bool:
        given = self.graph.inputs[place[1]]  # type: ignore[index]
        if self.memory["n", node] != ("n", node) or not is_row_major(given.shape, given.strides):
            return False
        if place in reads(group, None) or not self._first(group, place) or self._before_checks(group):
            return False
        self.memory["n", node] = place
        self._order(group, place)
        self.writers |= group.bit
        return True

    def _update(self, group: Group) -> None:
        node = group.node
        place: Place = ("n", node)
        if place not in self.memory:
            if self.sinks.of.get(node, [("", 0)])[0][0] == "in" and self._write_chain(group):
                return
            self._stored(group, node)
        if node in self.fusion.seamless:
            return
        base = group.ports[0].base
        assert base is not None
        if self._may_overwrite(group, base):
            self.memory["n", base] = self.memory[place]
            self._order(group, ("n", base))
        else:
            self._copy_base(group)

    def _may_overwrite(self, group: Group, base: Node) -> bool:
        if base.op == "input" or ("n", base) in self.memory or base in self.sinks.of or not base.size:
            return False
        if any(step.place == ("n", base) for step in self.nests[group].steps):
            return False
        readers = [g for g in self.readers.get(("n", base), ()) if g is not group]
        if self._before_checks(group) and any(self._after_writers(g) for g in readers):
            return False
        return self._first(group, ("n", base))

    def _write_chain(self, group: Group) -> bool:
        """Let updates of an input's value, one after another, change the input itself."""
        node = group.node
        if len(self.sinks.of[node]) != 1:
            return False
        slot = self.sinks.of[node][0][1]
        chain = [group]
        while True:
            if chain[-1].node in self.fusion.seamless:
                return False
            base = chain[-1].ports[0].base
            assert base is not None
            if base.op == "input":
                break
            home = self.fusion.home[base]
            if home.update is None or base in self.sinks.of:
                return False
            chain.append(home)
        given = self.graph.inputs[slot]
        if base.attrs[0] != slot or base.shape != given.shape or not is_row_major(given.shape, given.strides):
            return False
        if any(self._before_checks(g) for g in chain):
            return False
        places: list[Place] = []
        for g in chain:
            source = g.ports[0].base
            assert source is not None
            places.append(("in", slot) if source.op == "input" else ("n", source))
        if not self._apart(chain, places):
            return False
        for g, place in zip(chain, places, strict=True):
            if not self._first(g, place):
                return False
            self._order(g, place)
        for g in chain:
            self.memory["n", g.node] = ("in", slot)
            self.writers |= g.bit
        return True

    def _apart(self, chain: list[Group], places: list[Place]) -> bool:
        """Updates that read what they overwrite: their operands must be computed before. False if one is the input itself."""
        before = len(self.constraints.stored)
        apart = True
        for group, place in zip(chain, places, strict=True):
            if group not in self.nests or all(step.place != place for step in self.nests[group].steps):
                continue
            for x in group.node.inputs[1:]:
                while x.op == "reshape":
                    x = x.inputs[0]
                if x.op not in ("input", "const", "scalar", "iota"):
                    self.constraints.stored.add(x)
                apart &= x.op != "input" or ("in", x.attrs[0]) != place
        if len(self.constraints.stored) > before:
            raise Retry
        return apart

    def _first(self, group: Group, place: Place) -> bool:
        """Whether every other reader of a place can come before the group."""
        return not any(g is not group and depends(self.groups, g, group) for g in self.readers.get(place, ()))

    def _before_checks(self, group: Group) -> bool:
        """Whether the group may find an index out of range, or one that may needs it."""
        return bool(self.before_checks & group.bit)

    def _after_writers(self, group: Group) -> bool:
        """Whether the group writes an input, or needs one that does."""
        return bool(self.writers & closed(self.groups, group.bit))

    def _order(self, group: Group, place: Place) -> None:
        for g in self.readers.get(place, ()):
            if g is not group:
                self._need(group, g)

    def _need(self, group: Group, other: Group) -> None:
        group.need(other)
        if self.before_checks & group.bit:
            self.before_checks |= closed(self.groups, other.bit)

    # Copies

    def _copy(self, group: Group, node: Node, to: Place) -> None:
        """Copy a node's value to an output or an input once it is known, and once nothing reads that input any more."""
        kind, k = to
        shape = node.shape
        strides: tuple[int, ...] | None = None
        if kind == "in":
            assert isinstance(k, int)
            given = self.graph.inputs[k]
            shape, strides = given.shape, given.strides
        copy = self._copy_group(node, ("n", node), None, to, strides, shape)
        self._need(copy, group)
        self.readers.setdefault(("n", node), []).append(copy)
        if kind == "in":
            self.rank[copy] = float("inf")
            self._order(copy, to)
        else:
            self.rank[copy] = self.rank[group]

    def _copy_base(self, group: Group) -> None:
        """Copy an update's base into the update's own memory."""
        base = group.ports[0].base
        assert base is not None
        if not base.size:
            return
        node = group.node
        source, _, strides = place_of(group.ports[0])
        copy = self._copy_group(node, source, strides, ("n", node), None, group.ports[0].node.shape)
        if source[0] == "n":
            self._need(copy, self.fusion.home[base])
        readers = self.readers[source]
        if all(step.place != source for step in self.nests[group].steps):  # else it still reads that, for its value
            readers.remove(group)
        readers.append(copy)
        self._need(group, copy)
        self.rank[copy] = self.rank[group]

    def _copy_group(
        self,
        node: Node,
        source: Place,
        source_strides: tuple[int, ...] | None,
        to: Place,
        to_strides: tuple[int, ...] | None,
        shape: tuple[int, ...],
    ) -> Group:
        group = Group(len(self.groups), "loops", node)
        self.groups.append(group)
        space = Space()
        m = space.natural(shape)

        def at(strides: tuple[int, ...] | None) -> Linear:
            return space.position(m) if strides is None else space.linear(m, strides)

        a, b = at(source_strides), at(to_strides)
        loops = joined(space.kept, space.sizes, [a.coefficients, b.coefficients])
        if loops:
            sizes = tuple(n for _, n in loops)
            walk = [tuple(x.coefficients.get(loop, 0) for loop, _ in loops) for x in (a, b)]
        else:
            sizes, walk = (1,), [(1,), (1,)]
        load = Step("load", dtype=node.dtype, place=source, offset=a.offset, strides=walk[0], linear=a)
        store = Step("store", (0,), dtype=node.dtype, place=to, offset=b.offset, strides=walk[1], linear=b)
        self.nests[group] = Nest(group, "map", "o" * len(sizes), sizes, [load], [store], [False], [0])
        return group

    def _drop(self, nest: Nest | None, place: Place) -> None:
        if nest is not None:
            nest.stores = [s for s in nest.stores if s.place != place]


def _along(nest: Nest, step: Step) -> list[int]:
    """A step's strides along the reduced loop, unless zero."""
    return [s for s, d in zip(step.strides, nest.dims, strict=True) if d == "r" and s]


def reads(group: Group, nest: Nest | None) -> list[Place]:
    """The places that a group reads."""
    found: dict[Place, None] = {}
    if nest is not None:
        for step in nest.steps:
            if step.place is not None:
                found[step.place] = None
    if group.kind != "loops" or group.update is not None:
        for port in group.ports:
            if port.base is not None and port.base.size:
                found[place_of(port)[0]] = None
    return list(found)
