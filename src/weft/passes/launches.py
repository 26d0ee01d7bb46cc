"""Launches: which kernels and small products run with a product, as its epilogue or its prologue.

``relu(x @ w + b)`` is a product and a kernel, one after the other: the kernel waits until all of the product is written, is
shared out over the threads anew, and reads from memory what a thread had in its cache a moment before. A kernel that *follows*
the product instead is called by the driver of the product (``native/gemm/gemm.h``) for each block of rows, as soon as it is
final, by the thread that made it. A kernel that *leads* the product, the prologue, makes the rows of the left operand just
before they are read. No other code is generated for that: a kernel runs over any range of its outermost loops.

A group of loops may follow a product of R rows (over all matrices of its batch), of n columns each, if

* it is a map, or rows, or a reduction along rows, and R divides its units, so that each row has a share of them;
* what the product and its followers write and another of them touches, all of them touch row by row: the share of row r
  reaches nothing but row r. So a share needs what was made of its own row alone, and overwrites nothing that is still read;
* nothing else stands between: whatever it needs besides can come before the product;
* it does not write an input that a program which may still fail must leave alone.

Where all followers touch such memory element by element, in order, and read nothing with a stride along its rows, they
run on blocks of columns too; else on whole rows, once all columns are there.

A product may follow another, too, if it has as many rows, none of which the threads would ever share out: if it has no batch
and its work and terms are those of a small product (``native/gemm/small.h``), of float32 or float64. Of its operands, it reads
the rows of the left one row by row, like what follows, and the right one as a whole; it wants whole rows. What follows it in
turn follows the first product: so the second layer of a network, the loss and the gradients of both layers' results may all be
one launch, each thread going on with the rows that it has in its cache.

A group may lead a product if it stores the left operand, likewise row by row, the product reads row r of it for row r of
its result alone, and the group cannot fail and writes no input.

The cost rule: neither adds work, it only changes which thread does it, and when. Followers by elements share out as the product
does, and always follow. Whole rows share out badly where rows are few and long: then the product's threads divide its
columns, and whoever comes last is left with the rows. So what wants whole rows follows if there are at least
`MANY_ROWS` of them, or if all that follows would run on one thread in any case. A kernel leads if there are at least
`MANY_ROWS` rows: then the threads divide rows, and each makes what it reads; with fewer they would have to wait for one
another, as they do for a kernel of its own. What can be both, follows: it then reads from the cache, which is more than leaving
there what the next product reads.

Launches that one thread runs in any case leave the others idle. So those right before or after a launch that is shared out run
*beside* it (`beside`), on one of its threads, if neither needs the other: the gradient of a layer's weight, and what is done
with it, beside that of the layer before. What writes an input stays after what may fail. All of them then count as one time:
what one writes shares no memory with another. Only as much runs beside a product as is little beside its work, so that its
threads end together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

from weft import config, dtypes
from weft._native import deepest_small, most_beside, most_followers, small_product_work
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
#: Multiply-adds of a shared product for each addition of what runs beside it.
BESIDE_WORK = 32

ELEMENT, ROW, WHOLE = range(3)


@dataclass(slots=True)
class Launch:
    """A product with what leads it and what follows it, in order."""

    product: Group
    rows: int
    columns: int
    #: The left operand's memory; for a follower that is read as a whole, for a leader row by row.
    left: Place = ("", 0)
    leaders: list[Group] = field(default_factory=list)
    followers: list[Group] = field(default_factory=list)
    whole_rows: bool = False
    #: How far the accesses of each member's share of a row reach, by memory: the widest, and whether one writes.
    touched: dict[Place, tuple[int, bool]] = field(default_factory=dict)

    @property
    def members(self) -> list[Group]:
        """All groups of the launch, in order."""
        return [*self.leaders, self.product, *self.followers]

    @property
    def bits(self) -> int:
        """The groups of the launch, as bits."""
        return sum(group.bit for group in self.members)

    @property
    def barred(self) -> set[Place]:
        """Memory that no follower may take over, because some member reads it beyond its own row: the left operand too, of
        which several units may read the same row."""
        return {place for place, (reach, _) in self.touched.items() if reach == WHOLE} | {self.left}

    def touch(self, touched: dict[Place, tuple[int, bool]]) -> None:
        """Note what a member touches."""
        for place, (reach, writes) in touched.items():
            before = self.touched.get(place, (ELEMENT, False))
            self.touched[place] = (max(before[0], reach), before[1] or writes)

    def clash(self, touched: dict[Place, tuple[int, bool]]) -> bool:
        """Whether memory that one writes and another touches is touched beyond a row, given a new member."""
        for place, (reach, writes) in touched.items():
            others, written = self.touched.get(place, (None, False))
            if others is not None and (writes or written) and max(reach, others) == WHOLE:
                return True
        return False


def launches(
    graph: Graph, groups: list[Group], nests: dict[Group, Nest], updates: Updates, home: Callable[[Place], Place]
) -> dict[Group, Launch]:
    """The launch of each product that runs with other groups. Adds what these need to what their products need.

    ``home`` gives the place whose memory a place is.
    """
    finder = _Finder(graph, groups, nests, updates, home)
    return {launch.product: launch for launch in finder.launches if len(launch.members) > 1}


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
        skipped = config.current().skip_passes
        self.readers: dict[Place, list[Group]] = {}
        self.writers: dict[Place, list[Group]] = {}
        for group, nest in nests.items():
            for steps, found in ((nest.steps, self.readers), (nest.stores, self.writers)):
                for place in dict.fromkeys(home(step.place) for step in steps if step.place is not None):
                    found.setdefault(place, []).append(group)
        for group in sorted(groups, key=self._order):
            if group.kind == "matmul" and group.node.size and group.node.inputs[0].size:
                self.launches.append(self._alone(group))
                for place in dict.fromkeys(home(place_of(port)[0]) for port in group.ports):
                    self.readers.setdefault(place, []).append(group)
        if "epilogues" not in skipped:
            for launch in self.launches:
                if launch.product not in self.taken:
                    self._add_followers(launch)
            self.launches = [launch for launch in self.launches if launch.product not in self.taken]
        if "prologues" not in skipped:
            for launch in self.launches:
                self._add_leader(launch)

    def _order(self, group: Group) -> tuple[float, int]:
        return self.updates.rank[group], group.number

    def _alone(self, group: Group) -> Launch:
        """A product's launch before anything has joined it."""
        node = group.node
        *batch, m, n = node.shape
        launch = Launch(group, prod(batch) * m, n)
        a, b = (self.home(place_of(port)[0]) for port in group.ports)
        if self._left_by_rows(group, launch.rows):
            launch.left = a
        else:
            launch.touched[a] = (WHOLE, False)
        launch.touched[b] = (WHOLE, False)
        return launch

    def _left_by_rows(self, product: Group, rows: int) -> bool:
        """Whether a product reads row r, of ``rows``, of its left operand's memory for its own row r alone."""
        port = product.ports[0]
        place, offset, strides = place_of(port)
        *sizes, k = port.node.shape
        width = inner = self._row_width(self.home(place), rows)
        by_rows = width > 0 and offset >= 0 and offset + (k - 1) * strides[-1] < width and strides[-1] >= 0
        for size, stride in zip(reversed(sizes), reversed(strides[:-1]), strict=True):
            by_rows &= size == 1 or stride == inner
            inner *= size
        return by_rows

    def _add_followers(self, launch: Launch) -> None:
        c = self.home(("n", launch.product.node))
        if c == launch.left or c in launch.touched or self._row_width(c, launch.rows) != launch.columns:
            return
        launch.touched[c] = (ELEMENT, True)
        fresh = [c]  # memory that the launch has written, whose readers have not been asked yet
        while fresh:
            for reader in sorted(self.readers.get(fresh.pop(0), ()), key=self._order):
                if reader in self.taken or len(launch.followers) == most_followers:
                    continue
                touched = self._follows(launch, reader)
                if touched is None:
                    continue
                self._join(launch, reader)
                launch.followers.append(reader)
                launch.touch(touched)
                fresh += [place for place, (_, writes) in touched.items() if writes]
                launch.whole_rows |= not self._by_elements(launch, reader)

    def _add_leader(self, launch: Launch) -> None:
        for group in self.writers.get(launch.left, ()):
            if group not in self.taken and (touched := self._leads(launch, group)) is not None:
                self._join(launch, group)
                launch.leaders.append(group)
                launch.touch(touched)
                return

    def _join(self, launch: Launch, group: Group) -> None:
        """What a group needs, its launch needs too, and whatever needs either needs that."""
        self.taken.add(group)
        if group in self.nests and self.nests[group].form == "strips":
            self.nests[group].form = "reduce"  # of which a row is a unit
        product, inside = launch.product, launch.bits | group.bit
        users = group.users
        for member in launch.members:
            users |= member.users
        for needed in bits(group.deps & ~inside):
            product.need(self.groups[needed])
        before = self.above[product.number]
        needed = (before | self.above[group.number]) & ~inside
        self.above[product.number] |= needed
        if not users & ~inside or (not needed & ~before and self.above[group.number] & product.bit):
            return  # nothing else needs them, or what does knows of the product and all that it needs
        for number, above in enumerate(self.above):
            if above & inside and not inside >> number & 1:
                self.above[number] = above | needed | product.bit

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

    def _touched(self, launch: Launch, group: Group) -> dict[Place, tuple[int, bool]] | None:
        """What the share of one row of a group touches, and how far; None if there are no such shares."""
        if group.kind == "matmul":
            return self._touched_by_product(launch, group)
        nest = self.nests[group]
        if group.update is not None or nest.form not in ("map", "row", "reduce", "strips"):
            return None
        if any(s.name == "storeat" for s in nest.stores):
            return None
        units = prod(nest.sizes if nest.form == "map" else nest.sizes[:-1])
        if units % launch.rows:
            return None
        touched: dict[Place, tuple[int, bool]] = {}
        for step in (*nest.steps, *nest.stores):
            if step.place is not None:
                place = self.home(step.place)
                before = touched.get(place, (ELEMENT, False))
                reach = self._reach(launch, nest, step, place)
                touched[place] = (max(before[0], reach), before[1] or step.name == "store")
        return touched

    def _touched_by_product(self, launch: Launch, group: Group) -> dict[Place, tuple[int, bool]] | None:
        """The same of a product: None unless it is small."""
        *batch, m, n = group.node.shape
        if not _is_small(group) or batch or m != launch.rows or m == 1 or n == 1:
            return None
        a, b, c = (self.home(place) for place in (*(place_of(port)[0] for port in group.ports), ("n", group.node)))
        if a == b or c in (a, b) or not self._left_by_rows(group, m) or self._row_width(c, m) != n:
            return None
        return {a: (ROW, False), b: (WHOLE, False), c: (ROW, True)}

    def _follows(self, launch: Launch, group: Group) -> dict[Place, tuple[int, bool]] | None:
        """What a group would touch as a follower; None if it must not be one, or if that would not pay."""
        touched = self._touched(launch, group)
        if touched is None or not self._nothing_between(launch, group):
            return None
        if launch.clash(touched) or touched.get(launch.left, (0, False))[1]:
            return None
        writes_input = any(writes and place[0] == "in" for place, (_, writes) in touched.items())
        if writes_input and any(self.above[check.number] & launch.product.bit for check in self.updates.checks):
            return None
        wants_rows = launch.whole_rows or not self._by_elements(launch, group)
        work = _cost([group, *launch.followers], self.nests)
        if wants_rows and launch.rows < MANY_ROWS and work > ONE_THREAD:
            return None
        return touched

    def _leads(self, launch: Launch, group: Group) -> dict[Place, tuple[int, bool]] | None:
        """What a group would touch as a leader; None if it must not be one, or if that would not pay."""
        if launch.rows < MANY_ROWS or self.nests[group].fallible:
            return None
        touched = self._touched(launch, group)
        if touched is None or touched[launch.left][0] == WHOLE or launch.clash(touched):
            return None
        if any(writes and place[0] == "in" for place, (_, writes) in touched.items()):
            return None
        outside = launch.product.deps & ~launch.bits & ~group.bit
        if any(self.above[needed] & group.bit for needed in bits(outside)):
            return None
        return touched

    def _nothing_between(self, launch: Launch, group: Group) -> bool:
        """Whether everything that a follower needs, besides the launch, can come before the launch, and it itself after."""
        product = launch.product
        if self.above[product.number] & group.bit:
            return False
        return not any(self.above[needed] & product.bit for needed in bits(group.deps & ~launch.bits))

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
        if group.kind == "matmul":
            return False
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
    opened = 0  # those whose needs have been put on the stack, all of which are known when their turn comes again
    for group in groups:
        todo = [group]
        while todo:
            top = todo[-1]
            missing = [groups[d] for d in bits(top.deps) if above[d] is None]
            if missing:
                if opened & top.bit:
                    raise AssertionError("the groups depend on one another in a circle")
                opened |= top.bit
                todo += missing
                continue
            todo.pop()
            found = top.deps
            for d in bits(top.deps):
                found |= above[d] or 0
            above[top.number] = found
    return [found or 0 for found in above]


