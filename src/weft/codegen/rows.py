"""The "row" and "reduce" forms: reductions along the innermost loop.

A reduction needs a whole pass over the row before its result is known, so a "row" kernel makes one pass for each level of
reductions that depend on one another and, if it writes elements, a last one. A pass runs block by block, and computes the
values of LANES elements at a time, as vectors, which go to the lanes of its reductions (`weft.codegen.translate`).

That takes values that are plain instructions. Others are computed chunk by chunk into a small array ``t`` on the stack by a
loop over elements, which LLVM vectorises, and reduced from there (`weft.codegen.lanes`), as are positions of extrema, and a
value that is already in memory if it is all that the pass reduces. What m2 reduces is computed for a whole block, since it is
needed twice. The last pass fetches what the next row reads into the second-level cache, and a "reduce" kernel what lies some KB
further, of arrays that caches do not hold.

An expensive value that a later pass needs again waits in an output of the kernel that has the right type and is written
last, over an operand too if that is not needed any more; or, where no output has the type, as those of 16 bits have not, on the
stack, if rows are known to be short enough (`Kernel.near`). Loading it back gives the same bits as computing it again.

What a "columns" kernel does besides is in `weft.codegen.across`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from weft.codegen.emit import (
    EXPENSIVE,
    Body,
    Function,
    Place,
    Writer,
    cost_of,
    identity,
    is_arg,
    join,
    narrowed,
    operands,
    partial_types,
    reduced_element,
    reduced_type,
    reduced_value,
    storage,
    variable_type,
    widened,
)
from weft.codegen.loops import begin, unravel
from weft.dtypes import bool_
from weft.ir.kernel import BLOCK, LANES, NEAR_LENGTH, RUN, RUNS, Apply, Load, LoadAt, Reduce, Scalar, Store

#: Elements of a row whose values are computed into stack arrays before they are reduced.
CHUNK = 512


#: The bytes of an array from which on what a reduction reads next is fetched ahead: more than caches hold.
LARGE = 8 << 20

#: Reductions whose elements are taken one by one.
_SIMPLE = ("sum", "prod", "max", "min", "any", "all")

#: Elements of a vector of a pass that reduces nothing.
WIDTH = 16


class Passes:
    """Which reductions and stores each pass over a row does, and which values later passes find in an output buffer."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.count = max((body.level[i] for i in body.reduces), default=0)
        self.reduces = [[i for i in body.reduces if body.level[i] == p + 1] for p in range(self.count + 1)]
        self.stores: list[list[int]] = [[] for _ in range(self.count + 1)]
        for i, store in body.stores.items():
            if body.varies[i] and not body.column[i]:
                # a buffer that is also loaded keeps its old values until nothing needs them
                early = store.buffer not in body.loaded and body.level[i] < self.count
                self.stores[body.level[i] if early else self.count].append(i)
        self.kept: dict[int, int] = {}  # value -> the Store in whose buffer it waits
        self.kept_in: dict[int, int] = {}  # value -> the pass that puts it there
        self.near: list[int] = []  # kept values that wait on the stack, and are their own Store
        for p in range(self.count):
            for q in range(p + 1, self.count + 1):
                self._keep(p, q)
        #: By buffer, the loads of what the first pass reads, row after row.
        self.read = {
            load.buffer: i
            for i in self.values(0)
            if isinstance(load := body.kernel.body[i], Load) and body.r > 0 and load.access[body.r - 1 :] == "sc"
        }

    def values(self, p: int) -> list[int]:
        """The element values and stores of pass p, in order; what a kept value is made of is left out once it is kept."""
        body = self.body
        targets = [body.reduces[i].arg for i in self.reduces[p]] + self.stores[p]
        known = [v for v, at in self.kept_in.items() if at < p]
        return [i for i in body.closure(targets, known) if body.varies[i]]

    def summed(self) -> list[int]:
        """The element values, in order, that what a "columns" kernel reduces over the rows is made of."""
        body = self.body
        targets = [across.arg for across in body.across.values()]
        return [i for i in body.closure(targets, self.kept) if body.varies[i]]

    def _wanted(self, p: int) -> list[int]:
        """What must be known in pass p or, of the last one, for reductions over the rows."""
        return self.values(p) if p < self.count else sorted({*self.values(p), *self.summed()})

    def computed(self, p: int) -> list[int]:
        """The values of pass p that no buffer holds."""
        return [i for i in self.values(p) if self.kept_in.get(i, p) == p]

    def loops(self, p: int) -> bool:
        """Whether pass p computes anything element by element."""
        return bool(self.stores[p]) or p in self.kept_in.values() or any(not self.memory(i) for i in self.reduces[p])

    def plain(self, p: int) -> bool:
        """Whether pass p goes by vectors."""
        simple = all(reduce.op in _SIMPLE for reduce in (self.body.reduces[i] for i in self.reduces[p]))
        return simple and self.body.plain(self.values(p))

    def memory(self, i: int) -> tuple[int, int] | None:
        """Where Reduce i can find its argument in memory: (buffer, instruction whose position that is), or None."""
        body, reduce = self.body, self.body.reduces[i]
        arg = reduce.arg
        if reduce.op in ("any", "all") and body.types[arg] is not bool_:
            return None
        source = self.kept[arg] if arg in self.kept and self.kept_in[arg] < body.level[i] else arg
        instr = body.kernel.body[source]
        if not isinstance(instr, Load | Store) or instr.access[body.r] != "c":
            return None
        return (instr.buffer, source) if storage(body.types[arg]) is reduced_type(body, i) else None

    def _keep(self, p: int, q: int) -> None:
        """Keep what pass p computes, pass q needs again, and is expensive, where an output's row can hold it."""
        body = self.body
        theirs = self._wanted(q)
        shared = [i for i in self.values(p) if i in theirs]
        for v in shared:
            users = [u for u in theirs if v in operands(body.kernel.body[u])]
            if v in self.kept or (users and all(u in shared for u in users)) or self._cost(v) < EXPENSIVE:
                continue
            for s in self.stores[self.count]:
                store = body.stores[s]
                if store.access[body.r] != "c":  # this pass may go by vectors
                    continue
                if body.kernel.buffers[store.buffer] is body.types[v] and s not in self.kept.values():
                    self.kept[v], self.kept_in[v] = s, p
                    if self._harmless(s, p):
                        break
                    del self.kept[v], self.kept_in[v]
            if v not in self.kept and body.kernel.near and body.types[v] is not bool_:
                self.kept[v], self.kept_in[v] = v, p
                self.near.append(v)

    def _harmless(self, s: int, p: int) -> bool:
        """Whether nothing wants what Store s's buffer holds once pass p begins to write there, but the pass itself before."""
        body, buffer = self.body, self.body.stores[s].buffer
        instrs = body.kernel.body
        if any(isinstance(instr, LoadAt) and instr.buffer == buffer for instr in instrs):
            return False
        loads = {i for i, instr in enumerate(instrs) if isinstance(instr, Load) and instr.buffer == buffer}
        later = {i for q in range(p + 1, self.count + 1) for i in self._wanted(q)}
        return not loads & later and not loads & {body.reduces[i].arg for i in self.reduces[p]}

    def _cost(self, v: int) -> int:
        """The cost of the dearest op that computing value v again would take."""
        body = self.body
        again = [i for i in body.closure([v], self.kept) if body.varies[i] and i not in self.kept]
        applied = [instr for i in again if isinstance(instr := body.kernel.body[i], Apply)]
        return max((cost_of(body.bodies.get(instr.op, "")) for instr in applied), default=0)


