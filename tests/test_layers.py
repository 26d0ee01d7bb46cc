"""Imports and includes run one way down the architecture's layers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import weft

PACKAGE = Path(weft.__file__).parent
NATIVE = Path(__file__).parent.parent / "native"

#: Folders and modules, lowest first; one may import at module level what stands on its own line or above.
LAYERS = [
    ["dtypes", "errors", "config", "locks", "interrupts", "recent", "_native"],
    ["ir.node", "ir.graph", "ir.kernel", "ir"],
    ["ops.registry"],
    ["ops"],
    ["runtime.cache", "runtime.loader", "runtime.relocations"],
    ["codegen"],
    ["runtime"],
    ["passes"],
    ["compiler"],
    ["record"],
    ["autograd"],
    ["modes"],
    ["values"],
    ["tensor", "linalg", "stats"],
    ["data", "nn"],
    ["optim"],
    ["viz"],
    ["examples"],
    ["cli", "reference", "stubs", "__main__", ""],
]

#: Folders of the native sources, lowest first.
NATIVE_LAYERS = ["base", "gemm", "attention", "program", "python"]


def layer(module: str) -> int:
    """The layer of a module named relative to the package; the longest name that matches counts."""
    best = (-1, -1)
    for k, names in enumerate(LAYERS):
        for name in names:
            if module == name or (name and module.startswith(name + ".")):
                best = max(best, (len(name), k))
    assert best[1] >= 0, f"weft.{module} stands in no layer."
    return best[1]


def imports(path: Path) -> list[str]:
    """What a module imports from the package when it is imported itself, type-checking imports aside."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "weft":
            inner = node.module[len("weft") :].lstrip(".")
            for alias in node.names:
                name = f"{inner}.{alias.name}".lstrip(".")
                is_module = (PACKAGE / (name.replace(".", "/") + ".py")).exists() or (
                    PACKAGE / name.replace(".", "/")
                ).is_dir()
                found.append(name if is_module or name == "_native" else inner)
        elif isinstance(node, ast.Import):
            found += [a.name[len("weft.") :] for a in node.names if a.name.startswith("weft.")]
    return found


def test_imports_run_down() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        for name in imports(path):
            if layer(name) > layer(module):
                wrong.append(f"weft.{module} imports weft.{name}")
    assert not wrong, "\n".join(wrong)


def test_includes_run_down() -> None:
    wrong, seen = [], set()
    for path in sorted(p for p in NATIVE.rglob("*.*") if p.suffix in (".h", ".cpp") and p.parent.name != "tests"):
        folder = path.relative_to(NATIVE).parts[0]
        seen.add(folder)
        for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
            assert (NATIVE / name).is_file(), f"{path} includes {name}, which is not named by its folder."
            if NATIVE_LAYERS.index(name.split("/")[0]) > NATIVE_LAYERS.index(folder):
                wrong.append(f"native/{path.relative_to(NATIVE)} includes {name}")
    assert not wrong, "\n".join(wrong)
    assert seen == set(NATIVE_LAYERS)
