"""From a graph to a program that runs: the whole way, and how much work it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import numpy as np
import pytest

from weft import _native, config, dtypes
from weft.compiler import compile_graph
from weft.ir.graph import Graph
from weft.ir.interpreter import interpret
from weft.ir.kernel import Kernel, Load, Reduce, Store
from weft.ir.node import make
from weft.passes.schedule import phases

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


@pytest.mark.parametrize(("rows", "units"), [(100, 4), (256, 4), (700, 12), (4096, 16)])
def test_sums_over_few_rows_are_shared_by_columns(rows: int, units: int) -> None:
    kernel = Kernel(
        "outer", "ri", (dtypes.float32,) * 2, (Load(0, "sc"), Reduce("sum", 0, dtypes.float32), Store(1, "bc", 1))
    )
    assert phases(kernel, (rows, 4096), 1)[0][0] == units


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


def calls(function: Callable[[Graph], object], graph: Graph) -> int:
    """How many functions are called, which is the same every time; seconds are for the benchmarks."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(graph)
    finally:
        sys.setprofile(before)
    return count


def test_compiling_takes_little_work_once_kernels_are_there() -> None:
    """An op about 1000 calls of functions, each op of a training step about 220; some 0.2 and 0.04 ms."""
    b = Builder()
    one, step = b.graph(op("add", b.input(4, 6), b.input(4, 6))), mlp_step(adam=True)
    for graph, most in ((one, 1500), (step, 330 * len(step.nodes))):
        compile_graph(graph)
        assert calls(compile_graph, graph) < most


def test_large_graphs_take_work_in_proportion() -> None:
    from weft.passes.schedule import schedule

    def each(layers: int) -> float:
        graph = mlp_step(sizes=(8,) * layers)
        return calls(schedule, graph) / len(graph.nodes)

    assert each(200) < 1.35 * each(10)


def test_many_small_updates_take_work_in_proportion() -> None:
    """Parameters that are updated alone, all of which could come next, and rows of one tensor that are written in turn."""
    from weft.passes.schedule import schedule

    def apart(n: int) -> Graph:
        b = Builder()
        given = [(b.input(4, 6), b.input(4, 6)) for _ in range(n)]
        return b.graph(writes=[(p, op("subtract", p, op("multiply", g, 0.5))) for p, g in given])

    def rows(n: int) -> Graph:
        b = Builder()
        x = value = b.input(n + 1, 6)
        for k in range(n):
            value = make("assign", (value, op("exp", b.input(6))), (6 * k, (1,)), x.shape, x.dtype)
        return b.graph(writes=[(x, value)])

    for family in (apart, rows):
        few, many = family(20), family(400)
        assert calls(schedule, many) / len(many.nodes) < 1.35 * calls(schedule, few) / len(few.nodes)
