"""Public functions: one table, from which methods, the package's names, tests and docs are derived.

A public function normalises its arguments, then calls one op. `public` adds what all of them share: both spellings of
an argument (``axis`` and ``dim``), and errors that name the call as the user wrote it.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np

from weft import _native
from weft.dtypes import DType, as_dtype
from weft.errors import CAUGHT, ShapeError, describe, explain, kind_of, reworded

Tensor = _native.Tensor
F = TypeVar("F", bound=Callable[..., Any])

#: PyTorch's and NumPy's names for arguments, and Weft's (the array API's).
SPELLINGS = {
    "dim": "axis",
    "dims": "axes",
    "dim1": "axis1",
    "dim2": "axis2",
    "keepdim": "keepdims",
    "input": "x",
    "a_min": "min",
    "a_max": "max",
    "size": "shape",
    "p": "ord",
    "diagonal": "k",
    "start_dim": "start_axis",
    "end_dim": "end_axis",
    "steps": "num",
}


@dataclass(frozen=True, slots=True)
class Public:
    """A public function: its name, its other names, and the names under which it is a method of `Tensor`."""

    name: str
    function: Callable[..., Any]
    family: str
    also: tuple[str, ...]
    methods: tuple[str, ...]
    in_package: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Its names in the package: none if it is a method only."""
        return (self.name, *self.also) if self.in_package else ()

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


#: Every public function, by name, in the order of definition.
PUBLIC: dict[str, Public] = {}


def publish(
    function: Callable[..., Any], family: str, also: Sequence[str] = (), method: bool = True, package: bool = True
) -> None:
    """Enter a function into the table under its own name and others."""
    name = function.__name__
    if name in PUBLIC:
        raise ValueError(f"A public function named {name!r} exists already.")
    names = (name, *also)
    PUBLIC[name] = Public(name, function, family, tuple(also), names if method else (), package)


def public(family: str, *also: str, method: bool = True, package: bool = True, again: bool = True) -> Callable[[F], F]:
    """Make a function public: spellings of arguments, worded errors, a shortcut, an entry in the table.

    A shortcut that fails makes its call again, to have the error worded; not ``again`` if it may have begun to write.
    """

    def wrap(function: F) -> F:
        call = shortcut(called(function)) if again else called(function)
        publish(call, family, also, method, package)
        return call

    return wrap


def shortcut(function: F, by_class: bool = False) -> F:
    """A function that remembers, for the arguments it was called with, which one operation it called with which attributes.

    It does so where its result is that operation's, all tensors are operands, and nothing else of a tensor than its type and
    layout was looked at. For equal other arguments, and tensors of the same layouts, the operation is called at once from then
    on. Numbers are compared by value; ``by_class`` if they are operands too, and the function takes all of a class alike.
    """
    made: Any = functools.update_wrapper(_native.Shortcut(function, by_class), function)
    return made


def called(function: F) -> F:
    """A function that takes both spellings of its arguments, and whose errors name the call."""
    code = function.__code__
    variadic = (
        code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if code.co_flags & inspect.CO_VARARGS else None
    )
    respelled = respellings(function)
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs:
                if respelled:
                    kwargs = _respell(kwargs, respelled)
                if variadic in kwargs:  # shape=(2, 3) for a function of *shape
                    args = (*args, kwargs.pop(variadic))
            return function(*args, **kwargs)
        except CAUGHT as error:
            raise reworded(error, name, function, args, kwargs) from None

    return call  # type: ignore[return-value]


def respellings(function: Callable[..., Any]) -> dict[str, str]:
    """Other names of a function's arguments, and its own names for them."""
    code = inspect.unwrap(function).__code__
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)]
    respelled = {alias: name for alias, name in SPELLINGS.items() if name in known and alias not in known}
    if "axes" not in known and "axis" in known:
        respelled["dims"] = respelled["axes"] = "axis"
    return respelled


def _respell(kwargs: dict[str, Any], respelled: dict[str, str]) -> dict[str, Any]:
    out = {}
    for given, value in kwargs.items():
        name = respelled.get(given, given)
        if name in out or (name != given and name in kwargs):
            raise TypeError(f"{given} is another name of {name}, and both were given; pass one of them.")
        out[name] = value
    return out


# Arguments


def tensor_of(x: Any, name: str = "x") -> Any:
    """The argument, which must be a tensor."""
    if isinstance(x, Tensor):
        return x
    raise TypeError(f"{name} must be a tensor, not {kind_of(x)}; make one with weft.asarray.")


