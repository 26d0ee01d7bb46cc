"""Attention layers against formulas in NumPy and, where it is installed, against PyTorch's with the same parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import bits, in_every_mode
from weft import nn

RNG = np.random.default_rng(0)


def arr(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def values(t: Any) -> np.ndarray:
    return np.asarray(t.detach().numpy())


def close(got: Any, want: np.ndarray, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(values(got), want, rtol=tolerance, atol=tolerance)


def filled(layer: nn.Module) -> nn.Module:
    """A layer whose parameters, the biases too, are all drawn at random."""
    with weft.no_grad():
        for p in layer.parameters():
            p.copy_(weft.tensor(arr(*p.shape) / np.sqrt(p.shape[-1])))
    return layer


def by_hand(
    layer: nn.MultiheadAttention, query: np.ndarray, key: np.ndarray, value: np.ndarray, added: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The result and the weights of each head of [N, L, features], whose scores [N, heads, L, S] something is added to."""
    e, h = layer.embed_dim, layer.num_heads
    weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    weights = np.split(values(layer.in_proj_weight), 3) if weights[0] is None else [values(w) for w in weights]
    biases = np.zeros((3, e)) if layer.in_proj_bias is None else values(layer.in_proj_bias).reshape(3, e)

    def heads(x: np.ndarray, i: int) -> np.ndarray:
        y = x.astype(np.float64) @ weights[i].T + biases[i]
        return y.reshape(*x.shape[:2], h, e // h).swapaxes(1, 2)

    q, k, v = (heads(x, i) for i, x in enumerate((query, key, value)))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(e // h) + added
    top = scores.max(-1, keepdims=True)
    p = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = p.sum(-1, keepdims=True)
    p = p / np.where(total == 0, 1, total)
    out = (p @ v).swapaxes(1, 2).reshape(*query.shape) @ values(layer.out_proj.weight).T
    return out + (0 if layer.out_proj.bias is None else values(layer.out_proj.bias)), p


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 5}, {"kdim": 6, "vdim": 3}])
def test_multihead_attention(bias: bool, sizes: dict[str, int]) -> None:
    """Results and weights, with and without a batch, which comes first or second."""
    first, second = (nn.MultiheadAttention(12, 3, bias=bias, batch_first=b, **sizes) for b in (True, False))
    filled(first)
    second.load_state_dict(first.state_dict())
    query, key, value = arr(2, 4, 12), arr(2, 7, sizes.get("kdim", 12)), arr(2, 7, sizes.get("vdim", 12))
    want, weights = by_hand(first, query, key, value, np.zeros(()))
    x = [weft.tensor(a) for a in (query, key, value)]
    out, mean = first(*x)
    close(out, want)
    close(mean, weights.mean(1))
    close(first(*x, average_attn_weights=False)[1], weights)
    alone, none = first(*x, need_weights=False)
    assert none is None
    close(alone, want)
    swapped = [t.transpose(0, 1) for t in x]
    assert bits(second(*swapped, need_weights=False)[0].transpose(0, 1)) == bits(alone)
    for layer in (first, second):
        out, mean = layer(*(t[1] for t in x))
        close(out, want[1])
        close(mean, weights[1].mean(0))


def test_operands_that_are_one_tensor() -> None:
    """They share a product; the bits are those of separate ones."""
    layer = filled(nn.MultiheadAttention(8, 2, batch_first=True))
    x, y = weft.tensor(arr(3, 5, 8)), weft.tensor(arr(3, 5, 8))
    for given in ((x, x, x), (y, x, x), (x, x, y), (x, y, x)):
        together = layer(*given, need_weights=False)[0]
        assert bits(together) == bits(layer(*(t.clone() for t in given), need_weights=False)[0])
        close(together, by_hand(layer, *(values(t) for t in given), np.zeros(()))[0])


def masks(n: int, heads: int, rows: int, keys: int) -> list[dict[str, np.ndarray]]:
    padding, mask = RNG.random((n, keys)) < 0.3, RNG.random((rows, keys)) < 0.3
    padding[0], mask[1] = False, True  # a row that sees nothing
    each = RNG.random((n * heads, rows, keys)) < 0.3
    return [
        {"key_padding_mask": padding},
        {"attn_mask": mask},
        {"attn_mask": each},
        {"attn_mask": arr(rows, keys)},
        {"attn_mask": arr(n * heads, rows, keys), "key_padding_mask": padding},
        {"attn_mask": each, "key_padding_mask": arr(n, keys)},
        {"attn_mask": mask, "key_padding_mask": padding},
    ]


@pytest.mark.parametrize("causal", [False, True])
def test_masks(causal: bool) -> None:
    n, heads, rows, keys = 2, 2, 4, 5
    layer = filled(nn.MultiheadAttention(6, heads, batch_first=True))
    given = arr(n, rows, 6), arr(n, keys, 6), arr(n, keys, 6)
    x = [weft.tensor(a) for a in given]
    for case in masks(n, heads, rows, keys):
        added = np.where(np.tri(rows, keys, dtype=bool), 0.0, -np.inf if causal else 0.0)
        for name, m in case.items():
            shape = (n, 1, 1, keys) if name == "key_padding_mask" else (-1 if m.ndim == 2 else n, heads, rows, keys)
            shape = (1, 1, rows, keys) if name == "attn_mask" and m.ndim == 2 else shape
            added = added + np.where(m, -np.inf, 0.0).reshape(shape) if m.dtype == bool else added + m.reshape(shape)
        want, weights = by_hand(layer, *given, added)
        options = {name: weft.tensor(m) for name, m in case.items()} | {"is_causal": causal}
        out, mean = layer(*x, **options)
        close(out, want)
        close(mean, weights.mean(1))
        close(layer(*x, need_weights=False, **options)[0], want)


