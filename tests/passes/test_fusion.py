"""What becomes one kernel: launches counted, by form, for graphs whose fusion is promised."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from weft import dtypes
from weft.ir.graph import Graph
from weft.ir.node import Node

from .build import Builder, check, forms, layer_norm, linear, log_softmax, mean, op, softmax, total
from .models import flat, mlp_step, transpose

CASES: dict[str, tuple[Callable[[], Graph], list[str]]] = {}


def case(*expected: str) -> Callable[[Callable[[], Graph]], Callable[[], Graph]]:
    def add(build: Callable[[], Graph]) -> Callable[[], Graph]:
        CASES[build.__name__] = (build, list(expected))
        return build

    return add


def layer_norm_gradient(x: Node, w: Node, mu: Node, r: Node, g: Node) -> tuple[Node, Node, Node]:
    n = x.shape[-1]
    normal, gw = op("multiply", op("subtract", x, mu), r), op("multiply", g, w)
    centred = op("subtract", op("subtract", gw, mean(gw)), op("multiply", normal, mean(op("multiply", gw, normal))))
    return op("multiply", centred, r), flat(total(op("multiply", g, normal), 0, 1), n), flat(total(g, 0, 1), n)


def rows(*more: int) -> tuple[Builder, Node]:
    b = Builder()
    return b, b.input(*(more or (20, 6)))


@case("map")
def chain() -> Graph:
    b, x = rows()
    return b.graph(op("multiply", op("exp", op("add", x, 1.0)), b.input(6)))


@case("map")
def siblings() -> Graph:
    b, x = rows()
    return b.graph(op("exp", x), op("add", x, 1.0), op("negative", x))


@case("map")
def the_same_output_twice() -> Graph:
    b, x = rows()
    y = op("exp", x)
    return b.graph(y, y)


@case("map", "map")
def unrelated_maps() -> Graph:
    b, x = rows()
    return b.graph(op("exp", x), op("add", b.input(20, 6), 1.0))


@case("row")
def softmax_forward() -> Graph:
    b, x = rows()
    return b.graph(softmax(x))


@case("row")
def log_softmax_forward() -> Graph:
    b, x = rows()
    return b.graph(log_softmax(x))


@case("row")
def softmax_gradient() -> Graph:
    b, y = rows()
    gy = op("multiply", b.input(20, 6), y)
    return b.graph(op("subtract", gy, op("multiply", y, total(gy, 1, 2))))


@case("row")
def log_softmax_gradient() -> Graph:
    b, y = rows()
    g = b.input(20, 6)
    return b.graph(op("subtract", g, op("multiply", op("exp", y), total(g, 1, 2))))


@case("row")
def softmax_over_an_inner_reshape() -> Graph:
    b, x = rows(20, 2, 3)
    return b.graph(op("reshape", softmax(op("reshape", x, attrs=((20, 6),))), attrs=((20, 2, 3),)))


@case("row")
def masked_softmax() -> Graph:
    b, x = rows(2, 3, 8, 8)
    column = op("reshape", op("iota", attrs=(8,)), attrs=((1, 8),))
    row = op("reshape", op("iota", attrs=(8,)), attrs=((8, 1),))
    mask = op("reshape", op("less_equal", column, row), attrs=((1, 1, 8, 8),))
    return b.graph(softmax(op("where", mask, op("multiply", x, 0.5), -1e9)))


@case("row")
def layer_norm_forward() -> Graph:
    b, x = rows()
    return b.graph(*layer_norm(x, b.input(6), b.input(6)))


@case("row")
def layer_norm_input_gradient() -> Graph:
    b, x = rows()
    return b.graph(layer_norm_gradient(x, b.input(6), b.input(20, 1), b.input(20, 1), b.input(20, 6))[0])


@case("row", "outer")
def layer_norm_gradients() -> Graph:
    b, x = rows()
    return b.graph(*layer_norm_gradient(x, b.input(6), b.input(20, 1), b.input(20, 1), b.input(20, 6)))


@case("row")
def division_by_the_norm() -> Graph:
    b, x = rows()
    return b.graph(op("divide", x, op("sqrt", total(op("multiply", x, x), 0, 2))))


@case("reduce")
def mean_of_everything() -> Graph:
    b, x = rows()
    return b.graph(op("multiply", total(op("multiply", x, x), 0, 2), 1 / 120))


@case("reduce")
def several_reductions_of_one_operand() -> Graph:
    b, x = rows()
    return b.graph(total(x, 0, 2), total(op("multiply", x, x), 0, 2), total(x, 0, 2, "reduce_max"))


@case("outer")
def mean_over_rows() -> Graph:
    b, x = rows()
    return b.graph(mean(x, 0))


@case("outer", "map")
def centring_columns() -> Graph:
    b, x = rows()
    return b.graph(op("subtract", x, mean(x, 0)))


@case("outer")
def a_gradient_and_its_sum() -> Graph:
    b, x = rows()
    g = op("where", op("greater", x, 0.0), b.input(20, 6), 0.0)
    return b.graph(g, total(g, 0, 1))


@case("reduce", "reduce", "map")
def softmax_of_few_long_rows() -> Graph:
    b, x = rows(2, 70000)
    return b.graph(softmax(x))


@case("matmul", "map")
def relu_layer() -> Graph:
    b, x = rows()
    return b.graph(op("maximum", linear(x, b.input(6, 5), b.input(5)), 0.0))


@case("matmul")
def product_of_views() -> Graph:
    b, x = rows()
    w = op("slice", b.input(5, 12), attrs=((0, 0), (1, 2), (5, 6)))
    return b.graph(op("matmul", x, transpose(w)))


@case("map", "matmul")
def product_of_a_computed_operand() -> Graph:
    b, x = rows()
    return b.graph(op("matmul", op("exp", x), b.input(6, 5)))


@case("matmul", "matmul", "row", "matmul", "map")
def attention() -> Graph:
    b, x = rows(2, 8, 12)
    qkv = op("matmul", x, op("expand", b.input(1, 12, 36), attrs=((2, 12, 36),)))

    def heads(k: int) -> Node:
        part = op("slice", qkv, attrs=((0, 0, 12 * k), (1, 1, 1), (2, 8, 12)))
        return op("permute", flat(part, 2, 8, 3, 4), attrs=((0, 2, 1, 3),))

    weights = softmax(op("multiply", op("matmul", heads(0), transpose(heads(1))), 0.5))
    out = op("permute", op("matmul", weights, heads(2)), attrs=((0, 2, 1, 3),))
    return b.graph(op("add", x, flat(out, 2, 8, 12)))


@case("map")
def gather_with_a_checked_index() -> Graph:
    b, x = rows()
    i = op("check_index", b.input(7, dtype=dtypes.int64), 20)
    return b.graph(op("exp", op("gather", x, i, op("remainder", i, 6), attrs=((7,),))))


@case("map", "map")
def concatenation() -> Graph:
    b, x = rows(4, 3)
    whole = op("full", 0.0, attrs=((6, 3), dtypes.float32))
    first = op("assign", whole, op("exp", x), attrs=(0, (3, 1)))
    return b.graph(op("assign", first, b.input(2, 3), attrs=(12, (3, 1))))


@case("map", "map")
def padding() -> Graph:
    b, x = rows(4, 3)
    return b.graph(op("assign", op("full", 0.0, attrs=((6, 5), dtypes.float32)), x, attrs=(6, (5, 1))))


@case("map")
def a_cheap_broadcast_operand() -> Graph:
    b, x = rows()
    return b.graph(op("multiply", x, op("add", op("multiply", b.input(6), 2.0), 1.0)))


@case("map", "map")
def an_expensive_broadcast_operand() -> Graph:
    b, x = rows()
    return b.graph(op("multiply", x, op("exp", b.input(6))))


@pytest.mark.parametrize("name", CASES)
def test_launches(name: str) -> None:
    build, expected = CASES[name]
    plan = check(build())
    assert forms(plan) == expected, plan


@pytest.mark.parametrize("adam", [False, True])
def test_a_training_step(adam: bool) -> None:
    """Each layer: a product and a map forward; a product, a reduction with the mask, a product and an update backward."""
    graph = mlp_step(adam=adam)
    plan = check(graph, scalars=[0.1])
    assert forms(plan).count("matmul") == 8
    assert len(plan.instrs) == 18, plan
    assert not any(i.nodes == ["copy"] for i in plan.instrs if hasattr(i, "kernel"))


def test_long_chains_are_cut() -> None:
    b, x = rows()
    y = x
    for _ in range(1500):
        y = op("add", op("multiply", y, 0.5), x)
    plan = check(b.graph(y))
    assert 8 <= len(plan.instrs) <= 40
    assert max(len(i.kernel.body) for i in plan.instrs if hasattr(i, "kernel")) < 400


def test_shared_values_are_not_computed_again_and_again() -> None:
    """A value read at two places by each of its users must not double the kernel with every step."""
    b, y = rows(64)
    for _ in range(30):
        y = op("add", y, op("slice", y, attrs=((63,), (-1,), (64,))))
    plan = check(b.graph(y))
    assert max(len(i.kernel.body) for i in plan.instrs if hasattr(i, "kernel")) < 40


def test_constants_are_shared_by_nothing() -> None:
    """Maps of one shape that have only a number in common stay apart."""
    b = Builder()
    rate = b.scalar()
    graph = b.graph(*(op("multiply", b.input(4, 4), rate) for _ in range(3)))
    assert forms(check(graph, scalars=[0.5])) == ["map"] * 3


@pytest.mark.parametrize("inputs", [1, 3, 120])
def test_copies_of_inputs_leave_no_circle(inputs: int) -> None:
    """A kernel that stores a copy of an input as an output takes in nothing that is made from what loads the copy."""
    b = Builder()
    outputs = []
    for _ in range(inputs):
        x = b.input(4, 6, strides=(1, 5))
        d = op("subtract", x, total(x, 1, 2, "reduce_max"))
        across = flat(transpose(d), 24)  # loops cannot follow x's axes
        v = total(op("subtract", across, total(across, 0, 1, "reduce_max")), 0, 1, "reduce_max")
        outputs += [op("multiply", d, op("reshape", v, attrs=((1, 1),))), flat(x, 24)]
    plan = check(b.graph(*outputs))
    assert sorted(forms(plan)) == sorted(["map", "row", "row", "reduce", "map"] * inputs)
    assert sum(i.nodes == ["copy"] for i in plan.instrs if hasattr(i, "kernel")) == inputs
