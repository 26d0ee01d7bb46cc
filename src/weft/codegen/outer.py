"""The "outer" form: the reduced loop has a kept one inside.

The partial results themselves are the accumulators: group after group of a block's rows is taken into a tile of them by
`weft.codegen.columns`. Values that are not in memory are computed a group of rows and a chunk of columns at a time, into a
small array on the stack, by a plain loop, which LLVM vectorises.

Operands that lie across, so that the elements of a column follow one another, are transposed: in registers, if one is all that
is reduced; else tile by tile, into another array on the stack.
"""

from __future__ import annotations

from weft.codegen.emit import (
    Body,
    Function,
    identity,
    is_arg,
    partial_types,
    reduced_element,
    reduced_type,
    reduced_value,
    storage,
)
from weft.codegen.loops import begin, segments, unravel
from weft.codegen.rows import WIDTH, parts, tree
from weft.dtypes import bool_
from weft.ir.kernel import FEW_BLOCKS, FEW_TILE, GROUP, OUTER_BLOCK, OUTER_TILE, Load

#: Columns whose values are computed into stack arrays before they are reduced.
CHUNK = 256
#: Rows and columns of a tile of what lies across.
TILE = 64


def memory(body: Body, i: int) -> Load | None:
    """The load whose value Reduce i takes, if its rows are in memory as they are."""
    reduce = body.reduces[i]
    load = body.kernel.body[reduce.arg]
    if not isinstance(load, Load) or load.access[body.r + 1] != "c":
        return None
    if reduce.op in ("any", "all") and body.types[reduce.arg] is not bool_:
        return None
    return load if storage(body.types[reduce.arg]) is reduced_type(body, i) else None


def turned(body: Body) -> list[int]:
    """The loads that lie across."""
    return [i for i, load in enumerate(body.kernel.body) if isinstance(load, Load) and load.access[body.r :] == "cs"]


