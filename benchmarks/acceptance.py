"""The performance that Weft promises, each line with its limit, what was measured, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import bandwidth, memory, processes
from benchmarks.compare import Row
from benchmarks.timing import Ratio, ratio, seconds
from benchmarks.workloads import MILLIONS

IMPORT_LIMIT = 0.25  # seconds
COMPILE_LIMIT = 0.150  # seconds for each fused kernel
BATCH_SIZES = 200
GROWTH_LIMIT = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One promise. ``met`` is None where something needed to measure it is not installed."""

    what: str
    limit: str
    figure: str
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


# Ratios of times

#: (what, workload, ours, theirs, limit of ours / theirs)
RATIOS = (
    ("add of 16 floats, eager ÷ NumPy", "add", "weft eager", "numpy", 1.0),
    ("the same with requires_grad, eager ÷ PyTorch", "add_grad", "weft eager", "torch", 0.35),
    ("linear regression step, static ÷ JAX jit", "regression", "weft static", "jax.jit", 0.25),
    ("linear regression step, eager ÷ PyTorch", "regression", "weft eager", "torch", 0.3),
    ("fused silu, 8M floats, static ÷ torch.compile", "silu_8m", "weft static", "torch.compile", 0.6),
    ("fused silu, 4,096 floats, static ÷ PyTorch", "silu_4k", "weft static", "torch", 0.5),
)


def ratios(rows: dict[str, Row]) -> Iterator[Line]:
    """Weft's time as a share of another library's."""
    for what, name, ours, theirs, limit in RATIOS:
        if name not in rows:
            continue
        times = rows[name].times
        missing = [name for name in (ours, theirs) if name not in times]
        if missing:
            yield Line(what, f"≤ {limit:.2f}", f"without {' and '.join(missing)}", None)
            continue
        found = ratio(times[ours], times[theirs])
        figure = f"{found}  ({seconds(times[ours].median)} ÷ {seconds(times[theirs].median)})"
        if f"{theirs}, ahead" in times:
            figure += f"; not awaited {ratio(times[ours], times[f'{theirs}, ahead']).value:.2f}"
        yield Line(what, f"≤ {limit:.2f}", figure, found.value <= limit)


def bandwidths(rows: dict[str, Row]) -> Iterator[Line]:
    """The fused kernel's memory traffic as a share of the triad's; both count the lines fetched in order to be written."""
    if "silu_8m" not in rows:
        return
    what, limit = "fused silu, 8M floats, bandwidth ÷ C triad's", 0.85
    times = rows["silu_8m"].times
    if "C triad" not in times or "weft static" not in times:
        yield Line(what, f"≥ {limit:.2f}", "no C++ compiler was found", None)
        return
    ours, triad = times["weft static"], times["C triad"]
    r = ratio(triad, ours)
    scale = bandwidth.SILU_ARRAYS / bandwidth.TRIAD_ARRAYS
    share = Ratio(r.value * scale, r.low * scale, r.high * scale)
    rates = [
        4e-9 * MILLIONS * n / t.median for n, t in ((bandwidth.SILU_ARRAYS, ours), (bandwidth.TRIAD_ARRAYS, triad))
    ]
    yield Line(what, f"≥ {limit:.2f}", f"{share}  ({rates[0]:.1f} ÷ {rates[1]:.1f} GB/s)", share.value >= limit)


# Starting


def starting(quick: bool) -> Iterator[Line]:
    """Importing, compiling, and what a second process does."""
    found = processes.import_times(["weft", "numpy"], 3 if quick else 9)
    (took, cpu), (numpy, numpy_cpu) = found["weft"], found["numpy"]
    figure = f"{took:.3f} s, CPU {cpu:.3f} s  (of which NumPy {numpy:.3f} s, CPU {numpy_cpu:.3f} s)"
    yield Line("import weft", f"≤ {IMPORT_LIMIT} s", figure, took <= IMPORT_LIMIT)
    cold = processes.compiling(1 if quick else 3)
    figure = f"{cold.per_kernel * 1e3:.0f} ms, CPU {cold.cpu * 1e3:.0f} ms"
    figure += f"  ({cold.kernels} kernels; LLVM and the first {cold.first:.1f} s)"
    yield Line(
        "compiling a fused kernel, mean", f"≤ {COMPILE_LIMIT * 1e3:.0f} ms", figure, cold.per_kernel <= COMPILE_LIMIT
    )
    second = processes.second_process()
    figure = (
        f"{second['compiled']} compiled, {second['loaded']} loaded; LLVM {'' if second['llvm'] else 'not '}imported"
    )
    met = second["compiled"] == 0 and second["loaded"] > 0 and not second["llvm"]
    yield Line("a second process running the demo's training", "0 compiled, no LLVM", figure, met)


def batch_sizes() -> Iterator[Line]:
    """One static function at many batch sizes."""
    made = processes.run(BATCHES.replace("SIZES", str(BATCH_SIZES)))
    figure = f"{made['programs']} programs; {made['later']} kernels compiled or loaded after the second size"
    met = made["programs"] <= BATCH_SIZES and made["later"] == 0
    yield Line(f"{BATCH_SIZES} batch sizes", f"≤ {BATCH_SIZES} programs, 0 kernels", figure, met)


BATCHES = """
import json
import weft
from weft.examples import digits
training = digits.prepare("static")
weft.stats().reset()
counts = []
for n in range(1, SIZES + 1):
    training.train_step(weft.zeros((n, 64)), weft.zeros((n,), dtype=weft.int64))
    counts.append(weft.stats())
later = counts[-1] - counts[1]
print(json.dumps({"programs": counts[-1].traces, "later": later.kernels_compiled + later.kernels_loaded}))
"""


# Memory


def memories(quick: bool) -> Iterator[Line]:
    """The peak of a training step, and growth over many."""
    peaks = {mode: memory.measured("peak", mode) for mode in ("eager", "static")}
    figure = f"{peaks['static']:,} bytes  (eager {peaks['eager']:,})"
    yield Line("peak of the demo's static step", "≤ eager's", figure, peaks["static"] <= peaks["eager"])
    steps = memory.STEPS // 10 if quick else memory.STEPS
    for mode in ("eager", "static"):
        grown = memory.measured("growth", mode, steps)
        yield Line(f"growth over {steps:,} {mode} steps", "< 1 MiB", f"{grown / 2**20:.2f} MiB", grown < GROWTH_LIMIT)
