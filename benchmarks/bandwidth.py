"""The memory bandwidth that compiled C++ reaches on this machine, as a yardstick for fused kernels."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Candidate

SOURCE = Path(__file__).with_name("triad.cpp")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-std=c++17")

#: Arrays that go through memory: read, written, and read because written (a store first fetches its cache line).
TRIAD_ARRAYS = 2 + 1 + 1
SILU_ARRAYS = 3 + 1 + 1


def compiler() -> str | None:
    """The system's C++ compiler."""
    return next((c for c in (os.environ.get("CXX"), "c++", "g++", "clang++") if c and shutil.which(c)), None)


def build(folder: Path) -> ctypes.CDLL | None:
    """The triad as a library, with OpenMP where the compiler has it; None without a compiler."""
    cxx = compiler()
    if cxx is None:
        return None
    library = folder / "triad.so"
    for threads in ("-fopenmp", "-pthread"):
        done = subprocess.run([cxx, *FLAGS, threads, str(SOURCE), "-o", str(library)], capture_output=True, check=False)
        if done.returncode == 0:
            return ctypes.CDLL(str(library))
    raise RuntimeError(f"{cxx} cannot compile {SOURCE}:\n{done.stderr.decode()}")


def triad(n: int, threads: int) -> Candidate | None:
    """The triad over ``n`` floats, checked against NumPy; None where there is no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
    if library is None:
        return None
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, n), dtype=np.float32)
    c = np.zeros(n, np.float32)
    library.triad.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_float, ctypes.c_int64, ctypes.c_int]
    arguments = (c.ctypes.data, a.ctypes.data, b.ctypes.data, 0.5, n, threads)
    library.triad(*arguments)
    np.testing.assert_allclose(c, a + np.float32(0.5) * b, rtol=1e-6, atol=1e-6)
    return Candidate("f(*arguments)", {"f": library.triad, "arguments": arguments, "keep": (a, b, c)})
