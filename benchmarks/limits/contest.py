"""A contest: the same computation by Weft and by its peers, checked to agree, then timed in turn.

The peers' threads go on spinning after a call: OpenBLAS's for 0.1 s unless told otherwise (`limit_threads` does), libgomp's
for 10 to 18 ms. Whoever comes next then has a core less: within that time PyTorch took 16 ms instead of 0.25 for a product of
256 × 256, and Weft twice as long. So each contender rests (`REST`), then makes calls that do not count (`SETTLE`), then is
timed over a burst of calls (`BURST`); after that it is the next one's turn. A figure is the median over the rounds. What the
machine can do is measured right after or right before Weft's burst, without a rest, since the two leave no threads behind: the
bandwidth of a virtual machine can be twice as much or half as much after one.

Where the rounds differ so much that a figure may lie on either side of its limit, there are more of them (`BATCHES`): noise
decides no cell that a longer look would decide otherwise.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import compare
from benchmarks.acceptance import Line
from benchmarks.peers import Prepare
from benchmarks.timing import Candidate, Timing, doubt, interleave
from benchmarks.workloads import Case

REST, SETTLE, BURST = 0.025, 0.006, 0.030  # seconds
ROUNDS = 7
BATCHES = 12  # of so many rounds, at most

#: Contenders that are not Weft: names of `peers.installed`.
PEERS = ("numpy", "torch", "torch.compile", "jax.jit")


@dataclass(frozen=True, slots=True)
class Limit(Line):
    """A line of the table, and the cells that miss it, each with its figure."""

    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """What a contest is to decide: whether the fastest of ``theirs`` takes at least ``limit`` times as long as ours."""

    ours: str
    theirs: tuple[str, ...]
    limit: float

    def undecided(self, times: Mapping[str, Timing]) -> bool:
        """Whether the rounds differ too much to tell."""
        others = [times[name] for name in self.theirs if name in times]
        if not others or self.ours not in times:
            return False
        low, high = doubt(min(others, key=lambda timing: timing.median), times[self.ours])
        return low < self.limit < high


@dataclass(frozen=True, slots=True)
class Contest:
    """One row of the details: what was computed, each contender's times, and whose results were wrong."""

    line: int
    name: str
    times: dict[str, Timing]
    problems: list[str] = field(default_factory=list)

    def speed(self, ours: str, theirs: Iterable[str] = PEERS) -> float | None:
        """The fastest of the others' times over ours: above 1, ours is faster. None where one is missing."""
        others = [self.times[name].median for name in theirs if name in self.times]
        return min(others) / self.times[ours].median if others and ours in self.times else None

    def in_rounds(self, ours: str, theirs: str) -> float:
        """The median of the rounds' own ratios of two that were joined: the time of ours over that of theirs."""
        return statistics.median(a / b for a, b in zip(self.times[ours].rounds, self.times[theirs].rounds, strict=True))


