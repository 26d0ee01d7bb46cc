"""What type checkers and editors see of the package."""

from __future__ import annotations

import ast
import doctest
import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weft
from weft import stubs
from weft.ops.frontend import PUBLIC

PACKAGE = Path(weft.__file__).parent
PROGRAM = Path(__file__).parent / "typed_program.py"


@pytest.mark.parametrize("file", list(stubs.FILES))
def test_the_stubs_are_those_of_the_functions(file: str) -> None:
    content = stubs.FILES[file]()
    ast.parse(content)
    assert (PACKAGE / file).read_text() == content, "Run python -m weft.stubs."
    assert (PACKAGE / "py.typed").exists()


def test_a_type_checker_knows_the_functions_and_methods(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    command += ["--config-file", os.devnull, "--cache-dir", str(tmp_path), str(PROGRAM)]
    environment = dict(os.environ)
    if PACKAGE.parent.name != "site-packages":  # where a type checker finds an installed package by itself
        environment["MYPYPATH"] = str(PACKAGE.parent)
    found = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    refused = {int(line) for line in re.findall(r"typed_program\.py:(\d+): error", found.stdout)}
    wanted = {k for k, line in enumerate(PROGRAM.read_text().split("\n"), 1) if line.endswith("# error")}
    assert refused == wanted, found.stdout + found.stderr


def test_functions_return_what_the_stubs_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function's example is run; what it returns must be of the type in the stub."""
    defined = ast.parse(stubs.functions()).body
    said = {d.name: ast.unparse(d.returns) for d in defined if isinstance(d, ast.FunctionDef) and d.returns}
    kinds: dict[str, type] = {"builtins.bool": bool, "builtins.int": int, "Tensor": weft.Tensor, "Any": object}
    seen: set[str] = set()

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            made = function(*args, **kwargs)
            returns = said[name]
            if returns == "builtins.list[Tensor]":
                assert isinstance(made, list | tuple)
                assert all(isinstance(t, weft.Tensor) for t in made)
            elif returns in kinds:
                assert isinstance(made, kinds[returns]), (name, type(made))
            seen.add(name)
            return made

        return call

    for p in PUBLIC.values():
        if p.in_package:
            monkeypatch.setattr(weft, p.name, watched(p.name, p.function))
    runner = doctest.DocTestRunner(verbose=False)
    for p in PUBLIC.values():
        for test in doctest.DocTestFinder(recurse=False).find(p.function, p.name, globs={"weft": weft}):
            assert runner.run(test).failed == 0
    assert len(seen) > 150
