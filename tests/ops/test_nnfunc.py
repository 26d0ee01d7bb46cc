"""Activations, normalisation and losses against plain formulas in float64, in every mode."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import array_of, assert_close, bits, in_every_mode, numbers, tensor

X = np.array([-80.0, -5.0, -1.0, -1e-3, -0.0, 0.0, 1e-3, 0.5, 2.0, 30.0, 90.0])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1 / (1 + np.exp(-abs(x))), np.exp(-abs(x)) / (1 + np.exp(-abs(x))))


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


ACTIVATIONS: list[tuple[str, Any, Any, float]] = [
    ("sigmoid", weft.sigmoid, sigmoid, 4),
    ("relu", weft.relu, lambda x: np.maximum(x, 0), 0),
    ("leaky_relu", lambda x: weft.leaky_relu(x, 0.1), lambda x: np.where(x > 0, x, 0.1 * x), 1),
    ("elu", lambda x: weft.elu(x, 1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x)), 4),
    ("silu", weft.silu, lambda x: x * sigmoid(x), 4),
    ("softplus", weft.softplus, lambda x: np.logaddexp(x, 0), 4),
    ("gelu", weft.gelu, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), 4),
    (
        "gelu tanh",
        lambda x: weft.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        8,
    ),
    ("tanh", weft.tanh, np.tanh, 2),
]


@pytest.mark.parametrize(("name", "function", "reference", "ulps"), ACTIVATIONS, ids=[a[0] for a in ACTIVATIONS])
def test_activations(name: str, function: Any, reference: Any, ulps: float) -> None:
    for dtype in (weft.float32, weft.float64, weft.bfloat16):
        array = X if dtype.itemsize == 8 else tensor(X.astype(np.float32), dtype).float().numpy()
        (got,) = in_every_mode(function, tensor(array.astype(np.float32 if dtype.is_half else dtype.numpy), dtype))
        assert got.dtype is dtype
        assert_close(got, reference(array.astype(np.float64)), 1 if dtype.is_half else ulps, name, 0.3)
    special = array_of(function(weft.tensor([float("nan"), float("inf"), float("-inf")])))
    assert np.isnan(special[0])
    want = {"sigmoid": 1.0, "tanh": 1.0}.get(name, np.inf)
    assert special[1] == want


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 5), (4, 5000), (6,)])
def test_softmax(shape: tuple[int, ...]) -> None:
    array = numbers(weft.float32, shape, 1, -9, 9)
    x = weft.from_numpy(array)
    for axis in range(len(shape)):
        want = softmax(array.astype(np.float64), axis)
        (got,) = in_every_mode(lambda t, a=axis: weft.softmax(t, a), x)
        assert_close(got, want, 16)
        (got,) = in_every_mode(lambda t, a=axis: t.log_softmax(dim=a), x)
        assert_close(got, np.log(want), 8, scale=9)


def test_softmax_of_the_infinite() -> None:
    x = weft.tensor([[1e30, 0.0], [float("-inf"), 0.0], [1000.0, 1000.0]])
    assert weft.softmax(x).tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    assert weft.log_softmax(x)[1, 0].item() == float("-inf")
    half = weft.softmax(weft.tensor([60000.0, 60000.0], dtype=weft.float16))
    assert half.tolist() == [0.5, 0.5]
    assert weft.softmax(weft.zeros(2, dtype=weft.int64)).dtype is weft.float32
    assert weft.softmax(weft.zeros(2, 0)).shape == (2, 0)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64, weft.float16], ids=str)
def test_normalisation(dtype: weft.DType) -> None:
    array = numbers(dtype, (3, 4, 5), 2)
    weight, bias = numbers(dtype, (4, 5), 3), numbers(dtype, (4, 5), 4)
    wide, w, b = (a.astype(np.float64) for a in (array, weight, bias))
    mean, var = wide.mean((1, 2), keepdims=True), wide.var((1, 2), keepdims=True)
    rows = (wide - mean) / np.sqrt(var + 1e-5)
    x, tw, tb = (weft.from_numpy(a) for a in (array, weight, bias))
    for given, want in (((), rows), ((tw,), rows * w), ((tw, tb), rows * w + b), ((None, tb), rows + b)):
        (got,) = in_every_mode(lambda t, g=given: weft.layer_norm(t, (4, 5), *g), x)
        assert got.dtype is dtype
        assert_close(got, want, 2 if dtype.is_half else 16, scale=3)
    (got,) = in_every_mode(lambda t: weft.rms_norm(t, 5, weft.ones(5, dtype=dtype), eps=1e-3), x)
    want = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-3)
    assert_close(got, want, 2 if dtype.is_half else 16, scale=3)


def test_linear() -> None:
    x, w, b = (numbers(weft.float64, s, k) for k, s in enumerate([(2, 3, 4), (5, 4), (5,)]))
    want = x @ w.T + b
    got = weft.linear(*map(weft.from_numpy, (x, w, b)))
    np.testing.assert_allclose(got.numpy(), want)
    np.testing.assert_allclose(weft.linear(weft.from_numpy(x[0, 0]), weft.from_numpy(w)).numpy(), x[0, 0] @ w.T)


def reduced(loss: np.ndarray, reduction: str) -> np.ndarray:
    return loss if reduction == "none" else np.asarray(getattr(np, reduction)(loss))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str) -> None:
    array = numbers(weft.float32, (6, 5), 5)
    labels = np.array([0, 4, 2, 2, 1, 3])
    x, y = weft.from_numpy(array), weft.from_numpy(labels)
    logp = np.log(softmax(array.astype(np.float64), 1))
    picked = -logp[np.arange(6), labels]
    (got,) = in_every_mode(lambda a, b: weft.cross_entropy(a, b, reduction=reduction), x, y)
    assert_close(got, reduced(picked, reduction), 8, scale=4)
    got = weft.nll_loss(weft.log_softmax(x), y, reduction=reduction)
    assert_close(got, reduced(picked, reduction), 8, scale=4)
    soft = softmax(numbers(weft.float32, (6, 5), 6).astype(np.float64), 1).astype(np.float32)
    (got,) = in_every_mode(lambda a, b: weft.cross_entropy(a, b, reduction=reduction), x, weft.from_numpy(soft))
    assert_close(got, reduced(-(soft * logp).sum(1), reduction), 16, scale=4)
    smooth = np.eye(5)[labels] * 0.9 + 0.1 / 5
    (got,) = in_every_mode(lambda a, b: weft.cross_entropy(a, b, reduction=reduction, label_smoothing=0.1), x, y)
    assert_close(got, reduced(-(smooth * logp).sum(1), reduction), 16, scale=4)
    for name, of in (("mse_loss", np.square), ("l1_loss", np.abs)):
        (got,) = in_every_mode(
            lambda a, b, n=name: getattr(weft, n)(a, b, reduction=reduction), x, weft.from_numpy(soft)
        )
        assert_close(got, reduced(of(array.astype(np.float64) - soft), reduction), 8, name, 9)
    (got,) = in_every_mode(
        lambda a, b: weft.binary_cross_entropy_with_logits(a, b, reduction=reduction), x, weft.from_numpy(soft)
    )
    wide = array.astype(np.float64)
    want = -(soft * np.log(sigmoid(wide)) + (1 - soft) * np.log(sigmoid(-wide)))
    assert_close(got, reduced(want, reduction), 8, scale=4)


def test_cross_entropy_of_more_axes() -> None:
    array = numbers(weft.float64, (2, 3, 4), 7)
    labels = np.random.default_rng(0).integers(0, 3, (2, 4))
    logp = np.log(softmax(array, 1))
    want = -np.take_along_axis(logp, labels[:, None], 1).mean()
    got = weft.cross_entropy(weft.from_numpy(array), weft.from_numpy(labels))
    np.testing.assert_allclose(got.item(), want)
    got = weft.cross_entropy(weft.from_numpy(array[0, :, 0]), weft.tensor(1))
    np.testing.assert_allclose(got.item(), -np.log(softmax(array[0, :, 0], 0))[1])
    narrow = weft.cross_entropy(weft.from_numpy(array), weft.from_numpy(labels.astype(np.uint8)))
    np.testing.assert_allclose(narrow.item(), want)


LABELS = weft.tensor([4, 0, 2, 1])
#: Functions of rows whose gradient reads numbers of each row that the call kept, and how many.
KEEPING: list[tuple[str, Any, int]] = [
    ("log_softmax", lambda x, w: weft.log_softmax(x, -1), 2),
    ("logsumexp", lambda x, w: weft.logsumexp(x, -1), 2),
    ("cross_entropy", lambda x, w: weft.cross_entropy(x, LABELS, reduction="none", label_smoothing=0.1), 2),
    ("soft cross_entropy", lambda x, w: weft.cross_entropy(x, x.detach() * 0 + w, reduction="none"), 2),
    ("layer_norm", lambda x, w: weft.layer_norm(x, 5, w, w), 2),
    ("rms_norm", lambda x, w: weft.rms_norm(x, 5, w), 1),
]


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64, weft.bfloat16], ids=str)
@pytest.mark.parametrize(("function", "kept"), [row[1:] for row in KEEPING], ids=[row[0] for row in KEEPING])
def test_gradients_read_what_the_call_kept(function: Any, kept: int, dtype: weft.DType) -> None:
    """The same bits as of a gradient that works it out again, rows of infinities and NaN included."""
    array = numbers(weft.float32, (4, 5), 7)
    array[1, 2], array[2], array[3, 0] = math.nan, -math.inf, math.inf
    x, w = weft.from_numpy(array).to(dtype), weft.from_numpy(numbers(weft.float32, (5,), 8)).to(dtype)
    x.requires_grad = w.requires_grad = True
    y = function(x, w)
    of_rows = [tuple(t.shape) for t in y.grad_fn.kept]
    assert of_rows == [(4, 1)] * kept
    assert all(t.dtype is dtype.compute for t in y.grad_fn.kept)
    g = weft.from_numpy(numbers(weft.float32, tuple(y.shape), 9)).to(dtype)

    def gradients(x: Any, w: Any, g: Any, create_graph: bool = False) -> Any:
        return weft.autograd.grad(function(x, w), [x, w], g, create_graph=create_graph, allow_unused=True)[0]

    want = bits(in_every_mode(gradients, x, w, g)[0])
    assert bits(gradients(x, w, g, True)) == want
    assert bits(weft.autograd.grad(y, [x], g)[0]) == want
    with weft.no_grad():
        assert function(x, w).grad_fn is None


def test_what_a_call_kept_goes_with_its_graph() -> None:
    x = weft.tensor([[1.0, 2.0]], requires_grad=True)
    y = weft.logsumexp(x, -1)
    node = y.grad_fn
    y.backward()
    assert node.kept == (None, None)


def test_labels_are_checked() -> None:
    x = weft.zeros(2, 3)
    for label in (3, -1, 1 << 40):
        for call in (weft.cross_entropy, weft.nll_loss, weft.static(weft.cross_entropy)):
            with pytest.raises(IndexError, match="A class label is out of range: it must be from 0 to 2"):
                call(x, weft.tensor([0, label]))


def test_one_kernel_each() -> None:
    """Softmax, its logarithm and layer_norm are one launch; cross entropy adds one for the mean over rows."""
    x, w, b = weft.zeros(8, 16), weft.ones(16), weft.zeros(16)
    labels = weft.zeros(8, dtype=weft.int64)
    for call, most in (
        (lambda: weft.softmax(x), 1),
        (lambda: weft.log_softmax(x), 1),
        (lambda: weft.layer_norm(x, 16, w, b), 1),
        (lambda: weft.gelu(x), 1),
        (lambda: weft.cross_entropy(x, labels), 2),
        (lambda: weft.mse_loss(x, x), 1),
        (lambda: x.mean(), 1),
        (lambda: x.var(1), 1),
    ):
        call()
        before = weft.stats().kernel_launches
        call()
        assert weft.stats().kernel_launches - before <= most
