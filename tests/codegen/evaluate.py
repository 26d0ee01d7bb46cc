"""Run expressions of the kernel function library over NumPy arrays, all in one kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from weft import dtypes
from weft.codegen import compile_kernel
from weft.dtypes import DType
from weft.ir.kernel import Apply, Instr, Kernel, Load, Store


def numpy_type(dtype: DType) -> np.dtype:
    """The NumPy type of the same layout, bfloat16 included."""
    return np.dtype(ml_dtypes.bfloat16) if dtype is dtypes.bfloat16 else dtype.numpy


def evaluate(
    bodies: Mapping[str, str], arrays: Sequence[np.ndarray], results: Mapping[str, DType] | None = None
) -> dict[str, np.ndarray]:
    """Each body, an expression over x, y and z, over one-dimensional arrays of one length; "cast" is the cast instruction.

    A result has the type of the first array unless ``results`` names another one.
    """
    inputs = [dtypes.BY_NAME[a.dtype.name] for a in arrays]
    types = [(results or {}).get(name, inputs[0]) for name in bodies]
    body: list[Instr] = [Load(i, "c") for i in range(len(arrays))]
    for k, (name, text) in enumerate(bodies.items()):
        used = tuple(range(1 if text == "cast" else len(arrays)))
        body.append(Apply("cast" if text == "cast" else name, used, types[k]))
        body.append(Store(len(arrays) + k, "c", len(body) - 1))
    compiled = compile_kernel(Kernel("map", "o", (*inputs, *types), tuple(body)), bodies)
    n = arrays[0].size
    outputs = {name: np.empty(n, numpy_type(dtype)) for name, dtype in zip(bodies, types, strict=True)}
    given = [np.ascontiguousarray(a) for a in arrays]
    buffers = [a.ctypes.data for a in given] + [a.ctypes.data for a in outputs.values()]
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(
        compiled.entries[0]
    )
    entry((ctypes.c_void_p * len(buffers))(*buffers), (ctypes.c_int64 * 1)(n), 0, n)
    return outputs
