"""The memory plan: the order of instructions, who shares memory in place, and where temporaries lie in the arena."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from heapq import heappop, heappush

from weft.passes.groups import Group
from weft.passes.lower import Nest, Place

ALIGNMENT = 64


def ordered(
    groups: list[Group],
    nests: dict[Group, Nest],
    rank: dict[Group, float],
    writes: bool,
    uses: Sequence[set[Place]],
    together: Iterable[Sequence[Group]],
) -> list[Group]:
    """The groups in an order that respects their dependences.

    A program that writes inputs first runs what may fail. Otherwise the group comes next that leaves the fewest temporaries
    in use; among equals the order is the program's own. ``uses`` has for each group the temporaries that it reads or writes.
    They count alike, whatever their size, so that programs that differ in sizes alone have one order. Groups that run
    ``together``, in the order given, come one after another.
    """
    fallible = sum(group.bit for group in groups if group in nests and nests[group].fallible)
    urgent = closed(groups, fallible) if writes else 0
    waiting: dict[int, int] = {}
    users: dict[int, list[Group]] = {}
    uses = list(uses)
    first: dict[int, int] = {}
    behind: dict[int, Sequence[Group]] = {}
    for launch in together:
        number = launch[0].number
        behind[number] = launch
        uses[number] = uses[number].union(*(uses[g.number] for g in launch))
        for g in launch[1:]:
            uses[g.number] = set()
        first.update((g.number, number) for g in launch)
    left = Counter(place for used in uses for place in used)  # how many groups that have not run use a temporary
    live: set[Place] = set()

    using: dict[Place, list[Group]] = {}  # those that are ready
    keys: dict[Group, tuple[bool, int, float, int]] = {}
    ready: list[tuple[tuple[bool, int, float, int], Group]] = []  # a heap; an entry counts if its key is the group's

    def rate(group: Group) -> None:
        grows = 0
        for place in uses[group.number]:
            grows += (place not in live) - (left[place] == 1)
        key = not urgent & group.bit, grows, rank[group], group.number
        if keys.get(group) != key:
            keys[group] = key
            heappush(ready, (key, group))

    def make_ready(group: Group) -> None:
        for place in uses[group.number]:
            using.setdefault(place, []).append(group)
        rate(group)

    for group in groups:
        if first.get(group.number, group.number) != group.number:
            continue
        launch = behind.get(group.number, (group,))
        deps = {first.get(d, d) for g in launch for d in bits(g.deps)} - {group.number}
        waiting[group.number] = len(deps)
        for d in deps:
            users.setdefault(d, []).append(group)
        if not deps:
            make_ready(group)
    order: list[Group] = []
    while ready:
        key, group = heappop(ready)
        if keys.get(group) != key:
            continue  # rated again since, or run
        del keys[group]
        order += behind.get(group.number, (group,))
        changed: list[Group] = []
        for place in uses[group.number]:
            using[place].remove(group)
            if place not in live or left[place] == 2:
                changed += using[place]
            live.add(place)
            left[place] -= 1
        for other in changed:
            rate(other)
        for user in users.get(group.number, ()):
            waiting[user.number] -= 1
            if not waiting[user.number]:
                make_ready(user)
    if len(order) != len(groups):
        raise AssertionError("the groups depend on one another in a circle")
    return order


def bits(mask: int) -> Iterable[int]:
    """The positions of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def closed(groups: list[Group], some: int) -> int:
    """Some groups and everything that they depend on, as bits."""
    seen = todo = some
    while todo:
        low = todo & -todo
        new = groups[low.bit_length() - 1].deps & ~seen
        seen |= new
        todo = (todo ^ low) | new
    return seen


class Memory:
    """A piece of memory: an input, an output, or a temporary that lives from instruction ``first`` to ``last``."""

    __slots__ = ("first", "kind", "last", "nbytes", "number", "offset", "places")

    def __init__(self, kind: str, number: int, nbytes: int) -> None:
        self.kind = kind
        self.number = number  # of the input or output
        self.nbytes = nbytes
        self.first = 1 << 60
        self.last = -1
        self.offset = 0  # of a temporary in the arena
        self.places: list[Place] = []  # what it is the memory of

    def touch(self, at: int) -> None:
        """It is in use at an instruction."""
        self.first = min(self.first, at)
        self.last = max(self.last, at)


def in_place(nest: Nest, at: int, memory: dict[Place, Memory], barred: Container[int] = ()) -> None:
    """Let results take over the memory of operands that die here.

    ``memory`` is changed. A kernel may store over what it loads if it loads each element only where it stores it, and if
    nothing that runs at the same time reads it otherwise: what is ``barred``, by id.
    """
    taken: set[int] = set()
    for store in nest.stores:
        assert store.place is not None
        mine = memory[store.place]
        if store.name != "store" or mine.kind == "in" or mine.first != at or id(mine) in taken:
            continue
        for step in nest.steps:
            place = step.place
            if step.name != "load" or place is None or step.strides != store.strides or step.dtype is not store.dtype:
                continue
            old = memory[place]
            if old.kind != "temp" or old is mine or old.last != at or old.nbytes != mine.nbytes or id(old) in barred:
                continue
            if nest.form == "reduce" and store.strides[nest.dims.index("r")]:
                continue
            same = [s for s in nest.steps if s.place is not None and memory[s.place] is old]
            if any(s.name != "load" or (s.strides, s.offset) != (store.strides, store.offset) for s in same):
                continue
            if any(memory[s.place] is old for s in nest.stores if s.place is not None):
                continue
            for p in old.places:
                memory[p] = mine
            mine.places += old.places
            old.places = []
            mine.first = old.first
            taken.add(id(mine))
            break


def arena(temporaries: list[Memory]) -> int:
    """Give each temporary an offset, apart from all that live at the same time; returns the bytes needed.

    The largest are placed first, each at the lowest offset that is free (greedy by size, as in Y. Pisarchyk, J. Lee:
    Efficient Memory Management for Deep Neural Net Inference, 2020).
    """
    total = 0
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last of each, by offset
    for m in sorted(temporaries, key=lambda m: (-m.nbytes, m.first)):
        at, nbytes, m_first, m_last = 0, m.nbytes, m.first, m.last
        for offset, end, first, last in placed:  # many: in a training step most live at once
            if first <= m_last and m_first <= last:
                if offset - at >= nbytes:
                    break
                if end > at:
                    at = end
        m.offset = at
        end = at + aligned(nbytes)
        insort(placed, (at, end, m_first, m_last))
        total = max(total, end)
    return total


def gaps(temporaries: Sequence[Memory], times: Iterable[int], total: int) -> list[tuple[int, int]]:
    """The largest part of an arena of ``total`` bytes that nothing uses at each of the instructions: its offset and its bytes.

    The instructions come in order.
    """
    coming = sorted(temporaries, key=lambda m: m.first, reverse=True)
    used: list[tuple[int, int, int]] = []  # offset, end, last instruction of what has begun, by offset
    gaps = []
    for at in times:
        while coming and coming[-1].first <= at:
            m = coming.pop()
            insort(used, (m.offset, m.offset + aligned(m.nbytes), m.last))
        used = [m for m in used if m[2] >= at]
        begin = nbytes = free = 0
        for offset, end, _ in used:
            if offset - free > nbytes:
                begin, nbytes = free, offset - free
            if end > free:
                free = end
        gaps.append((free, total - free) if total - free > nbytes else (begin, nbytes))
    return gaps


def aligned(nbytes: int) -> int:
    """The bytes that a temporary takes."""
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
