"""Loop nests: the source of each form of kernel, one function for each phase.

Row passes. A reduction over the row needs a whole pass over it before its result is known, so a "row" kernel makes one pass
for each level of reductions that depend on one another and, if it writes elements, a last one. A pass runs block by block,
and a block chunk by chunk: the chunk's values are computed into a small array ``t`` on the stack by a plain loop, which LLVM
vectorises, and then reduced from there into lanes (`weft.codegen.lanes`). A value that is already in memory is reduced from
where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from weft.codegen.emit import (
    EXPENSIVE,
    Body,
    Function,
    Writer,
    cost_of,
    identity,
    is_arg,
    operands,
    reduced_element,
    reduced_type,
    reduced_value,
    storage,
)
from weft.dtypes import bool_
from weft.ir.kernel import BLOCK, LANES, OUTER_BLOCK, OUTER_TILE, Apply, Kernel, Load, Reduce, Scalar, Store, StoreAt

#: Elements of a row whose values are computed into stack arrays before they are reduced.
CHUNK = 512


def functions(kernel: Kernel, bodies: Mapping[str, str], name: str) -> list[Function]:
    """The source of a kernel: one function for each phase."""
    body = Body(kernel, bodies)
    if not kernel.dims or kernel.dims.strip("o") != {"row": "r", "reduce": "r", "outer": "ri"}.get(kernel.form, ""):
        raise ValueError(f"{kernel} has loops that do not fit its form")
    match kernel.form:
        case "map":
            return [_map(body, name)]
        case "nonzero":
            return [_nonzero(body, name)]
        case "row":
            return [_row(body, name)]
        case "reduce":
            return [_reduce_blocks(body, f"{name}_1"), _reduce_rows(body, f"{name}_2")]
    return [_outer_blocks(body, f"{name}_1"), _outer_elements(body, f"{name}_2")]


def _scalars(body: Body, w: Writer) -> None:
    for i, instr in enumerate(body.kernel.body):
        if isinstance(instr, Scalar):
            body.value(w, i)


def _unravel(w: Writer, dims: Sequence[int], counter: str) -> dict[int, str]:
    """Assign the counters of ``dims`` from the linear ``counter`` over them; the names by loop."""
    if len(dims) == 1:
        return {dims[0]: counter}
    names = {d: f"i{d}" for d in dims}
    rest = counter
    for d in reversed(dims):
        if d == dims[0]:
            w.assign(names[d], "int64", rest)
        else:
            w.assign(names[d], "int64", f"urem({rest}, n{d})")
            w.assign("rest", "int64", f"udiv({rest}, n{d})")
            rest = "rest"
    return names


def _bases(body: Body, w: Writer, dims: Sequence[int], names: Mapping[int, str], which: Iterable[int]) -> set[int]:
    """Assign the offset variables of those instructions of ``which`` that the given loops move; returns them."""
    moved = {i for i in which if hasattr(body.kernel.body[i], "access") and body.offset(i, dims, names)}
    for i in sorted(moved):
        body.base(w, i, dims, names)
    return moved


def _stores(body: Body) -> list[int]:
    return [i for i, instr in enumerate(body.kernel.body) if isinstance(instr, Store)]


def _element(
    body: Body, w: Writer, which: Iterable[int], moved: set[int], dims: Sequence[int], names: Mapping[int, str]
) -> None:
    """Compute the values ``which`` at one position, then do the stores among them."""
    which = [i for i in which if not isinstance(body.kernel.body[i], Scalar | Reduce)]
    stores = [i for i in which if isinstance(body.kernel.body[i], Store | StoreAt)]
    for i in [*(i for i in which if i not in stores), *stores]:
        position = body.position(i, i in moved, dims, names) if hasattr(body.kernel.body[i], "access") else "0"
        if i in stores:
            body.store(w, i, position)
        else:
            body.value(w, i, position)


# map


def _map(body: Body, name: str) -> Function:
    w = body.writer(name)
    _scalars(body, w)
    last = len(body.kernel.dims) - 1
    everything = range(len(body.kernel.body))
    if last == 0:
        with w.block("for i0 in range(begin, end):"):
            _element(body, w, everything, set(), [0], {0: "i0"})
        return body.finish(w)
    with _segments(w, f"n{last}"):
        outer = list(range(last))
        moved = _bases(body, w, outer, _unravel(w, outer, "row"), everything)
        with w.block(f"for i{last} in range(lo, hi):"):
            _element(body, w, everything, moved, [last], {last: f"i{last}"})
    return body.finish(w)


def _nonzero(body: Body, name: str) -> Function:
    w = body.writer(name)
    w.assign("found", "int64", "0")
    with w.block("for i0 in range(begin, end):"), w.block("if b0[i0] != 0:"):
        w.line("b1[found] = i0")
        w.assign("found", "int64", "found + 1")
    return body.finish(w)


class _segments:
    """The rows of ``n`` elements that [begin, end) touches: ``row``, and in it the elements from ``lo`` to ``hi``."""

    def __init__(self, w: Writer, n: str) -> None:
        self.w, self.n = w, n

    def __enter__(self) -> None:
        w, n = self.w, self.n
        w.line("if begin >= end:")
        w.line("    return")
        w.line(f"for row in range(udiv(begin, {n}), udiv(end - 1, {n}) + 1):")
        w.depth += 1
        w.assign("lo", "int64", f"imax(begin - row * {n}, 0)")
        w.assign("hi", "int64", f"imin(end - row * {n}, {n})")

    def __exit__(self, *exception: object) -> None:
        self.w.depth -= 1


# row


class _Passes:
    """Which reductions and stores each pass over a row does, and which values later passes find in an output buffer."""

    def __init__(self, body: Body) -> None:
        instrs = body.kernel.body
        reduces = [i for i, instr in enumerate(instrs) if isinstance(instr, Reduce)]
        self.count = max((body.level[i] for i in reduces), default=0)
        self.reduces = [[i for i in reduces if body.level[i] == p + 1] for p in range(self.count + 1)]
        self.stores: list[list[int]] = [[] for _ in range(self.count + 1)]
        for i in _stores(body):
            instr = instrs[i]
            assert isinstance(instr, Store)
            if body.varies[i]:
                # a buffer that is also loaded keeps its old values until nothing needs them
                early = instr.buffer not in body.loaded and body.level[i] < self.count
                self.stores[body.level[i] if early else self.count].append(i)
        self.kept: dict[int, int] = {}  # value -> the Store in whose buffer it waits
        self.kept_in: dict[int, int] = {}  # value -> the pass that puts it there
        for p in range(self.count):
            for q in range(p + 1, self.count + 1):
                self._keep(body, p, q)

    def targets(self, body: Body, p: int) -> list[int]:
        """What pass p must compute: arguments of reductions, and stores."""
        args = [body.kernel.body[i].arg for i in self.reduces[p]]  # type: ignore[union-attr]
        return [a for a in args if body.varies[a]] + self.stores[p]

    def values(self, body: Body, p: int) -> list[int]:
        """The element values of pass p, in order; a kept value is not looked through once it is known."""
        known = [v for v, at in self.kept_in.items() if at < p]
        return [i for i in body.closure(self.targets(body, p), known) if body.varies[i]]

    def _keep(self, body: Body, p: int, q: int) -> None:
        """Keep what pass p computes, pass q needs again, and is expensive, where an output's row can hold it."""
        mine, theirs = self.values(body, p), set(self.values(body, q))
        shared = [i for i in mine if i in theirs]
        for v in shared:
            users = [u for u in theirs if v in operands(body.kernel.body[u])]
            if v in self.kept or (users and all(u in shared for u in users)):
                continue
            cost = 0
            for i in body.closure([v], self.kept):
                instr = body.kernel.body[i]
                if body.varies[i] and isinstance(instr, Apply) and i not in self.kept:
                    cost = max(cost, cost_of(body.bodies.get(instr.op, "")))
            if cost < EXPENSIVE:
                continue
            for s in self.stores[self.count]:
                buffer = body.kernel.body[s].buffer  # type: ignore[union-attr]
                free = buffer not in body.loaded and s not in self.kept.values()
                if free and body.kernel.buffers[buffer] is body.types[v]:
                    self.kept[v], self.kept_in[v] = s, p
                    break


