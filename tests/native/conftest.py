"""What the tests of the native module share: kernels compiled from C, programs over them, and hooks put back afterwards.

The code generator is not used here, so these tests say whether the runtime alone is right.
"""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D

SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

static double number(const int64_t *p) { double v; memcpy(&v, p, sizeof v); return v; }

void add_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  float *x = b[0], *y = b[1], *z = b[2];
  for (int64_t i = lo; i < hi; ++i) z[i] = x[i] + y[i];
}
void mul_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  float *x = b[0], *y = b[1], *z = b[2];
  for (int64_t i = lo; i < hi; ++i) z[i] = x[i] * y[i];
}
/* x plus the float at p[1] */
void shift_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  float *x = b[0], *z = b[1];
  for (int64_t i = lo; i < hi; ++i) z[i] = x[i] + (float)number(p + 1);
}
void shift_i64(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  int64_t *x = b[0], *z = b[1];
  for (int64_t i = lo; i < hi; ++i) z[i] = x[i] + p[1];
}
void neg_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  float *x = b[0], *z = b[1];
  for (int64_t i = lo; i < hi; ++i) z[i] = -x[i];
}
void less_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  float *x = b[0], *y = b[1]; uint8_t *z = b[2];
  for (int64_t i = lo; i < hi; ++i) z[i] = x[i] < y[i];
}
/* fails where x is negative: status is 1 + the position in the body */
void check_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  float *x = b[0];
  for (int64_t i = lo; i < hi; ++i) if (x[i] < 0) *(int64_t *)b[1] = 5;
}
/* a millisecond an element */
void sleep_f32(void **b, const int64_t *p, int64_t lo, int64_t hi) {
  struct timespec t = {0, 1000000};
  for (int64_t i = lo; i < hi; ++i) nanosleep(&t, 0);
}
"""

#: What a script run in another process begins with.
PREAMBLE = """
import ctypes, gc, os, sys, threading, time
import numpy as np
from weft import _native as N, dtypes as D
N.set_dtypes(D.ALL)
lib = ctypes.CDLL(sys.argv[1])
def address(name):
    return ctypes.cast(getattr(lib, name), ctypes.c_void_p).value
def add_program(n, grain=64, release=True):
    return N.Program({
        "name": "add", "inputs": 2, "release": release,
        "buffers": [("input", 0), ("input", 1), ("output", 0)],
        "instrs": [("kernel", "add_f32", [(address("add_f32"), n, grain)], [(0, 0), (1, 0), (2, 0)], [n], [])],
        "outputs": [("fresh", 2, D.float32.code, (n,), (1,), 0)]})
