"""The "outer" form: the reduced loop has a kept one inside.

The partial results themselves are the accumulators: row after row of a block is added to a tile of them. Rows are taken two
at a time, which halves that traffic; where a block has an odd number of them the lower of the last pair is the upper again,
and counts as the identity.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.codegen.emit import (
    Body,
    Function,
    Writer,
    identity,
    is_arg,
    reduced_element,
    reduced_type,
    reduced_value,
)
from weft.codegen.loops import begin, segments, unravel
from weft.codegen.rows import CHUNK, parts
from weft.ir.kernel import OUTER_BLOCK, OUTER_TILE


def blocks(body: Body, name: str) -> Function:
    """The first phase: one tile of one block of rows."""
    w = begin(body, name)
    r, kept = body.r, body.r + 1
    stores = [i for i in body.stores if body.varies[i]]
    needed = body.closure([reduce.arg for reduce in body.reduces.values()] + stores)
    places = parts(body)
    w.assign("blocks", "int64", f"udiv(n{r} + {OUTER_BLOCK - 1}, {OUTER_BLOCK})")
    w.assign("tiles", "int64", f"udiv(n{kept} + {OUTER_TILE - 1}, {OUTER_TILE})")
    with w.block("for unit in range(begin, end):"):
        w.assign("rest", "int64", "udiv(unit, tiles)")
        w.assign("at", "int64", f"rest * n{kept}")
        w.assign("lo", "int64", f"urem(unit, tiles) * {OUTER_TILE}")
        w.assign("hi", "int64", f"imin(lo + {OUTER_TILE}, n{kept})")
        w.assign("block", "int64", f"urem(rest, blocks) * {OUTER_BLOCK}")
        w.assign("stop", "int64", f"imin(block + {OUTER_BLOCK}, n{r})")
        w.assign("row", "int64", "udiv(rest, blocks)")
        names = unravel(w, range(r), "row") if r else {}
        pairs = not stores  # an element must not be stored twice: the kernel may load what it stores
        with w.block(f"for j in range(block, stop{', 2' * pairs}):"):
            w.assign("first", "boolean", "j == block")
            upper = body.place(w, needed, {**names, r: "j"})
            if pairs:
                w.assign("two", "boolean", "j + 1 < stop")
                w.assign("next", "int64", "choose(two, j + 1, j)")
                lower = body.place(w, needed, {**names, r: "next"}, "q")
            with w.block("for k in range(lo, hi):"):
                for i, p in places.items():
                    a = reduced_type(body, i).name
                    w.assign(f"none{i}", a, identity(body.reduces[i].op, reduced_type(body, i)))
                    w.assign(f"r{i}", a, f"choose(first, none{i}, part{p}[at + k])")
                    if is_arg(body.reduces[i]):
                        w.assign(f"x{i}", "int64", f"choose(first, block, part{p + 1}[at + k])")
                upper.element(w, needed, {kept: "k"})
                _take(body, w, places, "j")
                if pairs:
                    lower.element(w, needed, {kept: "k"})
                    _take(body, w, places, "next", "two")
                for i, p in places.items():
                    w.line(f"part{p}[at + k] = r{i}")
                    if is_arg(body.reduces[i]):
                        w.line(f"part{p + 1}[at + k] = x{i}")
    return body.finish(w)


def _take(body: Body, w: Writer, places: Mapping[int, int], j: str, condition: str = "") -> None:
    """Combine the arguments' values in row ``j`` into ``r{i}`` and ``x{i}``, if the condition holds."""
    for i in places:
        w.assign(f"e{i}", reduced_type(body, i).name, reduced_element(body, i))
        if condition:
            w.line(f"e{i} = choose({condition}, e{i}, none{i})")
        _combine(body, w, i, f"e{i}", j)


def _combine(body: Body, w: Writer, i: int, value: str, index: str) -> None:
    """Combine one more partial result into ``r{i}`` and ``x{i}``."""
    op = body.reduces[i].op
    if is_arg(body.reduces[i]):
        w.assign(f"better{i}", "boolean", f"better_{op}({value}, r{i})")
        w.line(f"r{i} = choose(better{i}, {value}, r{i})")
        w.line(f"x{i} = choose(better{i}, {index}, x{i})")
    else:
        w.line(f"r{i} = combine_{op}(r{i}, {value})")


def combine(body: Body, name: str) -> Function:
    """The second phase: each kept element's blocks combined, and what is done with the result."""
    w = begin(body, name)
    r, kept = body.r, body.r + 1
    needed = body.closure([i for i in body.stores if not body.varies[i]])
    places = {i: p for i, p in parts(body).items() if i in needed}
    for i in places:
        w.line(f"t{i} = stack({reduced_type(body, i).name}, {CHUNK})")
        if is_arg(body.reduces[i]):
            w.line(f"u{i} = stack(int64, {CHUNK})")
    w.assign("blocks", "int64", f"udiv(n{r} + {OUTER_BLOCK - 1}, {OUTER_BLOCK})")
    with segments(w, f"n{kept}"):
        place = body.place(w, needed, unravel(w, range(r), "row") if r else {})
        with w.block(f"for tile in range(lo, hi, {CHUNK}):"):
            w.assign("size", "int64", f"imin({CHUNK}, hi - tile)")
            with w.block("for k in range(size):"):
                for i in places:
                    w.line(f"t{i}[k] = {identity(body.reduces[i].op, reduced_type(body, i))}")
                    if is_arg(body.reduces[i]):
                        w.line(f"u{i}[k] = 0")
            with w.block("for block in range(blocks):"):
                w.assign("at", "int64", f"(row * blocks + block) * n{kept} + tile")
                with w.block("for k in range(size):"):
                    for i, p in places.items():
                        _accumulate(body, w, i, p)
            with w.block("for k in range(size):"):
                w.assign("j", "int64", "tile + k")
                for i in places:
                    reduced_value(body, w, i, f"u{i}[k]" if is_arg(body.reduces[i]) else f"t{i}[k]")
                place.element(w, needed, {kept: "j"})
    return body.finish(w)


def _accumulate(body: Body, w: Writer, i: int, p: int) -> None:
    """Combine the block's result at ``at + k`` into the stack arrays at ``k``."""
    w.assign(f"r{i}", reduced_type(body, i).name, f"t{i}[k]")
    if is_arg(body.reduces[i]):
        w.assign(f"x{i}", "int64", f"u{i}[k]")
    _combine(body, w, i, f"part{p}[at + k]", f"part{p + 1}[at + k]")
    w.line(f"t{i}[k] = r{i}")
    if is_arg(body.reduces[i]):
        w.line(f"u{i}[k] = x{i}")
