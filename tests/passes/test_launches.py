"""Launches: which kernels and products run with which product, before or after its rows, and that this changes no bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from weft import _native, config, dtypes
from weft.compiler import compile_graph
from weft.ir.graph import Graph
from weft.passes.groups import Group
from weft.passes.launches import ancestors_of_all
from weft.passes.schedule import KernelCall, Product, Schedule

from .build import Builder, arrays_for, check, layer_norm, linear, op, softmax, total
from .models import flat, mlp_step, transpose

CASES: dict[str, tuple[Callable[[], Graph], list[str]]] = {}


def case(*launches: str) -> Callable[[Callable[[], Graph]], Callable[[], Graph]]:
    """A graph and its launches: the forms of what runs together, joined by "+"."""

    def add(build: Callable[[], Graph]) -> Callable[[], Graph]:
        CASES[build.__name__] = build, list(launches)
        return build

    return add


def forms(plan: Schedule) -> list[str]:
    return ["+".join(i.kernel.form if isinstance(i, KernelCall) else "matmul" for i in of) for of in plan.launches]


@case("matmul+map")
def bias_and_activation() -> Graph:
    b = Builder()
    return b.graph(op("maximum", linear(b.input(20, 6), b.input(6, 5), b.input(5)), 0.0))


@case("matmul+map")
def residual() -> Graph:
    b = Builder()
    x = b.input(6, 6)
    return b.graph(op("add", x, linear(x, b.input(6, 6), b.input(6))))


@case("map", "matmul+map", "map")
def residual_of_a_temporary_operand_may_not_take_over_its_memory() -> Graph:
    b = Builder()
    x = op("exp", b.input(6, 6))
    y = op("tanh", op("add", x, op("matmul", x, b.input(6, 6))))
    return b.graph(op("multiply", y, transpose(y)))


@case("matmul+map")
def scale_and_cast() -> Graph:
    b = Builder()
    product = op("matmul", b.input(9, 6), b.input(6, 7))
    return b.graph(op("cast", op("multiply", product, 0.125), attrs=dtypes.float16))


@case("matmul+reduce")
def row_maximum() -> Graph:
    b = Builder()
    return b.graph(total(op("matmul", b.input(9, 6), b.input(6, 7)), 1, 2, "reduce_max"))


@case("matmul+row")
def softmax_of_scores() -> Graph:
    b = Builder()
    return b.graph(softmax(op("multiply", op("matmul", b.input(3, 9, 6), b.input(3, 6, 7)), 0.4)))


@case("matmul+row")
def softmax_of_many_rows() -> Graph:
    b = Builder()
    return b.graph(softmax(op("matmul", b.input(200, 6), b.input(6, 900))))


@case("matmul", "row")
def softmax_of_few_long_rows() -> Graph:
    b = Builder()
    return b.graph(softmax(op("matmul", b.input(20, 6), b.input(6, 9000))))


@case("matmul+map")
def few_long_rows_by_elements() -> Graph:
    b = Builder()
    return b.graph(op("exp", op("matmul", b.input(20, 6), b.input(6, 9000))))


@case("matmul+map+reduce")
def a_chain() -> Graph:
    """The maximum over some columns reads what the map has stored."""
    b = Builder()
    h = op("tanh", linear(b.input(10, 6), b.input(6, 8), b.input(8)))
    return b.graph(h, total(op("slice", h, attrs=((0, 2), (1, 2), (10, 3))), 1, 2, "reduce_max"))


@case("matmul+map")
def two_results() -> Graph:
    b = Builder()
    x = op("matmul", b.input(10, 6), b.input(6, 8))
    return b.graph(op("exp", x), x)


@case("matmul+map")
def columns_of_a_row() -> Graph:
    b = Builder()
    x = op("matmul", b.input(10, 6), b.input(6, 8))
    return b.graph(op("exp", op("slice", x, attrs=((0, 2), (1, 2), (10, 3)))))


@case("matmul", "map")
def some_rows() -> Graph:
    b = Builder()
    x = op("matmul", b.input(10, 6), b.input(6, 8))
    return b.graph(op("exp", op("slice", x, attrs=((0, 0), (2, 1), (5, 8)))))


@case("matmul", "map")
def a_transposed_result() -> Graph:
    """The loops are those of the result. (As the product would be turned, it has another user.)"""
    b = Builder()
    x = op("matmul", b.input(10, 6), b.input(6, 8))
    return b.graph(op("copy", transpose(op("exp", x))), x)


@case("matmul", "map")
def rows_added_to_columns() -> Graph:
    b = Builder()
    x = op("matmul", b.input(6, 6), b.input(6, 6))
    return b.graph(op("add", x, transpose(x)))


@case("matmul", "outer")
def sum_over_rows() -> Graph:
    b = Builder()
    return b.graph(total(op("matmul", b.input(9, 6), b.input(6, 7)), 0, 1))


@case("matmul", "matmul+map")
def two_products() -> Graph:
    b = Builder()
    x = op("matmul", b.input(5, 6), b.input(6, 7))
    return b.graph(op("tanh", op("add", x, op("matmul", b.input(5, 3), b.input(3, 7)))))


@case("matmul+map+matmul+map")
def two_layers() -> Graph:
    b = Builder()
    h = op("maximum", linear(b.input(5, 6), b.input(6, 7), b.input(7)), 0.0)
    return b.graph(op("tanh", linear(h, b.input(7, 3), b.input(3))))


@case("matmul+map+matmul+map+matmul+map", "matmul+map", "matmul+map")
def two_layers_with_gradients() -> Graph:
    """Both layers' results and their gradients row by row; then the weights, of which the second is read before."""
    b = Builder()
    x, y, w, v = b.input(20, 6), b.input(20, 3), b.input(6, 7), b.input(7, 3)
    h = op("maximum", op("matmul", x, w), 0.0)
    d = op("subtract", op("matmul", h, v), y)
    e = op("where", op("greater", h, 0.0), op("matmul", d, transpose(v)), 0.0)
    steps = [(w, op("matmul", transpose(x), e)), (v, op("matmul", transpose(h), d))]
    return b.graph(writes=[(p, op("subtract", p, op("multiply", g, 0.1))) for p, g in steps])


