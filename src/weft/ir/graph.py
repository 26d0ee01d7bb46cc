"""A graph: the nodes of one program, with what goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from weft.dtypes import DType
from weft.ir.node import Node, toposort


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor operand of a program: its shape, its strides in elements, and its type."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Write:
    """The tensor in an input slot receives ``value`` when the program ends; ``op`` is the in-place op's name."""

    slot: int
    value: Node
    op: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A program before it is scheduled.

    ``inputs[k]`` describes the tensor behind the nodes ``input(k, strides)``; ``scalars[k]`` the type of ``scalar(k)``.
    ``outputs`` become tensors, each contiguous and freshly allocated, unless ``alias`` allows an output that is only a
    movement of an input to share that input's memory. A slot is written at most once, with a value of its own shape.
    """

    inputs: tuple[Input, ...]
    scalars: tuple[DType, ...]
    outputs: tuple[Node, ...]
    writes: tuple[Write, ...] = ()
    alias: bool = False

    @property
    def roots(self) -> list[Node]:
        """The nodes whose values leave the program."""
        return [*self.outputs, *(w.value for w in self.writes)]

    @property
    def nodes(self) -> list[Node]:
        """Every node, operands before users."""
        return toposort(self.roots)
