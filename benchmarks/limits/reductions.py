"""Line 5: reductions of 4096 × 4096 floats against the bandwidth of reading memory, and against the peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.limits import yardsticks
from benchmarks.limits.contest import PEERS, Bench, Goal, Limit, at_least, case
from benchmarks.limits.products import normal
from benchmarks.workloads import Case

SIZE = 4096
SHARE = 0.85
JOINED = (("weft eager", "reading"),)
AXES: dict[str, int | None] = {"all": None, "first": 0, "last": -1}
#: In this order: Weft's and NumPy's and JAX's name, PyTorch's name, PyTorch's further arguments. PyTorch's max and var do
#: more than is asked for: indices, and a correction.
FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sum": ("sum", {}),
    "max": ("amax", {}),
    "argmax": ("argmax", {}),
    "mean": ("mean", {}),
    "var": ("var", {"correction": 0}),
}


def array_form(module: Any, name: str, axis: int | None) -> Callable[[Any], Any]:
    """A reduction in Weft, NumPy or JAX."""
    function = getattr(module, name)
    return lambda x: function(x, axis=axis)


def torch_form(torch: Any, name: str, axis: int | None) -> Callable[[Any], Any]:
    """A reduction in PyTorch."""
    own, more = FUNCTIONS[name]
    function = getattr(torch, own)
    if axis is None:
        return (lambda x: function(x, **more)) if more else function
    return lambda x: function(x, dim=axis, **more)


def reductions(bench: Bench, size: int = SIZE) -> Iterator[Limit]:
    """Each reduction over all, the first and the last axis, and the bandwidth measured in turn with it."""
    import weft

    (array,) = normal(((size, size),), "float32")
    x = weft.from_numpy(array).clone()
    bandwidth = yardsticks.reading(bench.threads, size * size)
    moving = {}
    if "torch" in bench.peers:
        import torch

        moving["torch"] = torch.from_numpy(array).clone()
    if "jax.jit" in bench.peers:
        import jax

        moving["jax.jit"] = jax.device_put(array)
    # The share of the bandwidth is a ratio of times, over that of the bytes.
    goals = (
        Goal("weft eager", ("reading",), SHARE * bandwidth.amount / array.nbytes),
        Goal("weft eager", PEERS, 1.0),
    )
    shares: dict[str, float] = {}
    speeds: dict[str, float] = {}
    rates = []
    cells = {f"{name} {which}": (name, axis) for name in FUNCTIONS for which, axis in AXES.items()}
    for cell in bench.watched(5, cells):
        name, axis = cells[cell]
        cases: dict[str, Case] = {"weft eager": case(array_form(weft, name, axis), [x], lambda t: t.numpy())}
        if "numpy" in bench.peers:
            cases["numpy"] = case(array_form(np, name, axis), [array], np.asarray)
        if "torch" in moving:
            cases["torch"] = case(torch_form(torch, name, axis), [moving["torch"]], lambda t: t.numpy())
        if "jax.jit" in moving:
            jitted = jax.jit(array_form(jax.numpy, name, axis))
            cases["jax.jit"] = case(lambda x, f=jitted: f(x).block_until_ready(), [moving["jax.jit"]], np.asarray)
        made = bench.run(5, cell, cases, {"reading": bandwidth.candidate}, goals=goals, joined=JOINED)
        if made.problems:
            shares[cell] = speeds[cell] = 0.0
            continue
        rate = bandwidth.rate(made.times["reading"])
        rates.append(rate)
        # The bandwidth of a virtual machine may be twice as much in the next round.
        shares[cell] = made.in_rounds("reading", "weft eager") * array.nbytes / bandwidth.amount
        speed = made.speed("weft eager")
        if speed is not None:
            speeds[cell] = speed
    if shares:
        note = f"  (reading {np.median(rates) / 1e9:.1f} GB/s)"
        yield at_least(f"5  reductions of {size}², bandwidth ÷ reading's", SHARE, shares, note)
        yield at_least("5  their speed ÷ the best peer's", 1.0, speeds)
