"""Attention against float64 formulas in NumPy: shapes, masks, layouts, types, gradients to second order, memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import bits, in_every_mode, tensor
from weft import _native
from weft.autograd import grad, gradcheck, gradgradcheck
from weft.nn.functional import scaled_dot_product_attention as attend

Shape = tuple[int, ...]


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any = None, causal: bool = False) -> np.ndarray:
    """Attention in float64, all at once; rows that see nothing are zero."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(max(q.shape[-1], 1))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total) @ v


def reference_gradients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray, mask: Any = None, causal: bool = False
) -> list[np.ndarray]:
    """The gradients of q, k and v, of one batch shape."""
    scale = 1 / np.sqrt(q.shape[-1])
    weights = reference(q, k, np.broadcast_to(np.eye(k.shape[-2]), (*k.shape[:-1], k.shape[-2])), mask, causal)
    slopes = g @ np.swapaxes(v, -1, -2)
    slopes = weights * (slopes - (weights * slopes).sum(-1, keepdims=True)) * scale
    return [slopes @ k, np.swapaxes(slopes, -1, -2) @ q, np.swapaxes(weights, -1, -2) @ g]


def arrays(*shapes: Shape, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


def close(got: Any, want: np.ndarray, tolerance: float) -> None:
    got = got.detach().to(weft.float64).numpy()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1, np.abs(want).max(initial=0)))


#: (L, S, E, Ev): lengths of one, not multiples of tiles, blocks of rows and of terms that are not full, features of all sorts
SIZES = [
    (1, 1, 1, 1), (1, 7, 5, 3), (7, 1, 5, 3), (5, 9, 64, 64), (48, 48, 16, 16), (49, 47, 17, 33), (97, 300, 8, 5),
    (300, 97, 8, 5), (130, 260, 33, 64), (6, 16, 40, 1), (3, 4, 0, 2), (3, 4, 2, 0),
    (1, 1100, 40, 64), (2, 600, 9, 3), (1, 20, 600, 3), (1, 4, 0, 2), (2, 4, 2, 0),
]  # fmt: skip
TOLERANCE = {weft.float64: 1e-13, weft.float32: 3e-6, weft.bfloat16: 1e-2, weft.float16: 2e-3}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("rows", "keys", "width", "value_width"), SIZES)
def test_sizes(rows: int, keys: int, width: int, value_width: int, causal: bool) -> None:
    """Output and gradients, without and with each kind of mask."""
    shapes = ((2, rows, width), (2, keys, width), (2, keys, value_width), (2, rows, value_width))
    q, k, v, g = arrays(*shapes)
    rng = np.random.default_rng(1)
    hides = rng.random((rows, keys)) < 0.7
    for mask in (None, hides, rng.standard_normal((2, rows, keys))):
        for dtype in (weft.float64, weft.float32):
            x = [tensor(a.astype(dtype.numpy), dtype).requires_grad_() for a in (q, k, v)]
            m = None if mask is None else weft.tensor(mask if mask.dtype == bool else mask.astype(dtype.numpy))
            out = attend(*x, m, is_causal=causal)
            close(out, reference(q, k, v, mask, causal), TOLERANCE[dtype])
            if width:
                found = grad(out, x, weft.tensor(g.astype(dtype.numpy)))
                for got, want in zip(found, reference_gradients(q, k, v, g, mask, causal), strict=True):
                    close(got, want, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [weft.float16, weft.bfloat16])
def test_sixteen_bits(dtype: Any) -> None:
    """Stored in 16 bits, computed in float32, rounded once."""
    q, k, v, g = arrays((2, 60, 16), (2, 70, 16), (2, 70, 8), (2, 60, 8))
    x = [weft.tensor(a).to(dtype).requires_grad_() for a in (q, k, v)]
    wide = [t.detach().float() for t in x]
    out = attend(*x, is_causal=True)
    assert out.dtype is dtype
    assert bits(out.detach()) == bits(attend(*wide, is_causal=True).to(dtype))
    found = grad(out, x, weft.tensor(g).to(dtype))
    wants = reference_gradients(*(t.numpy() for t in wide), weft.tensor(g).to(dtype).float().numpy(), None, True)
    for got, want in zip(found, wants, strict=True):
        assert got.dtype is dtype
        close(got, want, TOLERANCE[dtype])


