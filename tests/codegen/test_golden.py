"""The source of a handful of kernels, kept under tests/golden/. After a change that is meant: WEFT_UPDATE_GOLDEN=1 pytest."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from weft.codegen import source
from weft.dtypes import bfloat16, bool_, float16, float32, int64
from weft.ir.kernel import Apply, Index, Instr, Kernel, Load, LoadAt, Reduce, Scalar, Store, StoreAt

GOLDEN = Path(__file__).parent.parent / "golden"
BODIES = {
    "add": "x + y",
    "subtract": "x - y",
    "multiply": "x * y",
    "divide": "x / y",
    "negative": "-x",
    "exp": "exp(x)",
    "less": "x < y",
    "where": "y if x else z",
}


def body(*instrs: Instr) -> tuple[Instr, ...]:
    return instrs


KERNELS = {
    "silu": Kernel(
        "map",
        "o",
        (float32, float32),
        body(
            Load(0, "c"),
            Apply("negative", (0,), float32),
            Apply("exp", (1,), float32),
            Scalar(float32),
            Apply("add", (2, 3), float32),
            Apply("divide", (0, 4), float32),
            Store(1, "c", 5),
        ),
    ),
    "masked_fill": Kernel(
        "map",
        "ooo",
        (float16, bool_, float16),
        body(
            Load(0, "ssc"),
            Load(1, "bsc"),
            Scalar(float16),
            Apply("where", (1, 2, 0), float16),
            Apply("add", (3, 3), float16),
            Store(2, "ssc", 4),
        ),
    ),
    "add_transposed": Kernel(
        "map",
        "oo",
        (float16, float32, float32),
        body(
            Load(0, "ss"),
            Load(1, "sc"),
            Apply("add", (0, 1), float32),
            Store(2, "sc", 2),
        ),
    ),
    "transposed_copy": Kernel("map", "ooo", (float32, float32), body(Load(0, "sss"), Store(1, "ssc", 0))),
    "relu_in_place": Kernel(
        "map",
        "oo",
        (float32,),
        body(
            Load(0, "sc"),
            Scalar(float32),
            Apply("less", (0, 1), bool_),
            Apply("where", (2, 1, 0), float32),
            Store(0, "sc", 3),  # with the load's stride: otherwise the loop does not vectorise
        ),
    ),
    "gather": Kernel(
        "map",
        "oo",
        (float32, int64, float32),
        body(
            Load(1, "sb"),
            Scalar(int64),
            Apply("check_index", (0, 1), int64),
            Index("bc"),
            LoadAt(0, (2, 3)),
            Store(2, "sc", 4),
        ),
    ),
    "scatter_add": Kernel(
        "map", "o", (bfloat16, int64, bfloat16), body(Load(1, "c"), Load(2, "c"), StoreAt(0, (0,), 1, True))
    ),
    "softmax": Kernel(
        "row",
        "or",
        (float32, float32),
        body(
            Load(0, "sc"),
            Reduce("max", 0, float32),
            Apply("subtract", (0, 1), float32),
            Apply("exp", (2,), float32),
            Reduce("sum", 3, float32),
            Apply("divide", (3, 4), float32),
            Store(1, "sc", 5),
        ),
    ),
    # the last pass writes nothing, so that another fetches the next row
    "sum_of_exponentials": Kernel(
        "row",
        "or",
        (float32, float32),
        body(
            Load(0, "sc"),
            Reduce("max", 0, float32),
            Apply("subtract", (0, 1), float32),
            Apply("exp", (2,), float32),
            Reduce("sum", 3, float32),
            Store(1, "sb", 4),
        ),
    ),
    "squares": Kernel(
        "reduce",
        "or",
        (float32, float32),
        body(Load(0, "sc"), Apply("multiply", (0, 0), float32), Reduce("sum", 1, float32), Store(1, "sb", 2)),
    ),
    "any_and_argmax": Kernel(
        "reduce",
        "or",
        (float32, bool_, int64),
        body(
            Load(0, "sc"),
            Scalar(float32),
            Apply("less", (0, 1), bool_),
            Reduce("any", 2, bool_),
            Reduce("argmax", 0, int64),
            Store(1, "sb", 3),
            Store(2, "sb", 4),
        ),
    ),
    "mean_of_rows": Kernel(
        "outer",
        "ori",
        (float32, float32),
        body(
            Load(0, "ssc"),
            Reduce("sum", 0, float32),
            Scalar(float32),
            Apply("multiply", (1, 2), float32),
            Store(1, "sbc", 3),
        ),
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_source_is_as_kept(name: str) -> None:
    text = source(KERNELS[name], BODIES, name)
    ast.parse(text)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("WEFT_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