def _row(body: Body, name: str) -> Function:
    w = body.writer(name)
    _scalars(body, w)
    r = body.r
    passes = _Passes(body)
    everything = range(len(body.kernel.body))
    arrays = _arrays(body, w, passes)
    with w.block("for row in range(begin, end):"):
        names = _unravel(w, range(r), "row") if r else {}
        moved = _bases(body, w, range(r), names, everything)
        _at_row_level(body, w, 0, everything, moved)
        for p in range(passes.count):
            _reducing_pass(body, w, p, passes, moved, arrays)
            for i in passes.reduces[p]:
                reduced_value(body, w, i, f"x{i}" if is_arg(body.kernel.body[i]) else f"r{i}")  # type: ignore[arg-type]
            _at_row_level(body, w, p + 1, everything, moved)
        if passes.stores[passes.count]:
            with w.block(f"for j in range(n{r}):"):
                _row_element(body, w, passes, passes.count, moved, "j")
        for i in _stores(body):
            if not body.varies[i]:
                body.store(w, i, body.position(i, i in moved, [], {}))
    return body.finish(w)


def _at_row_level(body: Body, w: Writer, level: int, which: Sequence[int], moved: set[int]) -> None:
    """Compute the row-level values that are known once ``level`` passes are over."""
    for i in which:
        instr = body.kernel.body[i]
        if not body.varies[i] and body.level[i] == level and not isinstance(instr, Scalar | Reduce | Store):
            body.value(w, i, body.position(i, i in moved, [], {}) if hasattr(instr, "access") else "0")