def beside(
    groups: list[Group], order: list[Group], launches: dict[Group, Launch], nests: dict[Group, Nest]
) -> tuple[list[Group], dict[Group, list[list[Group]]]]:
    """An order like this one, and the launches that run beside that of a product, which comes right after them in it."""
    if "beside" in config.current().skip_passes or not any(map(_room, groups)):
        return order, {}
    above = ancestors_of_all(groups)
    of = by_group(launches.values())
    listed: list[list[Group]] = []
    for group in order:
        members = of[group].members if group in of else [group]
        if group is members[0]:
            listed.append(members)

    def apart(some: list[Group], others: list[Group]) -> bool:
        return not any(above[group.number] & other.bit for group in some for other in others)

    found: dict[Group, list[list[Group]]] = {}
    made: list[list[Group]] = []
    idle = 0  # launches at the end of those made that could run beside the next
    while listed:
        shared = listed.pop(0)
        product = next((group for group in shared if group in launches), shared[0])
        room = _room(product)
        some: list[list[Group]] = []
        while (
            idle
            and len(some) < most_beside
            and apart(shared, made[-1])
            and (room := room - _cost(made[-1], nests)) >= 0
        ):
            some.insert(0, made.pop())
            idle -= 1
        certain = not any(group in nests and nests[group].fallible for group in shared)
        while listed and certain and len(some) < most_beside and _alone(listed[0], nests) and apart(listed[0], shared):
            if (room := room - _cost(listed[0], nests)) < 0:
                break
            some.append(listed.pop(0))
        if some:
            found[product] = some
        made += [*some, shared]
        idle = idle + 1 if not some and _alone(shared, nests) else 0
    return [group for members in made for group in members], found


