"""Wrong calls of everything public: each argument of each function's own example is replaced by what it cannot be.

Whatever is not accepted raises one of the errors of `weft.errors` in a sentence that names the call and the caller's line, in
every mode, and leaves the arguments as they were. Which calls are made is drawn with a fixed seed.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import weft
from weft import data, nn, optim
from weft.errors import EXPLAINED
from weft.ops.public import PUBLIC


class Foreign:
    """Another library's tensor, as far as it can be seen from outside."""

    shape, dtype, requires_grad, ndim = (2, 3), "torch.float32", False, 2


#: What takes the place of an argument.
WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a word": lambda: "abc",
    "words": lambda: ["a", "b"],
    "an object": object,
    "a class": lambda: Foreign,
    "a foreign tensor": Foreign,
    "a function": lambda: len,
    "nan": lambda: float("nan"),
    "a negative number": lambda: -7,
    "a number out of range": lambda: 99,
    "a huge number": lambda: 10**30,
    "a fraction": lambda: 1.5,
    "a complex number": lambda: 1j,
    "an axis twice": lambda: (0, 0),
    "no sizes": lambda: (),
    "huge sizes": lambda: (2**40, 2**40),
    "negative sizes": lambda: (-2, -3),
    "a dict": lambda: {"a": 1},
    "an array": lambda: np.ones((2, 3)),
    "an array of objects": lambda: np.array([None]),
    "another shape": lambda: weft.ones(5, 7, 11),
    "bool": lambda: weft.ones(2, 3, dtype=weft.bool_),
    "integers": lambda: weft.ones(2, 3, dtype=weft.int64),
    "no elements": lambda: weft.zeros(0, 3),
    "a type": lambda: weft.float32,
    "ragged": lambda: [[1, 2], [3]],
    "no tensors": lambda: [None],
}
#: Python's words about what goes on inside a function; those about a call's own arguments stand before "; its arguments are".
INSIDE = re.compile(
    r"object has no attribute|unsupported operand|not iterable|not subscriptable|not callable|has no len|unhashable|"
    r"cannot be interpreted|not supported between|incompatible function arguments|_native|numba|llvm| at 0x",
    re.IGNORECASE,
)
MODES = ("eager", "lazy", "static")
CALLS = 12  # of each function, in each mode


class Target(NamedTuple):
    """A call that is right: how to get the function, what comes before, and the source of its arguments."""

    name: str
    function: str
    before: str
    args: list[str]
    named: dict[str, str]


def from_example(name: str, function: str, doc: str | None, method: bool) -> Target | None:
    """The first call of a function in the example of its documentation; of a method, with the tensor as first argument."""
    lines = [line.strip()[4:] for line in (doc or "").split("\n") if line.strip().startswith((">>> ", "... "))]
    statements = ast.parse("\n".join(lines)).body
    for k, statement in enumerate(statements):
        for call in ast.walk(statement):
            if not isinstance(call, ast.Call) or getattr(call.func, "attr", getattr(call.func, "id", "")) != name:
                continue
            args = [ast.unparse(a) for a in call.args]
            owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else "weft"
            if owner.split(".")[0] not in ("weft", "nn"):
                args.insert(0, owner)
            if not method or owner.split(".")[0] not in ("nn",):
                named = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}
                return Target(name, function, "\n".join(ast.unparse(s) for s in statements[:k]), args, named)
    return None


def targets() -> Iterator[Target]:
    """Every public function, the in-place methods, and the classes of `nn`, `optim` and `data`."""
    for p in PUBLIC.values():
        if p.name == "from_dlpack":  # what another library says of its own memory is passed on
            continue
        found = from_example(p.name, f"weft.{p.name}", p.function.__doc__, not p.in_package)
        if not p.in_package:
            method = f"weft.Tensor.{p.name}"
            two = "y" in inspect.signature(p.function).parameters
            integers = "weft.ones(2, 3, dtype=weft.int64)" if p.name.startswith("bitwise") else "weft.ones(2, 3)"
            found = (
                found._replace(function=method)
                if found
                else Target(p.name, method, "", [integers] * (2 if two else 1), {})
            )
        if found is not None:
            yield found
    for module in (nn, optim, data):
        for name in module.__all__:
            kind = getattr(module, name)
            if inspect.isclass(kind) and (
                found := from_example(name, f"{module.__name__}.{name}", kind.__doc__, False)
            ):
                yield found
    image = ["weft.ones(2, 3)"]
    for layer in (
        "Linear(3, 2)",
        "LayerNorm(3)",
        "RMSNorm(3)",
        "GELU()",
        "ReLU(True)",
        "Softmax()",
        "Flatten()",
        "Dropout()",
    ):
        yield Target(layer, f"weft.nn.{layer}", "", image, {})
    yield Target("Embedding", "weft.nn.Embedding(5, 3)", "", ["weft.tensor([0, 1])"], {})
    yield Target("CrossEntropyLoss", "weft.nn.CrossEntropyLoss()", "", [*image, "weft.tensor([0, 1])"], {})
    yield Target("MultiheadAttention", "weft.nn.MultiheadAttention(4, 2)", "", ["weft.ones(5, 1, 4)"] * 3, {})
    yield Target("grad", "weft.grad", "x = weft.ones(1, requires_grad=True)", ["x * 2", "x"], {})
    for filler in ("zeros_", "uniform_", "xavier_normal_", "kaiming_uniform_"):
        yield Target(filler, f"weft.nn.init.{filler}", "", image, {})