def _row_element(body: Body, w: Writer, passes: _Passes, p: int, moved: set[int], j: str) -> None:
    """Compute the values of pass p at element ``j``, keep what later passes want, and do the pass's stores."""
    r = body.r
    stores = []
    for i in passes.values(body, p):
        instr = body.kernel.body[i]
        if isinstance(instr, Store):
            stores.append(i)
        elif i in passes.kept and passes.kept_in[i] < p:
            s = passes.kept[i]
            w.assign(f"v{i}", *_read(body, i, s, body.position(s, s in moved, [r], {r: j})))
        else:
            body.value(w, i, body.position(i, i in moved, [r], {r: j}) if hasattr(instr, "access") else "0")
            if passes.kept_in.get(i) == p:
                s = passes.kept[i]
                _write(body, w, i, s, body.position(s, s in moved, [r], {r: j}))
    for i in stores:
        body.store(w, i, body.position(i, i in moved, [r], {r: j}))


def _read(body: Body, value: int, store: int, position: str) -> tuple[str, str]:
    from weft.codegen.emit import variable_type, widened

    dtype = body.types[value]
    return variable_type(dtype), widened(dtype, f"b{body.kernel.body[store].buffer}[{position}]")  # type: ignore[union-attr]


def _write(body: Body, w: Writer, value: int, store: int, position: str) -> None:
    from weft.codegen.emit import narrowed

    w.line(f"b{body.kernel.body[store].buffer}[{position}] = {narrowed(body.types[value], f'v{value}')}")  # type: ignore[union-attr]


def _in_memory(body: Body, passes: _Passes, i: int) -> tuple[int, int] | None:
    """Where Reduce i can find its argument in memory: (buffer, instruction whose position that is), or None."""
    reduce = body.kernel.body[i]
    assert isinstance(reduce, Reduce)
    arg = reduce.arg
    if reduce.op in ("any", "all") and body.types[arg] is not bool_:
        return None
    if arg in passes.kept and passes.kept_in[arg] < body.level[i]:
        source = passes.kept[arg]
    elif isinstance(body.kernel.body[arg], Load):
        source = arg
    else:
        return None
    instr = body.kernel.body[source]
    assert isinstance(instr, Load | Store)
    wanted = reduced_type(body, i)
    same = storage(body.types[arg]) is wanted
    return (instr.buffer, source) if same and instr.access[body.r] == "c" else None