@case("matmul+matmul+row")
def scores_of_features() -> Graph:
    b = Builder()
    return b.graph(softmax(op("matmul", op("matmul", b.input(200, 40), b.input(40, 9)), b.input(9, 11))))


@case("matmul+map", "matmul")
def a_product_too_large_to_follow() -> Graph:
    b = Builder()
    h = op("tanh", op("matmul", b.input(70, 6), b.input(6, 64)))
    return b.graph(op("matmul", h, b.input(64, 64)))


@case("matmul+map", "matmul")
def a_product_of_too_many_terms_to_follow() -> Graph:
    b = Builder()
    h = op("tanh", op("matmul", b.input(5, 6), b.input(6, 129)))
    return b.graph(op("matmul", h, b.input(129, 4)))


@case("matmul", "matmul")
def a_product_that_reads_all_rows() -> Graph:
    b = Builder()
    h = op("matmul", b.input(5, 6), b.input(6, 5))
    return b.graph(h, op("matmul", transpose(h), b.input(5, 4)))


@case("matmul", "matmul")
def a_product_whose_right_operand_is_the_first() -> Graph:
    b = Builder()
    return b.graph(op("matmul", b.input(4, 5), op("matmul", b.input(5, 6), b.input(6, 5))))


@case("matmul", "matmul")
def products_of_half_precision() -> Graph:
    b = Builder()
    x, w, v = (b.input(*shape, dtype=dtypes.float16) for shape in ((5, 6), (6, 7), (7, 3)))
    return b.graph(op("matmul", op("matmul", x, w), v))


@case("matmul", "matmul")
def a_product_with_a_vector() -> Graph:
    b = Builder()
    return b.graph(op("matmul", op("matmul", b.input(5, 6), b.input(6, 7)), b.input(7, 1)))


