"""The other libraries' cases of the workloads: PyTorch eager and compiled, JAX jitted, NumPy; whichever are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from benchmarks.workloads import Case, Workload, case

Prepare = Callable[[Workload], Case | None]


def installed(threads: int) -> dict[str, Prepare]:
    """A way to prepare a workload with each library that is installed, set to so many threads."""
    found: dict[str, Prepare] = {"numpy": numpy_case}
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads)
        found["torch"] = partial(torch_case, False)
        found["torch.compile"] = partial(torch_case, True)
    if importlib.util.find_spec("jax") is not None:
        found["jax.jit"] = partial(jax_case, False)
        found["jax.jit, ahead"] = partial(jax_case, True)
    return found


def versions() -> list[str]:
    """Name and version of each library that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("numpy", "torch", "jax"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def numpy_case(workload: Workload) -> Case | None:
    if workload.numpy is None:
        return None
    function, arguments = workload.numpy(workload.arrays())
    return case(workload, function, arguments, np.asarray, workload.statement)


def torch_case(compiled: bool, workload: Workload) -> Case | None:
    import torch

    if compiled and workload.statement:
        return None  # a single addition is not what it is for
    function, arguments = workload.tensors(torch, workload.arrays())
    if compiled:
        function = torch.compile(function, dynamic=False)
    statement = None if compiled else workload.statement
    return case(workload, function, arguments, lambda t: t.detach().numpy(), statement)


def jax_case(ahead: bool, workload: Workload) -> Case | None:
    """A jitted function, finished when it returns; ``ahead``: a training loop that goes on while steps are computed."""
    if workload.jax is None or (ahead and not workload.step):
        return None
    import jax

    function, arguments = workload.jax(jax, workload.arrays())
    jitted = function if workload.step else jax.jit(function)
    waiting = 32 if ahead else 1  # now and then all the same: what is timed must not pile up
    calls = count(1)

    def run(*arguments: Any) -> Any:
        made = jitted(*arguments)
        if not next(calls) % waiting:
            (made if isinstance(made, jax.Array) else made[-1]).block_until_ready()
        return made

    return case(workload, run, arguments, np.asarray)
