"""Groups that scan: when a scan may run in the loops of a group, with what is made of its results.

The group's loops are then the scanned axis, which `Space.reduced` holds, and the others. Its ``form`` is "scan" or, where a
kept axis follows the scanned one, "scan rows"; the order of the results depends on that.
"""

from __future__ import annotations

from math import prod

from weft.ir.node import Node
from weft.passes.groups import Group
from weft.passes.indexmap import IndexMap


def attach_scan(group: Group, node: Node, m: IndexMap) -> bool:
    """Make the loops of a map those of a scan, if they meet each of its elements once and one axis is the scanned one."""
    if group.kind != "loops" or group.update is not None or group.form is not None:
        return False
    space = group.space
    axis, _ = node.attrs
    split = space.reshaped(space.resolve(m), (prod(node.shape[:axis]), node.shape[axis], prod(node.shape[axis + 1 :])))
    if split is None or not space.covers(split, space.kept):
        return False
    along = split.coordinates[1]
    loops = [loop for loop in space.kept if loop in dict(along[1])]
    if along != space.row_major(loops).coordinates[0]:
        return False
    space.kept, space.reduced = [loop for loop in space.kept if loop not in loops], loops
    group.form = "scan rows" if split.shape[2] > 1 else "scan"
    group.reductions.append(node)
    return True
