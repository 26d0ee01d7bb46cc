"""Line 8: what the generated code of matrix products costs to compile and to load, and how much of it a model needs."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator

from benchmarks.limits.contest import Bench, Limit
from benchmarks.processes import run

COMPILE = 0.400  # seconds
LOAD = 0.005
MODULES = 8
ROUNDS = 3

#: The code of each type's products, compiled with an empty cache and loaded with a full one.
TIMES = """
import json, time
import weft
from weft.codegen import counters, tiles
found = {}
for dtype in (weft.float32, weft.float64):
    start = time.perf_counter()
    tiles.ensure(dtype)
    found[dtype.name] = time.perf_counter() - start
print(json.dumps([found, dict(counters)]))
"""

#: The modules of products that a model's training uses, by their names in the cache.
NAMES = """
import json
import weft
from weft.runtime import cache
MODEL
print(json.dumps(sorted(entry.name for entry in cache.entries() if entry.name.startswith("gemm"))))
"""
MODELS = {
    "the demo's classifier": """
from weft.examples import digits
for mode in digits.MODES:
    training = digits.prepare(mode)
    training.train_step(weft.zeros((64, 64)), weft.zeros((64,), dtype=weft.int64))
""",
    "two layers": """
from benchmarks.workloads import MODES, WORKLOADS, weft_case
for mode in MODES:
    weft_case(WORKLOADS["two_layers"], mode).check()
""",
}


def modules(bench: Bench) -> Iterator[Limit]:
    """Times of compiling and loading in new processes, then the number of modules."""
    for name in bench.watched(8, ("modules", *MODELS)):
        if name == "modules":
            yield from times(1 if bench.quick else ROUNDS)
            continue
        with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
            found = run(NAMES.replace("MODEL", MODELS[name]), folder)
        figure = f"{len(found)}  ({', '.join(found)})"
        yield Limit(f"8  modules of products in {name}", f"≤ {MODULES}", figure, 0 < len(found) <= MODULES)


def times(rounds: int) -> Iterator[Limit]:
    """Compiling with an empty cache, then loading."""
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
            found, counters = run(TIMES, folder)
            if counters["kernels_compiled"] != len(found):
                raise RuntimeError(
                    f"With an empty cache {counters} were counted for the products of {', '.join(found)}."
                )
            cold.append(found)
            for _ in range(rounds):
                found, counters = run(TIMES, folder)
                if counters["kernels_loaded"] != len(found):
                    raise RuntimeError(
                        f"With a full cache {counters} were counted for the products of {', '.join(found)}."
                    )
                warm.append(found)
    for what, each, limit in (("compiling", cold, COMPILE), ("loading", warm, LOAD)):
        medians = {name: statistics.median(found[name] for found in each) for name in each[0]}
        figure = ", ".join(f"{name} {took * 1e3:.1f} ms" for name, took in medians.items())
        yield Limit(
            f"8  {what} a module of products", f"≤ {limit * 1e3:.0f} ms", figure, max(medians.values()) <= limit
        )
