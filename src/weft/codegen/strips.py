"""The "strips" form: reductions of rows that lie side by side, of which a strip is reduced at once, by vectors along it.

The order is that of "reduce". A row's lane, at most RUN / LANES elements of a run, is to the rows of a strip what a group of
rows is to the columns of an "outer" reduction, and `weft.codegen.columns` takes it in the same way: partial results of a lane
are an array with a number for each row of the strip. What m2 takes comes in lanes that are folded already; positions of
extrema, which are the same in any order, element after element.

So operands that lie across are read where they are, as contiguous pieces of a strip. Rows of at most LANES elements that follow
one another in memory are first transposed, chunk by chunk, into a small array on the stack. Values that are not in memory are
computed into another one.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.codegen.emit import (
    Body,
    Function,
    is_arg,
    partial_types,
    reduced_element,
    reduced_type,
    reduced_value,
    storage,
)
from weft.codegen.loops import begin, unravel
from weft.codegen.rows import parts
from weft.dtypes import bool_
from weft.ir.kernel import BLOCK, FOLDED, LANES, RUN, STRIP, Load, Reduce, Scalar

#: Rows that are transposed together.
TURNED = 32


def _kind(reduce: Reduce) -> str:
    """In which order a reduction takes the elements of a run."""
    return "turn" if is_arg(reduce) else "folded" if reduce.op == "m2" else "lanes"


class _Strip:
    """The writing of the first phase."""

    def __init__(self, body: Body, name: str) -> None:
        self.body, self.w = body, begin(body, name)
        self.r = body.r
        self.needed = body.closure([reduce.arg for reduce in body.reduces.values()])
        self.stored = body.closure(body.stores)
        #: The loads that are transposed.
        self.turned = [
            i
            for i in self.needed
            if isinstance(load := body.kernel.body[i], Load) and load.access[self.r - 1] == "s" and body.varies[i]
        ]
        self.pitch = TURNED if self.turned else STRIP
        self.names: Mapping[int, str] = {}  # the counters of the loops outside the strip
        self.moved: set[int] = set()
        self.arrays: dict[int, str] = {}  # by reduction, the stack array that its argument is computed into
        #: How many elements of a row are taken together, by kind of reduction, and how far apart they are.
        self.steps = {"lanes": (LANES, RUN // LANES), "folded": (FOLDED, RUN // FOLDED), "turn": (1, RUN // LANES)}

    def memory(self, i: int) -> str | None:
        """Where the argument of Reduce i at element ``row_`` of the strip's row ``chunk`` is, with the distance of elements."""
        body, reduce = self.body, self.body.reduces[i]
        load = body.kernel.body[reduce.arg]
        if reduce.op in ("any", "all") and body.types[reduce.arg] is not bool_:
            return None
        if not isinstance(load, Load) or storage(body.types[reduce.arg]) is not reduced_type(body, i):
            return None
        if reduce.arg in self.turned:
            return f"advance(tile{reduce.arg}, row_ * {TURNED}), {TURNED}"
        if load.access[self.r - 1 :] != "cs":
            return None
        return f"advance(b{load.buffer}, o{reduce.arg} + chunk), s{body.strides_of[reduce.arg]}_{self.r}"

    def declare(self) -> None:
        """Declare the stack arrays: of partial results, of transposed operands, of values."""
        w, body = self.w, self.body
        for i in self.turned:
            w.line(f"tile{i} = stack({storage(body.types[i]).name}, {LANES * TURNED})")
        made: dict[tuple[str, str, str], str] = {}
        for i, reduce in body.reduces.items():
            first, element = partial_types(body, i)[0], reduced_type(body, i)
            kind = _kind(reduce)
            lanes = {"lanes": LANES, "folded": FOLDED, "turn": 1}[kind]
            w.line(f"a{i} = stack({first.name}, {lanes * self.pitch})")
            if kind == "folded":
                w.line(f"c{i} = stack(float64, {lanes * self.pitch})")
                w.line(f"u{i} = stack({element.name}, {self.pitch})")
            elif kind == "turn":
                w.line(f"u{i} = stack(uint{max(16, 8 * element.itemsize)}, {self.pitch})")
            if self.memory(i) is None:
                key = element.name, reduced_element(body, i), kind
                if key not in made:
                    made[key] = f"t{i}"
                    w.line(f"t{i} = stack({element.name}, {self.steps[kind][1] * self.pitch})")
                self.arrays[i] = made[key]

    def fill(self) -> None:
        """Begin the partial results of a chunk."""
        w = self.w
        w.assign("used", "int64", f"imin({LANES}, stop - block)")
        for i, reduce in self.body.reduces.items():
            if reduce.op == "m2":
                self._shift(i)
            elif is_arg(reduce):
                w.line(f"fill_{reduce.op}(a{i}, u{i}, size)")
            else:
                w.line(f"fill_{reduce.op}(a{i}, used * {self.pitch})")

    def _shift(self, i: int) -> None:
        """Begin m2, whose shift takes a sum over the first run."""
        w, many = self.w, FOLDED * self.pitch
        for array in (f"a{i}", f"c{i}"):
            w.line(f"fill_sum({array}, {many})")
        w.line(f"fill_sum(u{i}, size)")
        w.assign("run", "int64", "block")
        w.assign("rest", "int64", f"imin({RUN}, stop - block)")
        self._take([i], "folded")
        self._combine(i, f"a{i}", FOLDED, "sum")
        w.line(f"shift_m2(u{i}, a{i}, size, rest)")
        for array in (f"a{i}", f"c{i}"):
            w.line(f"fill_sum({array}, {many})")

    def turn(self) -> None:
        """Transpose what is to be."""
        place = {i: self.body.terms(i, {self.r - 1: "chunk"}) for i in self.turned}
        for i in self.turned:
            load = self.body.kernel.body[i]
            assert isinstance(load, Load)
            at = " + ".join([f"o{i}"] * (i in self.moved) + place[i])
            distance = "1" if load.access[self.r] == "c" else f"s{i}_{self.r}"
            source = f"advance(b{load.buffer}, {at})"
            # never the height of a full tile, which would be copied first
            call = f"gather_tile(tile{i}, {TURNED}, {source}, {distance}, s{i}_{self.r - 1}, n{self.r}, size, {TURNED})"
            self.w.line(call)

    def take(self) -> None:
        """Take the run of ``rest`` elements from ``run`` on."""
        for kind in self.steps:
            if which := [i for i, reduce in self.body.reduces.items() if _kind(reduce) == kind]:
                self._take(which, kind)

    def _take(self, which: list[int], kind: str) -> None:
        w, (apart, together) = self.w, self.steps[kind]
        head = f"for lane in range(imin({apart}, rest)):" if apart > 1 else f"for lane in range(0, rest, {together}):"
        with w.block(head):
            if apart > 1:
                w.assign("rows", "int64", f"udiv(rest - lane + {apart - 1}, {apart})")
            else:
                w.assign("rows", "int64", f"imin({together}, rest - lane)")
            arrays = list(dict.fromkeys(self.arrays[i] for i in which if i in self.arrays))
            if arrays:
                targets = [self.body.reduces[int(array[1:])].arg for array in arrays]
                self._compute(self.body.closure(targets), arrays, apart)
            direct = [i for i in which if i not in self.arrays]
            w.assign("row_", "int64", "run + lane")
            self._place(
                [self.body.reduces[i].arg for i in direct if self.body.reduces[i].arg not in self.turned], "row_"
            )
            for i in which:
                reduce = self.body.reduces[i]
                source = self.memory(i)
                if source is None:
                    source = f"{self.arrays[i]}, {self.pitch}"
                elif apart > 1:
                    source += f" * {apart}"
                at = f"lane * {self.pitch}"
                if kind == "folded":
                    w.line(f"folded_m2(advance(a{i}, {at}), advance(c{i}, {at}), u{i}, {source}, rows, size)")
                elif kind == "turn":
                    w.line(f"rows_{reduce.op}(a{i}, u{i}, {source}, rows, size, row_ - block)")
                else:
                    w.line(f"lanes_{reduce.op}(advance(a{i}, {at}), {source}, rows, size)")

    def _place(self, which: list[int], row: str) -> None:
        """Find where element ``row`` of the strip's rows is."""
        self.body.place(self.w, which, {**self.names, self.r: row})

    def _compute(self, values: list[int], arrays: list[str], apart: int) -> None:
        """Compute ``rows`` elements, from ``lane`` of the run on, of each row of the chunk."""
        body, w = self.body, self.w
        with w.block("for q in range(rows):"):
            w.assign("row_", "int64", f"run + lane + q * {apart}")
            place = body.place(w, [i for i in values if i not in self.turned], {**self.names, self.r: "row_"})
            with w.block("for k in range(size):"):
                w.assign("column", "int64", "chunk + k")
                near = {i: f"tile{i}[row_ * {TURNED} + k]" for i in self.turned}
                place.element(w, values, {self.r - 1: "column"}, near)
                for array in arrays:
                    w.line(f"{array}[q * {self.pitch} + k] = {reduced_element(body, int(array[1:]))}")

    def _combine(self, i: int, array: str, lanes: int, op: str) -> None:
        """Combine the lanes of an array as a tree."""
        w = self.w
        w.assign("half", "int64", str(lanes // 2))
        with w.block("while half > 0:"):
            with w.block("for lane in range(imin(half, used - half)):"):
                pair = (f"advance({array}, {at} * {self.pitch})" for at in ("lane", "(lane + half)"))
                w.line(f"join_{op}({', '.join(pair)}, size)")
            w.assign("half", "int64", "udiv(half, 2)")

    def end(self) -> None:
        """Make one of the lanes' partial results, in ``a{i}`` and ``u{i}`` or ``c{i}``."""
        for i, reduce in self.body.reduces.items():
            if reduce.op == "m2":
                for array in (f"a{i}", f"c{i}"):
                    self._combine(i, array, FOLDED, "sum")
                self.w.line(f"end_m2(a{i}, c{i}, u{i}, size, stop - block)")
            elif not is_arg(reduce):
                self._combine(i, f"a{i}", LANES, reduce.op)

    def results(self, i: int) -> list[str]:
        """The numbers of the partial result of Reduce i of row ``k`` of the chunk."""
        reduce = self.body.reduces[i]
        if is_arg(reduce):
            return [f"a{i}[k]", f"block + u{i}[k]"]
        return [f"a{i}[k]", f"c{i}[k]"] if reduce.op == "m2" else [f"a{i}[k]"]

    def store(self) -> None:
        """Write a chunk's results, or partial results."""
        body, w = self.body, self.w
        with w.block("if blocks == 1:"):
            place = body.place(w, [i for i in self.stored if not isinstance(body.kernel.body[i], Scalar)], self.names)
            with w.block("for k in range(size):"):
                w.assign("column", "int64", "chunk + k")
                for i in body.reduces:
                    if i in self.stored:
                        w.assign(f"r{i}", partial_types(body, i)[-1].name, self.results(i)[-1])
                        reduced_value(body, w, i, f"r{i}")
                place.element(w, self.stored, {self.r - 1: "column"})
        with w.block("else:"), w.block("for k in range(size):"):
            w.assign("at", "int64", f"(outer * n{self.r - 1} + chunk + k) * blocks + number")
            for i, buffers in parts(body).items():
                for buffer, text in zip(buffers, self.results(i), strict=True):
                    w.line(f"{buffer}[at] = {text}")

    def write(self) -> Function:
        """The function."""
        body, w, r = self.body, self.w, self.r
        kept = f"n{r - 1}"
        self.declare()
        w.assign("blocks", "int64", f"udiv(n{r} + {BLOCK - 1}, {BLOCK})")
        w.assign("strips", "int64", f"udiv({kept} + {STRIP - 1}, {STRIP})")
        # of about the same width, whole cache lines
        w.assign("width", "int64", f"imax(1, udiv({kept} + 16 * strips - 1, 16 * strips)) * 16")
        with w.block("for unit in range(begin, end):"):
            w.assign("lo", "int64", "urem(unit, strips) * width")
            w.assign("hi", "int64", f"imin(lo + width, {kept})")
            w.assign("rest", "int64", "udiv(unit, strips)")
            w.assign("number", "int64", "urem(rest, blocks)")
            w.assign("outer", "int64", "udiv(rest, blocks)")
            w.assign("block", "int64", f"number * {BLOCK}")
            w.assign("stop", "int64", f"imin(block + {BLOCK}, n{r})")
            self.names = unravel(w, range(r - 1), "outer") if r > 1 else {}
            if self.turned:
                self.moved = body.place(w, self.turned, self.names).moved
            with w.block(f"for chunk in range(lo, hi, {self.pitch}):"):
                w.assign("size", "int64", f"imin({self.pitch}, hi - chunk)")
                self.turn()
                self.fill()
                with w.block(f"for run in range(block, stop, {RUN}):"):
                    w.assign("rest", "int64", f"imin({RUN}, stop - run)")
                    self.take()
                self.end()
                self.store()
        return body.finish(w)


def blocks(body: Body, name: str) -> Function:
    """The first phase: a strip of rows, of each one block. Where that is the whole row, nothing is left to the second."""
    return _Strip(body, name).write()