class Row:
    """The writing of one function over rows."""

    def __init__(self, body: Body, w: Writer) -> None:
        self.body, self.w = body, w
        self.passes = Passes(body)
        self.arrays: dict[int, str] = {}  # by reduction, the stack array that its argument is computed into
        self.whole: set[str] = set()  # those that hold a whole block
        self.place = Place(body, "o", set())
        #: The loads that the units of a "reduce" kernel take as they are, of which what comes later is fetched.
        self.ahead: list[int] = []
        w.explicit = all(map(self.passes.plain, range(self.passes.count + 1))) and body.plain(self.passes.summed())
        #: The pass that fetches the next row: the last, or if that comes later (a columns kernel) or does nothing, the last by
        #: vectors that finds a row in the cache.
        last = not body.across and self.passes.stores[self.passes.count]
        reducing = [] if last else [p for p in range(not body.across, self.passes.count) if self.swept(p)]
        self.fetching = max(reducing, default=self.passes.count)

    def declare(self) -> None:
        """Declare the lanes of each reduction, and the stack arrays."""
        made: dict[tuple[str, str], str] = {}
        for i, reduce in self.body.reduces.items():
            a = reduced_type(self.body, i)
            first = partial_types(self.body, i)[0]
            self.w.line(f"a{i} = stack({first.name}, {2 if reduce.op == 'm2' else 1 if is_arg(reduce) else LANES})")
            if is_arg(reduce):
                self.w.line(f"k{i} = stack(int64, 1)")
                self.w.line(f"start_{reduce.op}(a{i}, k{i})")
            if self.swept(self.body.level[i] - 1):
                if reduce.op in RUNS:
                    self.w.line(f"q{i} = stack({a.name}, {LANES})")
            elif self.passes.memory(i) is None:
                self.arrays[i] = made.setdefault((a.name, reduced_element(self.body, i)), f"t{i}")
                if reduce.op == "m2":
                    self.whole.add(self.arrays[i])
        for (name, _), array in made.items():
            self.w.line(f"{array} = stack({name}, {BLOCK if array in self.whole else CHUNK})")
        for v in self.passes.near:
            self.w.line(f"h{v} = stack({variable_type(self.body.types[v])}, {NEAR_LENGTH})")

    def swept(self, p: int) -> bool:
        """Whether pass p reduces by vectors, into lanes."""
        return self.passes.loops(p) and self.passes.plain(p)

    def at(self, which: Sequence[int]) -> None:
        """Find where ``row`` is: the counters and offsets of the instructions ``which``."""
        r = self.body.r
        self.place = self.body.place(self.w, which, unravel(self.w, range(r), "row") if r else {})

    def row_values(self, level: int, which: Sequence[int]) -> None:
        """Compute the row-level values that are known once ``level`` passes are over."""
        body = self.body
        for i in which:
            here = not body.varies[i] and body.level[i] == level
            if here and not isinstance(body.kernel.body[i], Scalar | Reduce | Store):
                body.value(self.w, i, self.place.position(i, {}))

    def row_stores(self) -> None:
        """Write the row-level values."""
        for i in self.body.stores:
            if not self.body.varies[i]:
                self.body.store(self.w, i, self.place.position(i, {}))

    def compute(self, values: Sequence[int], p: int, j: str) -> None:
        """Compute ``values`` in or after pass p at element ``j``, and keep what later passes want."""
        body, w, passes, counters = self.body, self.w, self.passes, {self.body.r: j}
        keep: list[str] = []  # done last: this pass may still want what the operand there holds
        for i in values:
            if i in body.stores:
                continue
            dtype = body.types[i]
            kept_in = passes.kept_in.get(i, p + 1)
            waits = ""
            if i in passes.near:
                waits = f"h{i}[{j}]"
            elif kept_in <= p:
                s = passes.kept[i]
                waits = f"b{body.stores[s].buffer}[{self.place.position(s, counters)}]"
            if kept_in < p:
                w.assign(f"v{i}", variable_type(dtype), waits if i in passes.near else widened(dtype, waits))
            else:
                body.value(w, i, self.place.position(i, counters))
                if kept_in == p:
                    keep.append(f"{waits} = " + (f"v{i}" if i in passes.near else narrowed(dtype, f"v{i}")))
        for line in keep:
            w.line(line)

    def element(self, p: int, j: str) -> None:
        """Compute the values of pass p at element ``j``, keep what later passes want, and do the pass's stores."""
        values = self.passes.values(p)
        self.compute(values, p, j)
        for i in values:
            if i in self.body.stores:
                self.body.store(self.w, i, self.place.position(i, {self.body.r: j}))

    def picked(self, p: int) -> bool:
        """Whether pass p does nothing but reduce operands that lie apart along the row."""
        body = self.body
        args = {body.reduces[i].arg: i for i in self.passes.reduces[p]}
        return set(self.passes.values(p)) == set(args) and all(
            isinstance(load := body.kernel.body[arg], Load)
            and load.access[body.r] == "s"
            and storage(body.types[arg]) is reduced_type(body, i)
            and (body.reduces[i].op not in ("any", "all") or body.types[arg] is bool_)
            for arg, i in args.items()
        )

    def pick(self, arrays: Sequence[str]) -> None:
        """Copy those operands' elements of a chunk to the stack arrays."""
        for array in arrays:
            arg, r = self.body.reduces[int(array[1:])].arg, self.body.r
            load = self.body.kernel.body[arg]
            assert isinstance(load, Load)
            to = f"advance({array}, chunk - block)" if array in self.whole else array
            source = f"advance(b{load.buffer}, {self.place.position(arg, {r: 'chunk'})})"
            self.w.line(f"pick({to}, {source}, s{self.body.strides_of[arg]}_{r}, size)")

    def fetch(self, p: int, j: str) -> None:
        """In the pass that does so: fetch what the next row reads at element ``j``."""
        if p == self.fetching:
            for buffer, i in self.passes.read.items():
                at = self.place.position(i, {self.body.r: j})
                self.w.line(f"fetch(b{buffer}, {at} + s{i}_{self.body.r - 1})")

    def look_ahead(self) -> None:
        """Say of the operands that the units of a "reduce" kernel read in the order of memory how much further what lies there
        is fetched: ``inside`` a row, and ``beyond`` its last block."""
        body, w, r = self.body, self.w, self.body.r
        places = [self.passes.memory(i) for i in body.reduces] if not self.swept(0) else []
        found = self.passes.values(0) if self.swept(0) else [place[1] for place in places if place is not None]
        for i in dict.fromkeys(found):
            load, size = body.kernel.body[i], storage(body.types[i]).itemsize
            if not isinstance(load, Load) or load.access[r] != "c" or (r > 0 and load.access[r - 1] != "s"):
                continue
            self.ahead.append(i)
            w.assign("far", "boolean", f"fetched_from({' * '.join(f'n{d}' for d in range(r + 1))}, {LARGE // size})")
            lengths = dict.fromkeys(("inside", "beyond"), f"elements_ahead({size})")
            if r > 0:
                # Of rows with gaps between them the next unit, or of short ones as far as a block goes; but not if the last
                # block is a part of one, for then much that is fetched would lie in the gaps.
                stride = f"s{body.strides_of[i]}_{r - 1}"
                w.assign("even", "boolean", f"blocks * imin(n{r}, {BLOCK}) == n{r}")
                w.assign("jump", "int64", f"{stride} * imax(1, udiv({BLOCK}, imax(1, n{r}))) - (blocks - 1) * {BLOCK}")
                for name, apart in (("inside", BLOCK), ("beyond", "jump")):
                    lengths[name] = f"choose({stride} == n{r}, {lengths[name]}, choose(even, {apart}, 0))"
            for name, length in lengths.items():
                w.assign(f"{name}{i}", "int64", f"choose(far, {length}, 0)")

    def block(self, p: int) -> None:
        """Reduce the row from ``block`` to ``stop``, at most BLOCK elements, into ``y{i}`` (and ``z{i}``) for each reduction
        i of pass p. Those of argmax and argmin may be of blocks before, too, to which the same comes in the end."""
        w, reduces = self.w, [(i, self.body.reduces[i]) for i in self.passes.reduces[p]]
        w.assign("stop", "int64", f"imin(block + {BLOCK}, n{self.body.r})")
        for i in self.ahead:
            w.assign(f"later{i}", "int64", f"choose(stop < n{self.body.r}, inside{i}, beyond{i})")
        by_chunk = [(i, reduce) for i, reduce in reduces if reduce.op != "m2"]
        for i, reduce in by_chunk:
            if is_arg(reduce):
                # where a block's best is matters only if it beats what this call has seen of the row
                with w.block("if block == 0:"):
                    w.line(f"start_{reduce.op}(a{i}, k{i})")
            else:
                w.line(f"start_{reduce.op}(a{i})")
        if self.swept(p):
            self.sweep(p)
        elif self.passes.loops(p):
            with w.block(f"for chunk in range(block, stop, {CHUNK}):"):
                w.assign("size", "int64", f"imin({CHUNK}, stop - chunk)")
                arrays = list(dict.fromkeys(self.arrays[i] for i, _ in reduces if i in self.arrays))
                if self.picked(p):
                    self.pick(arrays)
                else:
                    with w.block(f"for k in {self.body.each(self.passes.computed(p))}(size):"):
                        w.assign("j", "int64", "chunk + k")
                        self.element(p, "j")
                        for array in arrays:
                            at = "j - block" if array in self.whole else "k"
                            w.line(f"{array}[{at}] = {reduced_element(self.body, int(array[1:]))}")
                for i, _ in by_chunk:
                    self._reduce(i, "chunk", "size")
        else:
            for i, _ in by_chunk:
                self._reduce(i, "block", "stop - block")
        for i, reduce in reduces:
            first, *second = [t.name for t in partial_types(self.body, i)]
            if reduce.op == "m2":
                w.line(f"block_m2(a{i}, {self._source(i, 'block')}, stop - block, {self._later(i)})")
                w.assign(f"y{i}", first, f"a{i}[0]")
                w.assign(f"z{i}", second[0], f"a{i}[1]")
            elif is_arg(reduce):
                w.assign(f"z{i}", second[0], f"k{i}[0]")
                w.assign(f"y{i}", first, f"a{i}[0]")
            else:
                w.assign(f"y{i}", first, f"finish_{reduce.op}(a{i})")

    def sweep(self, p: int) -> None:
        """Take the elements from ``block`` to ``stop`` into the lanes of the reductions of pass p, run by run."""
        w, ops = self.w, {i: self.body.reduces[i].op for i in self.passes.reduces[p]}
        with w.block(f"for run in range(block, stop, {RUN}):"):
            for i, op in ops.items():
                if op in RUNS:
                    w.line(f"start_{op}(q{i})")
            for i in self.ahead:
                self.fetch_run(i)
            with w.block(f"for j in lanes(run, imin(run + {RUN}, stop), {LANES}):"):
                self.fetch(p, "j")
                self.element(p, "j")
                for i, op in ops.items():
                    w.line(f"take_{op}({'q' if op in RUNS else 'a'}{i}, {reduced_element(self.body, i)})")
            for i, op in ops.items():
                if op in RUNS:
                    w.line(f"add_{op}(a{i}, q{i})")

    def fetch_run(self, i: int) -> None:
        """Fetch what lies so much further than a run of the operand that is loaded by instruction i."""
        load = self.body.kernel.body[i]
        assert isinstance(load, Load)
        head = f"for j in lanes(run, imin(run + {RUN}, stop), {LANES}):"
        with self.w.block(f"if later{i} != 0:"), self.w.block(head):
            self.w.line(f"fetch(b{load.buffer}, {self.place.position(i, {self.body.r: 'j'})} + later{i})")

    def last(self) -> None:
        """The pass that writes elements."""
        body, w, passes = self.body, self.w, self.passes
        p, n = passes.count, f"n{body.r}"
        if not passes.plain(p):
            with w.block(f"for j in {body.each(passes.computed(p))}({n}):"):
                self.element(p, "j")
            return
        width = LANES if body.each(passes.computed(p)) == "interleaved" else WIDTH
        with w.block(f"for j in lanes(0, {n}, {width}):"):
            self.fetch(p, "j")
            self.element(p, "j")

    def _source(self, i: int, start: str) -> str:
        """Where the elements of Reduce i from ``start`` on are."""
        memory = self.passes.memory(i)
        if memory is not None:
            return f"advance(b{memory[0]}, {self.place.position(memory[1], {self.body.r: start})})"
        array = self.arrays[i]
        return f"advance({array}, {start} - block)" if array in self.whole and start != "block" else array

    def _reduce(self, i: int, start: str, size: str) -> None:
        """Take the elements from ``start`` on into the lanes of Reduce i."""
        reduce = self.body.reduces[i]
        lanes = f"a{i}, k{i}, {start}" if is_arg(reduce) else f"a{i}"
        self.w.line(f"reduce_{reduce.op}({lanes}, {self._source(i, start)}, {size}, {self._later(i)})")

    def _later(self, i: int) -> str:
        """How many elements after those that Reduce i takes what is to be fetched lies; 0 if nothing is."""
        place = self.passes.memory(i)
        return f"later{place[1]}" if place is not None and place[1] in self.ahead else "0"

    def names(self, i: int, first: str = "r", second: str = "x") -> list[str]:
        """The names of the numbers of a partial result of Reduce i."""
        return [f"{first}{i}", f"{second}{i}"][: len(partial_types(self.body, i))]

    def start(self, reduces: Sequence[int]) -> None:
        """Assign what reductions of no elements give: ``r{i}`` and ``x{i}``."""
        for i in reduces:
            types = partial_types(self.body, i)
            starts = [identity(self.body.reduces[i].op, types[0]), "0"]
            for name, dtype, text in zip(self.names(i), types, starts, strict=False):
                self.w.assign(name, dtype.name, text)

    def take(self, reduces: Sequence[int]) -> None:
        """Assign ``y{i}`` and ``z{i}`` to ``r{i}`` and ``x{i}``."""
        for i in reduces:
            for name, dtype, text in zip(
                self.names(i), partial_types(self.body, i), self.names(i, "y", "z"), strict=True
            ):
                self.w.assign(name, dtype.name, text)

    def results(self, reduces: Sequence[int]) -> None:
        """Assign the values of finished reductions."""
        for i in reduces:
            reduced_value(self.body, self.w, i, self.names(i)[-1])


