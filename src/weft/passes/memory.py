"""The memory plan: the order of instructions, who shares memory in place, and where temporaries lie in the arena."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from weft.passes.groups import Group
from weft.passes.lower import Nest, Place

ALIGNMENT = 64


def ordered(groups: list[Group], nests: dict[Group, Nest], rank: dict[Group, float], writes: bool) -> list[Group]:
    """The groups in an order that respects their dependences.

    It is the program's own order as far as possible, but a program that writes inputs first runs what may fail.
    """
    urgent = 0
    if writes:
        for group in groups:
            if group in nests and nests[group].fallible:
                urgent |= group.bit | ancestors(groups, group)
    waiting: dict[int, int] = {}
    users: dict[int, list[Group]] = {}
    ready: list[tuple[int, float, int]] = []

    def push(group: Group) -> None:
        heapq.heappush(ready, (not urgent & group.bit, rank[group], group.number))

    for group in groups:
        deps = list(bits(group.deps))
        waiting[group.number] = len(deps)
        for d in deps:
            users.setdefault(d, []).append(group)
        if not deps:
            push(group)
    order: list[Group] = []
    while ready:
        group = groups[heapq.heappop(ready)[2]]
        order.append(group)
        for user in users.get(group.number, ()):
            waiting[user.number] -= 1
            if not waiting[user.number]:
                push(user)
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


def in_place(nest: Nest, at: int, memory: dict[Place, Memory]) -> None:
    """Let results take over the memory of operands that die here.

    ``memory`` is changed. A kernel may store over what it loads if it loads each element only where it stores it.
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
            if old.kind != "temp" or old is mine or old.last != at or old.nbytes != mine.nbytes:
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
    """Give each temporary an offset, first fit among those alive at the same time; returns the bytes needed."""
    total = 0
    alive: list[Memory] = []
    for m in sorted(temporaries, key=lambda m: (m.first, -m.nbytes)):
        alive = [a for a in alive if a.last >= m.first]
        alive.sort(key=lambda a: a.offset)
        at = 0
        for a in alive:
            if a.offset - at >= m.nbytes:
                break
            at = max(at, a.offset + aligned(a.nbytes))
        m.offset = at
        alive.append(m)
        total = max(total, at + aligned(m.nbytes))
    return total


def aligned(nbytes: int) -> int:
    """The bytes that a temporary takes."""
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