@case("matmul", "matmul")
def a_batch_of_products() -> Graph:
    b = Builder()
    return b.graph(op("matmul", op("matmul", b.input(2, 5, 6), b.input(2, 6, 7)), b.input(2, 7, 3)))


@case("matmul+map")
def an_update() -> Graph:
    b = Builder()
    x, g, w = b.input(20, 4), b.input(20, 6), b.input(4, 6)
    gradient = op("matmul", transpose(x), g)
    return b.graph(writes=[(w, op("subtract", w, op("multiply", gradient, 0.1)))])


@case("matmul", "map")
def an_update_of_an_operand() -> Graph:
    b = Builder()
    w = b.input(6, 6)
    return b.graph(writes=[(w, op("subtract", w, op("matmul", w, b.input(6, 6))))])


@case("map", "matmul")
def a_reader_of_what_the_product_overwrites() -> Graph:
    b = Builder()
    z = b.input(4, 4)
    return b.graph(op("exp", z), writes=[(z, op("matmul", b.input(4, 4), b.input(4, 4)))])


@case("matmul", "reduce", "map")
def a_program_that_may_fail_has_written_nothing() -> Graph:
    b = Builder()
    w = b.input(5, 7)
    x = op("matmul", b.input(5, 6), b.input(6, 7))
    index = op("check_index", b.input(5, dtype=dtypes.int64), 7)
    picked = op("gather", x, op("iota", attrs=(5,)), index, attrs=((5,),))
    return b.graph(total(picked, 0, 1), writes=[(w, op("subtract", w, x))])


@case("map+matmul")
def activation_of_an_operand() -> Graph:
    b = Builder()
    return b.graph(op("matmul", op("tanh", b.input(200, 6)), b.input(6, 5)))


@case("map", "matmul")
def activation_of_few_rows() -> Graph:
    b = Builder()
    return b.graph(op("matmul", op("tanh", b.input(20, 6)), b.input(6, 5)))


@case("row+matmul+map")
def normalised_rows_in_between() -> Graph:
    b = Builder()
    x = layer_norm(b.input(2, 100, 6), b.input(6), b.input(6))[0]
    return b.graph(op("tanh", linear(op("reshape", x, attrs=((200, 6),)), b.input(6, 5), b.input(5))))


@case("map+matmul+map")
def an_operand_that_is_added_again_and_an_output() -> Graph:
    b = Builder()
    h = op("tanh", b.input(150, 6))
    return b.graph(h, op("add", h, op("matmul", h, b.input(6, 6))))


@case("map", "matmul")
def the_right_operand() -> Graph:
    b = Builder()
    return b.graph(op("matmul", b.input(200, 150), op("tanh", b.input(150, 5))))


@case("map", "matmul")
def both_operands() -> Graph:
    b = Builder()
    h = op("tanh", b.input(150, 6))
    return b.graph(op("matmul", h, transpose(h)))


@case("map", "matmul")
def a_transposed_operand() -> Graph:
    b = Builder()
    return b.graph(op("matmul", transpose(op("tanh", b.input(150, 200))), b.input(150, 5)))


@case("matmul+map", "matmul")
def rather_an_epilogue() -> Graph:
    b = Builder()
    h = op("tanh", op("matmul", b.input(150, 6), b.input(6, 130)))
    return b.graph(op("matmul", h, b.input(130, 5)))


@case("map", "matmul", "matmul")
def something_between_that_needs_all_rows() -> Graph:
    b = Builder()
    h = op("tanh", b.input(150, 6))
    return b.graph(op("matmul", h, op("matmul", transpose(h), b.input(150, 5))))


@case("reduce", "matmul+map")
def rows_made_by_a_reduction_over_all() -> Graph:
    b = Builder()
    h = op("tanh", b.input(150, 6))
    scale = op("exp", total(op("reshape", h, attrs=((900,),)), 0, 1))
    return b.graph(op("multiply", op("matmul", h, b.input(6, 3)), scale))