def test_empty() -> None:
    for shapes in (
        ((0, 3), (4, 3), (4, 2)), ((4, 3), (0, 3), (0, 2)), ((0, 2, 3), (0, 4, 3), (0, 4, 2)), ((4, 3), (5, 3), (5, 0)),
    ):  # fmt: skip
        x = [weft.ones(*s, requires_grad=True) for s in shapes]
        for causal in (False, True):
            out = attend(*x, is_causal=causal)
            assert out.shape == (*shapes[0][:-1], shapes[2][-1])
            assert (out == 0).all()
            for got, t in zip(grad(out, x, weft.ones(*out.shape)), x, strict=True):
                assert got.shape == t.shape
                assert (got == 0).all()


def test_leading_axes_broadcast() -> None:
    """Over all three and the mask; gradients are summed over what was broadcast."""
    q, k, v = arrays((2, 1, 5, 3), (4, 6, 3), (2, 4, 6, 2))
    mask = np.random.default_rng(0).random((4, 1, 6)) < 0.6
    x = [weft.tensor(a, requires_grad=True) for a in (q, k, v)]
    out = attend(*x, weft.tensor(mask))
    close(out, reference(q, k, v, mask), 1e-13)
    full = [np.broadcast_to(a, (2, 4, *a.shape[-2:])) for a in (q, k, v)]
    wants = reference_gradients(*full, np.ones((2, 4, 5, 2)), mask)
    wants = [wants[0].sum(1, keepdims=True), wants[1].sum(0), wants[2]]
    for got, want in zip(grad(out, x, weft.ones(2, 4, 5, 2, dtype=weft.float64)), wants, strict=True):
        close(got, want, 1e-12)


def test_layouts() -> None:
    """Heads after positions, transposed features, steps, and a mask of every layout: the same bits as contiguous operands."""
    rng = np.random.default_rng(3)
    base = [rng.standard_normal((2, 50, 3, 16)).astype(np.float32) for _ in range(3)]
    mask = rng.random((50, 50)) < 0.8
    heads = [weft.tensor(a).transpose(1, 2).requires_grad_() for a in base]
    plain = [t.detach().contiguous().requires_grad_() for t in heads]
    across = [t.detach().mT.contiguous().mT.requires_grad_() for t in heads]
    steps = [weft.cat([t.detach(), t.detach()], -1)[..., ::2] for t in heads]
    assert not any(t.is_contiguous() for t in (*heads, *across))
    m = weft.tensor(mask)
    out = attend(*plain, m)
    for given in (heads, across):
        for again in (m, m.T.contiguous().T):
            assert bits(attend(*given, again)) == bits(out)
        for a, b in zip(
            grad(attend(*given, m), given, out.detach()), grad(attend(*plain, m), plain, out.detach()), strict=True
        ):
            assert bits(a) == bits(b)
    assert bits(attend(*steps, m)) == bits(attend(*(t.contiguous() for t in steps), m))
    row = m[:, :1].expand(50, 50)
    assert bits(attend(*plain, row)) == bits(attend(*plain, row.contiguous()))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("heads", [1, 5])
def test_few_rows(rows: int, heads: int) -> None:
    """As when a text is written word by word: the same bits in all layouts, modes and numbers of threads."""
    rng = np.random.default_rng(4)
    kv = [weft.tensor(rng.standard_normal((2, 1500, heads, 40)).astype(np.float32)).transpose(1, 2) for _ in range(2)]
    q = weft.tensor(rng.standard_normal((2, rows, heads, 40)).astype(np.float32)).transpose(1, 2)
    mask = weft.tensor(rng.random((2, 1, 1, 1500)) < 0.5)
    plain = bits(attend(q.contiguous(), *(t.contiguous() for t in kv), mask))
    threads = weft.get_num_threads()
    try:
        for n in (1, 2, 5):
            weft.set_num_threads(n)
            assert [bits(t) for t in in_every_mode(attend, q, *kv, mask)] == [plain]
            assert bits(attend(q, *(t.mT.contiguous().mT for t in kv), mask)) == plain
    finally:
        weft.set_num_threads(threads)


GROUPED: list[tuple[Shape, Shape, Shape | None]] = [
    ((2, 6, 7, 8), (2, 2, 9, 8), None),
    ((6, 1, 8), (3, 60, 8), None),
    ((2, 6, 1, 8), (2, 2, 9, 8), (2, 1, 1, 9)),
    ((2, 6, 1, 8), (1, 2, 9, 8), (6, 1, 9)),
    ((2, 6, 7, 8), (2, 2, 9, 8), (2, 6, 7, 9)),
    ((2, 6, 7, 8), (2, 1, 9, 8), (7, 9)),
    ((6, 7, 8), (2, 6, 9, 8), (1, 1, 9)),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("query", "keys", "masked"), GROUPED)