def test_dropout_is_of_training() -> None:
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    x = weft.tensor(arr(2, 6, 8))
    for need in (False, True):
        layer.train()
        weft.manual_seed(1)
        out = layer(x, x, x, need_weights=need)[0]
        weft.manual_seed(1)
        assert bits(layer(x, x, x, need_weights=need)[0]) == bits(out)
        assert bits(layer(x, x, x, need_weights=need)[0]) != bits(out)
        if need:
            assert (layer(x, x, x, average_attn_weights=False)[1] == 0).any()
        layer.eval()
        assert bits(layer(x, x, x, need_weights=need)[0]) == bits(layer(x, x, x, need_weights=need)[0])


def test_same_bits_in_every_mode() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    filled(layer)
    x = weft.tensor(arr(2, 9, 16))

    def step(x: Any) -> Any:
        layer.zero_grad()
        x = x.detach().requires_grad_()
        out = layer(x, is_causal=True)
        return out, *weft.autograd.grad(out.square().sum(), [x, *layer.parameters()])

    in_every_mode(step, x)


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=norm_first)
    filled(layer)
    x = arr(2, 5, 8)

    def norm(x: np.ndarray, of: Any) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * values(of.weight) + values(of.bias)

    def mapped(x: np.ndarray) -> np.ndarray:
        hidden = np.maximum(x @ values(layer.linear1.weight).T + values(layer.linear1.bias), 0)
        return hidden @ values(layer.linear2.weight).T + values(layer.linear2.bias)

    def attended(x: np.ndarray) -> np.ndarray:
        return by_hand(layer.self_attn, x, x, x, np.zeros(()))[0]

    if norm_first:
        want = x + attended(norm(x, layer.norm1))
        want = want + mapped(norm(want, layer.norm2))
    else:
        want = norm(x + attended(x), layer.norm1)
        want = norm(want + mapped(want), layer.norm2)
    close(layer(weft.tensor(x)), want, 1e-4)


@pytest.mark.parametrize("options", [{}, {"kdim": 5, "vdim": 7}, {"bias": False, "batch_first": True}])
def test_as_in_pytorch(options: dict[str, Any]) -> None:
    """The same parameters, which its state dictionary gives: results, weights, gradients."""
    torch = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(12, 3, **options)
    ours = nn.MultiheadAttention(12, 3, **options)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    shapes = ((2, 4, 12), (2, 7, ours.kdim), (2, 7, ours.vdim))
    given = [arr(*(s if ours.batch_first else (s[1], s[0], s[2]))) for s in shapes]
    padding, mask = np.zeros((2, 7), bool), RNG.random((4, 7)) < 0.3
    padding[1, 5:], mask[:, 0] = True, False
    for need in (True, False):
        a = [torch.tensor(t, requires_grad=True) for t in given]
        b = [weft.tensor(t, requires_grad=True) for t in given]
        more = {"key_padding_mask": padding, "attn_mask": mask}
        want = theirs(*a, need_weights=need, **{k: torch.tensor(m) for k, m in more.items()})
        got = ours(*b, need_weights=need, **{k: weft.tensor(m) for k, m in more.items()})
        close(got[0], want[0].detach().numpy())
        if need:
            close(got[1], want[1].detach().numpy())
        wants = torch.autograd.grad(want[0].square().sum(), [*a, *theirs.parameters()])
        names = [name for name, _ in theirs.named_parameters()]
        mine = dict(ours.named_parameters())
        found = weft.autograd.grad(got[0].square().sum(), [*b, *(mine[name] for name in names)])
        for g, w in zip(found, wants, strict=True):
            close(g, w.numpy(), 1e-4)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_as_in_pytorch(norm_first: bool, activation: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, activation, norm_first=norm_first)
    ours = nn.TransformerEncoderLayer(12, 3, 20, 0.0, activation, norm_first=norm_first)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = arr(4, 2, 12)
    hidden = ~np.tri(4, dtype=bool)
    want = theirs(torch.tensor(x), torch.tensor(hidden), is_causal=True).detach().numpy()
    close(ours(weft.tensor(x), weft.tensor(hidden)), want, 1e-4)
    assert bits(ours(weft.tensor(x), is_causal=True)) == bits(ours(weft.tensor(x), weft.tensor(hidden), is_causal=True))


def test_errors() -> None:
    layer, x, y = nn.MultiheadAttention(3, 1), weft.zeros(2, 3), weft.zeros(4, 3)
    with pytest.raises(ValueError, match="3 heads do not divide 10 features"):
        nn.MultiheadAttention(10, 3)
    with pytest.raises(ValueError, match="dropout is a probability, from 0 to 1, not 2"):
        nn.MultiheadAttention(4, 2, dropout=2)
    with pytest.raises(ValueError, match="activation must be one of 'relu', 'gelu', not 'tanh'"):
        nn.TransformerEncoderLayer(4, 2, activation="tanh")
    for given, options, message in (
        ((x, x.unsqueeze(0), x), {}, "three axes each, or two without a batch"),
        ((x, weft.zeros(2, 4), x), {}, "The key has 3 features, not 4"),
        ((x, x, y), {}, "key and value one length"),
        ((x, x, x), {"attn_mask": y}, "has shape .2, 2. or .1, 2, 2., not .4, 3."),
        ((x, x, x), {"key_padding_mask": y}, "has shape .2., that of the keys, not .4, 3."),
    ):
        with pytest.raises(weft.ShapeError, match=message):
            layer(*given, **options)
    with pytest.raises(TypeError, match="not int64"):
        layer(x, x, x, attn_mask=weft.zeros(2, 2, dtype=weft.int64))
