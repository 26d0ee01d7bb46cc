"""Compiling goes on after it was interrupted while numba learned an intrinsic, and after numba's own target used one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.typing.templates import _IntrinsicTemplate

import weft
from weft.codegen import cpu, vecmath

FUNCTIONS = [
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "log1p",
    "expm1",
]


def _interrupt_after(lines: int) -> Callable[..., Any]:
    """A trace function that raises KeyboardInterrupt at the given line that is run while an intrinsic is typed."""
    left = lines

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return line

    return lambda frame, event, arg: line if frame.f_code is _IntrinsicTemplate.generic.__code__ else None


@pytest.mark.parametrize(("lines", "name"), list(enumerate(FUNCTIONS, 4)))
def test_an_interrupted_compilation_loses_no_intrinsic(
    lines: int, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.linspace(0.125, 0.75, 5, dtype=np.float32) + np.float32(name == "acosh")

    def compute() -> np.ndarray[Any, Any]:
        with weft.lazy():
            y = weft.sqrt(getattr(weft, name)(weft.from_numpy(x)) + 2.0) * 3.0 - weft.from_numpy(x)
        return y.numpy()

    monkeypatch.setenv("WEFT_CACHE_DIR", str(tmp_path))
    cpu._contexts.cache_clear()
    tracing = sys.gettrace()
    sys.settrace(_interrupt_after(lines))
    try:
        with pytest.raises(KeyboardInterrupt):
            compute()
    finally:
        sys.settrace(tracing)
    np.testing.assert_allclose(compute(), np.sqrt(getattr(np, name)(x) + 2) * 3 - x, rtol=1e-5)


def test_intrinsics_are_shared_with_functions_that_numba_compiles() -> None:
    x = np.linspace(0.25, 0.75, 5, dtype=np.float32)
    half = weft.from_numpy(x)
    exp = vecmath.NAMESPACE["exp"]
    with weft.lazy():
        first = weft.exp(half) * 0.75 + 0.125
    np.testing.assert_allclose(first.numpy(), np.exp(x) * 0.75 + 0.125, rtol=1e-6)
    assert abs(numba.njit(lambda value: exp(value))(np.float32(1)) - np.e) < 1e-6
    with weft.lazy():
        second = (weft.exp(half) - 0.375) * (half + 3.5)
    np.testing.assert_allclose(second.numpy(), (np.exp(x) - 0.375) * (x + 3.5), rtol=1e-6)
