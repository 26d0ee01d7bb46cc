"""The "row" and "reduce" forms: reductions along the innermost loop.

A reduction needs a whole pass over the row before its result is known, so a "row" kernel makes one pass for each level of
reductions that depend on one another and, if it writes elements, a last one. A pass runs block by block, and a block chunk
by chunk: the chunk's values are computed into a small array ``t`` on the stack by a plain loop, which LLVM vectorises, and
then reduced from there into lanes (`weft.codegen.lanes`). A value that is already in memory is reduced from where it is.

An expensive value that a later pass needs again waits in an output of the kernel that has the right type and is written
last, over an operand too if that is not needed any more. Loading it back gives the same bits as computing it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weft.codegen.emit import (
    EXPENSIVE,
    Body,
    Function,
    Place,
    Writer,
    cost_of,
    identity,
    is_arg,
    narrowed,
    operands,
    reduced_element,
    reduced_type,
    reduced_value,
    storage,
    variable_type,
    widened,
)
from weft.codegen.loops import begin, unravel
from weft.dtypes import bool_
from weft.ir.kernel import BLOCK, LANES, Apply, Load, LoadAt, Reduce, Scalar, Store

#: Elements of a row whose values are computed into stack arrays before they are reduced.
CHUNK = 512


class Passes:
    """Which reductions and stores each pass over a row does, and which values later passes find in an output buffer."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.count = max((body.level[i] for i in body.reduces), default=0)
        self.reduces = [[i for i in body.reduces if body.level[i] == p + 1] for p in range(self.count + 1)]
        self.stores: list[list[int]] = [[] for _ in range(self.count + 1)]
        for i, store in body.stores.items():
            if body.varies[i]:
                # a buffer that is also loaded keeps its old values until nothing needs them
                early = store.buffer not in body.loaded and body.level[i] < self.count
                self.stores[body.level[i] if early else self.count].append(i)
        self.kept: dict[int, int] = {}  # value -> the Store in whose buffer it waits
        self.kept_in: dict[int, int] = {}  # value -> the pass that puts it there
        for p in range(self.count):
            for q in range(p + 1, self.count + 1):
                self._keep(p, q)

    def values(self, p: int) -> list[int]:
        """The element values and stores of pass p, in order; what a kept value is made of is left out once it is kept."""
        body = self.body
        targets = [body.reduces[i].arg for i in self.reduces[p]] + self.stores[p]
        known = [v for v, at in self.kept_in.items() if at < p]
        return [i for i in body.closure(targets, known) if body.varies[i]]

    def computed(self, p: int) -> list[int]:
        """The values of pass p that no buffer holds."""
        return [i for i in self.values(p) if self.kept_in.get(i, p) == p]

    def loops(self, p: int) -> bool:
        """Whether pass p computes anything element by element."""
        return bool(self.stores[p]) or p in self.kept_in.values() or any(not self.memory(i) for i in self.reduces[p])

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
        theirs = self.values(q)
        shared = [i for i in self.values(p) if i in theirs]
        for v in shared:
            users = [u for u in theirs if v in operands(body.kernel.body[u])]
            if v in self.kept or (users and all(u in shared for u in users)) or self._cost(v) < EXPENSIVE:
                continue
            for s in self.stores[self.count]:
                if body.kernel.buffers[body.stores[s].buffer] is body.types[v] and s not in self.kept.values():
                    self.kept[v], self.kept_in[v] = s, p
                    if self._harmless(s, p):
                        break
                    del self.kept[v], self.kept_in[v]

    def _harmless(self, s: int, p: int) -> bool:
        """Whether nothing wants what Store s's buffer holds once pass p begins to write there, but the pass itself before."""
        body, buffer = self.body, self.body.stores[s].buffer
        instrs = body.kernel.body
        if any(isinstance(instr, LoadAt) and instr.buffer == buffer for instr in instrs):
            return False
        loads = {i for i, instr in enumerate(instrs) if isinstance(instr, Load) and instr.buffer == buffer}
        later = {i for q in range(p + 1, self.count + 1) for i in self.values(q)}
        return not loads & later and not loads & {body.reduces[i].arg for i in self.reduces[p]}

    def _cost(self, v: int) -> int:
        """The cost of the dearest op that computing value v again would take."""
        body = self.body
        again = [i for i in body.closure([v], self.kept) if body.varies[i] and i not in self.kept]
        applied = [instr for i in again if isinstance(instr := body.kernel.body[i], Apply)]
        return max((cost_of(body.bodies.get(instr.op, "")) for instr in applied), default=0)


