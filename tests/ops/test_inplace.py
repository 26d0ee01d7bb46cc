"""In-place forms: the values of the ones that make new tensors, through views, with history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import in_every_mode

A = np.array([[0.5, 1.5, 2.5], [3.5, 0.25, 0.75]], dtype=np.float32)
#: (in-place method, arguments, what it computes)
CALLS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("add_", (2.0,), lambda a: a + 2),
    ("sub_", (2,), lambda a: a - 2),
    ("mul_", (3,), lambda a: a * 3),
    ("div_", (2,), lambda a: a / 2),
    ("pow_", (2,), lambda a: a**2),
    ("pow_", (3,), lambda a: a**3),
    ("remainder_", (1,), lambda a: a % 1),
    ("floor_divide_", (1,), lambda a: a // 1),
    ("neg_", (), lambda a: -a),
    ("abs_", (), abs),
    ("sqrt_", (), np.sqrt),
    ("floor_", (), np.floor),
    ("round_", (), np.round),
    ("clamp_", (1.0, 2.0), lambda a: a.clip(1, 2)),
    ("clip_", (None, 2.0), lambda a: a.clip(None, 2)),
    ("relu_", (), lambda a: a.clip(0)),
    ("maximum_", (1.0,), lambda a: np.maximum(a, 1)),
    ("zero_", (), np.zeros_like),
    ("fill_", (4,), lambda a: np.full_like(a, 4)),
    ("copy_", (weft.tensor([1.0, 2.0, 3.0]),), lambda a: np.broadcast_to(np.float32([1, 2, 3]), a.shape)),
    ("masked_fill_", (weft.tensor([True, False, True]), -1), lambda a: np.where([True, False, True], -1, a)),
    ("addcmul_", (weft.ones(3), weft.ones(3)), lambda a: a + 1),
    ("lerp_", (weft.zeros(3), 0.5), lambda a: a - 0.5 * a),
]


@pytest.mark.parametrize(("name", "args", "reference"), CALLS, ids=[c[0] for c in CALLS])
def test_values(name: str, args: tuple[Any, ...], reference: Any) -> None:
    def call(x: Any) -> Any:
        y = x.clone()
        view = y.T
        assert getattr(y, name)(*args) is y
        return y, view

    got, view = in_every_mode(call, weft.from_numpy(A))
    np.testing.assert_allclose(got.numpy(), reference(A), rtol=1e-6)
    np.testing.assert_array_equal(view.numpy(), got.numpy().T)
    y = weft.from_numpy(np.stack([A, A], axis=-1).copy())
    version = y._version
    getattr(y[..., 0], name)(*args)  # through a strided view
    np.testing.assert_allclose(y.numpy()[..., 0], reference(A), rtol=1e-6)
    np.testing.assert_array_equal(y.numpy()[..., 1], A)
    assert y._version > version


def test_operators() -> None:
    x = weft.tensor([4.0, 9.0])
    y = x
    x += 1
    x -= weft.tensor([1.0, 2.0])
    x *= 2
    x /= 4
    x **= 2
    x //= 1
    x %= 3
    assert y is x
    assert x.tolist() == [1, 1]
    b = weft.tensor([6, 5])
    b &= 3
    b |= 4
    b ^= 1
    b <<= 2
    b >>= 1
    assert b.tolist() == [14, 8]


def test_types_must_fit() -> None:
    x = weft.ones(2, dtype=weft.int32)
    for call in (lambda: x.add_(0.5), lambda: x.div_(2), lambda: x.add_(weft.ones(2)), lambda: x.sqrt_()):
        with pytest.raises(TypeError, match="would put float32 values into an int32 tensor"):
            call()
    x.add_(weft.ones(2, dtype=weft.int64))
    assert x.dtype is weft.int32
    x.add_(True)
    h = weft.ones(2, dtype=weft.float16)
    h.mul_(weft.tensor([1.5, 2.5], dtype=weft.float64))
    assert h.dtype is weft.float16
    with pytest.raises(weft.ShapeError, match="does not fit"):
        weft.ones(2).add_(weft.ones(3, 2))


def test_overlapping_operands() -> None:
    x = weft.arange(5)
    x[1:] += x[:-1]
    assert x.tolist() == [0, 1, 3, 5, 7]
    y = weft.arange(4).reshape(2, 2)
    y.copy_(y.T)
    assert y.tolist() == [[0, 2], [1, 3]]
    z = weft.arange(4)
    z.copy_(z.flip(0))
    assert z.tolist() == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="share one place"):
        weft.ones(1).expand(3).add_(1)


def test_history() -> None:
    """Gradients pass through in-place updates, also of views, as through those that make new tensors."""
    w = weft.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = w * 1
    y.mul_(w)
    y[0] = 5.0
    y[1:].add_(w[:2])
    y = y.relu_() * 1
    y.sqrt_()
    y.sum().backward()
    in_place = w.grad.tolist()
    v = weft.tensor([1.0, 2.0, 3.0], requires_grad=True)
    z = weft.concat([weft.tensor([5.0]), v[1:] * v[1:] + v[:2]]).relu().sqrt()
    z.sum().backward()
    assert in_place == pytest.approx(v.grad.tolist(), rel=1e-6)
    for name in ("exp_", "tanh_", "reciprocal_", "square_"):
        a, b = (weft.tensor([0.5, 1.5], requires_grad=True) for _ in range(2))
        getattr(a * 1, name)().sum().backward()
        getattr(weft, name[:-1])(b).sum().backward()
        assert a.grad.tolist() == b.grad.tolist()


def test_leaves_are_protected() -> None:
    x = weft.ones(2, requires_grad=True)
    with pytest.raises(weft.AutogradError, match="leaf tensor that requires grad"):
        x.add_(1)
    with pytest.raises(weft.AutogradError, match="leaf"):
        x[0] = 1
    with weft.no_grad():
        x.add_(1)
        x[0] = 7
    x.data.mul_(2)
    assert x.tolist() == [14, 4]
    x.data = weft.tensor([1.0, 2.0])
    assert x.tolist() == [1, 2]
    with pytest.raises(weft.ShapeError, match="own shape and type"):
        x.data = weft.ones(3)


def test_in_place_then_needed() -> None:
    x = weft.ones(2, requires_grad=True)
    y = x.exp()
    z = y * y
    y.add_(1)
    with pytest.raises(weft.AutogradError, match="modified in"):
        z.sum().backward()
