"""Simplification: what goes, what must stay, and that nothing changes a bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from weft import config, dtypes
from weft.dtypes import DType
from weft.ir.interpreter import cast, held_as
from weft.ir.node import Node
from weft.passes.expand import expand_late
from weft.passes.fold import fold
from weft.passes.pipeline import PASSES, optimise
from weft.passes.simplify import holds, simplify

from .build import Builder, op, total

b = Builder()
x = b.input(4, 6)
n = b.input(4, 6, dtype=dtypes.int32)
flag = b.input(4, 6, dtype=dtypes.bool_)


def simple(node: Node) -> Node:
    return simplify([node])[0]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (op("multiply", x, 1.0), x),
        (op("multiply", 1.0, x), x),
        (op("divide", x, 1.0), x),
        (op("subtract", x, 0.0), x),
        (op("add", n, 0), n),
        (op("subtract", n, 0), n),
        (op("negative", op("negative", x)), x),
        (op("bitwise_invert", op("bitwise_invert", n)), n),
        (op("where", flag, x, x), x),
        (op("where", op("full", True, attrs=((4, 6), dtypes.bool_)), x, op("exp", x)), x),
        (op("maximum", x, x), x),
        (op("abs", op("abs", x)), op("abs", x)),
        (op("floor", op("floor", x)), op("floor", x)),
        (op("copy", op("copy", x)), op("copy", x)),
        (op("permute", op("permute", x, attrs=((1, 0),)), attrs=((1, 0),)), x),
        (op("reshape", op("reshape", x, attrs=((24,),)), attrs=((4, 6),)), x),
        (op("slice", op("slice", x, attrs=((1, 5), (1, -1), (3, 6))), attrs=((0, 5), (1, -1), (3, 6))),
         op("slice", x, attrs=((1, 0), (1, 1), (3, 6)))),
        (op("as_strided", x, attrs=(0, (6, 1), (4, 6))), x),
        (op("cast", op("cast", n, attrs=dtypes.float64), attrs=dtypes.int32), n),
        (op("cast", op("cast", x, attrs=dtypes.float64), attrs=dtypes.float32), x),
        (op("cast", op("cast", flag, attrs=dtypes.int8), attrs=dtypes.bool_), flag),
        (op("assign", x, op("exp", x), attrs=(0, (6, 1))), op("exp", x)),
        (op("assign", x, b.input(0), attrs=(0, (1,))), x),
    ],
)  # fmt: skip
def test_what_goes(node: Node, expected: Node) -> None:
    assert simple(node) is expected


@pytest.mark.parametrize(
    "node",
    [
        op("add", x, 0.0),  # -0.0 + 0.0 is 0.0
        op("subtract", x, -0.0),
        op("multiply", x, 0.0),  # NaN, infinities, signs
        op("subtract", x, x),
        op("divide", x, x),
        op("multiply", x, -1.0),
        op("cast", op("cast", x, attrs=dtypes.float16), attrs=dtypes.float32),
        op("cast", op("cast", x, attrs=dtypes.int32), attrs=dtypes.float32),
        op("cast", op("cast", n, attrs=dtypes.float64), attrs=dtypes.int8),  # saturates where the direct cast wraps
        op("negative", op("abs", x)),
        op("permute", x, attrs=((1, 0),)),
        op("slice", x, attrs=((0, 0), (1, 1), (3, 6))),
        op("assign", x, op("exp", x), attrs=(0, (1, 4))),  # transposed
        total(op("expand", b.input(1, 6), attrs=((1, 6),)), 0, 1),  # a sum of one element turns -0.0 into 0.0
    ],
)
def test_what_stays(node: Node) -> None:
    assert simple(node) is node


@pytest.mark.parametrize(("wide", "narrow"), list(itertools.product(dtypes.ALL, dtypes.ALL)))
def test_types_that_hold_all_values_of_another(wide: DType, narrow: DType) -> None:
    if narrow.kind == "b":
        values = np.array([False, True])
    elif narrow.kind in "iu":
        info = np.iinfo(narrow.numpy)
        values = np.array([info.min, info.min // 2 + 1, 0, 1, info.max // 2 + 1, info.max - 1, info.max], narrow.numpy)
    else:
        bits = {"float16": (11, 15), "bfloat16": (8, 127), "float32": (24, 127), "float64": (53, 1023)}[narrow.name]
        top = (2.0 - 2.0 ** (1 - bits[0])) * 2.0 ** bits[1]
        least = 2.0 ** (1 - bits[1] - (bits[0] - 1))
        values = np.array([0.0, -0.0, 1.0, 1.0 + 2.0 ** (1 - bits[0]), top, -top, least, np.inf], held_as(narrow))
    with np.errstate(all="ignore"):
        there = cast(values, wide)
        back = cast(there, narrow)
    same = np.array_equal(back, values) and np.array_equal(np.signbit(back), np.signbit(values))
    if holds(wide, narrow):
        assert same
    elif wide.kind == narrow.kind == "f":
        assert not same


def test_a_broadcast_operand_is_computed_before() -> None:
    v = b.input(6)
    wide = op("expand", op("reshape", v, attrs=((1, 6),)), attrs=((4, 6),))
    (found,) = expand_late([op("exp", op("add", wide, 2.0))])
    assert found.op == "expand"
    assert found.inputs[0].shape == (1, 6)
    (same,) = expand_late([op("add", wide, x)])
    assert same is op("add", wide, x)


def test_expensive_ops_on_constants_are_folded() -> None:
    """By the kernel, so that the bits are those of the unfolded program."""
    from weft import _native  # noqa: F401

    number = op("reshape", op("full", 0.7, attrs=((), dtypes.float32)), attrs=((1,),))
    (found,) = fold([op("exp", number)])
    assert found.op == "reshape"
    assert found.inputs[0].op == "const"
    (cheap,) = fold([op("add", number, number)])
    assert cheap.op == "add"


def test_passes_are_logged_and_skipped_by_name() -> None:
    graph = b.graph(op("multiply", x, 1.0))
    done, log = optimise(graph)
    assert done.outputs == (x,)
    assert [name for name, _, _ in log] == [name for name, _ in PASSES]
    with config.override(skip_passes=("simplify",)):
        done, log = optimise(graph)
    assert done.outputs != (x,)
    assert "simplify" not in [name for name, _, _ in log]
