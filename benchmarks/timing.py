"""Timing that a noisy machine spoils as little as possible: rounds in which the candidates take turns, and medians.

Whatever slows the machine for a while then slows all candidates alike, so ratios are steadier than times. Each round times
a block of calls of each candidate; a ratio's spread is that of the rounds' own ratios.
"""

from __future__ import annotations

import math
import statistics
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Seconds that a block of calls should take, and how long to rest before one: thread pools spin for a while after work.
BLOCK = 0.02
REST = 0.003


@dataclass(slots=True)
class Candidate:
    """A statement to time, with the names it uses. A statement and not a function: a call costs as much as a small op."""

    statement: str
    names: dict[str, Any]

    def timer(self) -> timeit.Timer:
        return timeit.Timer(self.statement, setup="import gc; gc.enable()", globals=self.names)


def call(function: Callable[..., Any], *args: Any) -> Candidate:
    """A function call as a candidate."""
    names = {f"a{k}": a for k, a in enumerate(args)}
    return Candidate(f"f({', '.join(names)})", {"f": function, **names})


@dataclass(slots=True)
class Timing:
    """Seconds per call, one figure a round."""

    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def minimum(self) -> float:
        return min(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The lower and upper quartile."""
        return quartiles(self.rounds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one candidate takes as another: ratio of medians, and quartiles of the rounds' ratios."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}–{self.high:.2f}]"


def quartiles(values: list[float]) -> tuple[float, float]:
    """The lower and upper quartile of some values."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def ratio(ours: Timing, theirs: Timing) -> Ratio:
    """One candidate's time over another's, measured in the same rounds."""
    each = [a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True)]
    return Ratio(ours.median / theirs.median, *quartiles(each))


def doubt(ours: Timing, theirs: Timing) -> tuple[float, float]:
    """Between which figures the ratio's median lies with 95 % certainty at least, by the rounds' own ratios; and the ratio.

    However the noise is distributed: as many of the least and of the greatest ratios are left out as a coin, tossed once a
    round, shows heads in at most 2.5 % of all series (the sign test's interval; Conover, "Practical Nonparametric Statistics").
    """
    each = sorted(a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True))
    outside, chance = 0, 0.0
    while (chance := chance + math.comb(len(each), outside) / 2 ** len(each)) <= 0.025:
        outside += 1
    left_out = max(0, outside - 1)
    value = ours.median / theirs.median
    return min(value, each[left_out]), max(value, each[-1 - left_out])


def interleave(
    candidates: Mapping[str, Candidate],
    rounds: int = 15,
    block: float = BLOCK,
    rest: float = REST,
    settle: float = 0.0,
    undecided: Callable[[Mapping[str, Timing]], bool] = lambda times: False,
    batches: int = 1,
    joined: Sequence[Sequence[str]] = (),
) -> dict[str, Timing]:
    """Time candidates in turn, a block of calls each per round, after a warm-up.

    Before its block a candidate rests, and then makes calls that do not count, one at least and for ``settle`` seconds.
    The order is turned round by one in each round and runs forwards and backwards in turn, so that no candidate always
    follows the same other. As long as the figures leave something ``undecided`` there are as many ``rounds`` again, up to
    so many ``batches``; all of them count.

    Candidates that are ``joined``, by their names, have one turn and one rest: they follow one another at once. That is for
    those whose threads stop when a call ends. A virtual machine's cores may be other ones after a rest.
    """
    timers = {name: c.timer() for name, c in candidates.items()}
    numbers = {name: _calls_for(timer, block) for name, timer in timers.items()}
    found = {name: Timing() for name in candidates}
    turns = [tuple(name for name in names if name in candidates) for names in joined]
    order = [*filter(None, turns), *((name,) for name in candidates if not any(name in names for names in turns))]
    for k in range(rounds * batches):
        if k and k % rounds == 0 and not undecided(found):
            break
        for names in reversed(order) if k % 2 else order:
            time.sleep(rest)
            for name in reversed(names) if k % 2 else names:
                timer, number = timers[name], numbers[name]
                timer.timeit(max(1, round(number * settle / block)))
                found[name].rounds.append(timer.timeit(number) / number)
        order.append(order.pop(0))
    return found


def _calls_for(timer: timeit.Timer, block: float) -> int:
    """Warm a candidate up; gives how many calls fill a block."""
    timer.timeit(2)
    number = 1
    while (took := timer.timeit(number)) < block / 4:
        number *= 2
    return max(1, round(number * block / took))


def seconds(value: float) -> str:
    """A duration with a unit that suits it."""
    for unit, size in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if value < 999.5 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.2f} s"
