"""What is measured in processes of its own: importing, compiling with an empty cache, and starting with a full one."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

IMPORT = """
import time
start = time.perf_counter(), time.process_time()
import {module}
print([time.perf_counter() - start[0], time.process_time() - start[1]])
"""

#: The fused kernels whose compilation is timed, after one that brings LLVM itself up.
COLD = """
import json, time
import weft
from weft import codegen
start = time.perf_counter()
weft.ones((4,)) + weft.ones((4,))  # brings up LLVM
first = time.perf_counter() - start
assert codegen.counters["kernels_compiled"], "the cache was not empty"
F = weft.nn.functional
functions = {
    "silu": lambda x, w, b: F.silu(x * w + b),
    "gelu": lambda x, w, b: F.gelu(x + b),
    "softmax": lambda x, w, b: F.softmax(x, -1),
    "log_softmax": lambda x, w, b: F.log_softmax(x, -1),
    "layer_norm": lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b),
    "norm": lambda x, w, b: (x * x).sum(axis=1),
    "column means": lambda x, w, b: (x - b).mean(axis=0),
    "standardise": lambda x, w, b: (x - x.mean()) / (x.std() + 1e-6),
}
x, w, b = weft.ones((32, 64)), weft.ones((64,)), weft.ones((64,))
before = dict(codegen.counters)
took, cpu = 0.0, time.process_time()
for function in functions.values():
    took += sum(ms for name, _, ms in weft.static(function).explain(x, w, b).passes if name == "compile")
from weft.examples import digits
training = digits.prepare("static")
images, labels = weft.zeros((64, 64)), weft.zeros((64,), dtype=weft.int64)
found = training.train_step.explain(images, labels)
took += sum(ms for name, _, ms in found.passes if name == "compile")
n = codegen.counters["kernels_compiled"] - before["kernels_compiled"]
cpu = time.process_time() - cpu
print(json.dumps({"first": first, "kernels": n, "seconds": took / 1e3, "cpu": cpu}))
"""

FIRST_STEP = """
import time
from weft.examples import digits
train_part, _ = digits.split()
training = digits.prepare({mode!r})
images, labels = next(digits.batches(train_part, 1))
start = time.perf_counter()
training.train_step(images, labels).item()
print(time.perf_counter() - start)
"""

TRAIN = """
import json, sys
import weft
from weft.examples import digits
for mode in digits.MODES:
    digits.train(mode, 1)
stats = weft.stats()
llvm = "llvmlite.binding" in sys.modules
print(json.dumps({"compiled": stats.kernels_compiled, "loaded": stats.kernels_loaded, "llvm": llvm}))
"""


def run(code: str, cache: str | None = None, **more: str) -> Any:
    """Run code in a new process, with more environment variables; gives what it printed last, read as JSON."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **more}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    if cache is not None:
        variables["WEFT_CACHE_DIR"] = cache
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"A process that was to be measured failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def import_times(modules: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds, and seconds of CPU, to import each module in a new process, in turn, after one import that is not counted."""
    found: dict[str, list[tuple[float, float]]] = {module: [] for module in modules}
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as bytecode:
        for k in range(rounds + 1):
            for module in modules:
                took = run(IMPORT.format(module=module), PYTHONPYCACHEPREFIX=bytecode)
                if k:
                    found[module].append(took)
    return {
        m: (statistics.median(t for t, _ in each), statistics.median(t for _, t in each)) for m, each in found.items()
    }


@dataclass(frozen=True, slots=True)
class Compiling:
    """Seconds until the first kernel could run (importing LLVM included), and per fused kernel after that."""

    first: float
    per_kernel: float
    cpu: float  # seconds of CPU per kernel, tracing and scheduling included
    kernels: int


def compiling(rounds: int = 3) -> Compiling:
    """What compiling costs in a new process with an empty cache."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
            found.append(run(COLD, folder))
    return Compiling(
        statistics.median(f["first"] for f in found),
        statistics.median(f["seconds"] / f["kernels"] for f in found),
        statistics.median(f["cpu"] / f["kernels"] for f in found),
        found[0]["kernels"],
    )


def first_step(mode: str, cache: str) -> float:
    """Seconds that the demo's first training step takes in a new process with this kernel cache."""
    return run(FIRST_STEP.format(mode=mode), cache)


def second_process() -> dict[str, Any]:
    """What the second of two processes that run the demo's training compiles, loads and imports."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        run(TRAIN, folder)
        return run(TRAIN, folder)
