"""Sections that Ctrl-C does not cut in two.

Importing LLVM and compiling with it fill tables that an exception in the middle leaves unusable for the rest of the
process. The signals whose handlers may raise are therefore put off until such a section ends.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

#: Ctrl-C, and what time limits and shutdowns are made with.
SIGNALS = (signal.SIGINT, signal.SIGALRM, signal.SIGTERM)


class put_off:
    """A ``with`` block at whose end, and not before, the Python handlers of `SIGNALS` run.

    Python runs handlers on its main thread only; on others the block changes nothing.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> None:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                try:
                    signal.signal(number, self._note)
                except ValueError:  # not the main thread
                    self._handlers.clear()
                    return

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number, frame in self._came:
            self._handlers[number](number, frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))


__all__ = ["put_off"]
