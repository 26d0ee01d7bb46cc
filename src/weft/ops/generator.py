"""Generators of random numbers.

A generator's state is a tensor of two numbers, key and counter. A draw takes a copy of the state and advances the counter
in place, so that a static function draws anew at each replay.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from weft import _native, dtypes, locks
from weft.errors import constructed, kind_of
from weft.ir.node import Node, Where
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, integer, public
from weft.ops.inplace import copy_op
from weft.ops.nodes import node, positions
from weft.ops.registry import Operand, cast, inplace

#: Held between reading a generator's state and advancing it.
_lock = locks.shared("draw")


def _build_advance(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    state, count = operands
    step = node(E.where, node(E.equal, positions(2), 1), count, 0)
    return node(E.add, state, cast(step, dtypes.uint64), where=where)


_advance = inplace("advance_", 2, _build_advance)


@constructed
class Generator:
    """A source of random numbers.

    Args:
        seed: an integer of up to 64 bits; None for one from the operating system.

    Example:
        >>> g = weft.Generator(0)
        >>> weft.rand(2, generator=g).shape
        (2,)
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seed = 0
        self._state = _state_tensor(0)
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed})"

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed. Gives the generator."""
        self._seed = integer(seed, "seed") & 0xFFFFFFFFFFFFFFFF
        copy_op(self._state, _state_tensor(self._seed))
        return self

    def initial_seed(self) -> int:
        """The seed last set."""
        return self._seed

    def get_state(self) -> Any:
        """A copy of the state: a uint64 tensor of key and counter."""
        return E.copy(self._state)

    def set_state(self, state: Any) -> None:
        """Go on from a state that `get_state` gave."""
        if not isinstance(state, Tensor) or state.dtype is not dtypes.uint64 or tuple(state.shape) != (2,):
            raise TypeError("A generator's state is a uint64 tensor of two elements, as get_state gives it.")
        copy_op(self._state, state)

    def draw(self, count: int) -> Any:
        """The state before ``count`` numbers are drawn; the generator goes on after them."""
        with _lock:
            state = E.copy(self._state)
            _advance(self._state, count)
            return state


def _state_tensor(seed: int) -> Any:
    return _native.from_bytes(struct.pack("<QQ", seed, 0), dtypes.uint64, (2,))


_default: list[Generator] = []


def default_generator() -> Generator:
    """The generator used where none is given."""
    if not _default:
        with _native.RecordingScope(None):
            _default.append(Generator())
    return _default[0]


@public("random", method=False)
def manual_seed(seed: int) -> Generator:
    """Start the default generator again from a seed. Gives the generator.

    Example:
        >>> weft.manual_seed(0)
        Generator(seed=0)
    """
    return default_generator().manual_seed(seed)


@public("random", method=False)
def initial_seed() -> int:
    """The seed of the default generator.

    Example:
        >>> _ = weft.manual_seed(3)
        >>> weft.initial_seed()
        3
    """
    return default_generator().initial_seed()


@public("random", method=False)
def get_rng_state() -> Any:
    """A copy of the default generator's state, a uint64 tensor.

    Example:
        >>> _ = weft.manual_seed(3)
        >>> weft.get_rng_state()
        tensor([3, 0], dtype=uint64)
    """
    return default_generator().get_state()


@public("random", method=False)
def set_rng_state(state: Any) -> None:
    """Let the default generator go on from a state that `get_rng_state` gave.

    Example:
        >>> state = weft.get_rng_state()
        >>> a = weft.rand(1)
        >>> weft.set_rng_state(state)
        >>> weft.rand(1).item() == a.item()
        True
    """
    default_generator().set_state(state)


@contextlib.contextmanager
def fork_rng() -> Iterator[None]:
    """A context at whose end the default generator goes on as if nothing had been drawn inside.

    Example:
        >>> with weft.fork_rng():
        ...     _ = weft.rand(3)
    """
    state = default_generator().get_state()
    try:
        yield
    finally:
        default_generator().set_state(state)


def source(generator: Generator | None) -> Generator:
    """A generator argument: the default one for None."""
    if generator is None:
        return default_generator()
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a weft.Generator, not {kind_of(generator)}.")
    return generator
