"""Weft: a JIT-compiled tensor engine. Eager, lazy and static run the same kernels and give the same bits.

Names of functions are the array API's and PyTorch's; `weft.ops.frontend.PUBLIC` is the table they come from.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from weft import config, dtypes
from weft._native import (
    Tensor,
    empty_cache,
    get_num_threads,
    memory_stats,
    reset_peak_memory,
    set_num_threads,
)
from weft.autograd.engine import grad
from weft.autograd.grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from weft.dtypes import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from weft.errors import AutogradError, CacheWarning, ShapeError, TraceError, WeftError
from weft.interrupts import put_off as _put_off
from weft.modes import install as _modes
from weft.modes.lazy import lazy
from weft.modes.static import static
from weft.ops.generator import Generator, fork_rng
from weft.ops.public import PUBLIC as _PUBLIC
from weft.stats import stats
from weft.tensor import install as _install

__version__ = "0.1.0"

_modes.install()
_install()

#: Modules that are imported when they are first used.
_SUBMODULES = ("autograd", "data", "examples", "linalg", "nn", "ops", "optim", "viz")

#: PyTorch's names for types.
_TYPES = {
    "bool": bool_,
    "half": float16,
    "float": float32,
    "double": float64,
    "short": int16,
    "int": int32,
    "long": int64,
}
pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None

if TYPE_CHECKING:
    from weft._functions import *  # noqa: F403
else:
    globals().update({name: p.function for p in _PUBLIC.values() for name in p.names})
    globals().update(_TYPES)

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            with _put_off():
                return importlib.import_module(f"weft.{name}")
        raise AttributeError(f"module 'weft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})


__all__ = [
    "AutogradError",
    "CacheWarning",
    "DType",
    "Generator",
    "ShapeError",
    "Tensor",
    "TraceError",
    "WeftError",
    "bfloat16",
    "bool_",
    "config",
    "dtypes",
    "e",
    "empty_cache",
    "enable_grad",
    "float16",
    "float32",
    "float64",
    "fork_rng",
    "get_num_threads",
    "grad",
    "inf",
    "inference_mode",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "lazy",
    "memory_stats",
    "nan",
    "newaxis",
    "no_grad",
    "pi",
    "reset_peak_memory",
    "set_grad_enabled",
    "set_num_threads",
    "static",
    "stats",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]
__all__ += [name for p in _PUBLIC.values() for name in p.names]
