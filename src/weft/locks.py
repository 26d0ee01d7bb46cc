"""Locks of the package that a fork leaves free.

A fork copies one thread only. A lock that another thread holds at that moment would stay locked in the child for ever, and
what it guards (LLVM's tables, a half-recorded graph) would stay half changed. So whoever forks first takes
every lock made here, outermost first, and both processes give them back.
"""

from __future__ import annotations

import os
import threading
from typing import Any

#: Who may hold which lock while taking another: only one that stands further right.
ORDER = ("draw", "lazy", "plans", "compile", "load", "nodes")

_locks: dict[str, Any] = {name: threading.RLock() for name in ORDER}


def shared(name: str) -> Any:
    """The re-entrant lock of this name, one of `ORDER`."""
    return _locks[name]


def _take() -> None:
    for name in ORDER:
        _locks[name].acquire()


def _give_back() -> None:
    for name in reversed(ORDER):
        _locks[name].release()


os.register_at_fork(before=_take, after_in_parent=_give_back, after_in_child=_give_back)

__all__ = ["shared"]
