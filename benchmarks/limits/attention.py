"""Line 6, attention: eight heads, causal, against PyTorch's, and the memory that it needs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from benchmarks.limits.contest import Bench, Goal, Limit, at_least
from benchmarks.limits.products import normal
from benchmarks.limits.rowwise import tensor_case, with_gradient
from benchmarks.workloads import Case, from_numpy

SPEED = 1.2
#: Batch, heads, length, features: PyTorch's blocked form takes four dimensions and no fewer.
SHAPE = (1, 8, 512, 64)
#: How much more than linearly memory may grow: blocks are of fixed size.
SLACK = 1.1
CALLS = 5


def causal(module: Any) -> Callable[..., Any]:
    """Causal attention with Weft or PyTorch."""
    return lambda q, k, v: module.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def cases(bench: Bench, shape: tuple[int, ...], grad: bool) -> dict[str, Case]:
    """Attention, or it and its gradient, by Weft and PyTorch."""
    import weft

    *arrays, g = normal((shape,) * 4, "float32")
    gradient = g if grad else None
    made = {
        "weft static": tensor_case(weft, causal(weft), arrays, gradient, static=weft.static),
        "weft eager": tensor_case(weft, causal(weft), arrays, gradient),
    }
    if "torch" in bench.peers:
        import torch

        made["torch"] = tensor_case(torch, causal(torch), arrays, gradient)
    return made


def attention(bench: Bench, shape: tuple[int, ...] = SHAPE) -> Iterator[Limit]:
    """Attention, forward and with its gradient: speed, then memory."""
    text = "×".join(map(str, shape[1:]))
    chosen = {f"attention {text} {which}": which == "gradient" for which in ("forward", "gradient")}
    speeds: dict[str, float] = {}
    asked = list(bench.watched(6, chosen))
    for name in asked:
        made = bench.run(6, name, cases(bench, shape, chosen[name]), goals=(Goal("weft static", ("torch",), SPEED),))
        speed = 0.0 if made.problems else made.speed("weft static", ("torch",))
        if speed is not None:
            speeds[name] = speed
    if asked:
        yield at_least("6  attention, static, speed ÷ PyTorch's", SPEED, speeds)
    for name in asked:
        *outer, length, features = shape
        peaks = [peak((*outer, factor * length, features), chosen[name]) for factor in (1, 2, 4)]
        growth = max(after / before for before, after in pairwise(peaks)) / 2
        figure = f"{growth:.2f}  ({', '.join(f'{p / 2**20:.2f}' for p in peaks)} MiB at length {length}, × 2, × 4)"
        yield Limit(f"6  {name}, growth of peak memory ÷ length's", f"≤ {SLACK:.2f}", figure, growth <= SLACK)


def peak(shape: tuple[int, ...], grad: bool) -> int:
    """The most bytes that tensors and scratch took during a call beyond those alive before it: the most of some calls, for
    how many threads have scratch at the same time is a matter of chance."""
    import weft

    operands = from_numpy(weft, normal((shape,) * 4, "float32"))
    function = causal(weft)
    if grad:
        function = with_gradient(weft, function)
        operands = (operands[3], *(t.requires_grad_() for t in operands[:3]))
    else:
        operands = operands[:3]
    function(*operands)
    gc.collect()
    weft.reset_peak_memory()
    before = weft.memory_stats()["live_bytes"]
    for _ in range(CALLS):
        function(*operands)
    return weft.memory_stats()["peak_bytes"] - before
