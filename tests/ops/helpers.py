"""What the tests of ops share: inputs in every layout, bits, and one call in every mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import weft


def bits(t: Any) -> tuple[str, tuple[int, ...], bytes]:
    """A tensor's type, shape and bytes."""
    plain = t.detach().contiguous()
    if plain.dtype is weft.bfloat16:
        plain = weft._native.reinterpret(plain, weft.uint16)
    return t.dtype.name, tuple(t.shape), plain.numpy().tobytes()


def listed(result: Any) -> list[Any]:
    """The tensors of a result."""
    return list(result) if isinstance(result, tuple | list) else [result]


def in_every_mode(function: Callable[..., Any], *operands: Any) -> list[Any]:
    """The eager results of a call, after checking that the lazy and the static one have the same bits."""
    eager = listed(function(*operands))
    want = [bits(t) for t in eager]
    with weft.lazy():
        lazy = listed(function(*operands))
    assert [bits(t) for t in lazy] == want, "lazy differs from eager"
    static = weft.static(function)
    for _ in range(2):
        assert [bits(t) for t in listed(static(*operands))] == want, "static differs from eager"
    return eager


@contextmanager
def without_matrix_unit() -> Iterator[None]:
    """Products are made by multiply-adds of vectors alone: an element then depends on its row, its column and k alone."""
    before = weft._native.use_matrix_unit(False)
    try:
        yield
    finally:
        weft._native.use_matrix_unit(before)


def array_of(t: Any) -> np.ndarray:
    """A tensor's values, 16-bit floats as float32."""
    return (t.float() if t.dtype.is_half else t).detach().numpy()


#: Units in the last place by which a result may differ from the correctly rounded one.
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def assert_close(got: Any, want: np.ndarray, ulps: float = 4, message: str = "", scale: float = 0.0) -> None:
    """Compare with a reference that is exact for integers and within some units in the last place for floats.

    ``scale`` is the size of the terms that a result was summed from, where that is larger than the result.
    """
    values = array_of(got)
    assert values.shape == np.shape(want), f"{message}: shape {values.shape}, not {np.shape(want)}"
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(values, want, err_msg=message)
        return
    tolerance = ulps * EPS[got.dtype.name]
    smallest = {"float16": 6e-8, "bfloat16": 1e-38, "float32": 1e-38, "float64": 1e-300}[got.dtype.name]
    np.testing.assert_allclose(
        values.astype(np.float64),
        np.asarray(want, dtype=np.float64),
        rtol=tolerance,
        atol=max(smallest, tolerance * scale),
        err_msg=message,
    )


def numbers(dtype: weft.DType, shape: Sequence[int], seed: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    """Reproducible values of a type, as NumPy holds them (bfloat16 as float32 that it can hold)."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        least = 0 if dtype.kind == "u" or low >= 0 else int(low)
        return rng.integers(least, max(int(high), least + 2), shape).astype(dtype.numpy)
    values = rng.uniform(low, high, shape).astype(np.float32 if dtype.is_half else dtype.numpy)
    if dtype is weft.bfloat16:
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return values.astype(dtype.numpy)


def tensor(array: np.ndarray, dtype: weft.DType) -> Any:
    """A tensor over an array, in a type NumPy may lack."""
    t = weft.from_numpy(array)
    return t if t.dtype is dtype else t.to(dtype)


def laid_out(array: np.ndarray, layout: str) -> tuple[np.ndarray, Any]:
    """Values in a layout: as NumPy sees them, and as a tensor."""
    if layout == "contiguous":
        out = np.ascontiguousarray(array)
    elif layout == "transposed":
        out = np.ascontiguousarray(array.T).T
    elif layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        out = wide[..., ::2]
    elif layout == "reversed":
        out = np.ascontiguousarray(array[::-1])[::-1]
    elif layout == "broadcast":
        out = np.broadcast_to(array[:1], array.shape)
        return out, weft.from_numpy(np.ascontiguousarray(array[:1])).expand(*array.shape)
    elif layout == "zero-dim":
        out = np.array(array.reshape(-1)[0])
    else:
        assert layout == "empty"
        out = np.zeros((0, *array.shape[1:]), array.dtype)
    return out, weft.from_numpy(out)


LAYOUTS = ("contiguous", "transposed", "strided", "reversed", "broadcast", "zero-dim", "empty")
