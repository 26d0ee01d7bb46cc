"""The tour in the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_tour_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (tour,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    exec(compile(tour, str(README), "exec"), {})
    printed = capsys.readouterr().out
    losses = [float(v) for v in re.findall(r"^(?:eager|lazy|static) +([\d.]+)$", printed, re.M)]
    assert len(losses) == 3
    assert losses[2] < losses[0]
    assert "Kernels (" in printed
    assert "Stats(traces=" in printed
