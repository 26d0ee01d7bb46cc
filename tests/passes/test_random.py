"""Random graphs: scheduled, run in NumPy, and compared bit for bit with the interpreter; some run natively too."""

from __future__ import annotations

import numpy as np
import pytest

from weft import _native, dtypes
from weft.compiler import compile_graph
from weft.ir.graph import Input
from weft.ir.interpreter import interpret
from weft.ir.verify import verify
from weft.passes import launches
from weft.passes.pipeline import optimise

from .build import arrays_for, check
from .random_graphs import random_graph
from .run_kernels import Strided, stored_as


def possible(seed: int, steps: int) -> tuple:
    """A graph with inputs for it, unless an index would be out of range."""
    graph, scalars = random_graph(seed, steps)
    arrays = arrays_for(graph, seed)
    try:
        wanted = interpret(graph, arrays, scalars)
    except IndexError:
        pytest.skip("an index is out of range")
    return graph, arrays, scalars, wanted


@pytest.mark.parametrize("seed", range(150))
def test_schedules_mean_what_graphs_mean(seed: int) -> None:
    graph, arrays, scalars, _ = possible(seed, 12)
    verify(graph)
    verify(optimise(graph)[0])
    check(graph, arrays, scalars)


@pytest.mark.parametrize("seed", range(1000, 1030))
def test_long_programs(seed: int) -> None:
    graph, arrays, scalars, _ = possible(seed, 40)
    check(graph, arrays, scalars)


@pytest.mark.parametrize("seed", range(4000, 4060))
def test_whatever_can_runs_beside_a_product(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "_room", lambda group: 10**9 if group.kind == "matmul" else 0)
    graph, arrays, scalars, _ = possible(seed, 30)
    check(graph, arrays, scalars)


@pytest.mark.parametrize("seed", range(2000, 2020))
def test_unoptimised_graphs(seed: int) -> None:
    graph, arrays, scalars, _ = possible(seed, 15)
    check(graph, arrays, scalars, optimised=False)


def tensor(array: np.ndarray, given: Input) -> tuple:
    """A tensor of the input's layout, and the memory behind it."""
    memory = Strided(array, given.strides, given.dtype)
    flat = memory.memory.view(np.bool_ if given.dtype is dtypes.bool_ else stored_as(given.dtype))
    whole = _native.from_numpy(flat)
    return _native.strided(whole, given.shape, given.strides, memory.start // given.dtype.itemsize), memory


@pytest.mark.parametrize("seed", range(3000, 3012))
def test_programs_compute_what_graphs_mean(seed: int) -> None:
    graph, arrays, scalars, (wanted, writes) = possible(seed, 10)
    if any(x.dtype is dtypes.bfloat16 for x in (*graph.inputs, *graph.outputs)):
        pytest.skip("NumPy has no bfloat16")
    executable = compile_graph(graph, "random")
    given = [tensor(a, i) for a, i in zip(arrays, graph.inputs, strict=True)]
    made = executable.program.run([t for t, _ in given], scalars)

    def close(got: np.ndarray, want: np.ndarray) -> None:
        loose = 2e-2 if want.dtype == np.float16 else 2e-5
        np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=loose, atol=1e-6)

    for t, want in zip(made, wanted, strict=True):
        assert t.shape == want.shape
        close(t.numpy(), want)
    for k, (_, memory) in enumerate(given):
        close(memory.value(), writes.get(k, arrays[k]))