class _Block:
    """The writing of the first phase."""

    def __init__(self, body: Body, name: str) -> None:
        self.body, self.w = body, begin(body, name)
        self.stores = [i for i in body.stores if body.varies[i]]
        self.needed = body.closure([reduce.arg for reduce in body.reduces.values()] + self.stores)
        self.memory = {i: load for i in body.reduces if (load := memory(body, i)) is not None}
        self.turned = turned(body)
        #: The rows and columns that are taken at a time where values are computed.
        self.deep, self.wide = (TILE, TILE) if self.turned else (GROUP, CHUNK)
        self.arrays: dict[int, str] = {}  # by reduction, the stack array that its argument is computed into

    def declare(self) -> None:
        """Declare the stack arrays: of values, of positions within the block, of shifts."""
        made: dict[tuple[str, str], str] = {}
        if self.squared() is None:
            for i in self.turned:
                self.w.line(f"tile{i} = stack({storage(self.body.types[i]).name}, {TILE * TILE})")
        for i, reduce in self.body.reduces.items():
            element = reduced_type(self.body, i)
            if i not in self.memory and self.squared() is None:
                key = element.name, reduced_element(self.body, i)
                if key not in made:
                    made[key] = f"t{i}"
                    self.w.line(f"t{i} = stack({element.name}, {self.deep * self.wide})")
                self.arrays[i] = made[key]
            if is_arg(reduce):
                self.w.line(f"u{i} = stack(uint{8 * element.itemsize}, {OUTER_TILE})")
            elif reduce.op == "m2":
                self.w.line(f"u{i} = stack({element.name}, {OUTER_TILE})")

    def squared(self) -> int | None:
        """The one Reduce that there is, if all it takes is an operand that lies across and whose squares fill vectors."""
        body = self.body
        if len(body.reduces) > 1 or self.stores:
            return None
        ((i, reduce),) = body.reduces.items()
        arg = body.types[reduce.arg]
        same = storage(arg) is reduced_type(body, i) and (reduce.op not in ("any", "all") or arg is bool_)
        return i if reduce.arg in self.turned and same and 2 <= arg.itemsize <= 8 else None

    def accumulators(self, i: int, column: str) -> list[str]:
        """Where the partial results of Reduce i from ``column`` on gather."""
        reduce, buffers = self.body.reduces[i], parts(self.body)[i]
        found = [f"advance({buffer}, at + {column})" for buffer in buffers]
        own = f"advance(u{i}, {column} - lo)"
        if is_arg(reduce):
            return [found[0], own]
        return [*found, own] if reduce.op == "m2" else found

    def fill(self) -> None:
        """Begin the tile; m2 does so with its first group."""
        for i, reduce in self.body.reduces.items():
            if reduce.op != "m2":
                self.w.line(f"fill_{reduce.op}({', '.join(self.accumulators(i, 'lo'))}, hi - lo)")

    def rows(self, i: int, source: str, j: str, rows: str, column: str, size: str, walk: str = "rows") -> None:
        """Take ``rows`` rows from ``j`` on, of ``size`` columns from ``column`` on, into Reduce i."""
        w, reduce = self.w, self.body.reduces[i]
        into = ", ".join(self.accumulators(i, column))
        if reduce.op == "m2":
            with w.block(f"if {j} == block:"):
                w.line(f"{'turned_' * (walk == 'turned')}fill_m2({into}, {source}, imin({GROUP}, {rows}), {size})")
        first = f", {j} - block" * is_arg(reduce)
        elements = f", {' * '.join(f'n{d}' for d in range(self.body.r + 2))}" * (walk == "ahead")
        w.line(f"{walk}_{reduce.op}({into}, {source}, {rows}, {size}{elements}{first})")

    def at(self, i: int, names: dict[int, str], j: str, column: str) -> str:
        """Where the operand of Reduce i is in memory, with its stride from row to row."""
        body = self.body
        arg, r = body.reduces[i].arg, body.r
        position = " + ".join(body.terms(arg, {**names, r: j, r + 1: column})) or "0"
        stride = f"s{body.strides_of[arg]}_{r}" if self.memory[i].access[r] == "s" else "0"
        return f"advance(b{self.memory[i].buffer}, {position}), {stride}"

    def take(self, names: dict[int, str]) -> None:
        """Take the rows from ``block`` to ``stop``."""
        body, w, r = self.body, self.w, self.body.r
        if len(body.reduces) == 1 and self.memory and not self.stores:
            (i,) = self.memory
            return self.rows(i, self.at(i, names, "block", "lo"), "block", "stop - block", "lo", "hi - lo", "ahead")
        if (one := self.squared()) is not None:
            arg = body.reduces[one].arg
            position = " + ".join(body.terms(arg, {**names, r: "block", r + 1: "lo"}))
            source = f"advance(b{self.load(arg).buffer}, {position}), s{arg}_{r + 1}"
            return self.rows(one, source, "block", "stop - block", "lo", "hi - lo", "turned")
        with w.block(f"for j in range(block, stop, {self.deep}):"):
            w.assign("rows", "int64", f"imin({self.deep}, stop - j)")
            with w.block(f"for chunk in range(lo, hi, {self.wide}):"):
                w.assign("size", "int64", f"imin({self.wide}, hi - chunk)")
                for i in self.turned:
                    position = " + ".join(body.terms(i, {**names, r: "j", r + 1: "chunk"}))
                    source = f"advance(b{self.load(i).buffer}, {position})"
                    w.line(f"gather_tile(tile{i}, {TILE}, {source}, 1, s{i}_{r + 1}, rows, size, {TILE})")
                for i in self.memory:  # before anything is stored, which may be over what they read
                    self.rows(i, self.at(i, names, "j", "chunk"), "j", "rows", "chunk", "size")
                if self.arrays or self.stores:
                    self.compute(names)
                for i, array in self.arrays.items():
                    self.rows(i, f"{array}, {self.wide}", "j", "rows", "chunk", "size")
        return None

    def load(self, i: int) -> Load:
        """Instruction i, a load."""
        load = self.body.kernel.body[i]
        assert isinstance(load, Load)
        return load

    def compute(self, names: dict[int, str]) -> None:
        """Compute the values of ``rows`` rows from ``j`` on, of ``size`` columns from ``chunk`` on, and store them."""
        body, w, r = self.body, self.w, self.body.r
        with w.block("for q in range(rows):"):
            w.assign("row_", "int64", "j + q")
            place = body.place(w, self.needed, {**names, r: "row_"})
            with w.block("for k in range(size):"):
                w.assign("column", "int64", "chunk + k")
                near = {i: f"tile{i}[q * {TILE} + k]" for i in self.turned}
                place.element(w, self.needed, {r + 1: "column"}, near)
                for array in dict.fromkeys(self.arrays.values()):
                    w.line(f"{array}[q * {self.wide} + k] = {reduced_element(body, int(array[1:]))}")

    def end(self) -> None:
        """Leave partial results of the block in the scratch buffers."""
        w = self.w
        for i, reduce in self.body.reduces.items():
            if is_arg(reduce):
                with w.block("for k in range(hi - lo):"):
                    w.line(f"{parts(self.body)[i][1]}[at + lo + k] = block + u{i}[k]")
            elif reduce.op == "m2":
                w.line(f"end_m2({', '.join(self.accumulators(i, 'lo'))}, hi - lo, stop - block)")