def _arrays(body: Body, w: Writer, passes: _Passes) -> dict[int, str]:
    """Declare the lanes of each reduction, and the stack array its argument is computed into; the latter by reduction."""
    names: dict[int, str] = {}
    made: dict[tuple[str, str], str] = {}
    for i in [i for reduces in passes.reduces for i in reduces]:
        a = reduced_type(body, i).name
        w.line(f"a{i} = stack({a}, {LANES})")
        if is_arg(body.kernel.body[i]):  # type: ignore[arg-type]
            w.line(f"k{i} = stack(uint{8 * reduced_type(body, i).itemsize}, {LANES})")
        if _in_memory(body, passes, i) is None:
            element = reduced_element(body, i)
            if (a, element) not in made:
                made[a, element] = f"t{i}"
                w.line(f"t{i} = stack({a}, {CHUNK})")
            names[i] = made[a, element]
    return names


def _reducing_pass(body: Body, w: Writer, p: int, passes: _Passes, moved: set[int], arrays: dict[int, str]) -> None:
    """One pass over a row: every reduction of level p + 1, and the stores that can be done on the way."""
    for i in passes.reduces[p]:
        a = reduced_type(body, i)
        w.assign(f"r{i}", a.name, identity(body.kernel.body[i].op, a))  # type: ignore[union-attr]
        if is_arg(body.kernel.body[i]):  # type: ignore[arg-type]
            w.assign(f"x{i}", "int64", "0")
    with w.block(f"for block in range(0, n{body.r}, {BLOCK}):"):
        _block(body, w, p, passes, moved, arrays)
        for i in passes.reduces[p]:
            op = body.kernel.body[i].op  # type: ignore[union-attr]
            if op.startswith("arg"):
                w.line(f"if block == 0 or better_{op}(a{i}[0], r{i}):")
                w.line(f"    r{i} = a{i}[0]")
                w.line(f"    x{i} = y{i}")
            else:
                w.line(f"r{i} = y{i} if block == 0 else combine_{op}(r{i}, y{i})")


def _block(body: Body, w: Writer, p: int, passes: _Passes, moved: set[int], arrays: dict[int, str]) -> None:
    """Reduce the elements of a row from ``block`` on, at most BLOCK of them, into ``y{i}`` for each reduction i of pass p."""
    r = body.r
    w.assign("stop", "int64", f"imin(block + {BLOCK}, n{r})")
    for i in passes.reduces[p]:
        lanes = f"a{i}, k{i}" if is_arg(body.kernel.body[i]) else f"a{i}"  # type: ignore[arg-type]
        w.line(f"start_{body.kernel.body[i].op}({lanes})")  # type: ignore[union-attr]

    def reduce(i: int, start: str, size: str) -> None:
        op = body.kernel.body[i].op  # type: ignore[union-attr]
        place = _in_memory(body, passes, i)
        if place is None:
            at = arrays[i]
        else:
            at = f"advance(b{place[0]}, {body.position(place[1], place[1] in moved, [r], {r: start})})"
        extra = f", k{i}, {start} - block" if op.startswith("arg") else ""
        w.line(f"reduce_{op}(a{i}{extra}, {at}, {size})")

    loop = bool(arrays.keys() & passes.reduces[p] or passes.stores[p] or p in passes.kept_in.values())
    if loop:
        with w.block(f"for chunk in range(block, stop, {CHUNK}):"):
            w.assign("size", "int64", f"imin({CHUNK}, stop - chunk)")
            with w.block("for k in range(size):"):
                w.assign("j", "int64", "chunk + k")
                _row_element(body, w, passes, p, moved, "j")
                done = set()
                for i in passes.reduces[p]:
                    if i in arrays and arrays[i] not in done:
                        done.add(arrays[i])
                        w.line(f"{arrays[i]}[k] = {reduced_element(body, i)}")
            for i in passes.reduces[p]:
                reduce(i, "chunk", "size")
    else:
        for i in passes.reduces[p]:
            reduce(i, "block", "stop - block")
    for i in passes.reduces[p]:
        op = body.kernel.body[i].op  # type: ignore[union-attr]
        if op.startswith("arg"):
            w.assign(f"y{i}", "int64", f"block + finish_{op}(a{i}, k{i}, stop - block)")
        else:
            w.assign(f"y{i}", reduced_type(body, i).name, f"finish_{op}(a{i})")


# reduce


