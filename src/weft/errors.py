"""The exceptions that Weft raises. Each is also the built-in exception that a caller would expect."""

from __future__ import annotations


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
