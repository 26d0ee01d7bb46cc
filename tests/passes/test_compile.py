"""From a graph to a program that runs: the whole way, and how long it takes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from weft import _native, config, dtypes
from weft.compiler import compile_graph
from weft.ir.graph import Graph
from weft.ir.interpreter import interpret

from .build import Builder, arrays_for, layer_norm, linear, op, softmax, total
from .models import mlp_step


def compare(graph: Graph, scalars: tuple = (), tolerance: float = 1e-5) -> None:
    """Run a program with its inputs; compare outputs and written inputs with the interpreter."""
    arrays = arrays_for(graph)
    executable = compile_graph(graph, "test")
    given = [_native.from_numpy(a.copy()) for a in arrays]
    made = executable.program.run(given, list(scalars))
    wanted, writes = interpret(graph, arrays, scalars)
    for t, want in zip(made, wanted, strict=True):
        np.testing.assert_allclose(t.numpy(), want, rtol=tolerance, atol=tolerance)
    for k, t in enumerate(given):
        np.testing.assert_allclose(t.numpy(), writes.get(k, arrays[k]), rtol=tolerance, atol=tolerance)


def test_fused_programs() -> None:
    b = Builder()
    x, w, c = b.input(20, 6), b.input(6), b.input(6)
    compare(b.graph(softmax(x), *layer_norm(x, w, c), total(x, 0, 1), total(x, 0, 2)))
    b = Builder()
    compare(b.graph(op("maximum", linear(b.input(20, 6), b.input(6, 5), b.input(5)), 0.0)))


@pytest.mark.parametrize("adam", [False, True])
def test_a_training_step(adam: bool) -> None:
    compare(mlp_step(adam=adam), (0.1,), 1e-4)


def test_scalars_are_passed_when_a_program_runs() -> None:
    b = Builder()
    x = b.input(3)
    s, k = b.scalar(), b.scalar(dtypes.int64)
    graph = b.graph(op("add", op("multiply", x, s), op("cast", k, attrs=dtypes.float32)))
    program = compile_graph(graph).program
    (out,) = program.run([_native.from_numpy(np.ones(3, np.float32))], [2.5, 3])
    assert out.numpy().tolist() == [5.5] * 3


def test_an_index_out_of_range_names_the_line() -> None:
    b = Builder()
    x, i = b.input(5), b.input(3, dtype=dtypes.int64)
    index = op("check_index", i, 5)
    graph = b.graph(writes=[(x, op("scatter_set", x, op("gather", x, index, attrs=((3,),)), index, attrs=((3,),)))])
    program = compile_graph(graph).program
    memory = np.arange(5, dtype=np.float32)
    with pytest.raises(IndexError, match="out of range"):
        program.run([_native.from_numpy(memory), _native.from_numpy(np.array([0, 1, 7]))], [])
    assert memory.tolist() == [0, 1, 2, 3, 4]


def test_the_result_does_not_depend_on_threads_or_chunks() -> None:
    b = Builder()
    x = b.input(300, 500)
    graph = b.graph(softmax(x), total(op("exp", x), 0, 2), total(x, 0, 1), op("tanh", x))
    arrays = arrays_for(graph)
    results = []
    before = _native.get_num_threads()
    try:
        for threads, grain in ((1, 0), (2, 0), (3, 7)):
            _native.set_num_threads(threads)
            with config.override(grain=grain):
                program = compile_graph(graph).program
            results.append([t.numpy().tobytes() for t in program.run([_native.from_numpy(a) for a in arrays], [])])
    finally:
        _native.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_what_an_executable_tells(capsys: pytest.CaptureFixture[str]) -> None:
    b = Builder()
    with config.override(show=("graph", "passes", "schedule", "kernels"), verify=True):
        executable = compile_graph(b.graph(softmax(b.input(20, 6))), "softmax")
    assert executable.launches == 1
    assert executable.temporary_bytes == 0
    assert len(executable.kernels) == 1
    assert [name for name, _, _ in executable.passes][-2:] == ["schedule", "compile"]
    printed = capsys.readouterr().err
    for words in ("reduce_max", "simplify", "row or[20x6]", "def row_"):
        assert words in printed


def best(build: Graph) -> float:
    compile_graph(build)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        compile_graph(build)
        times.append(time.perf_counter() - start)
    return min(times)


def test_compiling_is_fast_once_kernels_are_there() -> None:
    """An op takes well under a millisecond, a training step about ten; both with room for a busy machine."""
    b = Builder()
    assert best(b.graph(op("add", b.input(4, 6), b.input(4, 6)))) < 2e-3
    graph = mlp_step(adam=True)
    assert best(graph) < 1e-4 * len(graph.nodes) + 10e-3


def test_large_graphs_take_time_in_proportion() -> None:
    from weft.passes.schedule import schedule

    def seconds(layers: int) -> float:
        graph = mlp_step(sizes=(8,) * layers)
        start = time.perf_counter()
        schedule(graph)
        return (time.perf_counter() - start) / len(graph.nodes)

    seconds(5)
    assert seconds(100) < 5 * seconds(10)