"""


class Kit:
    """Builds programs and plans over the C kernels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lib = ctypes.CDLL(str(path))

    def address(self, name: str) -> int:
        value = ctypes.cast(getattr(self.lib, name), ctypes.c_void_p).value
        assert value
        return value

    def kernel(self, name, n, buffers, params=None, patches=(), grain=1 << 40, fallible=False):
        """A kernel instruction over [0, n)."""
        phases = [(self.address(name), n, grain)]
        return ("kernel", name, phases, [(b, 0) for b in buffers], params or [n], list(patches), fallible)

    def binary(self, name, t, out=D.float32, **extra):
        """A program of one elementwise kernel over two tensors laid out like ``t``."""
        return N.Program(
            {
                "name": name,
                "inputs": 2,
                "buffers": [("input", 0), ("input", 1), ("output", 0)],
                "instrs": [self.kernel(name, t.size, [0, 1, 2])],
                "outputs": [("fresh", 2, out.code, t.shape, t.strides, 0)],
            }
            | extra
        )

    def shift(self, t, kind="f"):
        """A program that adds a scalar."""
        return N.Program(
            {
                "name": "shift",
                "inputs": 1,
                "scalars": [kind],
                "buffers": [("input", 0), ("output", 0)],
                "instrs": [
                    self.kernel(f"shift_{t.dtype.name[0]}{8 * t.itemsize}", t.size, [0, 1], [t.size, 0], [(1, 0)])
                ],
                "outputs": [("fresh", 1, t.dtype.code, t.shape, t.strides, 0)],
            }
        )

    def shift_inplace(self, t):
        """A program that adds a scalar to its input."""
        return N.Program(
            {
                "name": "shift_",
                "inputs": 1,
                "scalars": ["f"],
                "buffers": [("input", 0)],
                "instrs": [self.kernel("shift_f32", t.size, [0, 0], [t.size, 0], [(1, 0)])],
                "outputs": [],
            }
        )

    def add_inplace(self, t):
        """A program that adds its second input to its first."""
        return N.Program(
            {
                "name": "add_",
                "inputs": 2,
                "buffers": [("input", 0), ("input", 1)],
                "instrs": [self.kernel("add_f32", t.size, [0, 1, 0])],
                "outputs": [],
            }
        )

    def script(self, body: str, timeout: float = 60) -> str:
        """Run a script after `PREAMBLE` in a process of its own, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PREAMBLE + body, str(self.path)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


class Slow:
    """A slow path that plans ``add`` (tensor or number), ``add_``, ``less`` and ``view``, and counts its calls."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.calls: list[tuple] = []

    def __call__(self, handle, attrs, operands):
        self.calls.append((handle.name, attrs, operands))
        if not all(isinstance(o, N.Tensor | bool | int | float) for o in operands):
            return NotImplemented
        plan = self.plan(handle.name, operands)
        if plan.differentiable:
            plan.set_saves([(0b11, 0b1)] * 8)
        handle.add_plan(attrs, operands, plan)
        return plan.run(operands)

    def plan(self, name, operands):
        t = next(o for o in operands if isinstance(o, N.Tensor))
        tensors = sum(isinstance(o, N.Tensor) for o in operands)
        if name == "add":
            kind = "f" if t.dtype.kind == "f" else "i"
            program = self.kit.binary("add_f32", t) if tensors == 2 else self.kit.shift(t, kind)
            return N.Plan("program", program, None, True)
        if name == "less":
            return N.Plan("program", self.kit.binary("less_f32", t, D.bool_), None, True)
        if name == "add_":
            program = self.kit.add_inplace(t) if tensors == 2 else self.kit.shift_inplace(t)
            return N.Plan("inplace", program)
        assert name == "tail"
        shape, strides = (t.shape[0] - 1, *t.shape[1:]), t.strides
        return N.Plan("view", None, [((t.dtype, shape, strides), t.strides[0])], True)


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("these tests need a C compiler")
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels.c").write_text(SOURCE)
    library = folder / "kernels.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, folder / "kernels.c"], check=True)
    N.set_dtypes(D.ALL)
    return Kit(library)


@pytest.fixture
def hook() -> Iterator[Callable]:
    """``hook(setter, *args)`` calls a setter of the module; what was set before is put back after the test."""
    undo = []

    def use(setter, *args):
        before = setter(*args)
        before = before if isinstance(before, tuple) else (before,)
        undo.append((setter, args[: len(args) - len(before)], before))

    yield use
    for setter, first, before in reversed(undo):
        setter(*first, *before)


@pytest.fixture
def slow(kit: Kit, hook) -> Slow:
    """The slow path in place, with ``+``, ``+=`` and ``<`` going through handles."""
    path = Slow(kit)
    hook(N.set_slow_path, path)
    hook(N.set_slot, "__add__", N.OpHandle("add", 2))
    hook(N.set_slot, "__iadd__", N.OpHandle("add_", 2))
    hook(N.set_slot, "__lt__", N.OpHandle("less", 2))
    return path


@pytest.fixture
def tensor():
    """``tensor(values)``: a native tensor over a fresh float32 array (or one of another type)."""

    def make(values, dtype=np.float32):
        return N.from_numpy(np.array(values, dtype=dtype))

    return make
