"""The demonstration: the digits classifier trained in all three modes, measured and compared."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import weft
from weft import _native
from weft.examples import digits
from weft.viz.timeline import Span, Track

#: The steps whose launches are counted and of which the fastest one's timeline is kept; they take no part in the timing.
PROFILED = range(30, 41)

#: Processes that start with the kernels on disk; the quickest counts.
WARM_STARTS = 3


@dataclass(slots=True)
class Measured:
    """What was measured of one mode."""

    mode: str
    accuracy: float = 0.0
    losses: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # seconds of each step, nan for the profiled ones
    launches: int = 0
    track: Track | None = None
    weights: list[np.ndarray] = field(default_factory=list)
    cold: float = 0.0  # seconds of the first step in a new process with an empty cache
    warm: float = 0.0  # the same with the kernels on disk
    compiled: int = 0  # kernels that the cold first step compiled
    training: Any = None

    @property
    def step(self) -> float:
        """Seconds of a step, the median of those after the tenth."""
        return statistics.median(t for t in self.times[10:] if not math.isnan(t))

    @property
    def kernels(self) -> int:
        """Different kernels that a step runs."""
        assert self.track is not None
        return len({s.name for s in self.track.spans if not is_product(s.name)})


def is_product(name: str) -> bool:
    """Whether an instruction of a program is a matrix product, not a generated kernel."""
    return name.startswith("gemm")


def measure(mode: str, epochs: int, progress: bool) -> Measured:
    """Train in one mode, timing each step."""
    found = Measured(mode)
    with _bar(f"{mode:>6}", steps(epochs), " steps", progress) as bar:

        def around(step: digits.Step) -> digits.Step:
            def timed(images: Any, labels: Any) -> float:
                profiled = len(found.times) in PROFILED
                before = weft.stats()
                if profiled:
                    _native.profile(True)
                start = time.perf_counter_ns()
                loss = step(images, labels)
                end = time.perf_counter_ns()
                if profiled:
                    track = Track(mode, [Span(*event) for event in _native.take_profile()], start, end)
                    if found.track is None or track.duration < found.track.duration:
                        found.track = track
                    _native.profile(False)
                    counts = weft.stats() - before
                    found.launches = counts.kernel_launches + counts.gemm_launches
                found.times.append(math.nan if profiled else (end - start) / 1e9)
                found.losses.append(loss)
                bar.update()
                return loss

            return timed

        found.training, found.accuracy = digits.train(mode, epochs, around)
    found.weights = [t.numpy().copy() for t in found.training.model.state_dict().values()]
    return found


def _bar(name: str, total: int, unit: str, progress: bool) -> Any:
    """A progress bar; none where there is no terminal."""
    off = None if progress else True
    return tqdm(desc=name, total=total, unit=unit, disable=off, leave=False, file=sys.stderr)


def steps(epochs: int) -> int:
    """Training steps in so many passes over the data."""
    return epochs * ((1797 - digits.TEST_SAMPLES) // digits.BATCH)


# The first step of a new process


def first_step(mode: str) -> None:
    """Run one training step and print how long it took, and how many kernels it compiled. Run in processes of its own."""
    train_part, _ = digits.split()
    training = digits.prepare(mode)
    images, labels = next(digits.batches(train_part, 1))
    before = weft.stats()
    start = time.perf_counter()
    training.train_step(images, labels).item()
    took = time.perf_counter() - start
    print(json.dumps({"seconds": took, "compiled": (weft.stats() - before).kernels_compiled}))


def measure_first_steps(found: list[Measured], progress: bool) -> None:
    """Time each mode's first step in a new process: with an empty cache, and with what that left there."""
    with _bar("starts", (1 + WARM_STARTS) * len(found), " processes", progress) as bar:
        for m in found:
            with tempfile.TemporaryDirectory(prefix="weft-demo-") as folder:
                result = _new_process(m.mode, folder)
                m.cold, m.compiled = result["seconds"], result["compiled"]
                bar.update()
                m.warm = math.inf
                for _ in range(WARM_STARTS):
                    m.warm = min(m.warm, _new_process(m.mode, folder)["seconds"])
                    bar.update()


