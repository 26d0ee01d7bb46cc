"""The types of generated source, and intrinsics: what the source may call, each of which writes its LLVM code itself.

Names and meanings are those of numba's extension interface, of which this is as much as the translator needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir


class Type:
    """A type of the source. Called, it is the signature of an intrinsic that returns it."""

    def __call__(self, *args: Type) -> Signature:
        return Signature(self, args)


@dataclass(frozen=True, slots=True)
class Signature:
    """What an intrinsic returns and takes."""

    return_type: Type
    args: tuple[Type, ...]


@dataclass(frozen=True)
class _Void(Type):
    def __str__(self) -> str:
        return "void"


@dataclass(frozen=True)
class Boolean(Type):
    """A truth value."""

    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True)
class Number(Type):
    """A number of some bits."""

    bitwidth: int


@dataclass(frozen=True)
class Float(Number):
    """A floating-point number."""

    def __str__(self) -> str:
        return f"float{self.bitwidth}"


@dataclass(frozen=True)
class Integer(Number):
    """An integer."""

    signed: bool

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bitwidth}"

    @property
    def minval(self) -> int:
        return -(1 << self.bitwidth - 1) if self.signed else 0

    @property
    def maxval(self) -> int:
        return (1 << self.bitwidth - self.signed) - 1


@dataclass(frozen=True)
class CPointer(Type):
    """A pointer to values of a type."""

    dtype: Any

    def __str__(self) -> str:
        return f"{self.dtype}*"


@dataclass(frozen=True)
class NumberClass(Type):
    """A type itself, as an argument."""

    dtype: Type

    def __str__(self) -> str:
        return f"class({self.dtype})"


@dataclass(frozen=True)
class Literal(Type):
    """An integer or truth value that is written in the source."""

    literal_value: int

    def __str__(self) -> str:
        return f"Literal[{self.literal_value!r}]"


boolean = Boolean()
float32, float64 = Float(32), Float(64)
int8, int16, int32, int64 = (Integer(bits, True) for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (Integer(bits, False) for bits in (8, 16, 32, 64))
void = _Void()


def literal(value: int) -> Literal:
    """The type of a number that is written in the source."""
    return Literal(value)


def unliteral(kind: Any) -> Any:
    """The type of the number, if the type says which number it is."""
    if isinstance(kind, Literal):
        return boolean if isinstance(kind.literal_value, bool) else int64
    return kind


#: Given the types of arguments: the signature, and what writes the code; None if it does not take them.
Definition = Callable[..., "tuple[Signature, Callable[..., Any]] | None"]


class Intrinsic:
    """A function of the source. ``prefer_literal``: it wants to know integers that are written."""

    def __init__(self, definition: Definition, prefer_literal: bool) -> None:
        self.definition = definition
        self.prefer_literal = prefer_literal
        self.__name__ = definition.__name__
        self.__doc__ = definition.__doc__


def intrinsic(definition: Definition | None = None, *, prefer_literal: bool = False) -> Any:
    """Make an intrinsic of its definition, whose first argument is not used; also a decorator with options."""
    if definition is None:
        return lambda given: Intrinsic(given, prefer_literal)
    return Intrinsic(definition, prefer_literal)


# Writing LLVM code


def declared(module: ir.Module, kind: ir.FunctionType, name: str) -> Any:
    """The function of a module with this name, declared if it is not there yet."""
    return module.globals.get(name) or ir.Function(module, kind, name)


def as_bit(b: ir.IRBuilder, value: ir.Value) -> Any:
    """Whether an integer is not zero."""
    return b.icmp_unsigned("!=", value, value.type(0))


@contextmanager
def counting(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: ir.Value) -> Iterator[ir.Value]:
    """A loop whose body is what is written inside: the counter goes from ``start``, by ``step``, while it is less than
    ``stop``."""
    before = b.block
    head, body, after = (b.append_basic_block(name) for name in ("count", "count.body", "count.end"))
    b.branch(head)
    b.position_at_end(head)
    counter = b.phi(start.type)
    counter.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", counter, stop), body, after)
    b.position_at_end(body)
    yield counter
    counter.add_incoming(b.add(counter, step), b.block)
    b.branch(head)
    b.position_at_end(after)
