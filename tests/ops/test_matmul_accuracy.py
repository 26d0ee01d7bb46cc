"""Errors of float32 products against float64, beside those of NumPy's BLAS."""

from __future__ import annotations

import numpy as np
import pytest

import weft


def inputs(kind: str, m: int, k: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    if kind == "uniform":
        a, b = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
    elif kind == "cancelling":  # every sum is small beside its terms
        a[:, 1::2] = -a[:, : k // 2 * 2 : 2]
        b[1::2] = b[: k // 2 * 2 : 2] * (1 + 1e-3 * rng.standard_normal((k // 2, n), np.float32))
    elif kind == "cancelling halves":  # the second half of the terms all but cancels the first
        half = k // 2
        order = rng.permutation(half)
        a[:, half : 2 * half] = -a[:, order]
        b[half : 2 * half] = b[order] * np.float32(1 + 1e-4)
    elif kind == "badly scaled":
        a *= np.float32(10) ** rng.integers(-12, 13, (m, 1)).astype(np.float32)
        b *= np.float32(10) ** rng.integers(-12, 13, (1, n)).astype(np.float32)
        scale = np.float32(10) ** rng.integers(-3, 4, k).astype(np.float32)
        a, b = a * scale, b * scale[:, None]
    return a, b


@pytest.mark.parametrize("kind", ["random", "uniform", "cancelling", "cancelling halves", "badly scaled"])
@pytest.mark.parametrize(
    "k", [8, 9, 12, 13, 16, 17, 20, 23, 24, 31, 32, 33, 48, 64, 100, 128, 129, 200, 256, 320, 321, 400, 600, 1000, 2048]
)
def test_errors_are_no_larger_than_blas(kind: str, k: int) -> None:
    ours, theirs = [], []
    for seed in range(max(3, 1600 // k)):
        a, b = inputs(kind, 128, k, 128, np.random.default_rng(seed))
        exact = a.astype(np.float64) @ b.astype(np.float64)
        scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        ours.append(np.square(((weft.asarray(a) @ weft.asarray(b)).numpy() - exact) / scale).mean())
        theirs.append(np.square(((a @ b) - exact) / scale).mean())
    # Root mean squares over many elements. OpenBLAS sums in one chain (without AVX-512, the even and the odd ones of a
    # few terms apart at a matrix's edges). Terms that cancel in pairs leave the same error in any chain, but for chance; an odd
    # one after them makes one large sum in one chain, and two if two chains are joined.
    most = 1.01 if kind == "cancelling" else 1.0
    if k < 16:
        most = 1.05
    if kind == "cancelling" and k % 2 == 1 and k < 48:
        most = 1.15
    assert np.sqrt(np.mean(ours)) <= most * np.sqrt(np.mean(theirs))


@pytest.mark.parametrize("kind", ["random", "uniform", "cancelling"])
@pytest.mark.parametrize("k", [64, 100, 256, 512, 1000, 4096])
def test_errors_with_a_vector_are_no_larger_than_blas(kind: str, k: int) -> None:
    ours, theirs = [], []
    for seed in range(10):
        a, b = inputs(kind, 200, k, 1, np.random.default_rng(seed))
        exact = a.astype(np.float64) @ b.astype(np.float64)
        scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        ours.append(np.square(((weft.asarray(a) @ weft.asarray(b)).numpy() - exact) / scale).mean())
        theirs.append(np.square(((a @ b) - exact) / scale).mean())
    # Both sum in eight lanes for each register; which terms stand in one differs.
    assert np.sqrt(np.mean(ours)) <= 1.1 * np.sqrt(np.mean(theirs))