class _Row:
    """The writing of one function over rows."""

    def __init__(self, body: Body, w: Writer) -> None:
        self.body, self.w = body, w
        self.passes = Passes(body)
        self.arrays: dict[int, str] = {}  # by reduction, the stack array that its argument is computed into
        self.place = Place(body, "o", set())

    def declare(self) -> None:
        """Declare the lanes of each reduction, and the stack arrays."""
        made: dict[tuple[str, str], str] = {}
        for i, reduce in self.body.reduces.items():
            a = reduced_type(self.body, i)
            self.w.line(f"a{i} = stack({a.name}, {LANES})")
            if is_arg(reduce):
                self.w.line(f"k{i} = stack(uint{8 * a.itemsize}, {LANES})")
            if self.passes.memory(i) is None:
                element = reduced_element(self.body, i)
                if (a.name, element) not in made:
                    made[a.name, element] = f"t{i}"
                    self.w.line(f"t{i} = stack({a.name}, {CHUNK})")
                self.arrays[i] = made[a.name, element]

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

    def element(self, p: int, j: str) -> None:
        """Compute the values of pass p at element ``j``, keep what later passes want, and do the pass's stores."""
        body, w, passes, counters = self.body, self.w, self.passes, {self.body.r: j}
        values = passes.values(p)
        for i in values:
            if i in body.stores:
                continue
            dtype = body.types[i]
            kept_in = passes.kept_in.get(i, p + 1)
            waits = ""
            if kept_in <= p:
                s = passes.kept[i]
                waits = f"b{body.stores[s].buffer}[{self.place.position(s, counters)}]"
            if kept_in < p:
                w.assign(f"v{i}", variable_type(dtype), widened(dtype, waits))
            else:
                body.value(w, i, self.place.position(i, counters))
                if kept_in == p:
                    w.line(f"{waits} = {narrowed(dtype, f'v{i}')}")
        for i in values:
            if i in body.stores:
                body.store(w, i, self.place.position(i, counters))

    def block(self, p: int) -> None:
        """Reduce the row from ``block`` on, at most BLOCK elements, into ``y{i}`` for each reduction i of pass p."""
        w, reduces = self.w, [(i, self.body.reduces[i]) for i in self.passes.reduces[p]]
        w.assign("stop", "int64", f"imin(block + {BLOCK}, n{self.body.r})")
        for i, reduce in reduces:
            w.line(f"start_{reduce.op}(a{i}, k{i})" if is_arg(reduce) else f"start_{reduce.op}(a{i})")
        if self.passes.loops(p):
            with w.block(f"for chunk in range(block, stop, {CHUNK}):"):
                w.assign("size", "int64", f"imin({CHUNK}, stop - chunk)")
                with w.block(f"for k in {self.body.each(self.passes.computed(p))}(size):"):
                    w.assign("j", "int64", "chunk + k")
                    self.element(p, "j")
                    for array in dict.fromkeys(self.arrays[i] for i, _ in reduces if i in self.arrays):
                        w.line(f"{array}[k] = {reduced_element(self.body, int(array[1:]))}")
                for i, _ in reduces:
                    self._reduce(i, "chunk", "size")
        else:
            for i, _ in reduces:
                self._reduce(i, "block", "stop - block")
        for i, reduce in reduces:
            if is_arg(reduce):
                w.assign(f"y{i}", "int64", f"block + finish_{reduce.op}(a{i}, k{i})")
            else:
                w.assign(f"y{i}", reduced_type(self.body, i).name, f"finish_{reduce.op}(a{i})")

    def _reduce(self, i: int, start: str, size: str) -> None:
        """Take the elements from ``start`` on into the lanes of Reduce i."""
        reduce = self.body.reduces[i]
        memory = self.passes.memory(i)
        if memory is None:
            source = self.arrays[i]
        else:
            source = f"advance(b{memory[0]}, {self.place.position(memory[1], {self.body.r: start})})"
        lanes = f"a{i}, k{i}, {start} - block" if is_arg(reduce) else f"a{i}"
        self.w.line(f"reduce_{reduce.op}({lanes}, {source}, {size})")

    def start(self, reduces: Sequence[int]) -> None:
        """Assign what reductions of no elements give: ``r{i}``, and ``x{i}`` for positions."""
        for i in reduces:
            a = reduced_type(self.body, i)
            self.w.assign(f"r{i}", a.name, identity(self.body.reduces[i].op, a))
            if is_arg(self.body.reduces[i]):
                self.w.assign(f"x{i}", "int64", "0")

    def take(self, i: int, value: str, index: str) -> None:
        """Combine a block's result into ``r{i}`` and ``x{i}``; with what these start from it stays as it is."""
        op = self.body.reduces[i].op
        if is_arg(self.body.reduces[i]):
            with self.w.block(f"if better_{op}({value}, r{i}):"):
                self.w.line(f"r{i} = {value}")
                self.w.line(f"x{i} = {index}")
        else:
            self.w.line(f"r{i} = combine_{op}(r{i}, {value})")

    def results(self, reduces: Sequence[int]) -> None:
        """Assign the values of finished reductions."""
        for i in reduces:
            reduced_value(self.body, self.w, i, f"x{i}" if is_arg(self.body.reduces[i]) else f"r{i}")