def refused(name: str, operands: Sequence[Any], named: Mapping[str, Any] | None = None) -> NoReturn:
    """Raise for operands that no op takes, or, of a function that was given names as well, are too few or too many."""
    function = PUBLIC[name].function if name in PUBLIC else None
    takes = len(inspect.signature(function).parameters) if function else len(operands)
    bad = next((o for o in operands if not isinstance(o, Tensor | bool | int | float)), None)
    wanted = "one operand, x" if takes == 1 else "two operands, x and y"
    if named:
        error = TypeError(f"{name} takes {wanted}, by position, and no argument {next(iter(named))!r}.")
    elif named is not None and len(operands) != takes:
        error = TypeError(f"{name} takes {wanted}, not {len(operands) or 'none'}.")
    elif bad is None:
        error = TypeError(f"{name} needs at least one tensor among its operands; for plain numbers use Python's own.")
    else:
        error = TypeError(
            f"{name} takes tensors and Python numbers, not {kind_of(bad)}; make a tensor of it first, with weft.asarray."
        )
    raise explain(error, name, operands, named)


def at_least_one(a: Any, b: Any) -> None:
    """Refuse two plain numbers as the arguments a and b."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise TypeError("One of a and b must be a tensor; make one with weft.asarray.")


def axis_of(axis: Any, ndim: int) -> int:
    """An axis as a number from 0 to ``ndim - 1``."""
    if isinstance(axis, bool):
        raise TypeError("An axis must be an integer, not a bool.")
    try:
        d = operator.index(axis)
    except TypeError:
        raise TypeError(f"An axis must be an integer, not {kind_of(axis)}.") from None
    if not -ndim <= d < ndim:
        if ndim == 0:
            raise ShapeError(f"Axis {d} does not exist: the tensor has no axes.")
        raise ShapeError(f"Axis {d} does not exist: a tensor of {ndim} axes has axes {-ndim} to {ndim - 1}.")
    return d + ndim if d < 0 else d


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as increasing numbers: all of them for None, else those of an integer or a tuple of distinct ones."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, list | tuple):
        return (axis_of(axis, ndim),)
    axes = [axis_of(a, ndim) for a in axis]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"Axes {list(axis)} name one axis twice.")
    return tuple(sorted(axes))


def integer(value: Any, name: str) -> int:
    """An integer argument."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {kind_of(value)}.") from None


def boolean(value: Any, name: str) -> bool:
    """An argument that is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {kind_of(value)}.")
    return bool(value)


def sizes_of(given: Sequence[Any], name: str = "A size") -> tuple[int, ...]:
    """Sizes passed as ``f(2, 3)``, ``f((2, 3))`` or ``f([2, 3])``."""
    if len(given) == 1 and isinstance(given[0], list | tuple):
        given = given[0]
    return tuple([n if type(n) is int else integer(n, name) for n in given])


def shape_of(given: Sequence[Any]) -> tuple[int, ...]:
    """A shape, of sizes 0 and more."""
    shape = sizes_of(given)
    if any(n < 0 for n in shape):
        raise ShapeError(f"A shape has sizes of 0 and more, which {list(shape)} has not.")
    return shape


def dtype_of(dtype: Any, default: DType) -> DType:
    """A type argument, or its default."""
    return default if dtype is None else as_dtype(dtype)


def one_of(value: Any, name: str, choices: Sequence[str]) -> str:
    """An argument that is one of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {describe(value)}.")
    return value


def python_number(value: Any) -> Any:
    """A NumPy scalar, or an instance of a subclass of int or float, as the plain Python number; else None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else None


def number(value: Any, name: str) -> Any:
    """A number argument, as a plain Python number."""
    if type(value) is float:
        return value
    plain = value.item() if isinstance(value, Tensor) and value.size == 1 else python_number(value)
    if plain is None:
        raise TypeError(f"{name} must be a number, not {kind_of(value)}.")
    return plain


def operand(value: Any, name: str) -> Any:
    """An argument that takes part in the computation: a tensor, which is not looked into, or a plain Python number."""
    return value if isinstance(value, Tensor) else number(value, name)


def method_table() -> list[tuple[str, Callable[..., Any]]]:
    """The methods of `Tensor`: (name, function)."""
    return [(m, p.function) for p in PUBLIC.values() for m in p.methods]
