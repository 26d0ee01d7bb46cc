"""Einstein's notation: what the subscripts of `einsum` say, checked against the operands' shapes.

An index is a number: a letter's code, or what a list of subscripts gives. The axes that ``...`` stands for are the indices -1,
-2, ..., counted from the last of them, so that they broadcast as NumPy's do.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from weft.errors import ShapeError, kind_of

#: The indices of one operand's axes, in order.
Indices = tuple[int, ...]
#: The same before the number of axes that ``...`` stands for is known: Ellipsis among numbers.
Term = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Subscripts:
    """The operands' terms and the result's, None where it is implied. ``given`` is what messages quote."""

    terms: tuple[Term, ...]
    output: Term | None
    given: Hashable

    def name(self, index: int) -> str:
        """An index as the user wrote it."""
        if index < 0:
            return f"Axis {index} of '...'"
        return f"Index {chr(index)!r}" if isinstance(self.given, str) else f"Index {index}"

    @property
    def quoted(self) -> str:
        return repr(self.given) if isinstance(self.given, str) else "the lists"


@lru_cache(maxsize=1024)
def parsed(given: Any) -> Subscripts:
    """The subscripts in a string, or in (lists of the operands, list of the result or None) as tuples."""
    if not isinstance(given, str):
        terms, output = given
        return Subscripts(terms, output, given)
    inputs, arrow, after = given.replace(" ", "").partition("->")
    if ">" in after or "-" in after:
        raise ValueError(f"The subscripts {given!r} have more than one arrow.")
    terms = tuple(_term(part, given) for part in inputs.split(","))
    return Subscripts(terms, _term(after, given) if arrow else None, given)


def _term(text: str, given: str) -> Term:
    before, dots, after = text.partition("...")
    for c in before + after:
        if not (c.isascii() and c.isalpha()):
            raise ValueError(
                f"The subscripts {given!r} have {c!r} where an index is due: an index is a letter, and '...' stands, once in "
                "an operand, for axes without one."
            )
    return (*map(ord, before), *([...] if dots else []), *map(ord, after))


def listed(lists: Sequence[Any]) -> tuple[Term, ...]:
    """Terms given as lists of integers."""
    terms = []
    for given in lists:
        if not isinstance(given, list | tuple):
            raise TypeError(f"Subscripts after a tensor must be a list of integers, not {kind_of(given)}.")
        term = []
        for index in given:
            try:
                term.append(... if index is ... else operator.index(index))
            except TypeError:
                raise TypeError(f"An index must be an integer or ..., not {kind_of(index)}.") from None
            if term[-1] is not ... and term[-1] < 0:
                raise ValueError(f"An index must be 0 or more, not {index}.")
        if term.count(...) > 1:
            raise ValueError("A list of subscripts has ... at most once.")
        terms.append(tuple(term))
    return tuple(terms)


def resolved(subscripts: Subscripts, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[Indices, ...], Indices]:
    """The indices of each operand's axes, and of the result's.

    Raises:
        ShapeError: where an operand's axes are not as many as its indices, or an index has several sizes.
        ValueError: where the result cannot have the indices it is given.
    """
    text = subscripts.quoted
    if len(subscripts.terms) != len(shapes):
        raise ValueError(
            f"The subscripts {text} are for {_operands(len(subscripts.terms))}, but there "
            f"{'is' if len(shapes) == 1 else 'are'} {len(shapes)}."
        )
    terms = []
    for k, (term, shape) in enumerate(zip(subscripts.terms, shapes, strict=True)):
        more = len(shape) - len(term)
        if (more < -1) if ... in term else more:
            least = "at least " * (... in term)
            named = len(term) - (... in term)
            raise ShapeError(
                f"The subscripts {text} have {least}{named} {'index' if named == 1 else 'indices'} for operand {k}, which has "
                f"{len(shape)} axes (shape {list(shape)})."
            )
        terms.append(_expanded(term, more + 1))
    dots = tuple(range(min((i for term in terms for i in term), default=0), 0))
    sizes: dict[int, tuple[int, int]] = {}
    for k, (indices, shape) in enumerate(zip(terms, shapes, strict=True)):
        for i, n in zip(indices, shape, strict=True):
            if n != shape[indices.index(i)]:
                raise ShapeError(
                    f"{subscripts.name(i)} in {text} takes a diagonal of operand {k}, whose axes of sizes "
                    f"{shape[indices.index(i)]} and {n} differ."
                )
            first, size = sizes.get(i, (k, 1))
            if size != 1 and n not in (1, size):
                raise ShapeError(
                    f"{subscripts.name(i)} in {text} has size {size} in operand {first} and {n} in operand {k}."
                )
            if n != 1 or i not in sizes:
                sizes[i] = (k, n)
    return tuple(terms), _output(subscripts, terms, dots)


def _expanded(term: Term, dots: int) -> Indices:
    """A term with the axes that ``...`` stands for."""
    if ... not in term:
        return term
    at = term.index(...)
    return (*term[:at], *range(-dots, 0), *term[at + 1 :])


def _output(subscripts: Subscripts, terms: Sequence[Indices], dots: Indices) -> Indices:
    if subscripts.output is None:  # what occurs once, in order
        once = [i for term in terms for i in term if i >= 0]
        return (*dots, *sorted(i for i in set(once) if once.count(i) == 1))
    text = subscripts.quoted
    if dots and ... not in subscripts.output:
        raise ValueError(
            f"The result of {text} has no '...', for whose axes the operands have {len(dots)}: add it, or give those "
            "axes indices and leave them out to sum over them."
        )
    output = _expanded(subscripts.output, len(dots))
    for i in output:
        if output.count(i) > 1:
            raise ValueError(f"{subscripts.name(i)} is twice in the result of {text}.")
        if not any(i in term for term in terms):
            raise ValueError(f"{subscripts.name(i)} is in the result of {text}, but in no operand.")
    return output


def _operands(n: int) -> str:
    return f"{n} operand" if n == 1 else f"{n} operands"
