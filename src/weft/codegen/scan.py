"""The "scan" form: running results along a loop.

Along the innermost loop a row goes block by block, and a block chunk by chunk: the operand's values are computed into an array
on the stack by a plain loop, which LLVM vectorises, running results are made from there (`weft.codegen.prefix`), and what is
made of them is a plain loop again. Operands and results that are in memory as they are are read and written there. Where rows
are few and long their blocks are shared out, in three phases: totals of the blocks, what comes before each, and the results.

With a kept loop inside, the results so far of a tile of columns are an array on the stack, to which row after row is added.
"""

from __future__ import annotations

from weft.codegen.emit import Body, Function, Place, Writer, rounded, storage, variable_type
from weft.codegen.loops import begin, unravel
from weft.codegen.tiled import STREAM_BYTES
from weft.dtypes import DType, float64
from weft.ir.kernel import BLOCK, SCAN_TILE, Load, Scan, Store, by_blocks, scanned

#: Elements whose values are computed into stack arrays at once.
CHUNK = 512


def functions(body: Body, name: str) -> list[Function]:
    """The source of a scan kernel: one function for each phase."""
    scans = [i for i, instr in enumerate(body.kernel.body) if isinstance(instr, Scan)]
    if len(scans) != 1:
        raise ValueError(f"{body.kernel} does not have one scan")
    if body.kernel.dims.endswith("i"):
        return [_Scanning(body, scans[0]).columns(name)]
    scan = body.kernel.body[scans[0]]
    assert isinstance(scan, Scan)
    if not by_blocks(body.kernel.dims, scan):
        in_turn = scan.op == "linear" or scan.dtype is float64
        return [_Scanning(body, scans[0]).in_turn(name) if in_turn else _Scanning(body, scans[0]).results(name)]
    return [
        _Scanning(body, scans[0]).totals(f"{name}_1"),
        _before(body, scans[0], f"{name}_2"),
        _Scanning(body, scans[0]).results(f"{name}_3"),
    ]


def _none(scan: Scan) -> str:
    """What a scan begins with, as source: -0.0 changes no number it is added to."""
    return "1" if scan.op == "prod" else "-0.0" if scan.dtype.kind == "f" else "0"


def _before(body: Body, at: int, name: str) -> Function:
    """The second phase: of each row, the totals of its blocks become what comes before them."""
    w = body.writer(name)
    scan = body.kernel.body[at]
    assert isinstance(scan, Scan)
    wide = scanned(scan.dtype).name
    w.assign("blocks", "int64", f"udiv(n{body.r} + {BLOCK - 1}, {BLOCK})")
    with w.block("for row in range(begin, end):"):
        w.assign("before", wide, _none(scan))
        with w.block("for at in range(row * blocks, (row + 1) * blocks):"):
            w.assign("own", wide, "part0[at]")
            w.line("part0[at] = before")
            w.assign("before", wide, f"combine_{scan.op}(before, own)")
    return body.finish(w)


