"""Loop nests: the source of each form of kernel, one function for each phase.

Here "map"; "row" and "reduce" are in `weft.codegen.rows`, "row" of rows that are short in `weft.codegen.short`, "strips" in
`weft.codegen.strips`, "columns" in `weft.codegen.across`, "outer" in `weft.codegen.outer`, "scan" in `weft.codegen.scan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from weft.codegen.emit import Body, Function, Writer
from weft.ir.kernel import Kernel, Scalar


def functions(kernel: Kernel, bodies: Mapping[str, str], name: str) -> list[Function]:
    """The source of a kernel: one function for each phase."""
    from weft.codegen import across, outer, rows, scan, short, strips

    body = Body(kernel, bodies)
    inner = {"row": "r", "reduce": "r", "strips": "r", "outer": "ri", "columns": "r"}.get(kernel.form, "")
    if kernel.form == "scan" and kernel.dims.endswith("ri"):
        inner = "ri"
    elif kernel.form == "scan":
        inner = "r"
    if not kernel.dims or kernel.dims.strip("o") != inner:
        raise ValueError(f"{kernel} has loops that do not fit its form")
    match kernel.form:
        case "map":
            return [_map(body, name)]
        case "nonzero":
            return [_nonzero(body, name)]
        case "row":
            return [short.row(body, name) if short.possible(body) else rows.row(body, name)]
        case "reduce":
            return [rows.blocks(body, f"{name}_1"), rows.combine(body, f"{name}_2")]
        case "strips":
            return [strips.blocks(body, f"{name}_1"), rows.combine(body, f"{name}_2")]
        case "outer":
            return [outer.blocks(body, f"{name}_1"), outer.combine(body, f"{name}_2")]
        case "columns":
            return [across.blocks(body, f"{name}_1"), outer.combine(body, f"{name}_2")]
        case "scan":
            return scan.functions(body, name)
    raise ValueError(f"{kernel} has an unknown form")


def begin(body: Body, name: str) -> Writer:
    """A function that knows the kernel's scalars."""
    w = body.writer(name)
    for i, instr in enumerate(body.kernel.body):
        if isinstance(instr, Scalar):
            body.value(w, i)
    return w


def unravel(w: Writer, dims: Sequence[int], counter: str) -> dict[int, str]:
    """Assign the counters of ``dims`` from the linear ``counter`` over them; the names by loop."""
    if len(dims) == 1:
        return {dims[0]: counter}
    names = {d: f"i{d}" for d in dims}
    rest = counter
    for d in reversed(dims[1:]):
        w.assign(names[d], "int64", f"urem({rest}, n{d})")
        w.assign("rest", "int64", f"udiv({rest}, n{d})")
        rest = "rest"
    if dims:
        w.assign(names[dims[0]], "int64", rest)
    return names


@contextmanager
def segments(w: Writer, n: str) -> Iterator[None]:
    """The rows of ``n`` elements that [begin, end) touches: ``row``, and in it the elements from ``lo`` to ``hi``."""
    w.line("if begin >= end:")
    w.line("    return")
    with w.block(f"for row in range(udiv(begin, {n}), udiv(end - 1, {n}) + 1):"):
        w.assign("lo", "int64", f"imax(begin - row * {n}, 0)")
        w.assign("hi", "int64", f"imin(end - row * {n}, {n})")
        yield


def _map(body: Body, name: str) -> Function:
    from weft.codegen import tiled

    w = begin(body, name)
    last = len(body.kernel.dims) - 1
    everything = range(len(body.kernel.body))
    if last == 0:
        with w.block(f"for i0 in {body.each(everything)}(begin, end):"):
            body.place(w, [], {}).element(w, everything, {0: "i0"})
        return body.finish(w)
    if loads := tiled.strided(body):
        tiled.tiles(body, w, loads)
        return body.finish(w)
    with segments(w, f"n{last}"):
        place = body.place(w, everything, unravel(w, range(last), "row"))
        with w.block(f"for i{last} in {body.each(everything)}(lo, hi):"):
            place.element(w, everything, {last: f"i{last}"})
    return body.finish(w)


def _nonzero(body: Body, name: str) -> Function:
    w = body.writer(name)
    w.assign("found", "int64", "0")
    with w.block("for i0 in range(begin, end):"), w.block("if b0[i0] != 0:"):
        w.line("b1[found] = i0")
        w.assign("found", "int64", "found + 1")
    return body.finish(w)
