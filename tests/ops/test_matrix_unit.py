"""Products of float32 and of 16-bit floats by the CPU's matrix unit, where it has one; elsewhere the native tests check with
one made of plain C++ how they are divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import weft
from tests.ops.helpers import bits, in_every_mode, without_matrix_unit
from tests.ops.test_product_shapes import LAYOUTS, laid_out, operands
from tests.ops.test_product_types import HALVES, halves
from tests.ops.test_product_zeros import skipping, with_zeros
from tests.robustness.helpers import script
from weft import _native, config

pytestmark = pytest.mark.skipif(not _native.has_matrix_unit(), reason="This CPU has no matrix unit that Weft uses.")

#: m, k, n that the unit makes: sizes that fill its panels and do not, more than one part of k, few rows or columns.
SHAPES = [
    (256, 256, 256),
    (300, 250, 290),
    (130, 600, 1030),
    (1030, 600, 130),
    (257, 1100, 129),
    (520, 70, 520),
    (160, 2100, 220),
]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = weft.get_num_threads()
    weft.set_num_threads(count)
    try:
        yield
    finally:
        weft.set_num_threads(before)


def by_unit(made: Callable[[], Any]) -> int:
    """How many products of a call the unit makes."""
    before = weft.stats()
    made()
    return (weft.stats() - before).gemms_by_matrix_unit


def by_vectors(function: Callable[..., Any], *operands: Any) -> Any:
    with without_matrix_unit():
        return function(*operands)


def errors(made: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each element, in units of float32's rounding of the sum of its terms' magnitudes."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return np.abs(made.numpy() - exact) / (2.0**-24 * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)))


@pytest.mark.parametrize(("m", "k", "n"), SHAPES, ids=str)
def test_bits_depend_on_neither_modes_nor_layouts_nor_threads(m: int, k: int, n: int) -> None:
    a, b = operands((), m, k, n, "float32")
    (first,) = in_every_mode(weft.matmul, laid_out(a, "rows"), laid_out(b, "rows"))
    assert by_unit(lambda: laid_out(a, "rows") @ laid_out(b, "rows")) == 1
    for count in (1, 2, 3, 5):
        with threads(count):
            for left in LAYOUTS:
                for right in LAYOUTS:
                    assert bits(laid_out(a, left) @ laid_out(b, right)) == bits(first), (left, right, count)


@pytest.mark.parametrize(("m", "k", "n"), SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["random", "cancelling", "badly scaled", "large", "small"])
def test_errors_are_no_larger_than_those_of_vectors(m: int, k: int, n: int, kind: str) -> None:
    a, b = operands((), m, k, n, "float32")
    if kind == "cancelling":
        a[:, k // 2 :] = -a[:, : k - k // 2] * np.float32(1 + 1e-6)
    elif kind == "badly scaled":
        scales = (10.0 ** np.random.default_rng(0).integers(-6, 7, k)).astype(np.float32)
        a, b = a * scales, b / scales[:, None]
    elif kind != "random":
        a, b = a * np.float32(1e9 if kind == "large" else 1e-14), b * np.float32(1e9 if kind == "large" else 1e-6)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    ours, theirs = errors(x @ y, a, b), errors(by_vectors(weft.matmul, x, y), a, b)
    assert by_unit(lambda: x @ y) == 1
    assert np.sqrt(np.mean(ours**2)) <= np.sqrt(np.mean(theirs**2))
    assert ours.max() <= 4 + np.sqrt(k)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
@pytest.mark.parametrize(("m", "k", "n"), [*SHAPES, (60, 1300, 900), (700, 333, 20), (33, 70, 2000)], ids=str)
def test_products_of_16_bit_floats(m: int, k: int, n: int, dtype: weft.DType) -> None:
    """Rounded once, from sums in float32."""
    a, b = operands((), m, k, n, "float32")
    x, y = halves(a, dtype, "rows"), halves(b, dtype, "rows")
    (first,) = in_every_mode(weft.matmul, x, y)
    assert by_unit(lambda: x @ y) == 1
    a, b = x.float().numpy().astype(np.float64), y.float().numpy().astype(np.float64)
    rounding = 2.0 ** (-11 if dtype is weft.float16 else -8)
    allowed = rounding * np.abs(a @ b) + 2.0**-24 * (4 + np.sqrt(k)) * (np.abs(a) @ np.abs(b))
    assert np.all(np.abs(first.float().numpy() - a @ b) <= allowed)
    for count in (1, 2, 3):
        with threads(count):
            for left in LAYOUTS:
                for right in LAYOUTS:
                    made = halves(a.astype(np.float32), dtype, left) @ halves(b.astype(np.float32), dtype, right)
                    assert bits(made) == bits(first), (left, right, count)


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
def test_all_16_bit_floats_are_what_they_are(dtype: weft.DType) -> None:
    """Subnormal ones too, those of bfloat16 by vectors."""
    every = np.arange(2**16, dtype=np.uint32).astype(np.uint16)
    values = (
        every.view(np.float16).astype(np.float32)
        if dtype is weft.float16
        else (every.astype(np.uint32) << 16).view(np.float32)
    )
    fit = np.isfinite(values) & ((np.abs(values) > 1e-15) & (np.abs(values) < 1e15) if dtype is weft.bfloat16 else True)
    one = weft.eye(256, dtype=dtype)
    for kept, count in ((fit, 1), (np.isfinite(values), int(dtype is weft.float16))):
        z = weft.from_numpy(np.where(kept, values, 0).reshape(256, 256)).to(dtype)
        assert by_unit(lambda z=z: one @ z) == count
        np.testing.assert_array_equal((one @ z).float().numpy(), z.float().numpy())
        np.testing.assert_array_equal((z.T @ one).float().numpy(), z.T.float().numpy())


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 1e-6, 60000.0], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_special_values_of_16_bit_floats(dtype: weft.DType, odd: float, side: str) -> None:
    a, b = operands((), 300, 260, 280, "float32")
    (a if side == "left" else b)[17, 251] = odd
    x, y = halves(a, dtype, "rows"), halves(b, dtype, "rows")
    for function in (weft.matmul, lambda x, y: weft.relu(x @ y) + y[:1, :1]):
        (made,) = in_every_mode(function, x, y)
        got, want = made.float().numpy(), by_vectors(function, x, y).float().numpy()
        np.testing.assert_allclose(got, want, rtol=2.0**-7, atol=1e-3)


def test_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-(2**13), 2**13, (300, 256)), rng.integers(-4, 4, (256, 400))
    a[:, ::2] = 0  # sums stay below 2 ** 24
    x, y = weft.from_numpy(a.astype(np.float32)), weft.from_numpy(b.astype(np.float32))
    np.testing.assert_array_equal((x @ y).numpy(), a @ b)
    one = weft.eye(256)
    for scale in (1.0, 1e30, 1e-30):
        z = weft.from_numpy(np.random.default_rng(2).standard_normal((256, 300), np.float32) * np.float32(scale))
        assert bits(one @ z) == bits(z)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 3e38, 1e-40], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_numbers_that_cannot_be_split(odd: float, side: str) -> None:
    """The whole product is then made by vectors; what is fused with it happens once."""
    a, b = operands((), 300, 260, 280, "float32")
    (a if side == "left" else b)[17, 251] = odd
    if odd == 1e-40:
        (b if side == "left" else a)[3, 5] = 1e-30
    x, y, z = weft.from_numpy(a), weft.from_numpy(b), weft.from_numpy(operands((), 300, 1, 280, "float32")[0][:, :1])
    for function in (weft.matmul, lambda x, y: weft.relu(x @ y) + z, lambda x, y: weft.softmax(-x @ y, -1)):
        for count in (1, 2):
            with threads(count):
                (made,) = in_every_mode(function, x, y)
                assert bits(made) == bits(by_vectors(function, x, y))


def test_what_is_fused_and_gradients() -> None:
    x, w = (weft.from_numpy(v) for v in operands((), 260, 300, 280, "float32"))
    b = weft.arange(280, dtype=weft.float32) / 280

    def layer(x: Any, w: Any, b: Any) -> tuple[Any, ...]:
        x, w, b = (t.detach().requires_grad_() for t in (x, w, b))
        made = weft.relu(weft.tanh(x) @ w + b)
        normed = weft.softmax(x @ w, -1)
        ((made * made).sum() + (normed * made.detach()).sum()).backward()
        return made, normed, x.grad, w.grad, b.grad

    found = layer(x, w, b)
    with threads(1):
        assert [bits(t) for t in layer(x, w, b)] == [bits(t) for t in found]
    for ours, theirs in zip(found, by_vectors(layer, x, w, b), strict=True):
        got, want = ours.detach().numpy(), theirs.detach().numpy()
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
    for dtype in (weft.float32, *HALVES):
        in_every_mode(
            lambda x, w, b: (weft.relu(weft.tanh(x) @ w + b), weft.softmax(x @ w + b, -1), (x @ w).sum(0)),
            *(t.to(dtype) for t in (x, w, b)),
        )


def test_batches() -> None:
    a, b = operands((3,), 250, 200, 240, "float32")
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    (made,) = in_every_mode(weft.matmul, x, y)
    for i in range(3):
        assert bits(made[i]) == bits(x[i] @ y[i])


@pytest.mark.parametrize("dtype", [weft.float32, *HALVES], ids=lambda d: d.name)
@pytest.mark.parametrize("shared", ["left", "right"])
def test_a_batch_that_shares_an_operand_is_as_one_product(dtype: weft.DType, shared: str) -> None:
    """Whether its memory lets it be run as one, or what is fused with it does, or not; each matrix would be too small."""
    a, b = operands((6,), 90, 300, 280, "float32")
    left, right = (a[0], b) if shared == "left" else (a, b[0])
    x, y = halves(left, dtype, "rows"), halves(right, dtype, "rows")
    (first,) = in_every_mode(weft.matmul, x, y)
    assert by_unit(lambda: x @ y) in (1, 6)
    if dtype is weft.float32:
        assert by_unit(lambda: halves(a[0], dtype, "rows") @ halves(b[0], dtype, "rows")) == 0
    for count in (1, 2):
        with threads(count):
            for one in LAYOUTS:
                for other in LAYOUTS:
                    assert bits(halves(left, dtype, one) @ halves(right, dtype, other)) == bits(first), (one, other)
    z = halves(operands((), 90, 1, 280, "float32")[1], dtype, "rows")
    for function in (lambda x, y, z: weft.relu(x @ y + z), lambda x, y, z: weft.softmax(weft.tanh(x) @ y, -1)):
        in_every_mode(function, x, y, z)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(HALVES),
    st.tuples(*[st.integers(2, 150)] * 3),
    st.sampled_from([(), (1,), (3,), (2, 2)]),
    st.booleans(),
)
@example(weft.float16, (1120, 57, 11), (), False)
@example(weft.float16, (671, 29, 6), (), False)
def test_modes_agree_on_16_bit_products(
    dtype: weft.DType, sizes: tuple[int, int, int], batch: tuple[int, ...], shared: bool
) -> None:
    """However narrow, tiny or few: a fused product takes another way than a bare one."""
    a, b = operands(batch, *sizes, "float32")
    x, y = halves(a, dtype, "rows"), halves(b[(0,) * len(batch)] if shared else b, dtype, "columns")
    in_every_mode(lambda x, y: (weft.relu(x @ y + 1), x @ y, weft.tanh(x) @ y), x, y)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(90, 700), st.integers(64, 1200), st.integers(90, 700)),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.integers(1, 4),
)
def test_any_sizes(sizes: tuple[int, int, int], left: str, right: str, count: int) -> None:
    m, k, n = sizes
    a, b = operands((), m, k, n, "float32")
    with threads(count):
        made = laid_out(a, left) @ laid_out(b, right)
    assert errors(made, a, b).max() <= 4 + np.sqrt(k)
    assert bits(made) == bits(laid_out(a, "rows") @ laid_out(b, "rows"))


def test_very_many_zeros_are_skipped_instead() -> None:
    """By elements that do not depend on threads or modes, so that bits do not either."""
    a, b = operands((), 500, 512, 512, "float32")
    for share, expected in ((0.4, 0), (0.9, 1)):
        x, y = weft.from_numpy(with_zeros(a, share)), weft.from_numpy(b)
        (made,) = in_every_mode(weft.matmul, x, y)
        for count in (1, 2, 3):
            with threads(count):
                assert skipping(lambda x=x, y=y: x @ y) == expected
                assert bits(x @ y) == bits(made)
        in_every_mode(lambda x, y: weft.relu(x - 1) @ y, weft.from_numpy(a), y)


PRODUCT = """
    import os, zlib, numpy as np, weft
    x = weft.from_numpy(np.random.default_rng(0).standard_normal((300, 300), np.float32))
    made = lambda: zlib.crc32((x @ x).numpy().tobytes())
