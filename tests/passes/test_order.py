"""The order of a map's loops: it writes forwards, and operands that lie across are read a tile at a time."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from weft.ir.kernel import Load, Store, param_names
from weft.passes.indexmap import row_major_strides
from weft.passes.pipeline import optimise
from weft.passes.schedule import KernelCall, schedule

from .build import Builder, op, softmax, total

SHAPE = (4, 3, 6, 5)


def only_kernel(graph: Any) -> tuple[KernelCall, dict[int, list[int]]]:
    """The one kernel of a graph, with the strides of each of its loads and stores."""
    (call,) = schedule(optimise(graph)[0]).instrs
    assert isinstance(call, KernelCall)
    numbers = dict(zip(param_names(call.kernel), call.params, strict=True))
    strides = {}
    for i, instr in enumerate(call.kernel.body):
        if isinstance(instr, Load | Store):
            moves = enumerate(instr.access)
            strides[i] = [numbers[f"{i}_s{d}"] if a == "s" else int(a == "c") for d, a in moves]
    return call, strides


@pytest.mark.parametrize("perm", list(permutations(range(4))), ids=str)
def test_permuted_operands(perm: tuple[int, ...]) -> None:
    b = Builder()
    x, y = b.input(*SHAPE), b.input(*(SHAPE[p] for p in perm))
    call, strides = only_kernel(b.graph(op("add", op("permute", x, attrs=(perm,)), y)))
    load, _, store = strides.values()
    assert store[-1] == 1
    assert load[-1] == 1 or load[-2] == 1, "the operand lies along none of the last two loops"
    assert len(call.kernel.dims) <= 4


@pytest.mark.parametrize("perm", list(permutations(range(4))), ids=str)
def test_permuted_results(perm: tuple[int, ...]) -> None:
    """A permuted tensor is written along its memory."""
    b = Builder()
    back = [perm.index(d) for d in range(4)]
    x = b.input(*SHAPE)
    forwards = row_major_strides([SHAPE[p] for p in perm])
    y = b.input(*SHAPE, strides=[forwards[d] for d in back])
    _, strides = only_kernel(b.graph(writes=[(y, op("negative", x))]))
    load, store = strides.values()
    assert store[-1] == 1
    assert load[-1] == 1 or load[-2] == 1


@pytest.mark.parametrize("axes", [(0, 1), (1, 2)], ids=["outer", "inner"])
def test_reductions_across_an_operand_read_it_as_it_lies(axes: tuple[int, int]) -> None:
    b = Builder()
    x = b.input(60, 70)
    turned = op("permute", x, attrs=((1, 0),))
    (kernel,) = schedule(optimise(b.graph(total(op("exp", turned), *axes)))[0]).kernels
    assert kernel.form == ("outer" if axes == (0, 1) else "strips")
    assert next(i.access for i in kernel.body if isinstance(i, Load)) == "cs"
    b = Builder()
    x = b.input(70, 60, 60, strides=(1, 70, 4200))
    (kernel,) = schedule(optimise(b.graph(total(x, *axes)))[0]).kernels
    assert [i.access for i in kernel.body if isinstance(i, Load)] == ["scs" if axes == (0, 1) else "ssc"]


def test_several_operands_that_lie_across_are_copied_first() -> None:
    b = Builder()
    x, y, z = (b.input(60, 70, strides=(1, 60)) for _ in range(3))
    kernels = schedule(optimise(b.graph(total(op("multiply", op("multiply", x, y), z), 0, 1)))[0]).kernels
    assert [k.form for k in kernels] == ["map", "outer"]


def test_a_row_kernel_copies_what_lies_across() -> None:
    b = Builder()
    x = b.input(70, 60, strides=(1, 70))
    kernels = schedule(optimise(b.graph(softmax(x)))[0]).kernels
    assert [k.form for k in kernels] == ["map", "row"]


def test_reductions_along_an_operand_do_not() -> None:
    for strides in ((70, 1), (140, 2), (70, -1), (0, 1), (1, 0)):
        b = Builder()
        x = b.input(60, 70, strides=strides)
        for lo in (0, 1):
            assert len(schedule(optimise(b.graph(total(x, lo, lo + 1)))[0]).kernels) == 1, (strides, lo)
