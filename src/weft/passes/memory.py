"""The memory plan: the order of instructions, who shares memory in place, and where temporaries lie in the arena."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Container, Iterable, Sequence

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
    urgent = 0
    if writes:
        for group in groups:
            if group in nests and nests[group].fallible:
                urgent |= group.bit | ancestors(groups, group)
    waiting: dict[int, int] = {}
    users: dict[int, list[Group]] = {}
    ready: list[Group] = []
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

    def key(group: Group) -> tuple[bool, int, float, int]:
        grows = sum((place not in live) - (left[place] == 1) for place in uses[group.number])
        return not urgent & group.bit, grows, rank[group], group.number

    for group in groups:
        if first.get(group.number, group.number) != group.number:
            continue
        launch = behind.get(group.number, (group,))
        deps = {first.get(d, d) for g in launch for d in bits(g.deps)} - {group.number}
        waiting[group.number] = len(deps)
        for d in deps:
            users.setdefault(d, []).append(group)
        if not deps:
            ready.append(group)
    order: list[Group] = []
    while ready:
        group = min(ready, key=key)
        ready.remove(group)
        order += behind.get(group.number, (group,))
        live.update(uses[group.number])
        left.subtract(uses[group.number])
        for user in users.get(group.number, ()):
            waiting[user.number] -= 1
            if not waiting[user.number]:
                ready.append(user)
    if len(order) != len(groups):
        raise AssertionError("the groups depend on one another in a circle")
    return order


def bits(mask: int) -> Iterable[int]:
    """The positions of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def ancestors(groups: list[Group], group: Group) -> int:
    """Everything that a group depends on, as bits."""
    seen = todo = group.deps
    while todo:
        low = todo & -todo
        new = groups[low.bit_length() - 1].deps & ~seen
        seen |= new
        todo = (todo ^ low) | new
    return seen


class Memory:
    """A piece of memory: an input, an output, or a temporary that lives from instruction ``first`` to ``last``."""

    __slots__ = ("first", "kind", "last", "nbytes", "number", "offset")

    def __init__(self, kind: str, number: int, nbytes: int) -> None:
        self.kind = kind
        self.number = number  # of the input or output
        self.nbytes = nbytes
        self.first = 1 << 60
        self.last = -1
        self.offset = 0  # of a temporary in the arena

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
            for p, m in memory.items():
                if m is old:
                    memory[p] = mine
            mine.first = old.first
            taken.add(id(mine))
            break


def arena(temporaries: list[Memory]) -> int:
    """Give each temporary an offset, apart from all that live at the same time; returns the bytes needed.

    The largest are placed first, each at the lowest offset that is free (greedy by size, as in Y. Pisarchyk, J. Lee:
    Efficient Memory Management for Deep Neural Net Inference, 2020).
    """
    total = 0
    placed: list[Memory] = []  # by offset
    for m in sorted(temporaries, key=lambda m: (-m.nbytes, m.first)):
        at = 0
        for a in placed:
            if a.first <= m.last and m.first <= a.last:
                if a.offset - at >= m.nbytes:
                    break
                at = max(at, a.offset + aligned(a.nbytes))
        m.offset = at
        insort(placed, m, key=lambda a: a.offset)
        total = max(total, at + aligned(m.nbytes))
    return total


def gap(temporaries: Iterable[Memory], at: int, total: int) -> tuple[int, int]:
    """The largest part of an arena of ``total`` bytes that nothing uses at an instruction: its offset and its bytes."""
    found = (0, 0)
    free = 0
    for m in sorted((m for m in temporaries if m.first <= at <= m.last), key=lambda m: m.offset):
        if m.offset - free > found[1]:
            found = free, m.offset - free
        free = max(free, m.offset + aligned(m.nbytes))
    return (free, total - free) if total - free > found[1] else found


def aligned(nbytes: int) -> int:
    """The bytes that a temporary takes."""
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
