"""Stubs for type checkers and editors: the functions of `weft` and the methods of `Tensor`, which come from tables.

``python -m weft.stubs`` writes ``_functions.pyi`` and ``_methods.pyi``, which exist for type checkers only. Types are read off
the functions' signatures; what is annotated as `Any` there, because it is checked when called, is known by its name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import weft
from weft import values
from weft.ops.frontend import PUBLIC, Tensor, respellings
from weft.tensor import methods as tensor_methods

_OPERAND = "Tensor | Number"
_SIZES = "int | Sequence[int]"

#: Types of arguments, by name; the first that fits, of "function.name" and "name". "| None" is added where None is the default.
ARGUMENTS = {
    "arange.start": "Number",
    "arange.step": "Number",
    "arange.stop": "Number",
    "lerp.weight": _OPERAND,
    "lerp_.weight": _OPERAND,
    "matrix_norm.ord": "str | float",
    "moveaxis.source": _SIZES,
    "multi_dot.tensors": "Sequence[Tensor]",
    "randint.high": "int",
    "scaled_dot_product_attention.value": "Tensor",
    "tensordot.axes": "int | Sequence[int] | Sequence[Sequence[int]]",
    "a": _OPERAND,
    "array": "Any",
    "attn_mask": "Tensor",
    "axes": _SIZES,
    "axis": "int | Sequence[int]",
    "b": _OPERAND,
    "bias": "Tensor",
    "condition": _OPERAND,
    "counts": _SIZES,
    "data": "Any",
    "destination": _SIZES,
    "device": "str",
    "dtype": "DType | type | str",
    "end": _OPERAND,
    "fill_value": _OPERAND,
    "generator": "Generator",
    "index": "Tensor",
    "indices": "Tensor",
    "key": "Tensor",
    "mask": "Tensor",
    "max": _OPERAND,
    "mean": _OPERAND,
    "min": _OPERAND,
    "normalized_shape": _SIZES,
    "operands": "Tensor",
    "other": "Tensor",
    "p": _OPERAND,
    "query": "Tensor",
    "shape": _SIZES,
    "shifts": _SIZES,
    "sizes": _SIZES,
    "source": "Tensor",
    "state": "Tensor",
    "std": _OPERAND,
    "subscripts": "str",
    "target": "Tensor",
    "tensors": "Sequence[Tensor]",
    "value": _OPERAND,
    "weight": "Tensor",
    "widths": "int | Sequence[int] | Sequence[Sequence[int]]",
    "y": _OPERAND,
}

#: What functions annotated with `Any` return, unless a tensor.
RETURNS = {
    "nonzero": "Any",  # a tuple of tensors, or a tensor, by ``as_tuple``
    "where": "Any",  # a tuple of tensors with the condition alone
    "item": "Any",
    "tolist": "Any",
    "numpy": "Any",
    "size": "Any",
    "stride": "Any",
}

_HEAD = '''"""{what} Made by `python -m weft.stubs`."""

import builtins
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from weft._native import Number, Tensor
from weft.dtypes import DType
from weft.ops.generator import Generator

'''


def functions() -> str:
    """The stub of what `weft` takes from tables: modules, types by PyTorch's names, functions."""
    out = [_HEAD.format(what="What `weft` takes from tables, for type checkers.")]
    out += [f"from weft import {module} as {module}\n" for module in weft._SUBMODULES]
    out += ["\n", *(f"{name}: DType\n" for name in weft._TYPES), "\n"]
    for p in PUBLIC.values():
        for name in p.names:
            out += definitions(name, p.function)
    return "".join(out)


def methods() -> str:
    """The stub of the methods of `Tensor`."""
    out = [_HEAD.format(what="What `Tensor` has besides what it is natively, for type checkers.")]
    out.append("class Methods:\n")
    for p in PUBLIC.values():
        for name in p.methods:
            out += definitions(name, p.function, "    ")
    for name, function in {**tensor_methods(), "item": values.item, **values.METHODS}.items():
        out += definitions(name, function, "    ")
    for name in ("T", "mT", "data"):
        prop = getattr(Tensor, name)
        out.append(f"    @property\n    def {name}(self) -> Tensor:\n        {_doc(prop.__doc__)}\n\n")
    out.append("    @data.setter\n    def data(self, value: Tensor) -> None: ...\n")
    return "".join(out)


def definitions(name: str, function: Callable[..., Any], indent: str = "") -> Iterable[str]:
    """The definition of a function, or method if indented; two where PyTorch's names for arguments differ."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    own = function.__name__
    returns = signature.return_annotation
    if returns in ("Any", inspect.Signature.empty):
        returns = RETURNS.get(own, "Tensor")
    returns = re.sub(r"\bAny\b", "Tensor", returns) if returns.startswith(("list", "tuple")) else returns
    named = {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}
    aliases = {new: old for old, new in reversed(respellings(function).items()) if new in named}
    if aliases.keys() <= {"x"}:
        aliases = {}
    variants: list[dict[str, str]] = [{}, aliases] if aliases else [{}]
    for respelled in variants:
        if len(variants) > 1:
            yield f"{indent}@overload\n"
        given = [_parameter(p, own, parameters, respelled) for p in parameters]
        if indent:
            given[0] = "self"
        last = next((k for k, p in enumerate(parameters) if p.kind is not p.POSITIONAL_ONLY), len(given))
        if last:
            given.insert(last, "/")
        star = next((k for k, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
        if star is not None and all(p.kind is not p.VAR_POSITIONAL for p in parameters):
            given.insert(star + (last > 0), "*")
        yield f"{indent}def {name}({', '.join(given)}) -> {_plain(returns)}:\n"
        yield f"{indent}    {_doc(function.__doc__)}\n\n"


def _parameter(
    p: inspect.Parameter, function: str, all_of_them: list[inspect.Parameter], respelled: dict[str, str]
) -> str:
    kind = "" if p.annotation is inspect.Parameter.empty else p.annotation
    if kind in ("", "Any") or "Any" in kind:
        operands = any(q.name == "y" for q in all_of_them)
        kind = (
            _OPERAND
            if p.name == "x" and operands
            else "Tensor"
            if p.name == "x"
            else ARGUMENTS.get(p.name, kind or "Any")
        )
        kind = ARGUMENTS.get(f"{function}.{p.name}", kind)
        if p.kind is p.VAR_POSITIONAL and p.name == "tensors":
            kind = "Tensor"
        if p.default is None and "None" not in kind and kind != "Any":
            kind += " | None"
    stars = "*" if p.kind is p.VAR_POSITIONAL else ""
    default = "" if p.default is inspect.Parameter.empty else f" = {p.default!r}"
    return f"{stars}{respelled.get(p.name, p.name)}: {_plain(kind)}{default}"


def _plain(kind: str) -> str:
    """An annotation in a scope whose names may hide the built-in types."""
    return re.sub(r"\b(bool|float|int|list|str|tuple|type)\b", r"builtins.\1", kind)


def _doc(text: str | None) -> str:
    line = (text or "").strip().split("\n")[0]
    return f'"""{line}"""' if line else "..."


#: The files and what they hold.
FILES = {"_functions.pyi": functions, "_methods.pyi": methods}

if __name__ == "__main__":
    for file, content in FILES.items():
        (Path(__file__).parent / file).write_text(content())

__all__ = ["FILES", "functions", "methods"]