def _new_process(mode: str, folder: str) -> dict[str, Any]:
    code = f"from weft.examples.demo import first_step; first_step({mode!r})"
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WEFT_CACHE_DIR": folder, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # an interrupt is for this process, which ends the other
    )
    if done.returncode != 0:
        raise RuntimeError(f"The first step of {mode} failed in a new process:\n{done.stderr}")
    return json.loads(done.stdout)


# The comparison


def break_even(m: Measured, eager: Measured, cold: bool) -> int | None:
    """After how many steps a mode is ahead of eager, first steps included; None for never."""
    ahead = (eager.cold - m.cold) if cold else (eager.warm - m.warm)
    if ahead >= 0:
        return 1 if m.step <= eager.step else None
    gain = eager.step - m.step
    return None if gain <= 0 else 1 + math.ceil(-ahead / gain)


def same_bits(found: list[Measured]) -> bool:
    """Whether all modes ended with the same weights, bit for bit."""
    first = [w.tobytes() for w in found[0].weights]
    return all([w.tobytes() for w in m.weights] == first for m in found[1:])


def seconds(value: float) -> str:
    """A duration with a unit that suits it."""
    return f"{value * 1e6:,.0f} µs" if value < 1e-3 else f"{value * 1e3:,.1f} ms" if value < 1 else f"{value:.2f} s"


def rows(found: list[Measured]) -> list[list[str]]:
    """The results as a table: a heading for each mode, then what was measured, a row for each figure."""
    eager = next(m for m in found if m.mode == "eager")

    def paid_off(m: Measured, cold: bool) -> str:
        n = break_even(m, eager, cold)
        return "" if m is eager else "never" if n is None else "at once" if n == 1 else f"step {n:,}"

    return [
        ["", *(m.mode for m in found)],
        ["test accuracy", *(f"{m.accuracy:.2%}" for m in found)],
        ["time per step", *(seconds(m.step) for m in found)],
        ["kernels per step", *(str(m.kernels) for m in found)],
        ["launches per step", *(str(m.launches) for m in found)],
        ["first step, cold", *(seconds(m.cold) for m in found)],
        ["kernels it compiles", *(str(m.compiled) for m in found)],
        ["break-even, cold", *(paid_off(m, True) for m in found)],
        ["first step, warm", *(seconds(m.warm) for m in found)],
        ["break-even, warm", *(paid_off(m, False) for m in found)],
    ]


def verdict(found: list[Measured]) -> str:
    """One line about the weights."""
    n = sum(w.size for w in found[0].weights)
    if same_bits(found):
        return f"The {n:,} final weights are bit-identical in all three modes."
    return f"The {n:,} final weights DIFFER between modes."


NOTE = (
    "Kernels per step: different generated kernels; launches: kernel calls and matrix products. A first step is timed in a new "
    "process, cold with an empty kernel cache, warm with the kernels on disk. Break-even: the step from which the total "
    "time, first step included, is no more than eager's."
)


def run(epochs: int = 40, report: Path = Path("weft-report.html"), progress: bool = True) -> int:
    """Train in each mode, compare, print, and write the report; gives the exit code (1 if weights differ)."""
    from weft.examples.report import write

    console = Console(highlight=False)
    start = time.perf_counter()
    console.print(
        f"Training a 64-128-64-10 network on 1,797 handwritten digits, {epochs} epochs of "
        f"{steps(1)} steps, in each of Weft's modes. Ctrl-C leaves."
    )
    found = [measure(mode, epochs, progress) for mode in digits.MODES]
    measure_first_steps(found, progress)
    table = Table(title=f"{digits.BATCH} samples a step, {steps(epochs):,} steps, {weft.get_num_threads()} threads")
    header, *body = rows(found)
    for name in header:
        table.add_column(name, justify="right" if name else "left")
    for row in body:
        table.add_row(*row)
    console.print(table)
    console.print(f"[dim]{NOTE}[/dim]")
    same = same_bits(found)
    console.print(verdict(found), style="bold green" if same else "bold red")
    write(report, found)
    console.print(f"Report: {report.resolve()}  ({time.perf_counter() - start:.0f} s in all)", soft_wrap=True)
    return 0 if same else 1
