"""Compiling goes on where numba has lost what it knew of an intrinsic."""

from __future__ import annotations

import numpy as np

import weft
from weft.codegen import cpu


def test_lost_registrations_are_made_again() -> None:
    x = np.linspace(0.5, 2, 5, dtype=np.float32)
    weft.exp(weft.from_numpy(x)).numpy()
    _, target = cpu._contexts()
    target._defns.clear()
    made = weft.expm1(weft.exp(weft.from_numpy(x).reshape((5, 1))) * 0.37)
    with weft.lazy():
        fused = weft.exp(weft.from_numpy(x) * 0.251) - weft.exp(weft.from_numpy(x))
    np.testing.assert_allclose(fused.numpy(), np.exp(x * np.float32(0.251)) - np.exp(x), rtol=1e-5)
    np.testing.assert_allclose(made.numpy()[:, 0], np.expm1(np.exp(x) * np.float32(0.37)), rtol=1e-5)