def _reduce_blocks(body: Body, name: str) -> Function:
    w = body.writer(name)
    _scalars(body, w)
    r = body.r
    passes = _Passes(body)
    args = [body.kernel.body[i].arg for i in passes.reduces[0]]  # type: ignore[union-attr]
    everything = body.closure(args + passes.stores[0])
    arrays = _arrays(body, w, passes)
    w.assign("blocks", "int64", f"udiv(n{r} + {BLOCK - 1}, {BLOCK})")
    with w.block("for unit in range(begin, end):"):
        w.assign("row", "int64", "udiv(unit, blocks)")
        w.assign("block", "int64", f"urem(unit, blocks) * {BLOCK}")
        names = _unravel(w, range(r), "row") if r else {}
        moved = _bases(body, w, range(r), names, everything)
        _at_row_level(body, w, 0, everything, moved)
        _block(body, w, 0, passes, moved, arrays)
        for i, parts in _parts(body).items():
            if is_arg(body.kernel.body[i]):  # type: ignore[arg-type]
                w.line(f"part{parts}[unit] = a{i}[0]")
                w.line(f"part{parts + 1}[unit] = y{i}")
            else:
                w.line(f"part{parts}[unit] = y{i}")
    return body.finish(w)


def _parts(body: Body) -> dict[int, int]:
    """The first scratch buffer of each reduction."""
    result = {}
    k = 0
    for i, instr in enumerate(body.kernel.body):
        if isinstance(instr, Reduce):
            result[i] = k
            k += 1 + is_arg(instr)
    return result


def _reduce_rows(body: Body, name: str) -> Function:
    w = body.writer(name)
    _scalars(body, w)
    r = body.r
    targets = [i for i in _stores(body) if not body.varies[i]]
    everything = [i for i in body.closure(targets) if not body.varies[i]]
    w.assign("blocks", "int64", f"udiv(n{r} + {BLOCK - 1}, {BLOCK})")
    with w.block("for row in range(begin, end):"):
        names = _unravel(w, range(r), "row") if r else {}
        moved = _bases(body, w, range(r), names, everything)
        _at_row_level(body, w, 0, everything, moved)
        parts = {i: k for i, k in _parts(body).items() if i in everything}
        for i in parts:
            a = reduced_type(body, i)
            w.assign(f"r{i}", a.name, identity(body.kernel.body[i].op, a))  # type: ignore[union-attr]
            if is_arg(body.kernel.body[i]):  # type: ignore[arg-type]
                w.assign(f"x{i}", "int64", "0")
        with w.block("for block in range(blocks):"):
            w.assign("at", "int64", "row * blocks + block")
            for i, k in parts.items():
                op = body.kernel.body[i].op  # type: ignore[union-attr]
                if op.startswith("arg"):
                    w.line(f"if block == 0 or better_{op}(part{k}[at], r{i}):")
                    w.line(f"    r{i} = part{k}[at]")
                    w.line(f"    x{i} = part{k + 1}[at]")
                else:
                    w.line(f"r{i} = part{k}[at] if block == 0 else combine_{op}(r{i}, part{k}[at])")
        for i in parts:
            reduced_value(body, w, i, f"x{i}" if is_arg(body.kernel.body[i]) else f"r{i}")  # type: ignore[arg-type]
        _at_row_level(body, w, 1, everything, moved)
        for i in targets:
            body.store(w, i, body.position(i, i in moved, [], {}))
    return body.finish(w)


# outer