def blocks(body: Body, name: str) -> Function:
    """The first phase: one tile of one block of rows."""
    writing = _Block(body, name)
    w, r, kept = writing.w, body.r, body.r + 1
    writing.declare()
    w.assign("blocks", "int64", f"udiv(n{r} + {OUTER_BLOCK - 1}, {OUTER_BLOCK})")
    few = " * ".join([*(f"n{d}" for d in range(r)), f"blocks < {FEW_BLOCKS}"])
    w.assign("width", "int64", f"choose({few}, {FEW_TILE}, {OUTER_TILE})")
    w.assign("tiles", "int64", f"udiv(n{kept} + width - 1, width)")
    with w.block("for unit in range(begin, end):"):
        w.assign("rest", "int64", "udiv(unit, tiles)")
        w.assign("at", "int64", f"rest * n{kept}")
        w.assign("lo", "int64", "urem(unit, tiles) * width")
        w.assign("hi", "int64", f"imin(lo + width, n{kept})")
        w.assign("block", "int64", f"urem(rest, blocks) * {OUTER_BLOCK}")
        w.assign("stop", "int64", f"imin(block + {OUTER_BLOCK}, n{r})")
        w.assign("row", "int64", "udiv(rest, blocks)")
        writing.fill()
        writing.take(unravel(w, range(r), "row") if r else {})
        writing.end()
    return body.finish(w)


def combine(body: Body, name: str) -> Function:
    """The second phase, also of a "columns" kernel: each kept element's blocks combined, and what is done with the result."""
    w = begin(body, name)
    r, kept = (0, 1) if body.across else (body.r, body.r + 1)
    needed = body.closure([i for i in body.stores if (body.column[i] if body.across else not body.varies[i])])
    buffers = {i: p for i, p in parts(body).items() if i in needed}
    w.assign("blocks", "int64", f"udiv(n{r} + {OUTER_BLOCK - 1}, {OUTER_BLOCK})")
    with segments(w, f"n{kept}"):
        # a chunk's partial results stay in cache until they are one
        with w.block(f"for chunk in range(lo, hi, {CHUNK}):"):
            w.assign("size", "int64", f"imin({CHUNK}, hi - chunk)")
            with tree(w):
                w.assign("at", "int64", f"(row * blocks + block) * n{kept} + chunk")
                w.assign("other", "int64", f"at + step * n{kept}")
                w.assign("span", "int64", f"step * {OUTER_BLOCK}")
                for i, names in buffers.items():
                    op = body.reduction(i).op
                    pointers = [f"advance({n}, {at})" for at in ("at", "other") for n in names]
                    sizes = f", span, imin(span, n{r} - block * {OUTER_BLOCK} - span)" * (op == "m2")
                    w.line(f"join_{op}({', '.join(pointers)}, size{sizes})")
        w.assign("at", "int64", f"row * blocks * n{kept}")
        place = body.place(w, needed, unravel(w, range(r), "row") if r else {})
        w.explicit = body.plain(needed)
        for condition, some in (("if blocks > 0:", True), ("else:", False)):
            with w.block(condition), w.block(_columns_loop(w.explicit and some)):
                for i, names in buffers.items():
                    # the last number is the result: a position, or what else there is
                    (name, dtype) = names[-1], partial_types(body, i)[-1]
                    reduce = body.reduction(i)
                    none = "0" if is_arg(reduce) else identity(reduce.op, dtype)
                    w.assign(f"r{i}", dtype.name, f"{name}[at + k]" if some else none)
                    reduced_value(body, w, i, f"r{i}")
                place.element(w, needed, {kept: "k"})
    return body.finish(w)


def _columns_loop(explicit: bool) -> str:
    """The head of the loop over the columns from ``lo`` to ``hi``."""
    return f"for k in lanes(lo, hi, {WIDTH}):" if explicit else "for k in range(lo, hi):"
