"""The exceptions that Weft raises, and the one place that words them.

Each exception is also the built-in one that a caller would expect. A message has at most ten lines: what is wrong and
what to do, in sentences; the call, with its operands' types and shapes; the user's own file and line.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
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
#: What a public function words: also where an argument lacks what is asked of it.
CAUGHT = (*EXPLAINED, AttributeError)


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


#: Modules of the types that have a short ``repr``.
_PLAIN = ("builtins", "weft.dtypes")


def describe(operand: Any) -> str:
    """An operand in an error message: ``float32[2, 3]`` for a tensor, else a short ``repr``."""
    shape, dtype = getattr(operand, "shape", None), getattr(operand, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        text = f"{getattr(dtype, 'name', dtype)}{list(shape)}"  # PyTorch's types have no names
        return text if hasattr(operand, "requires_grad") else f"{type(operand).__name__}({text})"
    if isinstance(operand, list | tuple) and any(_described(o) for o in operand):
        few = [describe(o) for o in operand[:4]] + ["..."] * (len(operand) > 4)
        text = ", ".join(few)
        return f"[{text}]" if isinstance(operand, list) else f"({text}{',' * (len(operand) == 1)})"
    if type(operand).__module__ in _PLAIN:
        text = reprlib.repr(operand).replace("\n", " ")
        if not text.startswith("<"):
            return text
    return f"<{type(operand).__name__}>"  # a repr may hold an address, or pages


def _described(element: Any) -> bool:
    """Whether an element of a list is not shown by its ``repr``."""
    return type(element).__module__ not in _PLAIN or reprlib.repr(element).startswith("<")


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
    said = _public_type(error)(f"{bare}\n  in {name}({', '.join(given)}){at}")
    said._weft_bare = bare  # type: ignore[attr-defined]
    return said


def _public_type(error: Exception) -> type[Exception]:
    """The error's type, or that of which it is a private kind, such as one of NumPy's whose making takes other arguments."""
    kinds = (Exception, *EXPLAINED)
    return next(t for t in type(error).__mro__ if t in kinds or t.__module__.startswith("weft."))


def kind_of(x: Any) -> str:
    """What to call an argument's type in a message."""
    if x is None:
        return "None"
    kind = type(x).__name__
    module = type(x).__module__.partition(".")[0]
    full = f"{module}.{kind}" if module not in ("builtins", "__main__") else kind
    return f"{'an' if full[0] in 'aeiou' else 'a'} {full}"


def worded(name: str, function: F) -> F:
    """A function whose errors name the call, in sentences."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except CAUGHT as error:
            raise reworded(error, name, function, args, kwargs) from None

    return call  # type: ignore[return-value]


_COUNTS = re.compile(r"takes (?:from \d+ to )?\d+ positional arguments? but \d+ (?:was|were) given")


def reworded(
    error: Exception, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Exception:
    """What a call of a function raises for an error in it: Python's own words made a sentence, with the call and the line.

    A complaint about the arguments' number or names says which there are. An argument that lacks what the function asks of
    it is none that it takes; any other ``AttributeError`` is left as it is.
    """
    code = inspect.unwrap(function).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    bound = code.co_varnames[:1] in (("self",), ("cls",))  # before what the user gave
    text = getattr(error, "_weft_bare", None) or str(error)
    prefix = f"{function.__qualname__}() "
    if isinstance(error, AttributeError):
        given = [*zip(code.co_varnames, args, strict=False), *kwargs.items()]
        misfit = next((argument for argument, value in given if value is error.obj), None)
        if misfit is None:
            return error
        error = TypeError(f"{name} cannot use {kind_of(error.obj)} as {misfit}.")
    elif isinstance(error, TypeError) and text.startswith(prefix) and not text.endswith("."):
        most = code.co_argcount - bound
        allowed = f"at most {most} argument{'s' * (most != 1)}" if most else "no arguments"
        counts = f"takes {allowed} by position, not {len(args) - bound}"
        text = _COUNTS.sub(counts, text[len(prefix) :])
        error = TypeError(f"{name} {text}; its arguments are {', '.join(names[bound:]) or 'none'}.")
    elif not text.split("\n  recorded at ")[0].endswith((".", "]")):
        error = _public_type(error)(f"{name} cannot use these arguments: {text}.")
    of_tensor = bound and hasattr(args[0], "requires_grad")  # a method of any other thing is called by the thing's name
    return explain(error, name, args[bound and not of_tensor :], kwargs)


def constructed(kind: C) -> C:
    """A class of Weft's whose ``__init__`` raises errors that name the class."""
    init = kind.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except CAUGHT as error:
            made = type(self) if type(self).__module__.startswith("weft.") else kind
            raise reworded(error, made.__name__, init, (self, *args), kwargs) from None

    kind.__init__ = call  # type: ignore[misc]
    return kind
