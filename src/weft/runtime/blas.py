"""The matrix product that Weft borrows for now: the 64-bit-integer CBLAS inside NumPy's own OpenBLAS."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from weft import _native

#: Names that builds of OpenBLAS with 64-bit integers give to sgemm and dgemm.
_NAMES = (("scipy_cblas_sgemm64_", "scipy_cblas_dgemm64_"), ("cblas_sgemm64_", "cblas_dgemm64_"))

#: The library in use, or "" where NumPy brings none that fits and the native runtime's own loops serve.
library = ""


def install() -> None:
    """Hand NumPy's matrix product to the native runtime, if NumPy was built with a library that Weft can call."""
    global library
    folder = Path(np.__file__).parent
    for path in [*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]:
        try:
            blas = ctypes.CDLL(str(path))
        except OSError:
            continue
        for names in _NAMES:
            try:
                single, double = (ctypes.cast(getattr(blas, name), ctypes.c_void_p).value for name in names)
            except AttributeError:
                continue
            if single and double:
                _native.set_blas(single, double)
                library = path.name
                return
