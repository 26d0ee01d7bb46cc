"""Object code brought to memory by our own linker and by LLVM's, and what it may call."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from weft.codegen import loops
from weft.dtypes import float64
from weft.ir.kernel import Apply, Kernel, Load, Scalar, Store
from weft.runtime import loader

from .nest import ENTRY

FILL = Kernel("map", "o", (float64,), (Scalar(float64), Store(0, "c", 0)))
FMOD = Kernel(
    "map", "o", (float64, float64), (Load(0, "c"), Load(1, "c"), Apply("fmod", (0, 1), float64), Store(0, "c", 2))
)


def compiled(kernel: Kernel, name: str) -> bytes:
    """The object code of a kernel, whose entry point gets the given name."""
    from weft.codegen.cpu import compile_functions

    return compile_functions(loops.functions(kernel, {"fmod": "fmod(x, y)"}, name), [name])


def call(address: int, arrays: list[np.ndarray], params: list[int], n: int) -> None:
    """Run an entry point over [0, n)."""
    buffers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    ENTRY(address)(ctypes.addressof(buffers), ctypes.addressof((ctypes.c_int64 * len(params))(*params)), 0, n)


@pytest.mark.parametrize("link", [loader.load, lambda o: [tuple(x.values()) for x in loader._link_with_llvm(o)]])
def test_two_objects_at_once(link: object) -> None:
    objects = [(compiled(FILL, "fill"), ("fill",)), (compiled(FMOD, "rest"), ("rest",))]
    (fill,), (rest,) = link(objects)  # type: ignore[operator]
    x, y = np.full(99, 7.5), np.full(99, 1e300)
    call(rest, [y, x], [99], 99)
    np.testing.assert_array_equal(y, np.fmod(1e300, x))
    call(fill, [x], [99, 0], 99)
    assert not x.any()


def test_calls() -> None:
    assert loader.called(compiled(FILL, "fill")) <= {"memset"}
    assert loader.called(compiled(FMOD, "rest")) <= {"fmod"}
    assert loader.called(b"neither ELF nor anything else") == set()


def test_unknown_entry_point() -> None:
    with pytest.raises(RuntimeError, match="lacks the entry point 'other'"):
        loader.load([(compiled(FILL, "fill"), ("other",))])


def test_processor_is_known_without_llvm() -> None:
    if Path("/proc/cpuinfo").exists() and "vendor_id" in Path("/proc/cpuinfo").read_text():
        assert "flags" in loader.processor()
