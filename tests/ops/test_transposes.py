"""Permuted copies and operands, of sizes around a tile's: nothing but the order of elements changes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import weft
from tests.ops.helpers import bits, in_every_mode

SHAPES = [(3, 66, 2, 70), (2, 130, 1, 5), (1, 3, 300, 2), (5, 4, 3, 2), (0, 3, 2, 1)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint16", "int8", "bool"])
@pytest.mark.parametrize("perm", list(permutations(range(4))), ids=str)
def test_copies(perm: tuple[int, ...], dtype: str) -> None:
    for shape in SHAPES:
        a = (np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7 % 251).astype(dtype)
        want = a.transpose(perm)
        x = weft.from_numpy(a)
        np.testing.assert_array_equal(x.permute(*perm).contiguous().numpy(), want)
        if a.size:
            wide = weft.from_numpy(np.repeat(a, 2, -1))[..., ::2]
            np.testing.assert_array_equal(wide.permute(*perm).contiguous().numpy(), want)
        target = weft.zeros(shape, dtype=x.dtype)
        target.permute(*perm).copy_(weft.from_numpy(np.ascontiguousarray(want)))
        np.testing.assert_array_equal(target.numpy(), a)


@pytest.mark.parametrize("shape", [(70, 70), (3, 65, 65), (2, 5, 5)], ids=str)
def test_expressions(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape).astype(np.float32)
    x = weft.from_numpy(a)
    for function in (
        lambda t: t + t.mT,
        lambda t: t.mT * 2 - t + t.flip(-1),
        lambda t: weft.where(t.mT > 0, t.double().mT, t.half().float()),
        lambda t: (t.mT.half() + t.half()).float(),
    ):
        threads = weft.get_num_threads()
        (want,) = in_every_mode(function, x)
        weft.set_num_threads(1)
        try:
            assert bits(function(x)) == bits(want)
        finally:
            weft.set_num_threads(threads)
    np.testing.assert_array_equal((x + x.mT).numpy(), a + a.swapaxes(-1, -2))


def test_in_place_over_its_own_transpose() -> None:
    a = np.arange(70.0 * 70).reshape(70, 70)
    x = weft.from_numpy(a.copy())
    x += x.T
    np.testing.assert_array_equal(x.numpy(), a + a.T)
    y = weft.from_numpy(a.copy())
    y.T.copy_(y)
    np.testing.assert_array_equal(y.numpy(), a.T)