#: Partial results of a row that may wait for later blocks: enough for any row.
DEPTH = 56


def _reduced_row(writing: Row, p: int) -> None:
    """Reduce a row, block by block: what waits in ``s{i}`` (and ``u{i}``) stands for ever fewer blocks, powers of two."""
    body, w, reduces = writing.body, writing.w, writing.passes.reduces[p]
    w.assign("depth", "int64", "0")
    w.assign("first", "int64", "0")
    with w.block(f"for block in range(0, n{body.r}, {BLOCK}):"):
        writing.block(p)
        w.assign("first", "int64", "block")
        w.assign("span", "int64", str(BLOCK))
        with w.block("while first & span != 0:"):
            _join_last(writing, reduces, "stop")
            w.assign("span", "int64", "span + span")
        for i in reduces:
            for array, name in zip(writing.names(i, "s", "u"), writing.names(i, "y", "z"), strict=True):
                w.line(f"{array}[depth] = {name}")
        w.assign("depth", "int64", "depth + 1")
    writing.start(reduces)
    with w.block("if depth > 0:"):
        w.assign("depth", "int64", "depth - 1")
        with w.block("while depth > 0:"):
            w.assign("span", "int64", "first & (0 - first)")
            _join_last(writing, reduces, f"n{body.r}")
        writing.take(reduces)


