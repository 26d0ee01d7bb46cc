"""Lines 1 to 3: matrix products against the multiply-add peak and the peers, in many shapes, and with a layer around them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks import compare, workloads
from benchmarks.limits import yardsticks
from benchmarks.limits.contest import PEERS, Bench, Contest, Goal, Limit, at_least
from benchmarks.timing import call, seconds
from benchmarks.workloads import Arrays, Workload, from_numpy

PEAK_SHARE = 0.92
JOINED = (("weft eager", "peak"),)
SQUARES = (1024, 2048)

#: Slower by at most 5 %.
NEVER_BELOW = 1 / 1.05
MEDIAN = 1.15
LAYOUTS = ("NN", "NT", "TN", "TT")
DTYPES = ("float32", "float64")
#: (batch..., m, k, n)
SHAPES: tuple[tuple[int, ...], ...] = (
    (8, 8, 8),
    (32, 32, 32),
    (64, 64, 64),
    (64, 1000, 100),
    (64, 100, 10),
    (128, 128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (32, 4096, 4096),
    (1, 4096, 4096),
    (4096, 4096, 1),
    (100, 64, 1000),
    (10000, 3, 3),
    (512, 16, 16, 16),
)

LAYER_COST = 1.03
LAYER = 1024


def title(shape: Sequence[int], dtype: str = "float32", layout: str = "NN") -> str:
    """How a product is called in the table; each part is a word that ``--cells`` selects by."""
    return f"{'×'.join(map(str, shape))} {dtype} {layout}"


def product(shape: Sequence[int], dtype: str = "float32", layout: str = "NN") -> Workload:
    """A matrix product; a T in the layout has the operand lie in memory transposed."""
    *batch, m, k, n = shape
    stored = (
        (*batch, *((m, k) if layout[0] == "N" else (k, m))),
        (*batch, *((k, n) if layout[1] == "N" else (n, k))),
    )

    def turned(operands: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(x.mT if side == "T" else x for x, side in zip(operands, layout, strict=True))

    return Workload(
        title(shape, dtype, layout),
        title(shape, dtype, layout),
        partial(normal, stored, dtype),
        lambda module, arrays: (operator.matmul, turned(from_numpy(module, arrays))),
        numpy=lambda arrays: (operator.matmul, turned(arrays)),
        statement="a0 @ a1",
    )


@lru_cache(maxsize=2)
def normal(shapes: tuple[tuple[int, ...], ...], dtype: str) -> Arrays:
    """Standard normal arrays, always the same."""
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal(shape, dtype=np.dtype(dtype)) for shape in shapes)


def run(bench: Bench, line: int, chosen: Workload, **extra: Any) -> Contest:
    """A product by Weft, NumPy and PyTorch."""
    cases = {"weft eager": workloads.weft_case(chosen, "eager")}
    for peer in ("numpy", "torch"):
        found = bench.peers[peer](chosen) if peer in bench.peers else None
        if found is not None:
            cases[peer] = found
    return bench.run(line, chosen.title, cases, **extra)


def squares(bench: Bench) -> Iterator[Limit]:
    """Line 1: large square products, as a share of the multiply-add peak and against PyTorch."""
    peak = yardsticks.multiply_adds(bench.threads)
    shares, speeds, notes = {}, {}, []
    chosen = {w.title: (n, w) for n in SQUARES for w in [product((n, n, n))]}
    for name in bench.watched(1, chosen):
        n, workload = chosen[name]
        # The share of the peak is a ratio of times, over that of the work.
        goals = (
            Goal("weft eager", ("peak",), PEAK_SHARE * peak.amount / (2.0 * n**3)),
            Goal("weft eager", ("torch",), 1.0),
        )
        made = run(bench, 1, workload, extra={"peak": peak.candidate}, repeats=2, goals=goals, joined=JOINED)
        if made.problems:
            shares[name] = speeds[name] = 0.0
            continue
        rates = {key: 2e-9 * n**3 / t.median for key, t in made.times.items() if key != "peak"}
        rates["peak"] = peak.rate(made.times["peak"]) / 1e9
        shares[name] = rates["weft eager"] / rates["peak"]
        speed = made.speed("weft eager", ("torch",))
        if speed is not None:
            speeds[name] = speed
        notes.append(f"{n}: " + ", ".join(f"{key} {rate:.0f}" for key, rate in rates.items()))
    note = f"  (GFLOP/s: {'; '.join(notes)})"
    if shares:
        yield at_least("1  square matmul ÷ multiply-add peak", PEAK_SHARE, shares, note)
        yield at_least("1  square matmul, speed ÷ PyTorch's", 1.0, speeds)


def shapes(bench: Bench) -> Iterator[Limit]:
    """Line 2: all shapes, types and layouts, against the faster of NumPy and PyTorch."""
    chosen = {title(s, d, lay): (s, d, lay) for s in SHAPES for d in DTYPES for lay in LAYOUTS}
    speeds: dict[str, float] = {}
    for name in bench.watched(2, chosen):
        made = run(bench, 2, product(*chosen[name]), goals=(Goal("weft eager", PEERS, NEVER_BELOW),))
        speed = 0.0 if made.problems else made.speed("weft eager")
        if speed is not None:
            speeds[name] = speed
    if speeds:
        yield at_least("2  any shape, speed ÷ the faster of NumPy's and PyTorch's", NEVER_BELOW, speeds)
        median = float(np.median(list(speeds.values())))
        yield at_least("2  their median", MEDIAN, {"median": median}, f"  (of {len(speeds)})")


def layer(bench: Bench) -> Iterator[Limit]:
    """Line 3: what a bias and an activation around a product cost."""
    import weft

    x, w, b = from_numpy(weft, normal(((LAYER, LAYER), (LAYER, LAYER), (LAYER,)), "float32"))
    turned = w.T.clone()  # as a layer keeps it
    linear = weft.nn.functional.linear
    functions: dict[str, tuple[Callable[..., Any], ...]] = {
        "relu(x @ w + b) static": (weft.static(lambda x, w, b: weft.relu(x @ w + b)), weft.static(operator.matmul)),
        "linear(x, w, b) eager": (linear, lambda x, w: x @ w.T),
    }
    costs: dict[str, tuple[float, str]] = {}
    for name in bench.watched(3, functions):
        around, bare = functions[name]
        weights = turned if "linear" in name else w
        got, plain = around(x, weights, b).numpy(), bare(x, weights).numpy() + b.numpy()
        problem = compare.difference([plain if "linear" in name else np.maximum(plain, 0)], [got], exact=False)
        candidates = {"weft layer": call(around, x, weights, b), "weft product": call(bare, x, weights)}
        problems = [f"line 3, {name}: {problem}"] if problem else []
        goals = (Goal("weft layer", ("weft product",), 1 / LAYER_COST),)
        made = bench.time(3, name, candidates, problems, repeats=3, goals=goals, joined=[tuple(candidates)])
        ours, theirs = made.times["weft layer"], made.times["weft product"]
        # It is a matter of a few hundredths.
        costs[name] = made.in_rounds("weft layer", "weft product"), f"{seconds(ours.median)} ÷ {seconds(theirs.median)}"
    for name, (cost, note) in costs.items():
        yield Limit(f"3  {name} ÷ bare matmul", f"≤ {LAYER_COST:.2f}", f"{cost:.3f}  ({note})", cost <= LAYER_COST)
