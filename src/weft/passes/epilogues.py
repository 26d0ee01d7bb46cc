"""Epilogues: kernels that run with the product whose result they read, block by block, while it is in a cache.

``relu(x @ w + b)`` is a product and a kernel, one after the other: the kernel waits until all of the product is written, is
shared out over the threads anew, and reads from memory what a thread had in its cache a moment before. A kernel that *follows*
the product instead is called by the driver of the product (``native/gemm.h``) for each block of rows, as soon as it is
final, by the thread that made it. No other code is generated for that: a kernel runs over any range of its outermost loops.

A group of loops may follow a product of R rows (over all matrices of its batch), of n columns each, if

* it is a map, or rows, or a reduction along rows, and R divides its units, so that each row has a share of them;
* what the product and its followers write and another of them touches, all of them touch row by row: the share of row r
  reaches nothing but row r. So a share needs what was made of its own row alone, and overwrites nothing that is still read;
* nothing else stands between: whatever it needs besides can come before the product;
* it does not write an input that a program which may still fail must leave alone.

Where all followers touch such memory element by element, in order, and read nothing with a stride along its rows, they
run on blocks of columns too; else on whole rows, once all columns are there.

The cost rule: fusing never adds work, it only changes which thread does it. Followers by elements share out as the product
does, and always follow. Whole rows share out badly where rows are few and long: then the product's threads divide its
columns, and whoever comes last is left with the rows. So a kernel that wants whole rows follows if there are at least
`MANY_ROWS` of them, or if it would run on one thread in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

from weft import config
from weft.ir.graph import Graph
from weft.passes.groups import Group
from weft.passes.indexmap import is_row_major
from weft.passes.lower import Nest, Place, Step, place_of
from weft.passes.memory import bits
from weft.passes.updates import Updates

#: Rows from which a product is sure to be shared out by rows.
MANY_ROWS = 128
#: Work, in additions, of a kernel that runs on one thread in any case.
ONE_THREAD = 200_000
#: Followers of one product (`most_followers` in native/program.h).
MOST = 8

ELEMENT, ROW, WHOLE = range(3)


@dataclass(slots=True)
class Launch:
    """A product with what follows it, in order. ``barred``: memory that must not be overwritten in place."""

    product: Group
    rows: int
    columns: int
    followers: list[Group] = field(default_factory=list)
    whole_rows: bool = False
    #: How far the accesses of each member's share of a row reach, by memory: the widest, and whether one writes.
    touched: dict[Place, tuple[int, bool]] = field(default_factory=dict)

    @property
    def barred(self) -> set[Place]:
        """Memory that some member reads beyond its own row, so that no other may take it over."""
        return {place for place, (reach, _) in self.touched.items() if reach == WHOLE}


def epilogues(
    graph: Graph, groups: list[Group], nests: dict[Group, Nest], updates: Updates, home: Callable[[Place], Place]
) -> dict[Group, Launch]:
    """The launch of each product that has followers. Adds what followers need to what their products need."""
    if "epilogues" in config.current().skip_passes:
        return {}
    finder = _Finder(graph, groups, nests, updates, home)
    return {launch.product: launch for launch in finder.launches if launch.followers}


class _Finder:
    def __init__(
        self,
        graph: Graph,
        groups: list[Group],
        nests: dict[Group, Nest],
        updates: Updates,
        home: Callable[[Place], Place],
    ) -> None:
        self.graph, self.groups, self.nests, self.updates, self.home = graph, groups, nests, updates, home
        self.above = ancestors_of_all(groups)
        self.taken: set[Group] = set()
        self.launches: list[Launch] = []
        readers: dict[Place, list[Group]] = {}
        for group, nest in nests.items():
            for step in nest.steps:
                if step.place is not None:
                    readers.setdefault(home(step.place), []).append(group)
        order = sorted(groups, key=lambda g: (updates.rank[g], g.number))
        for group in order:
            if group.kind == "matmul":
                self._product(group, readers)

    def _product(self, group: Group, readers: dict[Place, list[Group]]) -> None:
        node = group.node
        *batch, m, n = node.shape
        rows = prod(batch) * m
        if not rows * n:
            return
        launch = Launch(group, rows, n)
        self.launches.append(launch)
        for port in group.ports:
            if port.base is not None and port.base.size:
                launch.touched[self.home(place_of(port)[0])] = (WHOLE, False)
        c = self.home(("n", node))
        if c in launch.touched or self._row_width(c, rows) != n:
            return
        launch.touched[c] = (ELEMENT, True)
        fresh = [c]  # memory that the launch has written, whose readers have not been asked yet
        while fresh:
            for reader in sorted(readers.get(fresh.pop(0), ()), key=lambda g: (self.updates.rank[g], g.number)):
                if reader in self.taken or len(launch.followers) == MOST:
                    continue
                touched = self._follows(launch, reader)
                if touched is None:
                    continue
                self.taken.add(reader)
                launch.followers.append(reader)
                for place, (reach, writes) in touched.items():
                    before = launch.touched.get(place, (ELEMENT, False))
                    launch.touched[place] = (max(before[0], reach), before[1] or writes)
                    if writes:
                        fresh.append(place)
                launch.whole_rows |= not self._by_elements(launch, reader)
                self._join(launch, reader)

    def _join(self, launch: Launch, follower: Group) -> None:
        """What a follower needs, its product needs too, and whatever needs that."""
        product = launch.product
        inside = product.bit | sum(f.bit for f in launch.followers)
        product.deps |= follower.deps & ~inside
        more = self.above[follower.number] & ~inside
        self.above[product.number] |= more
        for number, above in enumerate(self.above):
            if above & product.bit:
                self.above[number] = above | more

    def _row_width(self, place: Place, rows: int) -> int:
        """The elements of a memory's row, if it has that many rows, one after another; else 0."""
        kind, what = place
        if kind == "in":
            given = self.graph.inputs[what]  # type: ignore[index]
            shape = given.shape
            if not is_row_major(shape, given.strides):
                return 0
        else:
            node = self.graph.outputs[what] if kind == "out" else what  # type: ignore[index]
            shape = node.shape  # type: ignore[union-attr]
        size = prod(shape)
        return size // rows if size % rows == 0 else 0

    def _follows(self, launch: Launch, group: Group) -> dict[Place, tuple[int, bool]] | None:
        """What a group would touch as a follower, and how far; None if it must not be one, or if that would not pay."""
        nest = self.nests[group]
        if group.update is not None or nest.form not in ("map", "row", "reduce"):
            return None
        if any(s.name == "storeat" for s in nest.stores):
            return None
        units = prod(nest.sizes if nest.form == "map" else nest.sizes[:-1])
        if units % launch.rows or not self._nothing_between(launch, group):
            return None
        touched: dict[Place, tuple[int, bool]] = {}
        for step in (*nest.steps, *nest.stores):
            if step.place is None:
                continue
            place = self.home(step.place)
            before = touched.get(place, (ELEMENT, False))
            reach = self._reach(launch, nest, step, place)
            touched[place] = (max(before[0], reach), before[1] or step.name == "store")
        for place, (reach, writes) in touched.items():
            others, written = launch.touched.get(place, (None, False))
            if others is not None and (writes or written) and max(reach, others) == WHOLE:
                return None
        writes_input = any(writes and place[0] == "in" for place, (_, writes) in touched.items())
        if writes_input and any(self.above[check.number] & launch.product.bit for check in self.updates.checks):
            return None
        work = prod(nest.sizes) * nest.cost
        wants_rows = launch.whole_rows or not self._by_elements(launch, group)
        if wants_rows and launch.rows < MANY_ROWS and work + sum(map(self._work, launch.followers)) > ONE_THREAD:
            return None
        return touched

    def _work(self, group: Group) -> int:
        nest = self.nests[group]
        return prod(nest.sizes) * nest.cost

    def _nothing_between(self, launch: Launch, group: Group) -> bool:
        """Whether everything that the group needs, besides the launch, can come before the launch, and it itself after."""
        product = launch.product
        if self.above[product.number] & group.bit:
            return False
        inside = product.bit | sum(f.bit for f in launch.followers)
        return not any(self.above[needed] & product.bit for needed in bits(group.deps & ~inside))

    def _reach(self, launch: Launch, nest: Nest, step: Step, place: Place) -> int:
        """How far a row's share of a kernel goes in a memory: its own elements in order, its own row, or anywhere."""
        width = self._row_width(place, launch.rows)
        if step.name not in ("load", "store") or not width:
            return WHOLE
        if nest.form == "map" and step.offset == 0 and width * launch.rows == prod(nest.sizes):
            inner = 1
            for size, stride in zip(reversed(nest.sizes), reversed(step.strides), strict=True):
                if size > 1 and stride != inner:
                    break
                inner *= size
            else:
                return ELEMENT
        return ROW if within_rows(nest, step, launch.rows, width) else WHOLE

    def _by_elements(self, launch: Launch, group: Group) -> bool:
        """Whether a follower may run on blocks of columns."""
        nest = self.nests[group]
        if nest.form != "map" or prod(nest.sizes) != launch.rows * launch.columns:
            return False
        for step in (*nest.steps, *nest.stores):
            if step.name not in ("load", "store"):
                if step.place is not None:
                    return False
                continue
            assert step.place is not None
            place = self.home(step.place)
            _, written = launch.touched.get(place, (ELEMENT, False))
            if (written or step.name == "store") and self._reach(launch, nest, step, place) != ELEMENT:
                return False
            if step.strides[-1] not in (0, 1):
                return False
        return True