@case("map+matmul", "map+matmul")
def two_heads() -> Graph:
    """The scaled input is made for the first product, and is there for the second, which has an operand of its own."""
    b = Builder()
    x, y = b.input(3, 50, 6), b.input(3, 50, 6)
    h = op("tanh", x)
    return b.graph(op("matmul", h, b.input(3, 6, 5)), op("matmul", op("exp", y), b.input(3, 6, 4)))


@pytest.mark.parametrize("name", CASES)
def test_what_runs_together(name: str) -> None:
    build, expected = CASES[name]
    plan = check(build())  # which runs followers row by row, each product reading its operands anew for each row
    assert sorted(forms(plan)) == sorted(expected), plan


def results(graph: Graph, scalars: tuple = ()) -> list[bytes]:
    given = [_native.from_numpy(a.copy()) for a in arrays_for(graph)]
    made = compile_graph(graph).program.run(given, list(scalars))
    return [t.numpy().tobytes() for t in (*made, *given)]


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits(name: str) -> None:
    graph = CASES[name][0]()
    fused = results(graph)
    with config.override(skip_passes=("epilogues", "prologues")):
        assert fused == results(graph)
        executable = compile_graph(graph)
    assert executable.launches == len(executable.schedule.instrs)


@pytest.mark.parametrize(
    ("m", "k", "n", "batch"),
    [
        (300, 70, 40, ()),
        (40, 70, 3000, ()),
        (513, 300, 1100, ()),
        (30, 20, 50, (7, 3)),
        (1, 40, 900, ()),
        (900, 5, 1, ()),
    ],
)
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.float16, dtypes.int32])
def test_the_same_bits_in_blocks(m: int, k: int, n: int, batch: tuple[int, ...], dtype: dtypes.DType) -> None:
    """Products large enough to be cut into blocks of rows and columns, and shared over threads."""
    b = Builder()
    x, w, c = b.input(*batch, m, k, dtype=dtype), b.input(*batch, k, n, dtype=dtype), b.input(n, dtype=dtype)
    h = linear(x, w, c)
    graphs = [
        b.graph(op("maximum", h, 0)),
        b.graph(h, total(h, h.ndim - 1, h.ndim, "reduce_max")),
        b.graph(linear(op("multiply", x, 3), w, c)),
    ]
    if dtype.kind == "f":
        graphs.append(b.graph(softmax(h)))
    if not batch and n < 100:
        graphs.append(b.graph(linear(op("maximum", h, 0), b.input(n, 7, dtype=dtype), b.input(7, dtype=dtype))))
    before = _native.get_num_threads()
    try:
        for graph in graphs:
            found = []
            for threads, skipped in ((1, ()), (2, ()), (3, ()), (2, ("epilogues", "prologues"))):
                _native.set_num_threads(threads)
                with config.override(skip_passes=skipped):
                    found.append(results(graph))
            assert found[0] == found[1] == found[2] == found[3]
    finally:
        _native.set_num_threads(before)


@pytest.mark.parametrize("adam", [False, True])
def test_a_training_step(adam: bool) -> None:
    graph = mlp_step(adam=adam)
    plan = check(graph, scalars=[0.1])
    assert len(plan.launches) == 9, plan
    fused = results(graph, (0.1,))
    with config.override(skip_passes=("epilogues", "prologues")):
        assert fused == results(graph, (0.1,))


def weights_of_two_layers(hidden: int = 300) -> Graph:
    """The gradients of two layers' weights, and their updates in place, from the gradient of what the second gives."""
    b = Builder()
    x, h, g, w1, w2 = b.input(64, 500), b.input(64, hidden), b.input(64, 10), b.input(500, hidden), b.input(hidden, 10)
    g1 = op("where", op("greater", h, 0.0), op("matmul", g, transpose(w2)), 0.0)
    writes = [
        (w1, op("subtract", w1, op("matmul", transpose(x), g1))),
        (w2, op("subtract", w2, op("matmul", transpose(h), g))),
    ]
    return b.graph(writes=writes)