def run(mode: str, function: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> None:
    """Make a call in a mode, and look at what it gives."""
    if mode == "eager":
        function(*args, **named)
        return
    if mode == "lazy":
        with weft.lazy():
            made = function(*args, **named)
        for t in made if isinstance(made, tuple | list) else [made]:
            if isinstance(t, weft.Tensor):
                t.tolist()
        return
    places = [k for k, a in enumerate(args) if isinstance(a, weft.Tensor)]

    def program(*tensors: Any) -> Any:
        given = dict(zip(places, tensors, strict=True))
        return function(*[given.get(k, a) for k, a in enumerate(args)], **named)

    weft.static(program)(*[args[k] for k in places])


def raised(mode: str, function: Callable[..., Any], args: list[Any], named: dict[str, Any]) -> Exception | None:
    """What a call in a mode raises; None for a call that is accepted."""
    try:
        run(mode, function, args, named)
    except Exception as error:
        return error
    return None


def wrong_calls(target: Target, parameters: list[str]) -> list[tuple[str, Callable[[list[Any], dict[str, Any]], Any]]]:
    """What to do to the arguments of a right call, with a name for each."""
    calls: list[tuple[str, Callable[[list[Any], dict[str, Any]], Any]]] = [
        ("an unknown name", lambda args, named: (args, {**named, "wrong": 1})),
        ("thirty more", lambda args, named: (args + [1] * 30, named)),
        ("none", lambda args, named: ([], {})),
    ]
    for what, make in WRONG.items():
        for k in range(len(target.args)):
            calls.append(
                (f"{what} as {k}", lambda a, n, k=k, make=make: ([*a[:k], make(), *a[k + 1 :]], n))  # type: ignore[misc]
            )
        for name in parameters:
            calls.append((f"{what} as {name}", lambda a, n, name=name, make=make: (a, {**n, name: make()})))  # type: ignore[misc]
    return calls


def seen(values: list[Any]) -> list[Any]:
    """What is to be the same afterwards."""
    return [(tuple(v.shape), repr(v.detach().tolist()), v.requires_grad) for v in values if isinstance(v, weft.Tensor)]


ALL = list(targets())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", ALL, ids=[t.name for t in ALL])
def test_wrong_calls(target: Target, mode: str) -> None:
    def right() -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        names: dict[str, Any] = {"weft": weft, "nn": nn, "np": np}
        exec(target.before, names)
        args, named = (eval(f"[{', '.join(target.args)}]", names), {k: eval(v, names) for k, v in target.named.items()})
        return eval(target.function, names), args, named

    function, args, _ = right()
    parameters = []
    with contextlib.suppress(TypeError, ValueError):
        kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = list(inspect.signature(function).parameters.values())
        parameters = [p.name for p in found[len(args) :] if p.kind in kinds]
    calls = wrong_calls(target, parameters)
    drawn = random.Random(f"{target.function} {mode}")
    for what, change in calls[:3] + drawn.sample(calls[3:], min(CALLS, len(calls) - 3)):
        function, args, named = right()
        before = seen([*args, *named.values()])
        error = raised(mode, function, *change(list(args), dict(named)))
        text = str(error)
        # Python says the latter before an elementwise function begins: to take names only to refuse them would slow all calls.
        if error is None or re.fullmatch(r"\w+\(\) got an unexpected keyword argument 'wrong'", text):
            continue
        sentence = re.split(r"\n  (?:in|at|recorded at) ", text)[0]
        assert isinstance(error, EXPLAINED), (what, type(error), text)
        assert sentence.endswith((".", "]")), (what, text)
        assert "; its arguments are" in sentence or not INSIDE.search(sentence), (what, text)
        assert "test_wrong_calls.py:" in text, (what, text)
        assert text.count("\n") < 10, (what, text)
        assert seen([*args, *named.values()]) == before, what


def test_there_are_enough() -> None:
    assert len(ALL) > 250
