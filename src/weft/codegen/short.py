"""Row kernels of short rows, of at most SHORT_LENGTH elements, one or two for each lane.

A row of ten elements fills no vectors, and what is done once a row, the tree of lanes above all, takes longer than its
elements. So ROWS rows go together, one in each lane of a vector: their elements are copied to the stack so that the same
element of all rows is one vector, a pass takes element after element, and the tree combines vectors. Values at row level are
vectors too. The order of a row's reduction is that of any other row, so the bits are. Copying goes by squares that are
transposed in registers; where there are fewer rows than ROWS or fewer elements than in a square, by one element after another.

Vectors have all lanes where fewer rows are left; what comes out there goes nowhere. Only values at row level that need no
reduction, among them indices that may be out of range, are computed row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from weft.codegen.emit import (
    EXPENSIVE,
    Body,
    Function,
    Writer,
    cost_of,
    identity,
    operands,
    packed,
    partial_types,
    reduced_element,
    reduced_type,
    reduced_value,
    storage,
    variable_type,
    widened,
)
from weft.codegen.loops import begin
from weft.dtypes import DType, bool_
from weft.ir.kernel import LANES, SHORT_LENGTH, Apply, Index, Load, Reduce, Scalar, Store

#: Rows that go together: two vectors of float32.
ROWS = 16
#: Bytes of a row of a square of elements that is transposed in registers, at most.
SQUARE_BYTES = 16


def possible(body: Body) -> bool:
    """Whether a row kernel's body can be written in this form."""
    if not body.kernel.short or body.r != 1:
        return False
    if any(reduce.op not in ("sum", "prod", "max", "min", "any", "all") for reduce in body.reduces.values()):
        return False
    moving = (Load, Index, Store)  # which are copied row by row, wherever they are
    by_vectors = [i for i, instr in enumerate(body.kernel.body) if not isinstance(instr, moving) and _vector(body, i)]
    return body.plain(by_vectors)


def _vector(body: Body, i: int) -> bool:
    """Whether value i is known for all rows at once: it changes along a row, or comes of a reduction."""
    return body.varies[i] or body.level[i] > 0


