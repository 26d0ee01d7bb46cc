"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest

# Which tile is the fastest depends on what else the machine does: tests that measure say so.
os.environ.setdefault("WEFT_TUNE", "0")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts background jobs with SIGINT ignored, which is inherited; the tests of Ctrl-C need it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