"""


def test_a_forked_child_and_a_new_process_have_the_same_bits() -> None:
    forked = """
    print(made(), flush=True)
    if os.fork() == 0:
        print(made(), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
    """
    first, second = script(PRODUCT + forked).split()
    assert first == second == script(PRODUCT + "    print(made())").strip()


def test_the_switch_is_settled_when_the_package_is_imported() -> None:
    told = "    from weft.cli import information; print(made(), dict(information())['matrix unit'])"
    (on, *said_on), (off, *said_off) = (
        script(PRODUCT + told).split(),
        script(PRODUCT + told, WEFT_MATRIX_UNIT="0").split(),
    )
    assert on != off
    assert " ".join(said_on) == "AMX, for large products of float32 and 16-bit floats"
    assert " ".join(said_off) == "not used, as WEFT_MATRIX_UNIT says"
    with pytest.raises(TypeError, match="settled when Weft is imported; set the environment variable WEFT_MATRIX_UNIT"):
        config.override(matrix_unit=False).__enter__()


def test_a_wrong_call_leaves_the_unit_usable() -> None:
    x = weft.ones((300, 300))
    with pytest.raises(weft.ShapeError):
        x @ weft.ones((299, 300))
    np.testing.assert_array_equal((x @ x).numpy(), np.full((300, 300), 300, np.float32))
