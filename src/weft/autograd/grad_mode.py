"""Whether ops go on the tape: per thread, as context managers and decorators.

Entering and leaving is native (`_native.GradScope`), so that Ctrl-C cannot come between the two and leave gradients off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from weft import _native
from weft.errors import kind_of

F = TypeVar("F", bound=Callable[..., Any])


def is_grad_enabled() -> bool:
    """Whether this thread records gradients.

    Example:
        >>> weft.is_grad_enabled()
        True
    """
    return _native.grad_enabled()


class _GradMode(_native.GradScope):
    """Sets whether gradients are recorded, for a ``with`` block or for every call of a decorated function."""

    __slots__ = ("_enabled",)

    def __init__(self, enabled: bool) -> None:
        super().__init__(enabled)
        self._enabled = enabled

    def __call__(self, function: F) -> F:
        if not callable(function):
            raise TypeError(f"{type(self).__name__} decorates functions, not {kind_of(function)}.")
        enabled = self._enabled

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with _native.GradScope(enabled):
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]


class no_grad(_GradMode):
    """Record no gradients: ``with weft.no_grad():``, or ``@weft.no_grad()`` on a function.

    Example:
        >>> x = weft.ones(1, requires_grad=True)
        >>> with weft.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    __slots__ = ()

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Any = None) -> None:
        super().__init__(False)


class enable_grad(_GradMode):
    """Record gradients, inside `no_grad`: a context manager and decorator.

    Example:
        >>> x = weft.ones(1, requires_grad=True)
        >>> with weft.no_grad(), weft.enable_grad():
        ...     y = x * 2
        >>> y.requires_grad
        True
    """

    __slots__ = ()

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Any = None) -> None:
        super().__init__(True)


class set_grad_enabled(_GradMode):
    """Record gradients or not, from now on; as a context manager, until the end of the block.

    Example:
        >>> with weft.set_grad_enabled(False):
        ...     weft.is_grad_enabled()
        False
    """

    __slots__ = ()

    def __init__(self, enabled: bool) -> None:
        if not isinstance(enabled, bool):
            raise TypeError(f"set_grad_enabled takes True or False, not {kind_of(enabled)}.")
        super().__init__(enabled)
        super().__enter__()

    def __enter__(self) -> None:
        """Already in force; the end of the block brings back what was there before."""

    def __call__(self, function: F) -> F:
        self.__exit__()
        return super().__call__(function)


#: As in PyTorch; Weft keeps no other state that inference mode could switch off.
inference_mode = no_grad