def _outer_blocks(body: Body, name: str) -> Function:
    w = body.writer(name)
    _scalars(body, w)
    r, kept = body.r, body.r + 1
    passes = _Passes(body)
    parts = _parts(body)
    args = [body.kernel.body[i].arg for i in parts]  # type: ignore[union-attr]
    everything = body.closure(args + passes.stores[0])
    w.assign("blocks", "int64", f"udiv(n{r} + {OUTER_BLOCK - 1}, {OUTER_BLOCK})")
    w.assign("tiles", "int64", f"udiv(n{kept} + {OUTER_TILE - 1}, {OUTER_TILE})")
    with w.block("for unit in range(begin, end):"):
        w.assign("lo", "int64", f"urem(unit, tiles) * {OUTER_TILE}")
        w.assign("hi", "int64", f"imin(lo + {OUTER_TILE}, n{kept})")
        w.assign("block", "int64", f"urem(udiv(unit, tiles), blocks) * {OUTER_BLOCK}")
        w.assign("row", "int64", "udiv(udiv(unit, tiles), blocks)")
        names = _unravel(w, range(r), "row") if r else {}
        w.assign("at", "int64", f"udiv(unit, tiles) * n{kept}")
        with w.block("for k in range(lo, hi):"):
            for i, p in parts.items():
                w.line(f"part{p}[at + k] = {identity(body.kernel.body[i].op, reduced_type(body, i))}")  # type: ignore[union-attr]
                if is_arg(body.kernel.body[i]):  # type: ignore[arg-type]
                    w.line(f"part{p + 1}[at + k] = block")
        with w.block(f"for j in range(block, imin(block + {OUTER_BLOCK}, n{r})):"):
            moved = _bases(body, w, range(kept), {**names, r: "j"}, everything)
            with w.block("for k in range(lo, hi):"):
                _element(body, w, everything, moved, [kept], {kept: "k"})
                for i, p in parts.items():
                    a, op = reduced_type(body, i), body.kernel.body[i].op  # type: ignore[union-attr]
                    w.assign(f"e{i}", a.name, reduced_element(body, i))
                    w.assign(f"r{i}", a.name, f"part{p}[at + k]")
                    if op.startswith("arg"):
                        w.assign(f"better{i}", "boolean", f"better_{op}(e{i}, r{i})")
                        w.line(f"part{p}[at + k] = choose(better{i}, e{i}, r{i})")
                        w.line(f"part{p + 1}[at + k] = choose(better{i}, j, part{p + 1}[at + k])")
                    else:
                        w.line(f"part{p}[at + k] = combine_{op}(r{i}, e{i})")
    return body.finish(w)


def _outer_elements(body: Body, name: str) -> Function:
    w = body.writer(name)
    _scalars(body, w)
    r, kept = body.r, body.r + 1
    targets = [i for i in _stores(body) if not body.varies[i]]
    everything = [i for i in body.closure(targets) if not body.varies[i]]
    parts = {i: p for i, p in _parts(body).items() if i in everything}
    w.assign("blocks", "int64", f"udiv(n{r} + {OUTER_BLOCK - 1}, {OUTER_BLOCK})")
    with _segments(w, f"n{kept}"):
        names = _unravel(w, range(r), "row") if r else {}
        moved = _bases(body, w, range(r), names, everything)
        w.assign("at", "int64", f"row * blocks * n{kept}")
        with w.block("for block in range(1, blocks):"), w.block("for k in range(lo, hi):"):
            w.assign("other", "int64", f"at + block * n{kept} + k")
            for i, p in parts.items():
                a, op = reduced_type(body, i), body.kernel.body[i].op  # type: ignore[union-attr]
                w.assign(f"e{i}", a.name, f"part{p}[other]")
                w.assign(f"r{i}", a.name, f"part{p}[at + k]")
                if op.startswith("arg"):
                    w.assign(f"better{i}", "boolean", f"better_{op}(e{i}, r{i})")
                    w.line(f"part{p}[at + k] = choose(better{i}, e{i}, r{i})")
                    w.line(f"part{p + 1}[at + k] = choose(better{i}, part{p + 1}[other], part{p + 1}[at + k])")
                else:
                    w.line(f"part{p}[at + k] = combine_{op}(r{i}, e{i})")
        with w.block("for k in range(lo, hi):"):
            for i, p in parts.items():
                a, op = reduced_type(body, i), body.kernel.body[i].op  # type: ignore[union-attr]
                empty = "0" if op.startswith("arg") else identity(op, a)
                w.assign(f"f{i}", "int64" if is_arg(body.kernel.body[i]) else a.name, empty)  # type: ignore[arg-type]
                w.line("if blocks > 0:")
                w.line(f"    f{i} = part{p + op.startswith('arg')}[at + k]")
                reduced_value(body, w, i, f"f{i}")
            _element(body, w, everything, moved, [kept], {kept: "k"})
    return body.finish(w)
