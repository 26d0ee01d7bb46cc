"""Layers, losses and initial values against NumPy and hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import weft
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def arr(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def tensor(a: np.ndarray) -> weft.Tensor:
    return weft.from_numpy(a.copy())


def values(t: weft.Tensor) -> np.ndarray:
    return t.detach().numpy()


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(4, 3, bias=bias)
    x = arr(*shape)
    expected = x @ values(layer.weight).T + (values(layer.bias) if bias else 0)
    np.testing.assert_allclose(values(layer(tensor(x))), expected, rtol=1e-5, atol=1e-6)


def test_linear_gradients() -> None:
    layer = nn.Linear(4, 3)
    x = arr(5, 4)
    g = arr(5, 3)
    xt = tensor(x).requires_grad_()
    (layer(xt) * tensor(g)).sum().backward()
    np.testing.assert_allclose(values(layer.weight.grad), g.T @ x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values(layer.bias.grad), g.sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values(xt.grad), g @ values(layer.weight), rtol=1e-5, atol=1e-6)


def test_linear_names_both_shapes_in_its_error() -> None:
    with pytest.raises(ValueError, match="5"):
        nn.Linear(4, 3)(tensor(arr(2, 5)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.Sigmoid(), _sigmoid),
        (nn.Tanh(), np.tanh),
        (nn.SiLU(), lambda x: x * _sigmoid(x)),
        (nn.GELU(), _gelu),
        (nn.Softmax(-1), _softmax),
        (nn.LogSoftmax(-1), lambda x: np.log(_softmax(x))),
        (nn.Identity(), lambda x: x),
        (nn.Flatten(), lambda x: x.reshape(x.shape[0], -1)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_activations(layer: nn.Module, reference) -> None:
    x = arr(3, 2, 5)
    np.testing.assert_allclose(values(layer(tensor(x))), reference(x.astype(np.float64)), rtol=1e-5, atol=1e-6)


def test_relu_in_place() -> None:
    x = weft.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 3
    out = nn.ReLU(inplace=True)(y)
    assert out is y
    assert values(y).tolist() == [0, 6]
    out.sum().backward()
    assert values(x.grad).tolist() == [0, 3]


def test_layer_norm() -> None:
    layer = nn.LayerNorm((2, 5))
    with weft.no_grad():
        layer.weight.copy_(tensor(arr(2, 5)))
        layer.bias.copy_(tensor(arr(2, 5)))
    x = arr(3, 2, 5)
    flat = x.reshape(3, -1).astype(np.float64)
    normal = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    expected = normal.reshape(3, 2, 5) * values(layer.weight) + values(layer.bias)
    np.testing.assert_allclose(values(layer(tensor(x))), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eps", [None, 0.25])
def test_rms_norm(eps: float | None) -> None:
    layer = nn.RMSNorm((2, 5), eps)
    assert repr(layer) == f"RMSNorm((2, 5), eps={eps}, elementwise_affine=True)"
    assert nn.RMSNorm(5, elementwise_affine=False).weight is None
    with weft.no_grad():
        layer.weight.copy_(tensor(arr(2, 5)))
    x = tensor(arr(3, 2, 5) * np.float32(1e-3))
    flat = values(x).reshape(3, -1).astype(np.float64)
    added = np.finfo(np.float32).eps if eps is None else eps
    normal = flat / np.sqrt((flat * flat).mean(1, keepdims=True) + added)
    np.testing.assert_allclose(values(layer(x)), normal.reshape(3, 2, 5) * values(layer.weight), rtol=1e-5, atol=1e-6)
    with pytest.raises(weft.ShapeError, match="rms_norm normalises the last axes"):
        layer(weft.ones(2, 3))


def test_embedding() -> None:
    layer = nn.Embedding(5, 3)
    index = np.array([[0, 4, 4], [1, 0, 2]])
    out = layer(weft.from_numpy(index))
    assert np.array_equal(values(out), values(layer.weight)[index])
    out.sum().backward()
    assert values(layer.weight.grad)[:, 0].tolist() == [2, 1, 1, 0, 2]
    with pytest.raises(IndexError):
        layer(weft.tensor([5]))


def test_dropout() -> None:
    layer = nn.Dropout(0.25)
    x = weft.ones((40_000,))
    weft.manual_seed(3)
    out = values(layer(x))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((out == 0).mean() - 0.25) < 0.01
    weft.manual_seed(3)
    assert np.array_equal(values(layer(x)), out)
    assert not np.array_equal(values(layer(x)), out)
    assert layer.eval()(x) is x
    y = x * 1
    assert nn.Dropout(0.25, inplace=True)(y) is y
    assert (values(y) == 0).any()
    assert repr(layer) == "Dropout(p=0.25, inplace=False)"
    with pytest.raises(ValueError, match="from 0 to 1"):
        nn.Dropout(1.5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str) -> None:
    x, y = arr(6, 4), arr(6, 4)
    labels = np.array([0, 3, 2, 1, 1, 0])
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    square = nn.MSELoss(reduction)(tensor(x), tensor(y))
    np.testing.assert_allclose(values(square), reduce((x - y) ** 2), rtol=1e-5)
    entropy = nn.CrossEntropyLoss(reduction)(tensor(x), weft.from_numpy(labels))
    expected = -np.log(_softmax(x.astype(np.float64)))[np.arange(6), labels]
    np.testing.assert_allclose(values(entropy), reduce(expected), rtol=1e-5)


def test_cross_entropy_by_hand() -> None:
    x = weft.tensor([[0.0, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, weft.tensor([1]))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert values(x.grad).tolist() == [[0.5, -0.5]]


def test_cross_entropy_with_smoothing_keeps_float64() -> None:
    x, labels = RNG.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
    logits = weft.from_numpy(x.copy()).requires_grad_()
    F.cross_entropy(logits, weft.from_numpy(labels), label_smoothing=0.1).backward()
    wanted = np.full((5, 3), 0.1 / 3)
    wanted[np.arange(5), labels] += 0.9
    np.testing.assert_allclose(values(logits.grad), (_softmax(x) - wanted) / 5, rtol=1e-13, atol=1e-16)


def test_losses_refuse_an_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="'mean', 'sum', 'none', not 'avg'"):
        nn.MSELoss("avg")


def test_linear_begins_within_its_bounds_and_repeats() -> None:
    weft.manual_seed(1)
    a = nn.Linear(100, 50)
    weft.manual_seed(1)
    b = nn.Linear(100, 50)
    assert np.array_equal(values(a.weight), values(b.weight))
    for p in a.parameters():
        assert np.abs(values(p)).max() <= 0.1
        assert values(p).std() == pytest.approx(0.1 / math.sqrt(3), rel=0.2)


def test_initial_values() -> None:
    w = weft.zeros((200, 100))
    assert values(nn.init.ones_(w)).min() == 1
    assert values(nn.init.xavier_uniform_(w)).std() == pytest.approx(math.sqrt(2 / 300), rel=0.05)
    assert values(nn.init.xavier_normal_(w)).std() == pytest.approx(math.sqrt(2 / 300), rel=0.05)
    assert values(nn.init.kaiming_normal_(w, nonlinearity="relu")).std() == pytest.approx(math.sqrt(2 / 100), rel=0.05)
    assert values(nn.init.kaiming_uniform_(w, mode="fan_out")).std() == pytest.approx(math.sqrt(2 / 200), rel=0.05)
    with pytest.raises(ValueError, match="at least two axes"):
        nn.init.kaiming_normal_(weft.zeros((3,)))
    with pytest.raises(ValueError, match="nonlinearity must be one of"):
        nn.init.kaiming_normal_(w, nonlinearity="step")


def test_linear_gradient_of_a_batch_is_one_product() -> None:
    """All the rows of a batch in one sum, and what is done with the gradient runs along."""
    layer = nn.Linear(6, 5, bias=False)
    x, g = arr(3, 4, 6), arr(3, 4, 5)

    @weft.static
    def step(x: weft.Tensor, g: weft.Tensor) -> None:
        (grad,) = weft.autograd.grad(layer(x), [layer.weight], g)
        with weft.no_grad():
            layer.weight.sub_(grad * 0.5)

    before = values(layer.weight).copy()
    step(tensor(x), tensor(g))
    want = before - 0.5 * g.reshape(12, 5).T @ x.reshape(12, 6)
    np.testing.assert_allclose(values(layer.weight), want, rtol=1e-5, atol=1e-6)
    counts = weft.stats()
    step(tensor(x), tensor(g))
    made = weft.stats() - counts
    assert (made.gemm_launches, made.kernel_launches) == (1, 0)