def _join_last(writing: Row, reduces: Sequence[int], end: str) -> None:
    """Combine what waits, of ``span`` elements, with ``y{i}``, of those from ``first`` to ``end``."""
    w = writing.w
    w.assign("depth", "int64", "depth - 1")
    for i in reduces:
        earlier = [f"{array}[depth]" for array in writing.names(i, "s", "u")]
        join(writing.body, w, i, writing.names(i, "y", "z"), earlier, ("span", f"({end} - first)"))
    w.assign("first", "int64", "first - span")


def declare_row(writing: Row) -> None:
    """Declare what whole rows need."""
    writing.declare()
    for i in writing.body.reduces:
        for array, dtype in zip(writing.names(i, "s", "u"), partial_types(writing.body, i), strict=True):
            writing.w.line(f"{array} = stack({dtype.name}, {DEPTH})")


def reduced(writing: Row) -> None:
    """All passes over ``row`` but the last, and what is at row level."""
    body, passes = writing.body, writing.passes
    everything = [i for i in range(len(body.kernel.body)) if not body.column[i]]
    writing.at(everything)
    writing.row_values(0, everything)
    for p in range(passes.count):
        _reduced_row(writing, p)
        writing.results(passes.reduces[p])
        writing.row_values(p + 1, everything)
    writing.row_stores()


