"""``python -m benchmarks limits``: the command line and the table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import weft
from benchmarks import compare, peers
from benchmarks.limits import accuracy, attention, modules, products, reductions, rowwise, training
from benchmarks.limits.contest import PEERS, ROUNDS, Bench, Contest, Limit, Load
from benchmarks.timing import seconds


def sixth(bench: Bench) -> Iterator[Limit]:
    """Line 6: row-wise functions, and attention."""
    yield from rowwise.rows(bench)
    yield from attention.attention(bench)


#: What each line of the table measures.
LINES: dict[int, Callable[[Bench], Iterator[Limit]]] = {
    1: products.squares,
    2: products.shapes,
    3: products.layer,
    4: training.two_layers,
    5: reductions.reductions,
    6: sixth,
    7: accuracy.accuracy,
    8: modules.modules,
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks limits",
        description="Measure Weft's kernels against the hardware's limits and the peers that are installed.",
    )
    made.add_argument(
        "--only", nargs="+", type=int, choices=LINES, default=list(LINES), metavar="LINE", help="only these lines"
    )
    made.add_argument(
        "--cells", nargs="+", default=(), metavar="WORD", help="only cells whose names have these words: 64x64x64 NT"
    )
    made.add_argument("--rounds", type=_positive, help=f"rounds of all contenders (default: {ROUNDS}; quick: 3)")
    made.add_argument("--quick", action="store_true", help="fewer rounds and shorter bursts: rougher figures")
    made.add_argument("--threads", type=_positive, default=2, help="threads of every library (default: %(default)s)")
    made.add_argument("--no-peers", action="store_true", help="Weft and the machine alone")
    made.add_argument("--brief", action="store_true", help="only the lines, not each cell's times")
    made.add_argument("--check", action="store_true", help="exit with status 1 if a line is missed")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit status.

    That is 1 if results disagree or a checked line is missed, 2 if no cell has the words asked for, 130 if interrupted.
    """
    given = parser().parse_args(arguments)
    weft.set_num_threads(given.threads)
    libraries = {} if given.no_peers else peers.installed(given.threads)
    rounds = given.rounds or (3 if given.quick else ROUNDS)
    bench = Bench(given.threads, given.quick, rounds, libraries, given.cells)
    for name in PEERS:
        if name not in libraries and not given.no_peers:
            print(f"{name} is not installed; the table goes without it.", file=sys.stderr)
    lines: list[Limit] = []
    before = Load.now()
    interrupted = False
    try:
        for number in sorted(set(given.only)):
            lines += LINES[number](bench)
    except KeyboardInterrupt:
        interrupted = True
        print("\nInterrupted; this is what was measured until then.", file=sys.stderr)
    if not (lines or bench.done or interrupted):
        print(f"No cell of these lines has the words {', '.join(given.cells)} in its name.", file=sys.stderr)
        return 2
    what = f"weft {weft.__version__}, {', '.join(peers.versions())}; {given.threads} threads; {rounds} rounds"
    what += f"; {Load.now().since(before)}"
    for number in () if given.brief else sorted({made.line for made in bench.done}):
        show_details(f"Line {number}, medians (minima)", [made for made in bench.done if made.line == number])
    rows = ([x.what, x.limit, x.figure, x.verdict] for x in lines)
    print(what)
    if lines:
        compare.show("Limits", ("line", "limit", "measured", ""), rows, 4)
    for x in lines:
        if x.missed:
            print(f"Missed in {x.what}:\n    " + "\n    ".join(x.missed))
    problems = [problem for made in bench.done for problem in made.problems]
    for problem in problems:
        print(f"DISAGREEMENT: {problem}", file=sys.stderr)
    if given.json is not None:
        given.json.write_text(json.dumps(record(what, lines, bench.done), indent=1) + "\n", encoding="utf-8")
    if interrupted:
        return 130
    return 1 if problems or (given.check and any(x.met is False for x in lines)) else 0


def show_details(title: str, contests: Sequence[Contest]) -> None:
    """Each contender's times in each cell of a line, and the fastest other's over Weft's."""
    contenders = list(dict.fromkeys(key for made in contests for key in made.times))
    rows = []
    for made in contests:
        shown = (made.times.get(key) for key in contenders)
        speed = made.speed(contenders[0])
        rows.append(
            [
                made.name,
                *(f"{seconds(t.median)} ({seconds(t.minimum)})" if t is not None else "" for t in shown),
                f"{speed:.2f}" if speed is not None else "",
            ]
        )
    compare.show(title, ("cell", *contenders, "best peer ÷ Weft"), rows, 1)


def record(what: str, lines: Sequence[Limit], contests: Sequence[Contest]) -> dict[str, Any]:
    """Everything that was measured, for a file; times in seconds, a figure for each round."""
    return {
        "what": what,
        "lines": [{"what": x.what, "limit": x.limit, "measured": x.figure, "met": x.met} for x in lines],
        "cells": [
            {
                "line": made.line,
                "name": made.name,
                "seconds": {key: t.rounds for key, t in made.times.items()},
                "problems": made.problems,
            }
            for made in contests
        ],
    }
