"""Groups that reduce: when a reduction may join a group, and when loops over elements become rows."""

from __future__ import annotations

from collections.abc import Mapping

from weft.ir.node import Node
from weft.passes.classify import reduced_length, reduction_form
from weft.passes.groups import Constraints, Group
from weft.passes.indexmap import IndexMap

#: A row kernel runs one thread a row: long rows must be many.
LONG_ROW = 65536
MANY_ROWS = 8


class Rows:
    """The rules; ``beneath`` are the reductions that each node is made from."""

    def __init__(self, beneath: Mapping[Node, tuple[Node, ...]], constraints: Constraints) -> None:
        self.beneath = beneath
        self.constraints = constraints

    def attach(self, group: Group, node: Node, m: IndexMap, over: int) -> bool:
        """Make the group reduce what this reduction reduces, if its loops allow it."""
        if group.kind != "loops" or group.update is not None:
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
            if not self.promote(group, node, m):
                return False
        if group.form != form or space.size(space.reduced or ()) != length or m.mask & space.reduced_mask:
            return False
        if not space.covers(m, space.kept):
            return False
        if space.live(over) & space.reduced_mask and not (form == "inner" and self._allowed(group)):
            return False
        group.reductions.append(node)
        return True

    def promote(self, group: Group, node: Node, m: IndexMap) -> bool:
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

    def _allowed(self, group: Group) -> bool:
        space = group.space
        if group.node in self.constraints.no_rows:
            return False
        return space.size(space.kept) >= MANY_ROWS or space.size(space.reduced or ()) <= LONG_ROW

    def reduced_with(self, group: Group, node: Node, m: IndexMap) -> IndexMap | None:
        """The map of a reduction in a group that reads its operand by ``m`` and reduces the same way, or could."""
        space = group.space
        if (group.form if space.reduced else "inner") != reduction_form(node):
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
        loops = space.reduced or [loop for loop in space.kept if loop in dict(along[1])]
        if along != space.row_major(loops).coordinates[0]:
            return None
        return space.make((parts[0], 1, parts[2]), (before, (0, ()), after))

    def keeps_apart(self, group: Group, node: Node, m: IndexMap) -> bool:
        """Whether the node, met at each element, is made from other reductions than the group's: a row kernel's work."""
        space = group.space
        if not space.reduced or not space.resolve(m).mask & space.reduced_mask:
            return False
        own = (group.form, space.size(space.reduced), space.size(space.kept))
        return any((reduction_form(d), reduced_length(d), d.size) != own for d in self.beneath[node])