def within_rows(nest: Nest, step: Step, rows: int, width: int) -> bool:
    """Whether the share of row r, of ``rows``, of a kernel's units reaches only elements r * width to (r + 1) * width."""
    count = len(nest.sizes) if nest.form == "map" else len(nest.sizes) - 1
    share = prod(nest.sizes[:count]) // rows
    low = high = step.offset

    def spread(size: int, stride: int) -> None:
        nonlocal low, high
        low += min(0, (size - 1) * stride)
        high += max(0, (size - 1) * stride)

    for size, stride in zip(nest.sizes[count:], step.strides[count:], strict=True):
        spread(size, stride)
    inner = 1  # units that one step of the loop is apart
    for size, stride in reversed(list(zip(nest.sizes[:count], step.strides[:count], strict=True))):
        if size == 1:
            continue
        if inner % share == 0:  # a step goes to another row
            if stride != width * (inner // share):
                return False
        elif share % (inner * size) == 0:  # the loop stays in a row
            spread(size, stride)
        elif share % inner == 0 and size % (share // inner) == 0:  # a row is several steps
            steps = share // inner
            if stride * steps != width:
                return False
            spread(steps, stride)
        else:
            return False
        inner *= size
    return low >= 0 and high < width


def ancestors_of_all(groups: list[Group]) -> list[int]:
    """Everything that each group needs, directly or not, as bits, by the groups' numbers."""
    above: list[int | None] = [None] * len(groups)
    for group in groups:
        todo = [group]
        while todo:
            top = todo[-1]
            missing = [groups[d] for d in bits(top.deps) if above[d] is None]
            if missing:
                todo += missing
                continue
            todo.pop()
            found = top.deps
            for d in bits(top.deps):
                found |= above[d] or 0
            above[top.number] = found
    return [found or 0 for found in above]


def by_group(launches: Iterable[Launch]) -> dict[Group, Launch]:
    """The launch that each follower belongs to."""
    return {follower: launch for launch in launches for follower in launch.followers}


__all__ = ["Launch", "by_group", "epilogues", "within_rows"]
