"""Every switch: a default, an environment variable, and a value that can be set for the length of a ``with`` block.

Example:
    >>> from weft import config
    >>> with config.override(verify=True):
    ...     pass  # graphs and kernels are verified here
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """The switches. Each is read from the environment variable WEFT_<NAME> when the package is imported."""

    #: Check every graph and kernel for consistency while compiling (slow; the tests do).
    verify: bool = False
    #: Passes of the pipeline to leave out, by name.
    skip_passes: tuple[str, ...] = ()
    #: What to print to standard error while compiling: "graph", "passes", "schedule", "kernels".
    show: tuple[str, ...] = ()
    #: Units of work in one chunk of a kernel, instead of what its cost suggests; 0 for that.
    grain: int = 0
    #: Measure which tiles of matrix products are fastest before the first large product, once on a machine.
    tune: bool = True
    #: Tiles to use instead of those that were chosen, such as "float32:4x24" (rows x columns). The first product of a type in a
    #: process settles its tile.
    tiles: tuple[str, ...] = ()
    #: Make large products of float32 by the CPU's matrix unit (AMX), where it has one. Settled when the package is imported.
    matrix_unit: bool = True


#: What the whole process goes by.
_SETTLED = ("matrix_unit",)


def _from_environment() -> Settings:
    found: dict[str, Any] = {}
    for f in fields(Settings):
        text = os.environ.get(f"WEFT_{f.name.upper()}")
        if text is None:
            continue
        default = f.default
        if isinstance(default, bool):
            if text.lower() not in ("0", "1", "true", "false", "on", "off"):
                raise ValueError(f"WEFT_{f.name.upper()} is {text!r}; it takes 0 or 1.")
            found[f.name] = text.lower() in ("1", "true", "on")
        elif isinstance(default, int):
            if not text.isdigit():
                raise ValueError(f"WEFT_{f.name.upper()} is {text!r}; it takes a whole number.")
            found[f.name] = int(text)
        else:
            found[f.name] = tuple(part.strip() for part in text.split(",") if part.strip())
    return Settings(**found)


_FROM_ENVIRONMENT = _from_environment()
_settings: ContextVar[Settings] = ContextVar("weft_settings", default=_FROM_ENVIRONMENT)


def current() -> Settings:
    """The switches as they stand in this context."""
    return _settings.get()


@contextmanager
def override(**switches: Any) -> Iterator[Settings]:
    """Set switches for the length of a ``with`` block, in this thread or task alone.

    Raises ``TypeError`` for a switch that does not exist, or that was settled when the package was imported.
    """
    known = {f.name for f in fields(Settings)}
    for name in switches:
        if name not in known:
            raise TypeError(f"Weft has no switch named {name!r}; the switches are {', '.join(sorted(known))}.")
        if name in _SETTLED:
            raise TypeError(
                f"The switch {name!r} is settled when Weft is imported; set the environment variable WEFT_{name.upper()}."
            )
    token = _settings.set(replace(current(), **switches))
    try:
        yield current()
    finally:
        _settings.reset(token)