@dataclass(slots=True)
class Bench:
    """What the user asked for, and all that was measured so far."""

    threads: int
    quick: bool
    rounds: int
    peers: Mapping[str, Prepare]
    cells: Sequence[str] = ()
    done: list[Contest] = field(default_factory=list)

    def wanted(self, name: str) -> bool:
        """Whether a cell's name has all the words that the user gave; a shape may be written with the letter x."""
        words = name.split()
        return all(word in words or word.replace("x", "×") in words for word in self.cells)

    def run(
        self,
        line: int,
        name: str,
        cases: Mapping[str, Case],
        extra: Mapping[str, Candidate] | None = None,
        repeats: int = 1,
        goals: Sequence[Goal] = (),
        joined: Sequence[Sequence[str]] = (),
    ) -> Contest:
        """Compare the results of all cases with the first one's, and `time` those that agree, and ``extra``."""
        results = {key: case.check() for key, case in cases.items()}
        first = next(iter(results))
        problems = {
            key: compare.difference(results[first], found, exact=key.startswith("weft ") and first.startswith("weft "))
            for key, found in results.items()
        }
        del results
        candidates = {key: case.candidate for key, case in cases.items() if not problems[key]}
        wrong = [f"line {line}, {name}: {key} {problem}" for key, problem in problems.items() if problem]
        return self.time(line, name, {**candidates, **(extra or {})}, wrong, repeats, goals, joined)

    def time(
        self,
        line: int,
        name: str,
        candidates: Mapping[str, Candidate],
        problems: Sequence[str] = (),
        repeats: int = 1,
        goals: Sequence[Goal] = (),
        joined: Sequence[Sequence[str]] = (),
    ) -> Contest:
        """Time candidates in turn, those that are ``joined`` in one turn.

        That takes ``repeats`` times as many rounds as usual, and more while a goal is undecided.
        """
        burst = BURST / 3 if self.quick else BURST

        def undecided(times: Mapping[str, Timing]) -> bool:
            return any(goal.undecided(times) for goal in goals)

        batches = 1 if self.quick else BATCHES
        settle = SETTLE * burst / BURST
        times = interleave(candidates, self.rounds * repeats, burst, REST, settle, undecided, batches, joined)
        made = Contest(line, name, times, list(problems))
        self.done.append(made)
        gc.collect()
        return made

    def watched(self, line: int, names: Iterable[str]) -> Iterator[str]:
        """The names that are wanted, while a bar on a terminal shows how far the line is."""
        chosen = [name for name in names if self.wanted(name)]
        try:
            from tqdm import tqdm
        except ImportError:
            yield from chosen
            return
        bar = tqdm(chosen, desc=f"line {line}", leave=False, disable=not sys.stderr.isatty(), unit="")
        for name in bar:
            bar.set_postfix_str(name)
            yield name


@dataclass(frozen=True, slots=True)
class Load:
    """How long this process has been running, and how much of the machine was busy meanwhile, at one moment."""

    wall: float
    own: float
    busy: float | None  # seconds of all CPUs, where the system tells

    @classmethod
    def now(cls) -> Load:
        try:
            ticks = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
            busy = (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            busy = None
        return cls(time.perf_counter(), sum(os.times()[:4]), busy)

    def since(self, before: Load) -> str:
        """How long it took, and how many cores other processes used: much, and the figures are rough."""
        wall = self.wall - before.wall
        if self.busy is None or before.busy is None:
            return f"{wall:.0f} s"
        others = (self.busy - before.busy - (self.own - before.own)) / wall
        return f"{wall:.0f} s, in which other processes used {max(0.0, others):.2f} cores"


def case(function: Callable[..., Any], arguments: Sequence[Any], to_numpy: Callable[[Any], np.ndarray]) -> Case:
    """A case of a function of arrays that gives an array or several."""

    def check() -> list[np.ndarray]:
        made = function(*arguments)
        return [np.array(to_numpy(t)) for t in (made if isinstance(made, tuple | list) else (made,))]

    names = {f"a{k}": a for k, a in enumerate(arguments)}
    return Case(Candidate(f"f({', '.join(names)})", {"f": function, **names}), check)


def worst(values: Mapping[str, float]) -> str:
    """The smallest of some figures and whose it is."""
    name = min(values, key=lambda key: values[key])
    return f"{values[name]:.2f} ({name})"


def at_least(what: str, limit: float, values: Mapping[str, float], note: str = "") -> Limit:
    """A line that is met if all values reach a limit."""
    text = f"≥ {limit:.2f}"
    if not values:
        return Limit(what, text, "nothing to compare with is installed", None)
    missed = sorted((name for name, value in values.items() if value < limit), key=lambda name: values[name])
    figure = f"{next(iter(values.values())):.2f}"
    if len(values) > 1:
        figure = f"worst {worst(values)}; median {float(np.median(list(values.values()))):.2f}"
        figure += f"; {len(missed)} of {len(values)} missed" if missed else f"; all {len(values)}"
    return Limit(what, text, figure + note, not missed, tuple(f"{name} {values[name]:.2f}" for name in missed))