def row(body: Body, name: str) -> Function:
    """The one phase of a "row" kernel."""
    w = begin(body, name)
    writing = _Row(body, w)
    passes = writing.passes
    everything = range(len(body.kernel.body))
    writing.declare()
    with w.block("for row in range(begin, end):"):
        writing.at(everything)
        writing.row_values(0, everything)
        for p in range(passes.count):
            writing.start(passes.reduces[p])
            with w.block(f"for block in range(0, n{body.r}, {BLOCK}):"):
                writing.block(p)
                for i in passes.reduces[p]:
                    writing.take(i, f"a{i}[0]" if is_arg(body.reduces[i]) else f"y{i}", f"y{i}")
            writing.results(passes.reduces[p])
            writing.row_values(p + 1, everything)
        if passes.stores[passes.count]:
            with w.block(f"for j in {body.each(passes.computed(passes.count))}(n{body.r}):"):
                writing.element(passes.count, "j")
        writing.row_stores()
    return body.finish(w)


def parts(body: Body) -> Mapping[int, int]:
    """The first scratch buffer of each reduction."""
    result, k = {}, 0
    for i, reduce in body.reduces.items():
        result[i] = k
        k += 1 + is_arg(reduce)
    return result


def blocks(body: Body, name: str) -> Function:
    """The first phase of a "reduce" kernel: one block of a row."""
    w = begin(body, name)
    writing = _Row(body, w)
    needed = body.closure([reduce.arg for reduce in body.reduces.values()] + writing.passes.stores[0])
    writing.declare()
    w.assign("blocks", "int64", f"udiv(n{body.r} + {BLOCK - 1}, {BLOCK})")
    with w.block("for unit in range(begin, end):"):
        w.assign("row", "int64", "udiv(unit, blocks)")
        w.assign("block", "int64", f"urem(unit, blocks) * {BLOCK}")
        writing.at(needed)
        writing.row_values(0, needed)
        writing.block(0)
        for i, k in parts(body).items():
            if is_arg(body.reduces[i]):
                w.line(f"part{k}[unit] = a{i}[0]")
                w.line(f"part{k + 1}[unit] = y{i}")
            else:
                w.line(f"part{k}[unit] = y{i}")
    return body.finish(w)


def combine(body: Body, name: str) -> Function:
    """The second phase of a "reduce" kernel: a row's blocks combined, and what is done with the result."""
    w = begin(body, name)
    writing = _Row(body, w)
    needed = body.closure([i for i in body.stores if not body.varies[i]])
    places = {i: k for i, k in parts(body).items() if i in needed}
    w.assign("blocks", "int64", f"udiv(n{body.r} + {BLOCK - 1}, {BLOCK})")
    with w.block("for row in range(begin, end):"):
        writing.at([i for i in needed if not body.varies[i]])
        writing.row_values(0, needed)
        writing.start(list(places))
        with w.block("for block in range(blocks):"):
            w.assign("at", "int64", "row * blocks + block")
            for i, k in places.items():
                writing.take(i, f"part{k}[at]", f"part{k + 1}[at]")
        writing.results(list(places))
        writing.row_values(1, needed)
        writing.row_stores()
    return body.finish(w)