def test_heads_that_share_keys(query: Shape, keys: Shape, masked: Shape | None, causal: bool) -> None:
    """As if keys and values were repeated, also in other layouts; gradients."""
    q, k, v, g = arrays(query, keys, keys, (2, 6, query[-2], 8))
    mask = None if masked is None else np.random.default_rng(1).random(masked) < 0.7
    x = [weft.tensor(a, requires_grad=True) for a in (q, k, v)]
    m = None if mask is None else weft.tensor(mask)
    out = attend(*x, m, is_causal=causal, enable_gqa=True)
    k, v = (np.repeat(a, 6 // keys[-3], -3) for a in (k, v))
    close(out, reference(q, k, v, mask, causal), 1e-13)
    across = [t.detach().transpose(-3, -2).contiguous().transpose(-3, -2) for t in x]
    assert bits(attend(*across, m, is_causal=causal, enable_gqa=True)) == bits(out)
    g = g if out.ndim == 4 else g[0]
    repeated = [x[0], *(t.repeat_interleave(6 // keys[-3], -3) for t in x[1:])]
    wants = grad(attend(*repeated, m, is_causal=causal), x, weft.tensor(g))
    for got, want in zip(grad(out, x, weft.tensor(g)), wants, strict=True):
        close(got, want.numpy(), 1e-12)


def test_rows_that_see_nothing() -> None:
    """They give zeros, and zero gradients, as in PyTorch."""
    q, k, v = (weft.tensor(a, requires_grad=True) for a in arrays((4, 3), (5, 3), (5, 2)))
    hidden = weft.ones(4, 5, dtype=weft.bool_)
    hidden[2] = False
    for mask in (hidden, weft.where(hidden, 0.0, -float("inf")).double()):
        out = attend(q, k, v, mask)
        assert (out[2] == 0).all()
        assert (out[1] != 0).all()
        dq, dk, dv = grad(out.sum(), (q, k, v))
        assert (dq[2] == 0).all()
        assert all(t.isfinite().all() for t in (dq, dk, dv))


def test_special_values() -> None:
    q, k, v = (weft.tensor(a) for a in arrays((50, 4), (50, 4), (50, 4)))
    v[40] = float("nan")
    out = attend(q, k, v, is_causal=True)
    assert out[:40].isfinite().all(), "the future shows"
    assert out[40:].isnan().all()
    q[0] = float("inf")
    assert attend(q, k, weft.ones(50, 4).double())[0].isnan().all()


@pytest.mark.parametrize("rows", [1, 2, 5, 70])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["causal", "mask", "both"])
def test_what_is_hidden_may_be_anything(kind: str, bad: float, rows: int) -> None:
    """Results and gradients of what is seen have the bits that they have where what is hidden is zero."""
    keys, width = 90, 20
    rng = np.random.default_rng(5)
    q, k, v, g = (weft.tensor(a.astype(np.float32)) for a in arrays(*[(2, n, width) for n in (rows, keys, keys, rows)]))
    seen = np.ones((rows, keys), bool)
    if kind != "mask":
        seen &= np.tri(rows, keys, dtype=bool)
    if kind != "causal":
        seen &= rng.random((rows, keys)) < 0.6
        seen[:, 0] = True
    mask = None if kind == "causal" else weft.tensor(seen)
    for hidden in (int(np.nonzero(~seen[0])[0][0]), int(np.nonzero(~seen[-1])[0][-1])):
        found = []
        for value in (0.0, bad):
            x = [t.clone() for t in (q, k, v)]
            x[1][:, hidden] = value
            x[2][:, hidden, 3] = value
            for t in x:
                t.requires_grad_()
            out = attend(*x, mask, is_causal=kind != "mask")
            found.append([out.detach(), *grad(out, x, g)])
        queries, others = ~seen[:, hidden], np.arange(keys) != hidden
        clean, dirty = ([t.numpy() for t in f] for f in found)
        for a, b in zip(clean[:2], dirty[:2], strict=True):
            assert np.isfinite(b[:, queries]).all()
            assert a[:, queries].tobytes() == b[:, queries].tobytes()
        if queries.all():
            for a, b in zip(clean[2:], dirty[2:], strict=True):
                assert a[:, others].tobytes() == b[:, others].tobytes()


@pytest.mark.parametrize("which", ["query", "gradient", "value"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_query_gives_no_gradient_to_what_it_does_not_see(which: str, causal: bool) -> None:
    """Whatever becomes of it itself."""
    rows, keys, width = 60, 70, 20
    q, k, v, g = (weft.tensor(a) for a in arrays(*[(n, width) for n in (rows, keys, keys, rows)]))
    seen = np.tri(rows, keys, dtype=bool) if causal else np.random.default_rng(6).random((rows, keys)) < 0.6
    of, at = {"query": (q, 9), "gradient": (g, 9), "value": (v, 3)}[which]
    of[at, 2] = float("nan")
    x = [t.requires_grad_() for t in (q, k, v)]
    mask = None if causal else weft.tensor(seen)
    dq, dk, dv = (t.numpy() for t in grad(attend(*x, mask, is_causal=causal), x, g))
    touched = seen[:, at] if which == "value" else np.arange(rows) == 9  # queries
    reached = seen[touched].any(0)  # keys
    assert np.isfinite(dq[~touched]).all()
    assert np.isfinite(dk[~reached]).all()
    assert np.isfinite(dv[~reached]).all()
    assert np.isnan(dk[reached]).all()


def test_scale() -> None:
    q, k, v = arrays((4, 3), (5, 3), (5, 2))
    x = [weft.tensor(a) for a in (q, k, v)]
    close(attend(*x, scale=2.0), reference(q * 2 * np.sqrt(3), k, v), 1e-13)
    assert bits(attend(*x, scale=1 / np.sqrt(3))) == bits(attend(*x))
    close(attend(*x, scale=0), np.broadcast_to(v.mean(0), (4, 2)), 1e-13)


CHECKED: list[tuple[str, list[Shape], dict[str, Any]]] = [
    ("plain", [(2, 4, 3), (2, 5, 3), (2, 5, 2)], {}),
    ("causal", [(4, 3), (4, 3), (4, 2)], {"is_causal": True}),
    ("broadcast", [(2, 1, 3), (5, 3), (2, 5, 2)], {"scale": 0.7}),
]


@pytest.mark.parametrize(("name", "shapes", "options"), CHECKED, ids=[c[0] for c in CHECKED])
def test_gradients(name: str, shapes: list[Shape], options: dict[str, Any]) -> None:
    """Against differences, to second order."""
    x = [weft.tensor(a, requires_grad=True) for a in arrays(*shapes)]
    assert gradcheck(lambda *t: attend(*t, **options), x)
    assert gradgradcheck(lambda *t: attend(*t, **options), x)


def test_gradients_of_masks() -> None:
    q, k, v, m = (weft.tensor(a, requires_grad=True) for a in arrays((2, 4, 3), (2, 5, 3), (2, 5, 2), (4, 5)))
    assert gradcheck(attend, (q, k, v, m))
    assert gradgradcheck(attend, (q, k, v, m))
    plain = [t.detach() for t in (q, k, v)]
    (alone,) = grad(attend(*plain, m).sum(), [m])
    assert bits(alone) == bits(grad(attend(q, k, v, m).sum(), [m])[0])
    hides = weft.tensor(np.random.default_rng(0).random((4, 5)) < 0.6)
    assert gradgradcheck(lambda *t: attend(*t, hides), (q, k, v))


def test_dropout() -> None:
    """Weights are dropped and the others scaled up: right on average, the same for the same seed, differentiable."""
    q, k = weft.zeros(1000, 4), weft.zeros(20, 4)
    v = weft.ones(20, 3, requires_grad=True)
    weft.manual_seed(0)
    out = attend(q, k, v, dropout_p=0.25)
    assert abs(out.mean().item() - 1) < 0.02
    assert out.std().item() > 0.05
    weft.manual_seed(0)
    assert bits(attend(q, k, v, dropout_p=0.25)) == bits(out)
    (g,) = grad(out.sum(), [v])
    assert abs(g.mean().item() / 50 - 1) < 0.05
    assert (attend(q, k, v, dropout_p=1) == 0).all()


def _first_and_second(*given: Any) -> Any:
    x = [t.detach().requires_grad_() for t in given]
    out = attend(*x, is_causal=True)
    first = grad(out.square().sum(), x, create_graph=True)
    return [out, *first, *grad(sum(t.square().sum() for t in first), x)]


def test_same_bits_in_every_mode_and_for_any_threads() -> None:
    """Also of first gradients whether or not second ones follow, and however few are asked for."""
    for heads, rows in ((1, 200), (3, 60), (9, 30)):
        x = [weft.tensor(a.astype(np.float32)) for a in arrays(*[(heads, rows, 24)] * 3)]
        given = [t.clone().requires_grad_() for t in x]
        out = attend(*given, is_causal=True)
        plain = [bits(t) for t in grad(out.square().sum(), given)]
        for t, want in zip(given, plain, strict=True):
            (alone,) = grad(attend(*given, is_causal=True).square().sum(), [t])
            assert bits(alone) == want
        threads = weft.get_num_threads()
        try:
            for n in (1, 2, 3, 8):
                weft.set_num_threads(n)
                got = in_every_mode(_first_and_second, *x)
                assert [bits(t) for t in got[1:4]] == plain
                assert bits(got[0]) == bits(out.detach())
        finally:
            weft.set_num_threads(threads)


def test_launches() -> None:
    """One for the output, one for the three gradients; no copies around them."""
    x = [weft.ones(2, 8, 4, requires_grad=True) for _ in range(3)]

    @weft.static
    def step(*given: Any) -> Any:
        out = attend(*given, is_causal=True)
        return out, *grad(out, given, weft.ones_like(out))

    step(*x)
    before = weft.stats()
    step(*x)
    made = weft.stats() - before
    assert (made.kernel_launches, made.gemm_launches) == (3, 0)  # and the gradient of ones
    text = str(step.explain(*x))
    assert "attention" in text


def peak(length: int, gradient: bool) -> int:
    """Bytes beyond operands and results."""
    x = [weft.ones(2, length, 16, requires_grad=gradient) for _ in range(3)]
    g = weft.ones(2, length, 16)

    def work() -> None:
        out = attend(*x, is_causal=True)
        if gradient:
            grad(out, x, g)

    work()
    _native.reset_peak_memory()
    before = _native.memory_stats()["live_bytes"]
    work()
    return int(_native.memory_stats()["peak_bytes"]) - int(before)


@pytest.mark.parametrize("gradient", [False, True])
def test_memory_is_linear(gradient: bool) -> None:
    """Of one thread, since it depends on luck how many work at the same time."""
    threads = weft.get_num_threads()
    weft.set_num_threads(1)
    try:
        short, long = peak(1024, gradient), peak(4096, gradient)
    finally:
        weft.set_num_threads(threads)
    assert long < 4.2 * short
    assert long < 2 * 4096 * 4096 * 4 / 8, "the scores are there"


def test_interrupted() -> None:
    """Ctrl-C ends a long call between blocks."""
    import signal
    import threading
    import time

    x = weft.ones(1, 1 << 17, 8)
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        attend(x, x, x)
    timer.join()
    assert time.perf_counter() - start < 5
    assert attend(x[:, :4], x[:, :4], x[:, :4]).isfinite().all()


@pytest.mark.parametrize(
    "masked", [None, (7,), (1, 7), (5, 1), (5, 7), (6, 5, 7), (2, 1, 1, 7), (1, 6, 5, 1), (2, 6, 5, 7)]
)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}])
def test_as_in_pytorch(masked: Shape | None, options: dict[str, Any]) -> None:
    """Masks of all shapes and both kinds, rows that see nothing, features of several numbers, all types; first gradients."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    heads = 3 if "enable_gqa" in options else 6
    for width, name in ((40, "float64"), (1, "float64"), (80, "float32"), (96, "bfloat16"), (128, "float16")):
        given = arrays((2, 6, 5, width), (2, heads, 7, width), (2, heads, 7, 8), (2, 6, 5, 8))
        a = [torch.tensor(t, dtype=getattr(torch, name)).requires_grad_() for t in given]
        b = [weft.tensor(t).to(getattr(weft, name)).requires_grad_() for t in given]
        for kind in ("bool", "float") if masked else ("none",):
            if masked is None:
                mask = other = None
            else:
                mask = rng.random(masked) < 0.6 if kind == "bool" else rng.standard_normal(masked)
                other = mask if masked[1:] else mask[None]
                if "is_causal" in options:  # it takes one or the other
                    hides = ~np.tri(5, 7, dtype=bool)
                    other = other & ~hides if kind == "bool" else np.where(hides, -np.inf, other)
            theirs = options if mask is None else {k: v for k, v in options.items() if k != "is_causal"}
            m = None if mask is None else torch.tensor(other, dtype=a[0].dtype if kind == "float" else torch.bool)
            want = torch.nn.functional.scaled_dot_product_attention(*a[:3], m, **theirs)
            got = attend(*b[:3], None if mask is None else weft.tensor(mask), **options)
            tolerance = TOLERANCE[getattr(weft, name)] * 4
            close(got, want.detach().double().numpy(), tolerance)
            wants = torch.autograd.grad(want, a[:3], a[3].detach())
            for x, y in zip(grad(got, b[:3], b[3].detach()), wants, strict=True):
                close(x, y.double().numpy(), 5 * tolerance)
