"""The "columns" form: a row kernel that reduces over its rows as well.

Its unit is a block of rows, which goes by groups. Each row of a group is reduced and written as in a "row" kernel; then the
group's rows, which are still in the second-level cache, are read once more and in step: of a vector of columns, what is to
be reduced is computed row after row and combined in a register, and the group's result is added to the block's in scratch
memory. So sums over the rows are loaded and stored once a group. Reading a group's rows again is faster than computing all
that is written in step as well, which makes eight streams of each operand and result.

The last pass over the rows comes after that only where it writes over what the sums are made of.
"""

from __future__ import annotations

from weft.codegen.emit import (
    Body,
    Function,
    identity,
    operands,
    partial_types,
    reduced_element,
    reduced_type,
    variable_type,
)
from weft.codegen.loops import begin
from weft.codegen.rows import WIDTH, Row, declare_row, parts, reduced
from weft.dtypes import bool_
from weft.ir.kernel import GROUP, OUTER_BLOCK, Load, Scalar

#: Columns whose values are computed into stack arrays before they are reduced, if they do not go by vectors.
CHUNK = 256


class _Columns:
    """The writing of the sums over the rows of a group, from ``upper`` to ``lower``."""

    def __init__(self, writing: Row) -> None:
        self.writing, self.body, self.w = writing, writing.body, writing.w
        body, passes = self.body, writing.passes
        self.values = passes.summed()
        self.last = passes.values(passes.count)
        over = {body.stores[s].buffer for s in passes.stores[passes.count]}
        #: Whether the last pass writes over what the sums need.
        self.late = any(
            i in passes.kept or (isinstance(load := body.kernel.body[i], Load) and load.buffer in over)
            for i in self.values
        )
        users = [*self.values, *(self.last if self.late else ())]
        used = {a for i in users for a in operands(body.kernel.body[i]) if not body.varies[a]}
        #: What is at row level and needed after the passes that reduce.
        self.row_level = sorted(i for i in used if not isinstance(body.kernel.body[i], Scalar))
        self.arrays: dict[int, str] = {}

    def declare(self) -> None:
        """Declare the stack arrays: of values at row level and, unless it goes by vectors, of what is reduced."""
        body, w = self.body, self.w
        for i in self.row_level:
            dtype = body.types[i]
            w.line(f"m{i} = stack({'uint8' if dtype is bool_ else variable_type(dtype)}, {GROUP})")
        for i in () if w.explicit else body.across:
            w.line(f"t{i} = stack({reduced_type(body, i).name}, {GROUP * CHUNK})")

    def save(self) -> None:
        """Save what is at row level."""
        for i in self.row_level:
            self.w.line(f"m{i}[row - upper] = v{i}")

    def restore(self, which: list[int]) -> None:
        """Find ``row`` again: what is at row level, and the offsets of ``which``."""
        for i in self.row_level:
            self.w.assign(f"v{i}", variable_type(self.body.types[i]), f"m{i}[row - upper]")
        self.writing.at(which)

    def take(self) -> None:
        """Take the group's rows into the block's sums."""
        if self.w.explicit:
            self._in_step()
        else:
            self._by_arrays()

    def _in_step(self) -> None:
        body, w, passes = self.body, self.w, self.writing.passes
        with w.block(f"for j in lanes(0, n{body.r}, {WIDTH}):"):
            for i, across in body.across.items():
                dtype = reduced_type(body, i)
                # the sum of -0.0 and anything is that
                start = "-0.0" if across.op == "sum" and dtype.kind == "f" else identity(across.op, dtype)
                w.assign(f"c{i}", dtype.name, f"every({dtype.name}, {start})")
            with w.block("for row in range(upper, lower):"):
                self.restore([*self.values, *(passes.kept[i] for i in self.values if i in passes.kept)])
                self.writing.compute(self.values, passes.count, "j")
                for i, across in body.across.items():
                    w.assign(
                        f"c{i}", reduced_type(body, i).name, f"combine_{across.op}(c{i}, {reduced_element(body, i)})"
                    )
            for i, (total,) in parts(body).items():
                w.assign(f"d{i}", partial_types(body, i)[0].name, f"c{i}")
                w.line(f"{total}[at + j] = combine_{body.across[i].op}({total}[at + j], d{i})")

    def _by_arrays(self) -> None:
        body, w, passes = self.body, self.w, self.writing.passes
        with w.block(f"for chunk in range(0, n{body.r}, {CHUNK}):"):
            w.assign("size", "int64", f"imin({CHUNK}, n{body.r} - chunk)")
            with w.block("for row in range(upper, lower):"):
                self.restore([*self.values, *(passes.kept[i] for i in self.values if i in passes.kept)])
                w.assign("first", "int64", f"(row - upper) * {CHUNK}")
                with w.block("for k in range(size):"):
                    w.assign("column", "int64", "chunk + k")
                    self.writing.compute(self.values, passes.count, "column")
                    for i in body.across:
                        w.line(f"t{i}[first + k] = {reduced_element(body, i)}")
            for i, (total,) in parts(body).items():
                w.line(f"rows_{body.across[i].op}(advance({total}, at + chunk), t{i}, {CHUNK}, lower - upper, size)")


def blocks(body: Body, name: str) -> Function:
    """The first phase of a "columns" kernel: one block of rows, group by group. The second is `weft.codegen.outer`'s."""
    w = begin(body, name)
    writing = Row(body, w)
    columns = _Columns(writing)
    declare_row(writing)
    columns.declare()
    writes = bool(writing.passes.stores[writing.passes.count])
    with w.block("for unit in range(begin, end):"):
        w.assign("at", "int64", f"unit * n{body.r}")
        w.assign("top", "int64", f"unit * {OUTER_BLOCK}")
        w.assign("bottom", "int64", f"imin(top + {OUTER_BLOCK}, n0)")
        for i, (total,) in parts(body).items():
            w.line(f"fill_{body.across[i].op}(advance({total}, at), n{body.r})")
        with w.block(f"for upper in range(top, bottom, {GROUP}):"):
            w.assign("lower", "int64", f"imin(upper + {GROUP}, bottom)")
            with w.block("for row in range(upper, lower):"):
                reduced(writing)
                columns.save()
                if writes and not columns.late:
                    writing.last()
            columns.take()
            if writes and columns.late:
                with w.block("for row in range(upper, lower):"):
                    columns.restore(columns.last)
                    writing.last()
    return body.finish(w)
