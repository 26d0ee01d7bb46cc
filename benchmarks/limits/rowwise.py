"""Line 6: row-wise functions and attention, forward and with their gradient, against the peers.

"Forward and gradient" gives the result and its gradient with respect to every operand, for a given gradient of the result.
The static mode stands against all peers; that of eager mode is shown in the details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.limits.contest import PEERS, Bench, Goal, Limit, at_least, case
from benchmarks.limits.products import normal
from benchmarks.workloads import Case

SPEED = 1.3
Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Rowwise:
    """A function of one or more operands: for Weft and PyTorch together, for NumPy and for JAX."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    tensors: Callable[[Any], Function]
    numpy: Function
    jax: Callable[[Any], Function]
    result: tuple[int, ...]


def log_softmax_numpy(x: Any) -> Any:
    d = x - x.max(axis=-1, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=-1, keepdims=True))


def logsumexp_numpy(x: Any) -> Any:
    top = x.max(axis=-1)
    return top + np.log(np.exp(x - top[..., None]).sum(axis=-1))


def functions(softmax: tuple[int, int], logs: tuple[int, int], norm: tuple[int, int]) -> Iterator[Rowwise]:
    """The functions of the line, over arrays of these shapes."""
    yield Rowwise(
        f"softmax {'×'.join(map(str, softmax))}",
        (softmax,),
        workloads.softmax,
        workloads.softmax_numpy,
        lambda jax: lambda x: jax.nn.softmax(x, -1),
        softmax,
    )
    yield Rowwise(
        f"log_softmax {'×'.join(map(str, logs))}",
        (logs,),
        lambda module: lambda x: module.log_softmax(x, -1),
        log_softmax_numpy,
        lambda jax: lambda x: jax.nn.log_softmax(x, -1),
        logs,
    )
    yield Rowwise(
        f"logsumexp {'×'.join(map(str, logs))}",
        (logs,),
        lambda module: lambda x: module.logsumexp(x, -1),
        logsumexp_numpy,
        lambda jax: lambda x: jax.scipy.special.logsumexp(x, -1),
        logs[:1],
    )
    yield Rowwise(
        f"layer_norm {'×'.join(map(str, norm))}",
        (norm, norm[1:], norm[1:]),
        workloads.layer_norm,
        workloads.layer_norm_numpy,
        workloads.jax_layer_norm,
        norm,
    )


SIZES = ((1024, 1024), (4096, 1024), (2048, 768))


def with_gradient(module: Any, function: Function) -> Function:
    """``(g, *operands) -> (result, *gradients)`` with Weft or PyTorch."""

    def both(g: Any, *operands: Any) -> tuple[Any, ...]:
        y = function(*operands)
        return y.detach(), *module.autograd.grad(y, operands, g)

    return both


def with_gradient_jax(jax: Any, function: Function) -> Function:
    """The same with JAX."""

    def both(g: Any, *operands: Any) -> tuple[Any, ...]:
        y, back = jax.vjp(function, *operands)
        return y, *back(g)

    return both


def tensor_case(
    module: Any,
    function: Function,
    arrays: Sequence[np.ndarray],
    gradient: np.ndarray | None,
    static: Callable[[Function], Function] | None = None,
    compiled: Callable[[Function], Function] | None = None,
) -> Case:
    """A case of Weft or PyTorch. ``static`` takes the gradient with it, ``compiled`` the forward function alone."""
    operands = workloads.from_numpy(module, tuple(arrays))
    if compiled is not None:
        function = compiled(function)
    if gradient is not None:
        for t in operands:
            t.requires_grad = True
        function = with_gradient(module, function)
        operands = (*workloads.from_numpy(module, (gradient,)), *operands)
    if static is not None:
        function = static(function)
    return case(function, operands, lambda t: t.detach().numpy())


def cases(bench: Bench, chosen: Rowwise, grad: bool) -> dict[str, Case]:
    """A function, or it and its gradient, by everybody."""
    import weft

    *arrays, g = normal((*chosen.shapes, chosen.result), "float32")
    gradient = g if grad else None
    function = chosen.tensors(weft)
    made = {
        "weft static": tensor_case(weft, function, arrays, gradient, static=weft.static),
        "weft eager": tensor_case(weft, function, arrays, gradient),
    }
    if "numpy" in bench.peers and not grad:
        made["numpy"] = case(chosen.numpy, arrays, np.asarray)
    if "torch" in bench.peers:
        import torch

        function = chosen.tensors(torch)
        made["torch"] = tensor_case(torch, function, arrays, gradient)
        if not bench.quick:  # compiling takes half a minute
            made["torch.compile"] = tensor_case(torch, function, arrays, gradient, compiled=torch.compile)
    if "jax.jit" in bench.peers:
        import jax

        function = chosen.jax(jax)
        jitted = jax.jit(with_gradient_jax(jax, function) if grad else function)
        operands = [jax.device_put(a) for a in ((g, *arrays) if grad else arrays)]
        made["jax.jit"] = case(lambda *operands: jax.block_until_ready(jitted(*operands)), operands, np.asarray)
    return made


def rows(bench: Bench, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Limit]:
    """The functions of rows, forward and with their gradient."""
    chosen = {
        f"{function.name} {which}": (function, which == "gradient")
        for function in functions(*sizes)
        for which in ("forward", "gradient")
    }
    speeds: dict[str, float] = {}
    for name in bench.watched(6, chosen):
        made = bench.run(6, name, cases(bench, *chosen[name]), goals=(Goal("weft static", PEERS, SPEED),))
        speed = 0.0 if made.problems else made.speed("weft static", PEERS)
        if speed is not None:
            speeds[name] = speed
    if speeds:
        yield at_least("6  row-wise functions, static, speed ÷ the best peer's", SPEED, speeds)
