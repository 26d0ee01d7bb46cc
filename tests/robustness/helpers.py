"""What the tests of robustness share: a program in a process of its own, and the three modes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import weft

SOURCE = Path(weft.__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    """This process's environment, from which the same package is imported, with some variables set."""
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])} | more
    return {name: value for name, value in found.items() if value}


def start(script: str, **env: str) -> subprocess.Popen[str]:
    """Begin to run a script in a new process; warnings go to standard error."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
    )


def finish(process: subprocess.Popen[str], timeout: float = 60, code: int = 0) -> str:
    """What a process prints; it must end in time and with the given exit code."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s:\n{out}\n{err}") from None
    assert process.returncode == code, f"exit code {process.returncode}:\n{out}\n{err}"
    return out


def script(text: str, timeout: float = 60, code: int = 0, **env: str) -> str:
    """Run a script to its end in a new process, and give what it prints."""
    return finish(start(text, **env), timeout, code)


def lazily(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, recorded lazily."""

    def call(*args: Any) -> Any:
        with weft.lazy():
            return function(*args)

    return call


#: name -> what turns a function of tensors into one that runs in that mode
MODES: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "eager": lambda function: function,
    "lazy": lazily,
    "static": weft.static,
}
