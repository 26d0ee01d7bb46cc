"""Static functions: signatures, state, in-place updates, gradients, and what cannot be traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft


def traces(f: Any) -> int:
    return sum(len(ts) for ts in f._traces.values())


def rand(*shape: int, **kw: Any) -> Any:
    rng = np.random.default_rng(sum(shape) + 1)
    t = weft.from_numpy(rng.standard_normal(shape).astype(np.float32))
    return t.requires_grad_() if kw.get("grad") else t


def same(a: Any, b: Any) -> None:
    assert a.dtype is b.dtype
    assert tuple(a.shape) == tuple(b.shape)
    assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def test_traces_once_for_each_signature() -> None:
    calls = []

    @weft.static
    def f(x: Any, k: int = 1, scale: float = 1.0) -> Any:
        calls.append(1)
        return x * scale + k

    x = rand(4, 3)
    same(f(x), x + 1)
    same(f(rand(4, 3)), x + 1)
    assert len(calls) == traces(f) == 1
    same(f(x, 2), x + 2)
    same(f(x, k=2), x + 2)
    assert traces(f) == 3  # positional and keyword calls differ in structure
    same(f(x, 2, 0.5), x * 0.5 + 2)
    same(f(x, 2, 0.25), x * 0.25 + 2)
    assert traces(f) == 4  # a float is a run-time value
    f(rand(5, 3))
    f(rand(3, 4).T)
    assert traces(f) == 6  # another shape, another layout


def test_explain_says_why() -> None:
    @weft.static
    def f(x: Any) -> Any:
        return (x * 2).sum()

    f(rand(3))
    text = str(f.explain(rand(4)))
    assert "first call" in text
    assert "float32[3]" in text
    assert "float32[4]" in text
    assert "def " in text  # a kernel's source


def test_constants_are_folded_while_a_function_is_traced() -> None:
    """Their values are asked for within the trace, where the function itself may not ask for any."""
    x = rand(4, 3)
    for shape in ((), (1, 1)):
        number = 0.731 + len(shape)  # that no other test has folded
        same(
            weft.static(lambda x, s=shape, n=number: x * weft.exp(weft.full(s, n)))(x),
            x * weft.exp(weft.full(shape, number)),
        )


def test_structure_of_arguments_and_results() -> None:
    @weft.static
    def f(pair: Any, options: Any) -> Any:
        x, y = pair
        return {"sum": x + y, "parts": [x, (y, options["n"])], "none": None}

    x, y = rand(2), rand(2)
    out = f((x, y), {"n": 3})
    same(out["sum"], x + y)
    assert out["parts"][0] is x
    assert out["parts"][1][0] is y
    assert out["parts"][1][1] == 3
    assert out["none"] is None


def test_closures_are_state() -> None:
    count = weft.zeros((), dtype=weft.int64)
    weight = rand(3)

    @weft.static
    def f(x: Any) -> Any:
        count.add_(1)
        return x * weight

    x = rand(3)
    for k in range(1, 4):
        same(f(x), x * weight)
        assert count.item() == k
    weight.mul_(2)
    same(f(x), x * weight)
    assert traces(f) == 1


def test_argument_that_is_also_a_closure() -> None:
    w = rand(3)

    @weft.static
    def f(x: Any) -> Any:
        return x + w

    same(f(w), w + w)
    z = rand(3) * 5
    same(f(z), z + w)


def test_in_place_on_arguments_and_views() -> None:
    def g(x: Any) -> Any:
        y = x * 2
        v = y[1]
        v.add_(10)
        y[0, ::2] = -1
        x[2].mul_(3)
        return y, v, x.T * 1

    eager_x, static_x = rand(3, 4), rand(3, 4)
    expected = g(eager_x)
    made = weft.static(g)(static_x)
    for a, b in zip(expected, made, strict=True):
        same(a, b)
    same(eager_x, static_x)


def test_views_returned_alias() -> None:
    @weft.static
    def f(x: Any) -> Any:
        y = x + 1
        return y, y[0], x[1]

    x = rand(2, 3)
    y, first, second = f(x)
    first.zero_()
    assert (y.numpy()[0] == 0).all()
    second.fill_(7)
    assert (x.numpy()[1] == 7).all()


@pytest.mark.parametrize("layout", ["rows", "columns", "reversed", "a part, reversed", "expanded"])
def test_views_returned_are_those_of_eager(layout: str) -> None:
    base = rand(3, 4, 5)
    x = {
        "rows": base,
        "columns": base.permute(2, 0, 1),
        "reversed": weft.flip(base),
        "a part, reversed": weft.flip(base[1:, :, ::2], axis=1),
        "expanded": base[:, :1].expand(3, 4, 5),
    }[layout]

    def g(x: Any) -> Any:
        return x.transpose(0, 2), x[1:, ::2], weft.flip(x, axis=1)[..., 1], x

    f = weft.static(g)
    for _ in range(2):
        for made, expected in zip(f(x), g(x), strict=True):
            same(made, expected)
            assert (made.strides, made.offset) == (expected.strides, expected.offset)


def test_writing_shared_memory_is_refused() -> None:
    @weft.static
    def f(x: Any, y: Any) -> Any:
        x.add_(1)
        return x + y

    base = rand(6)
    f(base[:3], rand(3))
    with pytest.raises(weft.TraceError, match="share memory"):
        f(base[:3], base[:3])


def test_whole_training_step() -> None:
    def make() -> tuple[Any, Any, Any]:
        w, b = rand(5, 3, grad=True), weft.zeros((3,)).requires_grad_()

        def step(x: Any, y: Any) -> Any:
            w.grad = None
            b.grad = None
            loss = ((x @ w + b - y) ** 2).mean()
            loss.backward()
            with weft.no_grad():
                w.sub_(w.grad * 0.1)
                b.sub_(b.grad * 0.1)
            return loss

        return w, b, step

    x, y = rand(8, 5), rand(8, 3)
    w1, b1, eager = make()
    w2, b2, function = make()
    static = weft.static(function)
    for _ in range(4):
        same(eager(x, y), static(x, y))
    same(w1, w2)
    same(b1, b2)
    same(w1.grad, w2.grad)
    assert traces(static) == 1


def test_gradients_accumulate_across_replays() -> None:
    w = rand(3, grad=True)

    @weft.static
    def f(x: Any) -> Any:
        (w * x).sum().backward()

    x = rand(3)
    f(x)
    f(x)
    f(x)
    np.testing.assert_allclose(w.grad.numpy(), 3 * x.numpy(), rtol=1e-6)
    assert traces(f) == 2  # .grad is None at first, a tensor later


def test_gradient_through_the_result() -> None:
    w = rand(4, grad=True)

    @weft.static
    def f(x: Any) -> Any:
        return (x * w).exp()

    x = rand(4, grad=True)
    f(x).sum().backward()
    got = x.grad, w.grad
    x.grad = w.grad = None
    (x * w).exp().sum().backward()
    same(got[0], x.grad)
    same(got[1], w.grad)
    assert not f(x.detach()).detach().requires_grad
    with weft.no_grad():
        assert not f(x).requires_grad


def test_gradient_through_views_in_the_result() -> None:
    x, w = rand(3, 4, grad=True), rand(2, 3, grad=True)

    def g(x: Any) -> Any:
        return x[1], weft.flip(x).T, w[1:], x * 2

    weights = [rand(4), rand(4, 3), rand(1, 3), rand(3, 4)]
    expected = weft.grad(g(x), [x, w], grad_outputs=weights)
    f = weft.static(g)
    for _ in range(2):
        made = f(x)
        assert all(t.requires_grad for t in made)
        for a, b in zip(weft.grad(made, [x, w], grad_outputs=weights), expected, strict=True):
            same(a, b)


def returns_itself(x: Any, w: Any) -> Any:
    x.mul_(w)
    return x


def returns_a_view(x: Any, w: Any) -> Any:
    x.add_(w)
    return {"view": x[1:]}


def writes_through_a_view(x: Any, w: Any) -> Any:
    v = x[:2]
    v.copy_(w[:2])
    return x * w, v


@pytest.mark.parametrize("f", [returns_itself, returns_a_view, writes_through_a_view])
@pytest.mark.parametrize("captured", [False, True])
def test_a_result_that_would_lose_its_history_is_refused(f: Any, captured: bool) -> None:
    """A tensor from outside that is written in place takes values from a replay, and no history."""
    x, w = rand(3), rand(3).requires_grad_()
    before = x.clone()
    g = weft.static((lambda w: f(x, w)) if captured else f)
    with pytest.raises(weft.TraceError, match=r"modified in place with values that require grad") as error:
        g(*([w] if captured else [x, w]))
    assert "x.clone()" in str(error.value)
    same(x, before)
    assert not x.requires_grad
    with weft.no_grad():  # where there is no history to lose
        g(*([w] if captured else [x, w]))
    expected = before.clone()
    with weft.no_grad():
        f(expected, w)
    same(x, expected)


def test_a_result_that_was_written_may_have_no_history_to_lose() -> None:
    def f(x: Any, w: Any) -> Any:
        loss = (x * w).sum()
        loss.backward()
        with weft.no_grad():
            w.sub_(w.grad)
        x.mul_(2.0)
        return x, w, loss.detach()

    x, w = rand(3), rand(3).requires_grad_()
    xs, ws = x.clone(), w.detach().clone().requires_grad_()
    made, expected = weft.static(f)(xs, ws), f(x, w)
    assert made[0] is xs
    assert made[1] is ws
    for a, b in zip(made, expected, strict=True):
        same(a, b)


def test_gradient_ends_at_what_was_computed_outside() -> None:
    """A tensor of a closure and another that was computed from it: what flows through the second is counted once."""
    a = rand(2, 3, grad=True)
    b = a * 2
    part = b[1]  # a view; and one of memory that itself requires no gradient
    alone = weft.zeros(6)[2:5].requires_grad_()

    def g(x: Any) -> Any:
        return (x * a).sum() + (x * b).sum() + (x * part).sum() + (x * alone).sum()

    x, f = rand(3), weft.static(g)
    for wanted in ([a], [b], [a, b, part], [alone]):
        for _ in range(2):
            made = weft.grad(f(x), wanted, retain_graph=True)
            for mine, eager in zip(made, weft.grad(g(x), wanted, retain_graph=True), strict=True):
                np.testing.assert_allclose(mine.numpy(), eager.numpy(), rtol=1e-6)


def test_closures_may_begin_and_cease_to_require_gradients() -> None:
    model = weft.nn.Linear(3, 2)
    model.requires_grad_(False)
    x = rand(4, 3)
    f = weft.static(lambda x: weft.relu(model(x)).sum())
    for wanted in (False, True, False, True):
        model.bias.requires_grad = wanted
        made = f(x)
        assert made.requires_grad is wanted
        if wanted:
            (g,), (h,) = weft.grad(made, [model.bias]), weft.grad(weft.relu(model(x)).sum(), [model.bias])
            same(g, h)
    assert traces(f) == 2


def test_random_numbers_are_drawn_anew() -> None:
    @weft.static
    def f() -> Any:
        return weft.randn((4,)) + weft.rand((4,))

    weft.manual_seed(3)
    eager = [weft.randn((4,)) + weft.rand((4,)) for _ in range(3)]
    weft.manual_seed(3)
    static = [f() for _ in range(3)]
    for a, b in zip(eager, static, strict=True):
        same(a, b)
    assert static[0].tolist() != static[1].tolist()


def test_values_needed_while_tracing() -> None:
    @weft.static
    def branch(x: Any) -> Any:
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(weft.TraceError, match=r"weft\.where") as caught:
        branch(rand(3))
    assert "test_static.py" in str(caught.value)

    outside = rand()

    @weft.static
    def constant(x: Any) -> Any:
        return x * float(outside)

    with pytest.raises(weft.TraceError):
        constant(rand(3))


def test_a_failed_trace_leaves_nothing_behind() -> None:
    w = rand(3, grad=True)
    before = w.detach().clone()

    @weft.static
    def f(x: Any) -> Any:
        with weft.no_grad():
            w.mul_(2)
        w.grad = x
        return x.reshape((7,))

    with pytest.raises(weft.ShapeError):
        f(rand(3))
    same(w.detach(), before)
    assert w.grad is None
    assert weft._native.recording() is None
    same(rand(3) + 1, rand(3) + 1)


def test_escaped_tensor_is_named() -> None:
    kept = []

    @weft.static
    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x

    f(rand(3))
    with pytest.raises(weft.TraceError, match="ended"):
        kept[0] + 1
    with pytest.raises(weft.TraceError, match="ended"):
        kept[0].numpy()


def test_unhashable_argument() -> None:
    @weft.static
    def f(x: Any) -> Any:
        return x

    with pytest.raises(TypeError, match="from_numpy"):
        f(np.zeros(3))


def test_methods_and_nesting() -> None:
    class Model:
        def __init__(self, k: float) -> None:
            self.w = weft.full((3,), k)

        @weft.static
        def __call__(self, x: Any) -> Any:
            return x * self.w

    a, b = Model(2.0), Model(3.0)
    x = rand(3)
    same(a(x), x * 2)
    same(b(x), x * 3)

    @weft.static
    def outer(x: Any) -> Any:
        return a(x) + b(x)

    same(outer(x), x * 2 + x * 3)


def test_many_sizes_share_kernels() -> None:
    w = rand(4, 3)

    @weft.static
    def f(x: Any) -> Any:
        return weft.softmax((x @ w).relu() * 2 + 1, axis=-1).sum()

    f(rand(2, 4))
    f(rand(3, 4))
    compiled = weft.stats().kernels_compiled + weft.stats().kernels_loaded
    for n in range(4, 204):
        f(rand(n, 4))
    assert traces(f) == 202
    assert weft.stats().kernels_compiled + weft.stats().kernels_loaded == compiled


def test_a_strided_input_returned_under_another_shape() -> None:
    """What the copy of the input is computed with must not need what reads the copy."""

    def f(x: Any) -> Any:
        d = x - x.max(1, keepdims=True)
        across = d.T.reshape(24)
        v = (across - across.max(0, keepdims=True)).max(0, keepdims=True)
        return d * v.reshape(1, 1), x.reshape(24)

    x = rand(6, 5)[:, :4].T
    eager, static = f(x), weft.static(f)(x)
    with weft.lazy():
        lazy = f(x)
    for a, b, c in zip(eager, lazy, static, strict=True):
        same(b, a)
        same(c, a)


@pytest.mark.parametrize("n", [20, 40, 257])
def test_a_transposed_leaf_steps_along_its_gradient(n: int) -> None:
    def f(x: Any) -> Any:
        x = x.detach().requires_grad_()
        (g,) = weft.grad(weft.log_softmax(x, axis=-1).sum(), [x])
        with weft.no_grad():
            x.sub_(g * 0.01)
        return g

    for mode in ("lazy", "static"):
        x, y = rand(n, n).T, rand(n, n).T
        want = f(x)
        if mode == "static":
            got = weft.static(f)(y)
        else:
            with weft.lazy():
                got = f(y)
        same(got, want)
        same(y, x)
