"""Kernels know ranks, not sizes: programs that differ in sizes alone call the same kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from weft import dtypes
from weft.ir.graph import Graph
from weft.ir.kernel import Kernel
from weft.ir.node import Node
from weft.passes.pipeline import optimise
from weft.passes.schedule import schedule

from .build import Builder, layer_norm, op, softmax, total
from .models import mlp_step


def kernels(graph: Graph) -> list[Kernel]:
    return schedule(optimise(graph)[0]).kernels


def of_rows(build: Callable[[Builder, Node], Node | tuple[Node, ...]]) -> Callable[[int], Graph]:
    def graph(n: int) -> Graph:
        b = Builder()
        made = build(b, b.input(n, 12))
        return b.graph(*(made if isinstance(made, tuple) else (made,)))

    return graph


BUILDS: dict[str, Callable[[int], Graph]] = {
    "chain": of_rows(lambda b, x: op("multiply", op("exp", x), b.input(12))),
    "softmax": of_rows(lambda b, x: softmax(x)),
    "layer_norm": of_rows(lambda b, x: layer_norm(x, b.input(12), b.input(12))),
    "column_sums": of_rows(lambda b, x: total(x, 0, 1)),
    "total": of_rows(lambda b, x: total(op("multiply", x, x), 0, 2)),
    "heads": of_rows(
        lambda b, x: op("permute", op("reshape", op("exp", x), attrs=((x.shape[0], 3, 4),)), attrs=((1, 0, 2),))
    ),
    "flip": of_rows(lambda b, x: op("slice", x, attrs=((x.shape[0] - 1, 0), (-1, 1), x.shape))),
    "training": mlp_step,
    "adam": lambda n: mlp_step(n, adam=True),
}


@pytest.mark.parametrize("name", BUILDS)
def test_batches_of_all_sizes_share_kernels(name: str) -> None:
    build = BUILDS[name]
    expected = kernels(build(2))
    for n in (3, 5, 8, 12, 17, 64, 100, 4096):
        assert kernels(build(n)) == expected, n


def test_a_kernel_does_not_depend_on_the_rank_of_contiguous_operands() -> None:
    def add(*shape: int) -> list[Kernel]:
        b = Builder()
        return kernels(b.graph(op("add", b.input(*shape), b.input(*shape))))

    for shape in ((1,), (8,), (4, 6), (1, 6), (4, 1), (2, 3, 4, 5)):
        assert add(*shape) == add()


def test_numbers_are_parameters() -> None:
    def scaled(value: float) -> list[Kernel]:
        b = Builder()
        return kernels(b.graph(op("multiply", b.input(4), value)))

    def of_scalar() -> list[Kernel]:
        b = Builder()
        x = b.input(4)
        return kernels(
            b.graph(op("multiply", x, op("expand", op("reshape", b.scalar(), attrs=((1,),)), attrs=((4,),))))
        )

    assert scaled(2.0) == scaled(-3.5) == of_scalar()


def test_offsets_are_no_part_of_a_kernel() -> None:
    def shifted(start: int) -> list[Kernel]:
        b = Builder()
        return kernels(b.graph(op("exp", op("slice", b.input(20), attrs=((start,), (1,), (8,))))))

    assert shifted(1) == shifted(7)


def test_a_kernel_is_the_same_inside_another_program() -> None:
    """The order of a kernel's instructions comes from its own expression, not from the graph around it."""
    b = Builder()
    x, y = b.input(4, 6), b.input(4, 6)
    value = op("add", op("multiply", x, y), op("exp", y))
    alone = kernels(b.graph(value))
    b = Builder()
    y, x, z = b.input(4, 6), b.input(4, 6), b.input(5, dtype=dtypes.float64)
    value = op("add", op("multiply", x, y), op("exp", y))
    assert alone[0] in kernels(b.graph(op("exp", z), op("matmul", op("permute", y, attrs=((1, 0),)), x), value))
