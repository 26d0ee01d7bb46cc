"""Random programs give the same bits in eager, lazy and static, with one thread and two, and agree with NumPy."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import weft
from tests.programs.grammar import PROGRAMS, Program, inputs_of, run
from weft.ir.interpreter import interpret

#: Programs drawn in all, spread over the shards that pytest-xdist runs side by side.
EXAMPLES = int(os.environ.get("WEFT_PROGRAMS", "512"))
SHARDS = 8


def bits(tensors: list[Any]) -> list[tuple[str, tuple[int, ...], bytes]]:
    """Values to the last bit; one NaN is as good as another."""
    out = []
    for t in tensors:
        array = np.array(t.detach().numpy())
        if array.dtype.kind == "f":
            array[np.isnan(array)] = np.nan
        out.append((t.dtype.name, tuple(t.shape), array.tobytes()))
    return out


def attempt(function: Any, *args: Any) -> Any:
    """What the function gives, or the class of the Weft error it raises: modes must agree on that too."""
    try:
        return bits(function(*args))
    except weft.AutogradError as error:
        return type(error).__name__


def tensors(program: Program) -> list[Any]:
    return [weft.from_numpy(a.copy()) for a in inputs_of(program)]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_programs(shard: int) -> None:
    @seed(shard)
    @settings(
        max_examples=EXAMPLES // SHARDS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(PROGRAMS, st.booleans())
    def check(program: Program, second_replay: bool) -> None:
        before = weft.get_num_threads()
        try:
            with np.errstate(all="ignore"):
                compare(program, second_replay)
        finally:
            weft.set_num_threads(before)

    check()


def compare(program: Program, second_replay: bool) -> None:
    weft.set_num_threads(1)
    eager = attempt(run, program, *tensors(program))
    weft.set_num_threads(2)
    assert attempt(run, program, *tensors(program)) == eager
    with weft.lazy():
        lazy = attempt(run, program, *tensors(program))
    assert lazy == eager

    def function(*inputs: Any) -> Any:
        return run(program, *inputs)

    static = weft.static(function)
    given_inputs = tensors(program)
    assert attempt(static, *given_inputs) == eager
    if second_replay:
        weft.set_num_threads(1)
        assert attempt(static, *tensors(program)) == eager
    if not isinstance(eager, str):
        agree_with_numpy(program, static)


def agree_with_numpy(program: Program, static: Any) -> None:
    """The NumPy interpreter of the traced graph gives the values that its compiled program gives, up to rounding."""
    ((trace,),) = static._traces.values()
    sources = trace.replay.inputs(tensors(program))
    arrays = [np.array(t.detach().numpy()) for t in sources]
    expected, _ = interpret(trace.executable.graph, arrays, [])
    made = trace.executable.program.run(sources, [])
    for mine, oracle in zip(made, expected, strict=True):
        half = mine.dtype.name == "float16"
        np.testing.assert_allclose(
            np.asarray(mine.numpy(), dtype=np.float64),
            np.asarray(oracle, dtype=np.float64),
            rtol=2e-2 if half else 2e-5,
            atol=2e-2 if half else 2e-5,
        )
