"""Memory of the demo's training step: the peak in each mode, and whether steps leak."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from benchmarks.processes import run

WARM_UP = 300
STEPS = 10_000


def peak(mode: str) -> int:
    """The most bytes that tensors took during one training step beyond those alive before it."""
    import weft

    step, images, labels = prepared(mode)
    for _ in range(3):
        step(images, labels)
    gc.collect()
    weft.reset_peak_memory()
    before = weft.memory_stats()["live_bytes"]
    step(images, labels)
    return weft.memory_stats()["peak_bytes"] - before


def growth(mode: str, steps: int = STEPS, warm_up: int = WARM_UP) -> int:
    """Bytes by which the process grew over so many training steps."""
    step, images, labels = prepared(mode)
    for _ in range(warm_up):
        step(images, labels)
    gc.collect()
    before = resident()
    for _ in range(steps):
        step(images, labels)
    gc.collect()
    return resident() - before


def prepared(mode: str) -> tuple[Any, Any, Any]:
    """The demo's training step, which gives the loss as a number, and one batch."""
    from weft.examples import digits

    train_part, _ = digits.split()
    training = digits.prepare(mode)
    images, labels = next(digits.batches(train_part, 1))
    return lambda x, y: training.train_step(x, y).item(), images, labels


def resident() -> int:
    """Bytes of this process in physical memory."""
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024


def measured(what: str, mode: str, *arguments: int) -> int:
    """`peak` or `growth` in a new process, where nothing else allocates."""
    return run(f"from benchmarks import memory; print(memory.{what}{(mode, *arguments)!r})")
