"""Index maps: following movements, taking axes apart, and knowing when every element is met once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weft.ir.node import Node
from weft.passes.indexmap import IndexMap, Space, is_row_major, through

from .build import op
from .random_graphs import Maker


def found(space: Space, m: IndexMap) -> np.ndarray:
    """The row-major number of the element that a map finds, at each position of the space's loops."""
    m = space.resolve(m)
    linear = space.position(m)
    at = np.full([space.sizes[k] for k in space.kept], linear.offset)
    for d, loop in enumerate(space.kept):
        step = linear.coefficients.get(loop, 0)
        at += (np.arange(space.sizes[loop]) * step).reshape((-1,) + (1,) * (len(space.kept) - d - 1))
    return at.reshape(-1)


def test_a_loop_is_divided_where_an_axis_ends() -> None:
    space = Space()
    m = space.natural((24,))
    split = space.reshaped(m, (4, 6))
    assert split is not None
    assert [space.sizes[k] for k in space.kept] == [4, 6]
    assert split.coordinates == ((0, ((space.kept[0], 1),)), (0, ((space.kept[1], 1),)))
    assert space.resolve(m) is not m
    assert np.array_equal(found(space, m), np.arange(24))


def test_a_loop_is_divided_once() -> None:
    space = Space()
    m = space.natural((24,))
    other = space.make((1, 24), ((0, ()), *m.coordinates))
    assert space.reshaped(m, (4, 6)) is not None
    loops = list(space.kept)
    split = space.reshaped(other, (4, 6))
    assert split is not None
    assert space.kept == loops
    assert np.array_equal(found(space, split), np.arange(24))


def test_loops_that_cross_axes_cannot_be_divided() -> None:
    space = Space()
    m = space.natural((4, 6))
    assert space.reshaped(m, (6, 4)) is None


def test_rigid_loops_stay() -> None:
    space = Space(rigid=True)
    assert space.reshaped(space.natural((24,)), (4, 6)) is None
    assert space.reshaped(space.natural((4, 6)), (24,)) is not None


def test_sizes_of_one_come_and_go() -> None:
    space = Space()
    m = space.natural((4, 1, 6))
    assert len(space.kept) == 2
    moved = space.reshaped(m, (1, 4, 6, 1))
    assert moved is not None
    assert [c[1] for c in moved.coordinates] == [(), ((0, 1),), ((1, 1),), ()]


@pytest.mark.parametrize("flip", [False, True])
def test_negative_steps_are_taken_apart(flip: bool) -> None:
    space = Space()
    m = space.natural((24,))
    backwards = space.make((24,), ((23, ((0, -1),)),))
    split = space.reshaped(backwards if flip else m, (2, 3, 4))
    assert split is not None
    assert np.array_equal(found(space, split), np.arange(24)[::-1] if flip else np.arange(24))


def test_covering_each_element_once() -> None:
    space = Space()
    m = space.natural((3, 4))
    a, b = space.kept
    assert space.covers(m, [a, b])
    assert space.covers(space.make((4, 3), ((0, ((b, 1),)), (0, ((a, 1),)))), [a, b])  # transposed
    assert not space.covers(m, [a])
    assert not space.covers(space.make((3, 4), ((0, ((a, 1),)), (0, ()))), [a, b])  # one column
    assert not space.covers(space.make((6, 4), ((0, ((a, 2),)), (0, ((b, 1),)))), [a, b])  # every other row
    assert not space.covers(space.make((4, 4), ((1, ((a, 1),)), (0, ((b, 1),)))), [a, b])  # not from the start


def movements(seed: int) -> tuple[Node, list[Node]]:
    """An iota, and a chain of movements that begins with it."""
    maker = Maker(seed, 0)
    shape = [(24,), (2, 3, 4), (6, 1, 4), (12, 6)][seed % 4]
    x = op("iota", attrs=(math.prod(shape),))
    chain = [x]
    x = op("reshape", x, attrs=(shape,))
    steps = [maker.do_reshape, maker.do_permute, maker.do_slice, maker.do_expand, maker.do_as_strided]
    for _ in range(5):
        new = steps[maker.rng.integers(len(steps))](x)
        if new is not None and 0 < new.size < 500:
            x = new
            chain.append(x)
    return x, chain


@pytest.mark.parametrize("seed", range(60))
def test_following_movements_finds_the_right_elements(seed: int) -> None:
    from weft.ir.interpreter import evaluate

    top, _ = movements(seed)
    space = Space()
    m: IndexMap | None = space.natural(top.shape)
    chain, node = [], top
    while node.inputs:
        assert m is not None
        m = through(node, m, space)
        chain.append(node)
        if m is None:
            return  # the node would be given memory; the schedule's tests cover that
        node = node.inputs[0]
    value = np.arange(node.size)
    for step in reversed(chain):
        value = evaluate(step, [value], [], [])
    assert m is not None
    assert np.array_equal(found(space, m), value.reshape(-1))


def test_row_major_layouts() -> None:
    assert is_row_major((2, 3), (3, 1))
    assert is_row_major((2, 1, 3), (3, 99, 1))
    assert not is_row_major((2, 3), (1, 2))
    assert not is_row_major((2, 3), (0, 1))
    assert is_row_major((), ())