def row(body: Body, name: str) -> Function:
    """The one phase of a "row" kernel."""
    w = begin(body, name)
    writing = Row(body, w)
    declare_row(writing)
    with w.block("for row in range(begin, end):"):
        reduced(writing)
        if writing.passes.stores[writing.passes.count]:
            writing.last()
    return body.finish(w)


def parts(body: Body) -> Mapping[int, list[str]]:
    """The scratch buffers of each reduction's partial results; of a columns kernel those over its rows."""
    result: dict[int, list[str]] = {}
    k = 0
    for i in body.across or body.reduces:
        result[i] = [f"part{k + j}" for j in range(len(partial_types(body, i)))]
        k += len(result[i])
    return result


def blocks(body: Body, name: str) -> Function:
    """The first phase of a "reduce" kernel: one block of a row. Where that is the whole row, nothing is left to the second."""
    w = begin(body, name)
    writing = Row(body, w)
    rows = body.closure([i for i in body.stores if not body.varies[i]])
    arguments = body.closure([reduce.arg for reduce in body.reduces.values()] + writing.passes.stores[0])
    needed = sorted({*arguments, *(i for i in rows if not body.varies[i])})
    writing.declare()
    w.assign("blocks", "int64", f"udiv(n{body.r} + {BLOCK - 1}, {BLOCK})")
    writing.look_ahead()
    with w.block("for unit in range(begin, end):"):
        w.assign("row", "int64", "udiv(unit, blocks)")
        w.assign("block", "int64", f"urem(unit, blocks) * {BLOCK}")
        writing.at(needed)
        writing.row_values(0, arguments)
        writing.block(0)
        with w.block("if blocks == 1:"):
            used = [i for i in body.reduces if i in rows]
            writing.take(used)
            writing.results(used)
            writing.row_values(0, [i for i in rows if i not in arguments])
            writing.row_values(1, rows)
            writing.row_stores()
        with w.block("else:"):
            for i, buffers in parts(body).items():
                for buffer, value in zip(buffers, writing.names(i, "y", "z"), strict=True):
                    w.line(f"{buffer}[unit] = {value}")
    return body.finish(w)


