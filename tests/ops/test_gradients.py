"""Gradients of every differentiable function: against differences to second order, and the same bits in every mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import bits, listed
from weft.autograd import grad, gradcheck, gradgradcheck
from weft.ops.registry import OPS
from weft.ops.scan import scan_linear

Shape = tuple[int, ...]
#: Where an op's operands must lie, so that no difference crosses a corner or a pole.
DOMAINS = {
    "log": (0.3, 3), "log2": (0.3, 3), "log10": (0.3, 3), "log1p": (-0.5, 2), "sqrt": (0.3, 3), "acosh": (1.5, 3),
    "asin": (-0.8, 0.8), "acos": (-0.8, 0.8), "atanh": (-0.8, 0.8), "reciprocal": (0.5, 2), "power": (0.5, 2),
    "divide": (0.5, 2), "remainder": (1.1, 1.9), "fmod": (1.1, 1.9), "tan": (-1, 1), "hypot": (0.5, 2), "atan2": (0.5, 2),
    "abs": (0.2, 2), "sign": (0.2, 2), "floor": (0.1, 0.9), "ceil": (0.1, 0.9), "trunc": (0.1, 0.9), "round": (0.1, 0.4),
    "copysign": (0.3, 2), "clip": (-2, 2),
}  # fmt: skip


def values(shape: Shape, k: int, low: float = -2, high: float = 2) -> Any:
    """Float64 values, no two close to each other or to a multiple of a half, as a leaf."""
    rng = np.random.default_rng(100 + k)
    n = int(np.prod(shape, dtype=int))
    spread = (rng.permutation(n) + 0.5 + 0.2 * rng.random(n)) / n * (high - low) + low
    return weft.tensor(spread.reshape(shape), requires_grad=True)


ELEMENTWISE = [op for op in OPS.values() if op.kind == "elementwise" and op.grad is not None and op.name not in (
    "where", "cast", "copy")]  # fmt: skip


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_elementwise(op: Any) -> None:
    """To second order; broadcasting operands too."""
    low, high = DOMAINS.get(op.name, (-2, 2))
    shapes: list[Shape] = [(2, 3), (3,), (2, 1)][: op.arity]
    inputs = [values(s, k, low, high) for k, s in enumerate(shapes)]
    if op.name == "remainder":
        inputs[0] = values((2, 3), 0, 2.1, 2.9)
    if op.name == "clip":
        inputs = [values((2, 3), 0), values((3,), 1, -1.5, -1.1), values((2, 1), 2, 1.1, 1.4)]
    assert gradcheck(op, inputs)
    assert gradgradcheck(op, inputs)


L = weft.tensor([0, 2])
ZEROS = weft.tensor([[1, 0, 1, 1, 1], [0, 1, 1, 0, 1], [1, 1, 1, 1, 0]])
#: (name, function, shapes of its float64 operands)
ROWS: list[tuple[str, Callable[..., Any], Sequence[Shape]]] = [
    ("where", lambda x, y: weft.where(x > 0, x, y), [(2, 3), (3,)]),
    ("cast", lambda x: x.to(weft.float64) * 2, [(3,)]),
    ("clone", lambda x: x.clone(), [(3,)]),
    ("numbers", lambda x: 2 - x * 3 / 4 + 1 / (x * x + 1), [(3,)]),
    ("powers", lambda x: x**2 + (x * x) ** 0.5 + (x * x) ** 1.5, [(3,)]),
    ("clip", lambda x: x.clip(-1, 1), [(7,)]),
    ("clip min", lambda x: weft.clip(x, min=-1.0), [(7,)]),
    ("rsqrt", lambda x: weft.rsqrt(x * x + 1), [(3,)]),
    ("lerp", weft.lerp, [(3,), (3,), (1,)]),
    ("masked_fill", lambda x: weft.masked_fill(x, x > 0, 3.0), [(4,)]),
    ("sum", lambda x: x.sum((0, 2)) ** 2, [(2, 3, 2)]),
    ("sum keep", lambda x: x * x.sum(1, keepdims=True), [(2, 3)]),
    ("prod", lambda x: x.prod(1), [(2, 3)]),
    ("mean", lambda x: x.mean((0, 1)) ** 2, [(2, 3, 2)]),
    ("var", lambda x: x.var(1), [(2, 3)]),
    ("var corrected", lambda x: x.var(correction=1), [(2, 3)]),
    ("std", lambda x: x.std(0, keepdims=True), [(3, 2)]),
    ("max", lambda x: x.max(1) ** 2, [(2, 3)]),
    ("min", lambda x: x.min() ** 2, [(2, 3)]),
    ("norm", lambda x: x.norm(axis=1), [(2, 3)]),
    ("norm 3", lambda x: x.norm(3), [(4,)]),
    ("norm 1", lambda x: x.norm(1, 0) ** 2, [(3, 2)]),
    ("norm 0.5", lambda x: x.norm(0.5, (0, 2)), [(2, 2, 2)]),
    ("norm -1.5", lambda x: x.norm(-1.5, 1), [(2, 3)]),
    ("norm inf", lambda x: x.norm(weft.inf, 1) ** 2, [(2, 3)]),
    ("norm -inf", lambda x: x.norm(-weft.inf, 0) ** 2, [(2, 3)]),
    (
        "matrix norm",
        lambda x: weft.matrix_norm(x) * weft.matrix_norm(x, 1) + weft.matrix_norm(x, -weft.inf),
        [(2, 3, 2)],
    ),
    ("logsumexp", lambda x: x.logsumexp((0, 1)), [(2, 3)]),
    ("softmax", lambda x: weft.softmax(x, 0), [(3, 2)]),
    ("log_softmax", lambda x: weft.log_softmax(x), [(2, 3)]),
    ("sigmoid", weft.sigmoid, [(4,)]),
    ("relu", lambda x: weft.relu(x) ** 2, [(5,)]),
    ("leaky_relu", lambda x: weft.leaky_relu(x, 0.2) ** 2, [(5,)]),
    ("elu", lambda x: weft.elu(x, 1.3), [(5,)]),
    ("silu", weft.silu, [(4,)]),
    ("softplus", weft.softplus, [(4,)]),
    ("gelu", weft.gelu, [(4,)]),
    ("gelu tanh", lambda x: weft.gelu(x, "tanh"), [(4,)]),
    ("layer_norm", lambda x, w, b: weft.layer_norm(x, (2, 2), w, b), [(3, 2, 2), (2, 2), (2, 2)]),
    ("layer_norm bias", lambda x, b: weft.layer_norm(x, 3, None, b), [(2, 3), (3,)]),
    ("rms_norm", lambda x, w: weft.rms_norm(x, 3, w), [(2, 3), (3,)]),
    ("linear", weft.linear, [(2, 3), (2, 3), (2,)]),
    ("cross_entropy", lambda x: weft.cross_entropy(x, L), [(2, 3)]),
    ("cumsum", lambda x: x.cumsum(1) ** 2, [(2, 4, 2)]),
    ("cumsum of all", lambda x: x.cumsum() ** 2, [(2, 3)]),
    ("cumprod", lambda x: x.cumprod(1), [(2, 4)]),
    ("cumprod of rows", lambda x: x.cumprod(0), [(4, 2)]),
    ("cumprod with zeros", lambda x: (x * ZEROS).cumprod(1), [(3, 5)]),
    ("cumulative_sum", lambda x: weft.cumulative_sum(x, include_initial=True) ** 2, [(3,)]),
    ("recurrence", lambda x, y: scan_linear(x, y, attrs=(1, False)), [(2, 4), (2, 4)]),
    ("recurrence from the end", lambda x, y: scan_linear(x, y, attrs=(0, True)), [(4, 2), (4, 2)]),
    ("cross_entropy sum", lambda x: weft.cross_entropy(x, L, reduction="sum", label_smoothing=0.1), [(2, 3)]),
    ("cross_entropy none", lambda x: weft.cross_entropy(x, L.reshape(2, 1), reduction="none"), [(2, 3, 1)]),
    ("soft cross_entropy", lambda x, t: weft.cross_entropy(x, t), [(2, 3), (2, 3)]),
    ("nll_loss", lambda x: weft.nll_loss(x, L), [(2, 3)]),
    ("mse_loss", weft.mse_loss, [(2, 3), (2, 3)]),
    ("mse_loss none", lambda x, y: weft.mse_loss(x, y, reduction="none"), [(3,), (3,)]),
    ("l1_loss", lambda x, y: weft.l1_loss(x, y) ** 2, [(3,), (3,)]),
    ("bce", lambda x: weft.binary_cross_entropy_with_logits(x, weft.tensor([0.2, 0.9, 1.0], dtype=x.dtype)), [(3,)]),
    ("matmul", weft.matmul, [(2, 3), (3, 2)]),
    ("matmul batch", weft.matmul, [(2, 2, 3), (3, 2)]),
    ("matmul vector", weft.matmul, [(2, 3), (3,)]),
    ("matmul vectors", weft.matmul, [(3,), (3,)]),
    ("tensordot", lambda x, y: weft.tensordot(x, y, ([0, 1], [1, 0])), [(2, 3), (3, 2)]),
    ("kron", weft.kron, [(2,), (2, 2)]),
    ("vecdot", weft.vecdot, [(2, 3), (3,)]),
    ("vectors @ matrix", lambda x, y: x @ y, [(2, 3, 1, 4), (4, 2)]),
    ("matrix @ vectors", lambda x, y: x @ y, [(2, 4), (3, 2, 4, 1)]),
    ("dot", weft.dot, [(3,), (3,)]),
    ("vdot", weft.vdot, [(3, 2), (2, 3)]),
    ("inner", weft.inner, [(2, 3), (4, 3)]),
    ("outer", weft.outer, [(2,), (3,)]),
    ("multi_dot", lambda x, y, z: weft.multi_dot([x, y, z]), [(2, 3), (3, 2), (2,)]),
    ("trace", lambda x: weft.trace(x, 1) * x.diagonal(-1), [(3, 3)]),
    ("movement", lambda x: x.reshape(3, 2).T.flip(0).unsqueeze(1).expand(2, 2, 3) ** 2, [(2, 3)]),
    ("slice", lambda x: x[:, ::-2] * x[:, :2], [(2, 3)]),
    ("index", lambda x: x[[0, 1, 1], 1:] ** 2, [(2, 3)]),
    ("index separated", lambda x: x[[0, 1], :, [1, 0]] ** 2, [(2, 2, 3)]),
    ("take_along_axis", lambda x: weft.take_along_axis(x, weft.tensor([[2, 0, 0], [1, 1, 0]]), 1) ** 2, [(2, 3)]),
    ("gather", lambda x: x.gather(0, weft.tensor([[1, 0]])) ** 2, [(2, 3)]),
    ("scatter_add", lambda x, y: weft.scatter_add(x, 0, weft.tensor([1, 1, 0]), y) ** 2, [(2,), (3,)]),
    ("scatter", lambda x, y: weft.scatter(x, 0, weft.tensor([1, 0]), y) ** 2, [(3,), (2,)]),
    ("index_add", lambda x, y: weft.index_add(x, 0, weft.tensor([1, 1]), y) ** 2, [(2, 2), (2, 2)]),
    ("concat", lambda x, y: weft.concat([x, y, x], 1) ** 2, [(2, 2), (2, 1)]),
    ("concat many", lambda x: weft.concat([x * k for k in range(10)]) ** 2, [(2,)]),
    ("stack", lambda x, y: weft.stack([x, y]) ** 2, [(3,), (3,)]),
    ("tile", lambda x: x.tile(2, 2) ** 2, [(1, 2)]),
    ("repeat_interleave", lambda x: x.repeat_interleave(2, 0) ** 2, [(2, 2)]),
    ("roll and pad", lambda x: weft.pad(x.roll(1, 0), [(1, 0)]) ** 2, [(3,)]),
    ("tril", lambda x: x.tril() ** 2, [(2, 3)]),
    ("split", lambda x: x.split(2)[0] * x.split(2)[1], [(4,)]),
    ("in place", lambda x, y: x.clone().mul_(y).add_(x) ** 2, [(3,), (3,)]),
    ("written", lambda x, y: _written(x, y), [(2, 3), (3,)]),
    ("several", lambda x: (x * 2, x.sum()), [(3,)]),
]


def _written(x: Any, y: Any) -> Any:
    z = x * 1
    z[1] = y
    z[:, 0] += y[1:]
    z[[0, 1], [2, 1]] = y[:2] * 2
    z[x > 1] = 0.5
    return z * z


def leaves(shapes: Sequence[Shape]) -> list[Any]:
    return [values(s, k) for k, s in enumerate(shapes)]


@pytest.mark.parametrize(("name", "function", "shapes"), ROWS, ids=[r[0] for r in ROWS])
def test_functions(name: str, function: Callable[..., Any], shapes: Sequence[Shape]) -> None:
    inputs = leaves(shapes)
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize(("name", "function", "shapes"), ROWS, ids=[r[0] for r in ROWS])
def test_same_bits_in_every_mode(name: str, function: Callable[..., Any], shapes: Sequence[Shape]) -> None:
    """First and second gradients in float32, eager, lazy and static."""
    plain = [t.detach().float() for t in leaves(shapes)]

    def work(*given: Any) -> Any:
        given = tuple(t.detach().requires_grad_() for t in given)
        outs = listed(function(*given))
        total = sum(((o * o).sum() for o in outs[1:]), (outs[0] * outs[0]).sum())
        first = grad(total, given, create_graph=True)
        again = sum(((g * g).sum() for g in first[1:]), (first[0] * first[0]).sum())
        second = grad(again, given, allow_unused=True) if again.requires_grad else ()
        return [*outs, *first, *(g for g in second if g is not None)]

    eager = [bits(t) for t in work(*plain)]
    with weft.lazy():
        lazy = work(*plain)
    assert [bits(t) for t in lazy] == eager
    static = weft.static(work)
    for _ in range(2):
        assert [bits(t) for t in static(*plain)] == eager


def test_sixteen_bits() -> None:
    """Gradients keep their operand's type."""
    for dtype in (weft.float16, weft.bfloat16):
        x = weft.tensor([[0.5, 1.5], [2.5, -1.0]], dtype=dtype, requires_grad=True)
        w = weft.ones(2, dtype=dtype, requires_grad=True)
        y = weft.layer_norm(weft.gelu(x) @ x, 2, w).softmax(-1) * x.sum()
        (y.mean() + weft.cross_entropy(x, weft.tensor([0, 1]))).backward()
        assert x.grad.dtype is dtype
        assert w.grad.dtype is dtype
        assert x.grad.isfinite().all()