def product_and_lookup(checked: bool, uses: bool = False) -> Graph:
    """A product and a lookup in a table, or in a row of the product, which may fail where the index is checked."""
    b = Builder()
    made = op("matmul", b.input(64, 500), b.input(500, 300))
    index = b.input(40, dtype=dtypes.int64)
    table = flat(made, 64 * 300) if uses else b.input(300)
    if checked:
        index = op("check_index", index, 300)
    return b.graph(made, op("gather", table, index, attrs=((40,),)))


def besides(graph: Graph) -> list[int]:
    return [i.beside for i in check(graph).instrs if isinstance(i, Product)]


def test_a_small_launch_runs_beside_a_large_product() -> None:
    graph = weights_of_two_layers()
    plan = check(graph)
    assert forms(plan) == ["matmul+map", "matmul+map", "matmul+map"], plan
    assert [i.beside for i in plan.instrs if isinstance(i, Product)] == [0, 0, 1]
    assert ", beside the 1 before" in str(plan)
    found = []
    before, counted = _native.get_num_threads(), _native.counters()
    try:
        for threads in (1, 2, 3):
            _native.set_num_threads(threads)
            found.append(results(graph))
    finally:
        _native.set_num_threads(before)
    # Each runs once, and counts as the launch that it is.
    assert _native.counters()["gemm_launches"] - counted["gemm_launches"] == 3 * 3
    with config.override(skip_passes=("beside",)):
        executable = compile_graph(graph)
        assert not any(i.beside for i in executable.schedule.instrs if isinstance(i, Product))
        found.append(results(graph))
    assert all(one == found[0] for one in found)


def test_what_runs_beside_a_product_may_have_a_prologue() -> None:
    b = Builder()
    # Whose first result leaves room in the arena, which products may pack operands into.
    chain = op("matmul", op("matmul", b.input(300, 300), b.input(300, 300)), b.input(300, 300))
    small = op("matmul", op("exp", b.input(150, 20)), b.input(20, 20))
    plan = check(b.graph(chain, small, op("matmul", b.input(64, 500), b.input(500, 300))))
    products = [i for i in plan.instrs if isinstance(i, Product)]
    (led,) = (i for i in products if i.leaders)
    (large,) = (i for i in products if i.beside)
    assert large.spare is not None
    assert led.spare is None  # they run at once, and share no memory


def test_which_launches_run_beside_a_product() -> None:
    assert besides(product_and_lookup(checked=False)) == [1]
    assert besides(product_and_lookup(checked=True)) == [0]  # it may fail
    assert besides(product_and_lookup(checked=False, uses=True)) == [0]  # it needs the product
    assert besides(weights_of_two_layers(hidden=4)) == [0, 0, 0]  # the product is small
    assert besides(weights_of_two_layers(hidden=4000)) == [0, 0, 0]  # threads share either


def test_an_index_out_of_range_in_an_epilogue() -> None:
    b = Builder()
    x = op("matmul", b.input(5, 6), b.input(6, 7))
    index = op("check_index", b.input(5, 7, dtype=dtypes.int64), 7)
    graph = b.graph(op("multiply", x, op("gather", b.input(7), index, attrs=((5, 7),))))
    assert forms(check(graph)) == ["matmul+map"]
    arrays = arrays_for(graph)
    arrays[2][3, 4] = 9
    with pytest.raises(IndexError, match="out of range"):
        compile_graph(graph).program.run([_native.from_numpy(a) for a in arrays], [])


def test_a_schedule_shows_them() -> None:
    text = str(check(CASES["bias_and_activation"][0]()))
    assert text.startswith("1 launches")
    assert "\n  0 matmul 20x6x5" in text
    assert "\n  + map oo[20x5]" in text


@pytest.mark.parametrize("circle", [1, 2, 4])
def test_groups_that_depend_on_one_another_are_an_error(circle: int) -> None:
    b = Builder()
    groups = [Group(k, "loops", b.input(3)) for k in range(6)]
    for k in range(5):
        groups[k].need(groups[k + 1])
    assert ancestors_of_all(groups) == [0b111110, 0b111100, 0b111000, 0b110000, 0b100000, 0]
    groups[circle].need(groups[1])
    with pytest.raises(AssertionError, match="in a circle"):
        ancestors_of_all(groups)
