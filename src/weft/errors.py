"""The exceptions that Weft raises, and the one place that words them.

Each exception is also the built-in one that a caller would expect. A message has at most ten lines: what is wrong and
what to do, in sentences; the call, with its operands' types and shapes; the user's own file and line.
"""

from __future__ import annotations

import functools
import os
import reprlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class WeftError(Exception):
    """Base of Weft's own exceptions."""


class ShapeError(WeftError, ValueError):
    """Shapes or axes that do not fit an operation."""


class AutogradError(WeftError, RuntimeError):
    """A gradient that cannot be computed: no graph, a graph already freed, a value modified since it was saved."""


class TraceError(WeftError, RuntimeError):
    """Something a static function cannot record, such as a tensor's value needed by Python while tracing."""


class CacheWarning(RuntimeWarning):
    """The kernel cache on disk cannot be used; kernels are kept in memory only."""


#: The errors that a wrong call raises, and that `explain` words.
EXPLAINED = (WeftError, TypeError, ValueError, IndexError, OverflowError, MemoryError, NotImplementedError)


@functools.lru_cache(maxsize=1024)
def _is_users(file: str) -> bool:
    return not file.startswith(_PACKAGE) and not file.startswith("<frozen")


def where_in_user_code() -> tuple[str, int] | None:
    """The innermost frame outside Weft: (file, line)."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if _is_users(name):
            return name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def describe(operand: Any) -> str:
    """An operand in an error message: ``float32[2, 3]`` for a tensor, else a short ``repr``."""
    shape, dtype = getattr(operand, "shape", None), getattr(operand, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        text = f"{dtype.name}{list(shape)}"
        return text if hasattr(operand, "requires_grad") else f"{type(operand).__name__}({text})"
    if isinstance(operand, list | tuple) and any(hasattr(o, "requires_grad") for o in operand):
        few = [describe(o) for o in operand[:4]] + ["..."] * (len(operand) > 4)
        text = ", ".join(few)
        return f"[{text}]" if isinstance(operand, list) else f"({text}{',' * (len(operand) == 1)})"
    if type(operand).__module__ in ("builtins", "weft.dtypes"):
        text = reprlib.repr(operand).replace("\n", " ")
        if not text.startswith("<"):
            return text
    return f"<{type(operand).__name__}>"  # a repr may hold an address, or pages


def explain(error: Exception, name: str, operands: Sequence[Any], named: Mapping[str, Any] | None = None) -> Exception:
    """The same error with the call and the user's line in its message.

    Where calls of Weft are nested, the outermost, which is the one the user wrote, is the one named.
    """
    bare = getattr(error, "_weft_bare", None)
    if bare is None:
        bare = str(error.args[0]) if error.args else type(error).__name__
    given = [describe(o) for o in operands] + [f"{k}={describe(v)}" for k, v in (named or {}).items()]
    line = where_in_user_code()
    at = f"\n  at {line[0]}:{line[1]}" if line else ""
    worded = type(error)(f"{bare}\n  in {name}({', '.join(given)}){at}")
    worded._weft_bare = bare  # type: ignore[attr-defined]
    return worded