class _Short:
    """The writing of the function."""

    def __init__(self, body: Body, name: str) -> None:
        self.body, self.w = body, begin(body, name)
        self.w.explicit = True
        self.count = max((body.level[i] for i in body.reduces), default=0)
        self.reduces = [[i for i in body.reduces if body.level[i] == p + 1] for p in range(self.count)]
        self.stores = [i for i in body.stores if body.varies[i]]
        #: Values of elements that lie on the stack: copied from memory, or computed in the pass that is given.
        self.copied = [i for i, instr in enumerate(body.kernel.body) if self._is_copied(i, instr)]
        self.kept: dict[int, int] = {}
        for p in range(self.count):
            self._keep(p)
        #: Values at row level, a vector each.
        instrs = enumerate(body.kernel.body)
        self.level = [i for i, instr in instrs if not body.varies[i] and not isinstance(instr, Scalar | Store)]

    def _is_copied(self, i: int, instr: object) -> bool:
        return isinstance(instr, Load | Index) and self.body.varies[i] and instr.access[0] != "b"

    def values(self, p: int) -> list[int]:
        """The values that pass p computes for each element, in order; the last pass is that of the stores."""
        known = {*self.copied, *(v for v, at in self.kept.items() if at < p)}
        return [i for i in self.body.closure(self.targets(p), known) if self.body.varies[i]]

    def targets(self, p: int) -> list[int]:
        """What pass p takes, of each element: to reduce, or to store."""
        if p == self.count:
            return [self.body.stores[s].arg for s in self.stores]
        return [self.body.reduces[i].arg for i in self.reduces[p]]

    def _keep(self, p: int) -> None:
        """Keep what is expensive and wanted by later passes too."""
        instrs = self.body.kernel.body
        for v in reversed(self.values(p)):
            instr = instrs[v]
            if not isinstance(instr, Apply) or v in self.kept:
                continue
            if cost_of(self.body.bodies.get(instr.op, "")) < EXPENSIVE:
                continue
            if any(v in self.values(q) for q in range(p + 1, self.count + 1)):
                self.kept[v] = p

    # The stack

    def array(self, name: str, dtype: str, elements: int = SHORT_LENGTH) -> None:
        """Declare an array of vectors."""
        self.w.line(f"{name} = stack({'uint8' if dtype == 'boolean' else dtype}, {elements * ROWS})")

    def lanes(self, i: int) -> dict[str, DType]:
        """The arrays of the lanes of Reduce i, with their types: of those of a run and, where that is wider, of a block."""
        element, wider = reduced_type(self.body, i), partial_types(self.body, i)[0]
        return {f"a{i}": wider} if wider is element else {f"c{i}": element, f"a{i}": wider}

    def declare(self) -> None:
        """Declare the arrays. Zeros make lanes without a row harmless."""
        body = self.body
        for i in self.copied:
            self.array(f"t{i}", storage(body.types[i]).name)
        for i in self.kept:
            self.array(f"t{i}", variable_type(body.types[i]))
        for i in body.reduces:
            for name, dtype in self.lanes(i).items():
                self.array(name, dtype.name, LANES)
        for i in self.level:
            self.array(f"m{i}", variable_type(body.types[i]), 1)
        for s in self.stores:
            self.array(f"u{s}", storage(body.types[s]).name)
        for i in self.copied:
            with self.w.block(f"for k in lanes(0, {SHORT_LENGTH * ROWS}, {LANES}):"):
                self.w.line(f"t{i}[k] = 0")
        for i in self.level:
            with self.w.block(f"for k in lanes(0, {ROWS}, {ROWS}):"):
                self.w.line(f"m{i}[k] = 0")

    # Row by row

    def fetch(self) -> None:
        """Copy the rows' elements, and compute what is at row level and needs no reduction."""
        body, w = self.body, self.w
        for i in self.copied:
            instr = body.kernel.body[i]
            with self.each(i, "lay_across"):
                at = self.position(i, {0: "(group + q)", 1: "k"})
                value = f"b{instr.buffer}[{at}]" if isinstance(instr, Load) else f"base{i} + {at}"
                w.line(f"t{i}[k * {ROWS} + q] = {value}")
        early = [i for i in self.level if body.level[i] == 0]
        if early:
            with w.block("for q in range(size):"):
                for i in early:
                    body.value(w, i, self.position(i, {0: "(group + q)"}))
                    w.line(f"m{i}[q] = v{i}")

    @contextmanager
    def each(self, i: int, squares: str) -> Iterator[None]:
        """Do what is written inside for each element, of instruction i; or for all by the intrinsic ``squares``, if it can."""
        body, w = self.body, self.w
        instr = body.kernel.body[i]
        with ExitStack() as inside:
            if isinstance(instr, Load | Store) and instr.access == "sc":
                near = f"advance(b{instr.buffer}, {self.position(i, {0: 'group'})})"
                far = f"{'u' if isinstance(instr, Store) else 't'}{i}"
                side = min(SQUARE_BYTES // storage(body.types[i]).itemsize, ROWS // 2)  # two below one another
                with w.block(f"if imin(n1 - {side}, size - {ROWS}) >= 0:"):
                    w.line(f"{squares}({near}, s{body.strides_of[i]}_0, {far}, n1, {ROWS}, {side})")
                inside.enter_context(w.block("else:"))
            inside.enter_context(w.block("for k in range(n1):"))
            inside.enter_context(w.block("for q in range(size):"))
            yield

    def position(self, i: int, counters: dict[int, str]) -> str:
        """The position of instruction i."""
        return " + ".join(self.body.terms(i, counters)) or "0"

    def write(self) -> None:
        """Copy results to memory."""
        body, w = self.body, self.w
        for s in self.stores:
            with self.each(s, "lay_along"):
                at = self.position(s, {0: "(group + q)", 1: "k"})
                w.line(f"b{body.stores[s].buffer}[{at}] = u{s}[k * {ROWS} + q]")
        rows = [s for s in body.stores if s not in self.stores]
        if rows:
            with w.block("for q in range(size):"):
                for s in rows:
                    self.load_level([body.stores[s].arg])
                    body.store(w, s, self.position(s, {0: "(group + q)"}))

    # All rows at once

    def read(self, array: str, i: int, at: str) -> str:
        """The element of an array, as a value of the type of instruction i."""
        return f"{array}[{at}]" + (" != 0" if self.body.types[i] is bool_ else "")

    def load_level(self, which: Iterable[int]) -> None:
        """Assign the values at row level among ``which``."""
        for i in which:
            if i in self.level:
                self.w.assign(f"v{i}", variable_type(self.body.types[i]), self.read(f"m{i}", i, "q"))

    def compute(self, p: int) -> None:
        """Compute the values of pass p at element ``k``."""
        body, w = self.body, self.w
        values = self.values(p)
        used = {a for i in values for a in operands(body.kernel.body[i])}
        self.load_level(sorted({*used, *self.targets(p)}))
        for i in values:
            dtype, at = body.types[i], f"k * {ROWS} + q"
            if i in self.copied:
                w.assign(f"v{i}", variable_type(dtype), widened(dtype, f"t{i}[{at}]"))
            elif self.kept.get(i, p) < p:
                w.assign(f"v{i}", variable_type(dtype), self.read(f"t{i}", i, at))
            else:
                body.value(w, i, self.position(i, {1: "k"}))
            if self.kept.get(i) == p:
                w.line(f"t{i}[k * {ROWS} + q] = v{i}")

    def reduce(self, p: int) -> None:
        """Reduce what pass p reduces: elements to their lanes, then the tree of these; a lane without one changes nothing."""
        body, w = self.body, self.w
        with w.block("for k in range(n1):"):
            w.assign("lane", "int64", f"(k & {LANES - 1}) * {ROWS}")
            with self.vectors():
                self.compute(p)
                for i in self.reduces[p]:
                    op, arrays = body.reduces[i].op, self.lanes(i)
                    first, dtype = next(iter(arrays.items()))
                    w.assign(f"e{i}", dtype.name, reduced_element(body, i))
                    start = f"every({dtype.name}, {identity(op, dtype)})"
                    w.assign(f"r{i}", dtype.name, f"{start} if k < {LANES} else {first}[lane + q]")
                    w.assign(f"e{i}", dtype.name, f"combine_{op}(r{i}, e{i})")
                    for name in arrays:
                        w.line(f"{name}[lane + q] = e{i}")
        w.assign("count", "int64", f"imin(n1, {LANES})")
        w.assign("step", "int64", str(LANES // 2))
        with w.block("while step > 0:"):
            with w.block("for k in range(imin(step, count - step)):"), self.vectors():
                for i in self.reduces[p]:
                    name = partial_types(body, i)[0].name
                    w.assign(f"y{i}", name, f"a{i}[k * {ROWS} + q]")
                    w.assign(f"z{i}", name, f"a{i}[(k + step) * {ROWS} + q]")
                    w.line(f"a{i}[k * {ROWS} + q] = combine_{body.reduces[i].op}(y{i}, z{i})")
            w.assign("count", "int64", "imin(count, step)")
            w.assign("step", "int64", "udiv(step, 2)")
        level = [i for i in self.level if body.level[i] == p + 1]
        with self.vectors():
            used = {a for i in level if i not in body.reduces for a in operands(body.kernel.body[i])}
            self.load_level(sorted(used.difference(level)))
            for i in level:
                if isinstance(body.kernel.body[i], Reduce):
                    w.assign(f"y{i}", partial_types(body, i)[0].name, f"a{i}[q]")
                    reduced_value(body, w, i, f"y{i}")
                else:
                    body.value(w, i)
                w.line(f"m{i}[q] = v{i}")

    def vectors(self) -> AbstractContextManager[None]:
        """A loop over all rows, as vectors."""
        return self.w.block(f"for q in lanes(0, {ROWS}, {ROWS}):")

    def last(self) -> None:
        """The pass that makes elements."""
        body, w = self.body, self.w
        with w.block("for k in range(n1):"), self.vectors():
            self.compute(self.count)
            for s in self.stores:
                w.line(f"u{s}[k * {ROWS} + q] = {packed(body, body.stores[s].arg)}")


def row(body: Body, name: str) -> Function:
    """The one phase of a "row" kernel."""
    writing = _Short(body, name)
    w: Writer = writing.w
    writing.declare()
    with w.block(f"for group in range(begin, end, {ROWS}):"):
        w.assign("size", "int64", f"imin({ROWS}, end - group)")
        writing.fetch()
        for p in range(writing.count):
            writing.reduce(p)
        if writing.stores:
            writing.last()
        writing.write()
    return body.finish(w)