def combine(body: Body, name: str) -> Function:
    """The second phase of a "reduce" kernel: a row's blocks combined, and what is done with the result."""
    w = begin(body, name)
    writing = Row(body, w)
    needed = body.closure([i for i in body.stores if not body.varies[i]])
    used = [i for i in body.reduces if i in needed]
    buffers = parts(body)
    w.assign("blocks", "int64", f"udiv(n{body.r} + {BLOCK - 1}, {BLOCK})")
    with w.block("for row in range(begin, end):"):
        writing.at([i for i in needed if not body.varies[i]])
        writing.row_values(0, needed)
        with tree(w):
            w.assign("at", "int64", "row * blocks + block")
            w.assign("span", "int64", f"step * {BLOCK}")
            w.assign("rest", "int64", f"imin(span, n{body.r} - block * {BLOCK} - span)")
            for i in used:
                for value, buffer, dtype in zip(
                    writing.names(i, "y", "z"), buffers[i], partial_types(body, i), strict=True
                ):
                    w.assign(value, dtype.name, f"{buffer}[at + step]")
                earlier = [f"{buffer}[at]" for buffer in buffers[i]]
                join(body, w, i, writing.names(i, "y", "z"), earlier, ("span", "rest"))
                for value, buffer in zip(writing.names(i, "y", "z"), buffers[i], strict=True):
                    w.line(f"{buffer}[at] = {value}")
        writing.start(used)
        with w.block("if blocks > 0:"):
            for i in used:
                for value, buffer, dtype in zip(writing.names(i), buffers[i], partial_types(body, i), strict=True):
                    w.assign(value, dtype.name, f"{buffer}[row * blocks]")
        writing.results(used)
        writing.row_values(1, needed)
        writing.row_stores()
    return body.finish(w)


@contextmanager
def tree(w: Writer) -> Iterator[None]:
    """Go through the pairs of `weft.ir.kernel.tree`: ``block``, into which the one ``step`` further is combined."""
    w.assign("step", "int64", "1")
    with w.block("while step < blocks:"):
        with w.block("for block in range(0, blocks - step, 2 * step):"):
            yield
        w.assign("step", "int64", "2 * step")
