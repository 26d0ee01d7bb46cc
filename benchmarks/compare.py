"""The table: each workload in Weft's modes and in the other libraries, checked to agree and then timed in turn."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks import bandwidth, peers, workloads
from benchmarks.timing import Candidate, Timing, interleave, ratio, seconds
from benchmarks.workloads import MODES, WORKLOADS, Case, Workload

#: How far results of different libraries may be apart: they add up in different orders. ATOL is for values up to 1.
RTOL, ATOL = 1e-4, 1e-5

Times = dict[str, Timing]


@dataclass(slots=True)
class Row:
    """One workload: the times of all candidates, and who gave something else than Weft eager."""

    workload: Workload
    times: Times = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)


def measure(workload: Workload, libraries: dict[str, peers.Prepare], threads: int, quick: bool) -> Row:
    """Prepare a workload's cases, compare their results, and time those that agree."""
    row = Row(workload)
    cases: dict[str, Case] = {f"weft {mode}": workloads.weft_case(workload, mode) for mode in MODES}
    for name, prepare in libraries.items():
        found = prepare(workload)
        if found is not None:
            cases[name] = found
    expected = cases["weft eager"].check()
    candidates: dict[str, Candidate] = {}
    for name, found in cases.items():
        problem = "" if name == "weft eager" else difference(expected, found.check(), exact=name.startswith("weft"))
        if problem:
            row.disagreements.append(f"{workload.title}: {name} {problem}")
        else:
            candidates[name] = found.candidate
    if workload.name == "silu_8m":
        yardstick = bandwidth.triad(workloads.MILLIONS, threads)
        if yardstick is not None:
            candidates["C triad"] = yardstick
    rounds = 3 if quick else workload.rounds
    row.times = interleave(candidates, rounds, 0.002 if quick else 0.02)
    del cases, candidates
    gc.collect()
    return row


def difference(expected: list[np.ndarray], found: list[np.ndarray], exact: bool) -> str:
    """What is wrong with a candidate's results; empty if nothing is."""
    if [a.shape for a in expected] != [a.shape for a in found]:
        return f"gives shapes {[a.shape for a in found]}, not {[a.shape for a in expected]}"
    for a, b in zip(expected, found, strict=True):
        if exact and a.tobytes() != b.tobytes():
            return "gives other bits than weft eager"
        if not np.allclose(a, b, RTOL, ATOL * max(1.0, np.abs(a).max(initial=0.0))):
            return f"differs from weft eager by up to {np.abs(a - b).max():.3g}"
    return ""


def measure_all(names: Iterable[str], libraries: dict[str, peers.Prepare], threads: int, quick: bool) -> dict[str, Row]:
    """`measure` for the workloads of these names."""
    chosen = [WORKLOADS[name] for name in names]
    return {w.name: measure(w, libraries, threads, quick) for w in watched(chosen)}


def watched(items: list[Workload]) -> Iterator[Workload]:
    """The workloads, while saying on a terminal which one is being measured."""
    for k, w in enumerate(items):
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K[{k + 1}/{len(items)}] {w.title}")
            sys.stderr.flush()
        yield w
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


# Printing

HEADER = ("workload", "", "median", "quartiles", "weft eager ÷ it", "weft static ÷ it")


def lines(rows: Iterable[Row]) -> Iterator[list[str]]:
    """The table's lines, as text."""
    for row in rows:
        title = row.workload.title
        for name, t in row.times.items():
            low, high = t.spread
            ratios = ["" if name == mode else str(ratio(row.times[mode], t)) for mode in ("weft eager", "weft static")]
            yield [title, name, seconds(t.median), f"{seconds(low)} – {seconds(high)}", *ratios]
            title = ""


def show(title: str, header: Iterable[str], rows: Iterable[list[str]], left: int = 2) -> None:
    """Print a table, with rich where it is installed; the first ``left`` columns are text, the others figures."""
    found = list(rows)
    header = list(header)
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(title)
        widths = [max(len(r[k]) for r in [header, *found]) for k in range(len(header))]
        for r in [header, *found]:
            print(
                "  ".join(
                    c.ljust(w) if k < left else c.rjust(w) for k, (c, w) in enumerate(zip(r, widths, strict=True))
                )
            )
        return
    table = Table(title=title, title_justify="left")
    for k, name in enumerate(header):
        table.add_column(name, justify="left" if k < left else "right")
    for k, r in enumerate(found):
        if k and r[0] and not all(other[0] for other in found):
            table.add_section()  # the line begins a group
        table.add_row(*r)
    console = Console() if sys.stdout.isatty() else Console(width=180)  # not folded in a file
    console.print(table)
