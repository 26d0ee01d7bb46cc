"""Reductions over the rows of a row kernel join it, so that what both read is read once, and what one makes stays in cache.

The gradient of a normalised row is the example: the row kernel that makes the operand's gradient has at hand, row by row, what
the gradients of weight and bias are sums over all rows of. The kernel of those sums ("outer", over the same two loops) becomes
part of the row kernel, whose form is then "columns". That pays where the one reads what the other stores or reads.

It costs parallelism: a columns kernel's unit is a block of rows, so only many rows are joined. The results' bits are the
same, for the order of a reduction does not depend on the kernel that makes it.
"""

from __future__ import annotations

from math import prod

from weft.ir.kernel import ACROSS, OUTER_BLOCK
from weft.ir.node import Node
from weft.passes.fuse import MAX_ITEMS, MAX_STORES, Fusion, depends
from weft.passes.groups import Group, Sinks
from weft.passes.lower import Nest, Step, is_short
from weft.passes.memory import bits
from weft.passes.updates import reads

#: Rows from which reductions over them may join: eight blocks, which some threads can share.
JOINED_ROWS = 8 * OUTER_BLOCK


def join_rows(sinks: Sinks, fusion: Fusion, nests: dict[Group, Nest]) -> None:
    """Join kernels of column sums to row kernels, where the rules allow it; ``nests`` and the groups are changed."""
    rows = [nest for nest in nests.values() if _walks_rows(nest, fusion)]
    for theirs in [nest for nest in nests.values() if rows and _sums_rows(nest)]:
        for mine in rows:
            if mine.sizes == theirs.sizes and _pays(mine, theirs) and _allowed(mine, theirs, fusion):
                _join(mine, theirs, sinks, fusion, nests)
                break


def _walks_rows(nest: Nest, fusion: Fusion) -> bool:
    if nest.form != "row" or nest.dims != "or" or nest.sizes[0] < JOINED_ROWS or nest.group.update is not None:
        return False
    if is_short(nest):  # rows that go together, sixteen at a time: faster than what is saved
        return False
    # the reader of a product runs with it, block by block: see `weft.passes.epilogues`
    made = [what for kind, what in reads(nest.group, nest) if kind == "n"]
    return all(isinstance(node, Node) and fusion.home[node].kind == "loops" for node in made)


def _sums_rows(nest: Nest) -> bool:
    if nest.form != "outer" or nest.dims != "ri" or nest.group.update is not None:
        return False
    if any(s.name == "reduce" and s.op not in ACROSS for s in nest.steps):
        return False
    if not all(s.name == "store" and s.strides[0] == 0 for s in nest.stores):
        return False
    # What is the same for all columns, as the gradient of a sum is, has nothing of a row to be added.
    varies: list[bool] = []
    for step in nest.steps:
        if step.name == "reduce" and not varies[step.args[0]]:
            return False
        moves = step.name != "loadat" and bool(step.strides) and step.strides[-1] != 0
        varies.append(moves or any(varies[i] for i in step.args))
    return True


def _pays(mine: Nest, theirs: Nest) -> bool:
    """Whether they share what is as large as the loops: one reads what the other stores, or both read the same."""
    size = prod(mine.sizes)
    given = {_spot(s) for s in (*mine.stores, *mine.steps) if s.place is not None and s.name in ("load", "store")}
    return any(_spot(s) in given for s in theirs.steps if s.name == "load" and all(s.strides)) and size > 0


def _spot(step: Step) -> tuple:
    return step.place, step.offset, step.strides


def _allowed(mine: Nest, theirs: Nest, fusion: Fusion) -> bool:
    a, b = mine.group, theirs.group
    if len(mine.steps) + len(theirs.steps) > MAX_ITEMS or len(mine.stores) + len(theirs.stores) > MAX_STORES:
        return False
    if (mine.fallible and b.writes) or (theirs.fallible and a.writes):
        return False  # a kernel that writes an input must not fail half-way
    if depends(fusion.groups, a, b):
        return False
    return not any(depends(fusion.groups, fusion.groups[k], a) for k in bits(b.deps & ~a.bit))


def _join(mine: Nest, theirs: Nest, sinks: Sinks, fusion: Fusion, nests: dict[Group, Nest]) -> None:
    a, b = mine.group, theirs.group
    stored = {_spot(s): s.args[0] for s in mine.stores}
    known = {_key(s, s.args): k for k, s in enumerate(mine.steps)}
    number: list[int] = []
    columns: set[int] = set()  # steps of theirs that come of a sum
    for k, step in enumerate(theirs.steps):
        args = tuple(number[i] for i in step.args)
        if not columns.isdisjoint(step.args) or step.name == "reduce":
            columns.add(k)
        if step.name == "reduce":
            step.name = "across"
        found = stored.get(_spot(step)) if step.name == "load" else None
        if found is None:
            step.args = args
            found = known.setdefault(_key(step, args), len(mine.steps))
            if found == len(mine.steps):
                mine.steps.append(step)
        number.append(found)
    for store in theirs.stores:
        store.args = (number[store.args[0]],)
    mine.stores += theirs.stores
    mine.form = "columns"
    a.stores += b.stores
    for k in bits(b.deps):
        fusion.groups[k].users ^= b.bit
        if fusion.groups[k] is not a:
            a.need(fusion.groups[k])
    a.reads |= b.reads
    a.writes |= b.writes
    a.fallible |= b.fallible
    for node, _ in b.stores:
        fusion.home[node] = a
    b.stores, b.deps = [], 0
    b.need(a)
    del nests[b]
    _forget(mine, sinks, fusion, nests)


def _key(step: Step, args: tuple[int, ...]) -> tuple:
    """What makes two steps the same."""
    return step.name, args, step.op, step.dtype, step.place, step.offset, step.strides, step.node


def _forget(nest: Nest, sinks: Sinks, fusion: Fusion, nests: dict[Group, Nest]) -> None:
    """Drop what nothing reads any more."""
    group = nest.group
    wanted = {place for g in fusion.groups for place in reads(g, nests.get(g))}
    for node, m in list(group.stores):
        if node not in sinks.of and ("n", node) not in wanted:
            group.stores.remove((node, m))
            nest.stores = [s for s in nest.stores if s.place != ("n", node)]