def _cost(members: list[Group], nests: dict[Group, Nest]) -> int:
    """What a launch costs, in additions."""
    return sum(_work(group, nests) for group in members)


def _room(group: Group) -> int:
    """The additions that may run beside a group: some if it is a product that threads share."""
    if group.kind != "matmul" or _is_small(group):
        return 0
    return group.node.size * group.node.inputs[0].shape[-1] // BESIDE_WORK


def _alone(members: list[Group], nests: dict[Group, Nest]) -> bool:
    """Whether a launch runs on one thread in any case, and can do so beside another."""
    for group in members:
        if group.kind == "matmul":
            if group.node.shape[:-2] or not _is_small(group):
                return False
        elif group not in nests or nests[group].fallible:
            return False
    return _cost(members, nests) <= ONE_THREAD


def _is_small(product: Group) -> bool:
    """Whether no thread would ever share out a product that has no batch."""
    *_, m, n = product.node.shape
    k = product.node.inputs[0].shape[-1]
    floats = product.node.dtype in (dtypes.float32, dtypes.float64)
    return floats and m * n * k <= small_product_work and k <= deepest_small


def _work(group: Group, nests: dict[Group, Nest]) -> int:
    """What a group costs, in additions."""
    if group.kind == "matmul":  # in few rows or columns, a multiply-add takes half as long as an addition
        return group.node.size * group.node.inputs[0].shape[-1] // 2
    nest = nests[group]
    return prod(nest.sizes) * nest.cost


def by_group(launches: Iterable[Launch]) -> dict[Group, Launch]:
    """The launch of each group that shares one."""
    return {group: launch for launch in launches for group in launch.members}


__all__ = ["Launch", "beside", "by_group", "launches", "within_rows"]
