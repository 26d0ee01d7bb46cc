"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Which tile is the fastest depends on what else the machine does: tests that measure say so.
os.environ.setdefault("WEFT_TUNE", "0")


@pytest.fixture(scope="module")
def by_vectors() -> Iterator[None]:
    """Leaves the CPU's matrix unit alone."""
    from tests.ops.helpers import without_matrix_unit  # now that the variable above is set

    with without_matrix_unit():
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts background jobs with SIGINT ignored, which is inherited; the tests of Ctrl-C need it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