def test_mixed_types() -> None:
    x = weft.ones(2, requires_grad=True)
    y = weft.ones(2, dtype=weft.float64, requires_grad=True)
    (x * y * weft.tensor([1, 2])).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (weft.float32, weft.float64)
    assert x.grad.tolist() == [1, 2]


def test_corners() -> None:
    """The choices at corners."""
    x = weft.tensor([0.0, 1.0, -1.0], requires_grad=True)
    for function, want in (
        (weft.relu, [0, 1, 0]),
        (lambda t: t.clip(0, 1), [1, 1, 0]),
        (abs, [0, 1, -1]),
        (lambda t: weft.maximum(t, 0.0), [0.5, 1, 0]),
        (lambda t: t.max() * 1, [0, 1, 0]),
        (lambda t: (t * 0).max() * 3, [0, 0, 0]),
        (weft.sign, [0, 0, 0]),
    ):
        (g,) = grad(function(x).sum(), [x])
        assert g.tolist() == want
    tied = weft.tensor([2.0, 2.0], requires_grad=True)
    assert grad(tied.max(), [tied])[0].tolist() == [0.5, 0.5]
    zero = weft.zeros(2, requires_grad=True)
    assert grad(zero.norm(), [zero])[0].tolist() == [0, 0]
    assert grad(zero.std(), [zero])[0].tolist() == [0, 0]
    assert grad(weft.tensor([0.0, 3.0, 2.0], requires_grad=True).prod(), [tied], allow_unused=True) == (None,)
    p = weft.tensor([0.0, 3.0, 2.0], requires_grad=True)
    assert grad(p.prod(), [p])[0].tolist() == [6, 0, 0]
