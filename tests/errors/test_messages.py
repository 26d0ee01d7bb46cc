"""Wrong calls and the exact messages they give, from ``messages.txt``.

Each case there is a program in a file called ``program.py`` (lines that begin with ``>>> ``) and what it raises. To write
the messages anew after a change, run with WEFT_GOLDEN=write, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft

GOLDEN = Path(__file__).with_name("messages.txt")


def cases() -> list[tuple[str, str]]:
    """(program, expected message) for each case of the golden file."""
    found = []
    for block in GOLDEN.read_text().strip().split("\n\n"):
        lines = block.split("\n")
        program = [line[4:] for line in lines if line.startswith(">>> ")]
        found.append(("\n".join(program), "\n".join(lines[len(program) :])))
    return found


def message(program: str) -> str:
    """What the program raises: the exception's name and text."""
    names: dict[str, Any] = {"weft": weft, "np": np, "nn": weft.nn, "x": weft.zeros(2, 3), "i": weft.tensor([0, 1])}
    try:
        exec(compile(program, "program.py", "exec"), names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


CASES = cases()


@pytest.mark.parametrize(("program", "expected"), CASES, ids=[c[0].split("\n")[-1][:60] for c in CASES])
def test_message(program: str, expected: str) -> None:
    got = message(program)
    if os.environ.get("WEFT_GOLDEN") != "write":
        assert got == expected
    assert got.count("\n") < 10
    first = got.split("\n  in ")[0].split("\n  at ")[0].split("\n  recorded at ")[0]
    assert first.endswith("."), "not a sentence"
    assert "program.py:" in got or "unsupported operand" in got, "the line is missing"


def test_there_are_enough() -> None:
    assert len(CASES) >= 40


def test_a_traceback_names_no_compiler() -> None:
    """What LLVM would say never reaches a user: the error is raised before a kernel is made."""
    with pytest.raises(TypeError) as caught:
        weft.ones(2, dtype=weft.bool_) + weft.ones(2, dtype=weft.bool_)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


if os.environ.get("WEFT_GOLDEN") == "write":
    parts = []
    for written, _ in CASES:
        parts.append("\n".join(f">>> {line}" for line in written.split("\n")) + "\n" + message(written))
    GOLDEN.write_text("\n\n".join(parts) + "\n")