class _Scanning:
    """The writing of one function of a kernel whose scan is instruction ``at``."""

    def __init__(self, body: Body, at: int) -> None:
        self.body, self.at = body, at
        scan = body.kernel.body[at]
        assert isinstance(scan, Scan)
        self.scan = scan
        self.dtype = scan.dtype
        self.wide = scanned(scan.dtype).name
        self.needed = body.closure(scan.args)
        self.after = body.closure(body.stores, [at])
        self.place = Place(body, "o", set())

    # Along the innermost loop

    def _source(self) -> Load | None:
        """The load whose elements are the operand's, as they are in memory."""
        load = self.body.kernel.body[self.scan.args[0]]
        if isinstance(load, Load) and load.access[-1] == "c" and storage(self.dtype) is self.dtype:
            return load
        return None

    def _target(self) -> Store | None:
        """The only store, if it puts the results into memory as they are."""
        (store, *more) = self.body.stores.values()
        plain = not more and store.arg == self.at and store.access[-1] == "c"
        return store if plain and storage(self.dtype) is self.dtype else None

    def _row(self, w: Writer) -> None:
        r = self.body.r
        everything = range(len(self.body.kernel.body))
        self.place = self.body.place(w, everything, unravel(w, range(r), "row") if r else {})

    def _low(self, w: Writer) -> None:
        """Where the elements lie that the scan meets from ``chunk`` on."""
        r = self.body.r
        w.assign("low", "int64", f"n{r} - chunk - size" if self.scan.reverse else "chunk")

    def _elements(self, w: Writer, which: list[int], arrays: dict[str, int]) -> None:
        """Compute the values of a chunk, and put some of them into stack arrays."""
        with w.block(f"for k in {self.body.each(which)}(size):"):
            w.assign("j", "int64", "low + k")
            self.place.element(w, which, {self.body.r: "j"})
            for array, value in arrays.items():
                w.line(f"{array}[k] = v{value}")

    def _finish(self, w: Writer) -> None:
        """What is done with a chunk's results, which are in ``u``."""
        with w.block(f"for k in {self.body.each(self.after)}(size):"):
            w.assign("j", "int64", "low + k")
            w.assign(f"v{self.at}", variable_type(self.dtype), rounded(self.dtype, "u[k]"))
            self.place.element(w, [i for i in self.after if i != self.at], {self.body.r: "j"})

    def _block(self, w: Writer, results: bool) -> None:
        """Take the block from ``block`` to ``stop`` into ``own``."""
        source, target = self._source(), self._target() if results else None
        step = BLOCK if source and (target or not results) else CHUNK
        with w.block(f"for chunk in range(block, stop, {step}):"):
            w.assign("size", "int64", f"imin({step}, stop - chunk)")
            self._low(w)
            x = "t"
            if source:
                x = f"advance(b{source.buffer}, {self.place.position(self.scan.args[0], {self.body.r: 'low'})})"
            else:
                self._elements(w, self.needed, {"t": self.scan.args[0]})
            name = f"{'back_' * self.scan.reverse}{self.scan.op}"
            if not results:
                w.assign("own", self.wide, f"total_{name}({x}, size, own)")
                return
            to = "u"
            if target:
                (at,) = self.body.stores
                to = f"advance(b{target.buffer}, {self.place.position(at, {self.body.r: 'low'})})"
            stream = "stream" if target else "False"
            w.assign("own", self.wide, f"scan_{name}({to}, {x}, size, before, own, {stream})")
            if not target:
                self._finish(w)

    def _arrays(self, w: Writer, names: str) -> None:
        for name in names:
            w.line(f"{name} = stack({self.dtype.compute.name}, {CHUNK})")

    def totals(self, name: str) -> Function:
        """The first phase: the total of each block."""
        body, r = self.body, self.body.r
        w = begin(body, name)
        self._arrays(w, "" if self._source() else "t")
        w.assign("blocks", "int64", f"udiv(n{r} + {BLOCK - 1}, {BLOCK})")
        with w.block("for unit in range(begin, end):"):
            w.assign("row", "int64", "udiv(unit, blocks)")
            w.assign("block", "int64", f"urem(unit, blocks) * {BLOCK}")
            w.assign("stop", "int64", f"imin(block + {BLOCK}, n{r})")
            self._row(w)
            w.assign("own", self.wide, _none(self.scan))
            self._block(w, results=False)
            w.line("part0[unit] = own")
        return body.finish(w)

    def results(self, name: str) -> Function:
        """The last phase: the results of a span of blocks."""
        body, r, op = self.body, self.body.r, self.scan.op
        w = begin(body, name)
        target = self._target()
        self._arrays(w, "t" * (not self._source()) + "u" * (not target))
        if target:
            _stream(w, body, self.dtype)
        if not by_blocks(body.kernel.dims, self.scan):  # the row as a whole
            with w.block("for row in range(begin, end):"):
                self._row(w)
                w.assign("before", self.wide, _none(self.scan))
                w.assign("own", self.wide, _none(self.scan))
                w.assign("block", "int64", "0")
                w.assign("stop", "int64", f"n{r}")
                self._block(w, results=True)
            return self._end(w, target)
        span = f"span{self.at}"
        w.assign("blocks", "int64", f"udiv(n{r} + {BLOCK - 1}, {BLOCK})")
        w.assign("spans", "int64", f"udiv(blocks + {span} - 1, {span})")
        with w.block("for unit in range(begin, end):"):
            w.assign("row", "int64", "unit")
            w.assign("first", "int64", "0")
            with w.block("if spans > 1:"):
                w.assign("row", "int64", "udiv(unit, spans)")
                w.assign("first", "int64", f"urem(unit, spans) * {span}")
            self._row(w)
            w.assign("before", self.wide, _none(self.scan))
            with w.block("if first > 0:"):
                w.assign("before", self.wide, "part0[row * blocks + first]")
            w.assign("ending", "int64", f"imin((first + {span}) * {BLOCK}, n{r})")
            with w.block(f"for block in range(first * {BLOCK}, ending, {BLOCK}):"):
                w.assign("stop", "int64", f"imin(block + {BLOCK}, n{r})")
                w.assign("own", self.wide, _none(self.scan))
                self._block(w, results=True)
                w.assign("before", self.wide, f"combine_{op}(before, own)")
        return self._end(w, target)

    def _end(self, w: Writer, target: Store | None) -> Function:
        if target:
            with w.block("if stream:"):
                w.line("fence()")
        return self.body.finish(w)

    def in_turn(self, name: str) -> Function:
        """The only phase of a scan that takes one element of a row after another."""
        body, r = self.body, self.body.r
        w = begin(body, name)
        given = "st"[-len(self.scan.args) :]
        self._arrays(w, given + "u")
        with w.block("for row in range(begin, end):"):
            self._row(w)
            w.assign("carried", self.wide, _none(self.scan))
            with w.block(f"for chunk in range(0, n{r}, {CHUNK}):"):
                w.assign("size", "int64", f"imin({CHUNK}, n{r} - chunk)")
                self._low(w)
                self._elements(w, self.needed, dict(zip(given, self.scan.args, strict=True)))
                with w.block("for k in range(size):"):
                    w.assign("at", "int64", "size - 1 - k" if self.scan.reverse else "k")
                    w.assign("carried", self.wide, self._step(w, "carried", [f"{array}[at]" for array in given]))
                    w.line(f"u[at] = to_{self.dtype.compute.name}(own)")
                self._finish(w)
        return body.finish(w)

    def _step(self, w: Writer, carried: str, given: list[str]) -> str:
        """Take one element: ``own`` becomes the result. The value is what the next element meets as ``carried``."""
        *a, b = (f"to_{self.wide}({x})" for x in given)
        if self.scan.op == "linear":
            w.assign("own", self.wide, f"{b} + {carried}")
            return f"{a[0]} * own"
        w.assign("own", self.wide, f"combine_{self.scan.op}({carried}, {b})")
        return "own"

    # Along a loop with a kept one inside

    def columns(self, name: str) -> Function:
        """The only phase of a scan over rows: a tile of columns, row by row."""
        body, scan, r, kept = self.body, self.scan, self.body.r, self.body.r + 1
        w = begin(body, name)
        w.line(f"c = stack({self.wide}, {SCAN_TILE})")
        w.assign("tiles", "int64", f"udiv(n{kept} + {SCAN_TILE - 1}, {SCAN_TILE})")
        target = self._target()
        plain = target is not None and self._source() is not None and scan.op != "linear"
        if plain:
            _stream(w, body, self.dtype)
        with w.block("for unit in range(begin, end):"):
            w.assign("row", "int64", "udiv(unit, tiles)")
            w.assign("lo", "int64", f"urem(unit, tiles) * {SCAN_TILE}")
            w.assign("width", "int64", f"imin({SCAN_TILE}, n{kept} - lo)")
            outer = unravel(w, range(r), "row") if r else {}
            with w.block("for k in range(width):"):
                w.line(f"c[k] = {_none(scan)}")
            if plain:
                self._tile(w, outer)
            else:
                self._tile_by_rows(w, outer)
        return self._end(w, target if plain else None)

    def _tile(self, w: Writer, outer: dict[int, str]) -> None:
        """All rows of a tile, from memory to memory."""
        body, scan, r = self.body, self.scan, self.body.r
        first = f"n{r} - 1" if scan.reverse else "0"
        (store,) = body.stores
        given = []
        for i in (store, scan.args[0]):
            instr = body.kernel.body[i]
            assert isinstance(instr, Load | Store)
            position = " + ".join(body.terms(i, {**outer, r: "i", r + 1: "lo"})) or "0"
            stride = f"s{body.strides_of[i]}_{r}" if instr.access[r] == "s" else "0"
            given += [f"advance(b{instr.buffer}, {position})", f"-{stride}" if scan.reverse else stride]
        w.assign("i", "int64", first)
        w.line(f"scan_rows_{scan.op}(c, {', '.join(given)}, n{r}, width, stream)")

    def _tile_by_rows(self, w: Writer, outer: dict[int, str]) -> None:
        """The rows of a tile, one after another."""
        body, scan, r, kept = self.body, self.scan, self.body.r, self.body.r + 1
        everything = [i for i in range(len(body.kernel.body)) if i != self.at]
        with w.block(f"for step in range(n{r}):"):
            w.assign("i", "int64", f"n{r} - 1 - step" if scan.reverse else "step")
            place = body.place(w, everything, {**outer, r: "i"})
            with w.block("for k in range(width):"):
                w.assign("column", "int64", "lo + k")
                place.element(w, self.needed, {kept: "column"})
                w.line(f"c[k] = {self._step(w, 'c[k]', [f'v{a}' for a in scan.args])}")
                result = f"to_{self.dtype.compute.name}(own)"
                w.assign(f"v{self.at}", variable_type(self.dtype), rounded(self.dtype, result))
                others = [i for i in self.after if i != self.at and i not in self.needed]
                place.element(w, others, {kept: "column"})


def _stream(w: Writer, body: Body, dtype: DType) -> None:
    """Whether the results are so many that they are written past the caches."""
    total = " * ".join(f"n{d}" for d in range(len(body.kernel.dims)))
    w.assign("stream", "boolean", f"{total} >= {STREAM_BYTES // dtype.itemsize}")
