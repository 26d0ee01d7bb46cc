"""Tensors, graphs and traces dropped in any order, deep graphs, large graphs, and exceptions in user code."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import MODES
from weft import _native


def live() -> int:
    gc.collect()
    return weft.memory_stats()["live_bytes"]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    assert _native.recording() is None
    assert weft.is_grad_enabled()


# Dropping


def test_graphs_dropped_in_any_order() -> None:
    """Whatever of a graph's tensors goes first, gradients through the rest are right, and in the end all is freed."""

    def trial(draw: random.Random) -> None:
        w = weft.full((1000,), 2.0, requires_grad=True)
        kept = [w]
        for _ in range(12):
            a, b = draw.choice(kept), draw.choice(kept)
            kept.append(draw.choice([lambda a=a, b=b: a * b, lambda a=a: a[::2].sum() + a, lambda a=a: weft.tanh(a)])())
            if draw.random() < 0.4 and len(kept) > 2:
                del kept[draw.randrange(1, len(kept))]
            del a, b
        last = kept[-1]
        draw.shuffle(kept)
        del kept
        if last is not w:
            (g,) = weft.grad(last.sum(), [w])
            assert tuple(g.shape) == (1000,)

    trial(random.Random(0))
    before = live()
    for seed in range(60):
        trial(random.Random(seed))
    assert live() - before < 10_000


@pytest.mark.parametrize("mode", MODES)
def test_cycles_are_collected(mode: str) -> None:
    class Holder:
        tensor: Any
        function: Any

    def make() -> weakref.ref:
        holder = Holder()
        w = weft.ones(50_000, requires_grad=True)
        holder.function = MODES[mode](lambda x: (holder.tensor or x) * w)  # refers to itself, through the function
        holder.tensor = None
        holder.tensor = holder.function(w)
        return weakref.ref(holder)

    make()
    before = live()
    references = [make() for _ in range(5)]
    gc.collect()
    assert not any(r() for r in references)
    with weft.lazy():  # what was recorded lazily keeps its inputs until something is asked for
        x = weft.ones(1)
    x.item()
    assert live() - before < 10_000


def test_tensor_in_its_own_graph() -> None:
    """Cycles through grad, hooks in Python nodes and saved outputs."""

    class Keep(weft.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x * 2
            ctx.save_for_backward(x, y)
            ctx.me = ctx
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    def make() -> None:
        w = weft.ones(50_000, requires_grad=True)
        y = Keep.apply(w)
        (g,) = weft.grad((y * y).sum(), [w], create_graph=True)
        w.grad = g  # a cycle: w, its gradient, the graph of the gradient, w

    make()
    before = live()
    for _ in range(5):
        make()
    assert live() - before < 10_000


def test_what_a_trace_holds_is_dropped_with_the_function() -> None:
    def make() -> None:
        w = weft.ones(50_000, requires_grad=True)

        @weft.static
        def f(x: Any) -> Any:
            (x * w).sum().backward()
            return w.grad * 1

        f(weft.ones(50_000))
        f(weft.ones(50_000))

    make()
    before = live()
    for _ in range(3):
        make()
    assert live() - before < 10_000


def test_a_static_function_does_not_keep_its_arguments() -> None:
    f = weft.static(lambda x: (x * 2).sum())
    f(weft.ones(100_000))
    before = live()
    for n in (100_000, 100_001, 100_002):
        f(weft.ones(n))
    assert live() - before < 10_000


def test_lazy_values_that_nobody_wants() -> None:
    """Recorded and dropped: never computed, and freed; also within a block that goes on."""
    before = live()
    launched = weft.stats().kernel_launches
    with weft.lazy():
        x = weft.ones(10)
        for _ in range(100):
            y = x * 3
            del y
        z = x + 1
    assert z.tolist() == [2.0] * 10
    assert weft.stats().kernel_launches - launched <= 3
    del x, z
    assert live() - before < 10_000


def test_views_outlive_their_base() -> None:
    x = weft.from_numpy(np.arange(10.0))
    v = x[2:5]
    w = v.reshape(3, 1)[1:]
    del x, v
    gc.collect()
    assert w.tolist() == [[3.0], [4.0]]
    array = w.numpy()
    del w
    gc.collect()
    weft.ones(10, dtype=weft.float64) * 7  # would reuse the memory
    assert array.tolist() == [[3.0], [4.0]]
    memory = np.arange(4.0)
    count = sys.getrefcount(memory)
    t = weft.from_numpy(memory)
    assert sys.getrefcount(memory) > count
    del t
    gc.collect()
    assert sys.getrefcount(memory) == count


def test_finalisers_that_compute() -> None:
    """Objects whose ``__del__`` uses the engine, dropped in the middle of everything."""
    seen: list[float] = []

    class Late:
        def __init__(self) -> None:
            self.me = self  # so that the collector finds it, at any moment
            self.t = weft.ones(3)

        def __del__(self) -> None:
            if _native.recording() is None:
                seen.append((self.t * 2).sum().item())

    threshold = gc.get_threshold()
    gc.set_threshold(50)
    try:
        for n in range(300):
            Late()
            w = weft.ones(n % 7 + 1, requires_grad=True)
            (w * 3).sum().backward()
            assert w.grad.tolist() == [3.0] * (n % 7 + 1)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len(seen) > 280  # some may come while an op is compiled
    assert set(seen) == {6.0}


# Depth and size


def test_deep_tape() -> None:
    """No recursion, neither forward, backward nor when the graph is freed."""
    w = weft.ones(3, requires_grad=True)
    y = w
    for _ in range(200_000):
        y = y + 1.0
    y.sum().backward()
    assert w.grad.tolist() == [1.0] * 3
    z = w
    for _ in range(200_000):
        z = z + 1.0
    del z, y
    gc.collect()


@pytest.mark.parametrize("mode", ["lazy", "static"])
def test_deep_graph(mode: str) -> None:
    def f(x: Any) -> Any:
        for _ in range(3000):
            x = x + 1.0
        return x

    assert MODES[mode](f)(weft.ones(3)).tolist() == [3001.0] * 3


def test_deep_lazy_graph_that_is_dropped() -> None:
    with weft.lazy():
        x = weft.ones(3)
        for _ in range(30_000):
            x = x * 1.5
        del x
    gc.collect()


def test_deep_static_backward() -> None:
    w = weft.ones(3, requires_grad=True)

    @weft.static
    def f() -> None:
        y = w
        for _ in range(400):
            y = y * 1.0 + 0.0
        y.sum().backward()

    f()
    assert w.grad.tolist() == [1.0] * 3


@pytest.mark.parametrize("mode", ["lazy", "static"])
def test_many_updates_in_place(mode: str) -> None:
    x = weft.zeros(3)

    def f() -> None:
        for i in range(250):
            x[(i + 1) % 3] = x[i % 3] + 1

    MODES[mode](f)()
    assert sorted(x.tolist()) == [248.0, 249.0, 250.0]


@pytest.mark.parametrize("mode", ["lazy", "static"])
def test_many_reductions_that_need_copies(mode: str) -> None:
    def f(x: Any) -> Any:
        parts = [(x + float(i)).permute(1, 0, 2).sum(axis=(0, 2)) for i in range(120)]
        return weft.stack(parts)

    x = weft.from_numpy(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    assert MODES[mode](f)(x).tolist() == f(x).tolist()


@pytest.mark.parametrize("mode", ["lazy", "static"])
def test_many_inputs_and_outputs(mode: str) -> None:
    xs = [weft.full((4,), float(i)) for i in range(400)]

    def f() -> Any:
        for x in xs:
            x[1:] = x[:-1] * 2 + x[1:]
        return [x.sum() for x in xs]

    assert [t.item() for t in MODES[mode](f)()] == [float(10 * i) for i in range(400)]


def test_nesting_that_is_too_deep() -> None:
    """A clean error, whatever the depth."""
    nest: Any = 1.0
    for _ in range(100):
        nest = [nest]
    with pytest.raises(ValueError, match=r"dimensions|unequal"):
        weft.tensor(nest)
    for _ in range(100_000):
        nest = [nest]
    with pytest.raises((ValueError, RecursionError)):
        weft.tensor(nest)
    with pytest.raises((ValueError, RecursionError)):
        weft.static(lambda x: 1)(nest)
    while isinstance(nest, list) and nest:  # or freeing it would be the deep recursion
        nest = nest.pop()

    @weft.static
    def again(x: Any) -> Any:
        return again(x)

    with pytest.raises(RecursionError):
        again(weft.ones(3))


# Exceptions


class Mine(Exception):
    """What user code raises."""


@pytest.mark.parametrize("mode", ["lazy", "static"])
def test_exception_while_recording(mode: str) -> None:
    """In a static function nothing has happened; in a lazy block, what was recorded before counts."""
    state = weft.zeros(3)
    w = weft.ones(3, requires_grad=True)
    outside = (w * w).sum()
    fail = True

    def f(x: Any) -> Any:
        state.add_(1.0)
        y = (w * x).sum()
        y.backward()
        if fail:
            raise Mine
        with weft.no_grad():
            w.mul_(2.0)
        return y

    g = MODES[mode](f)
    with pytest.raises(Mine):
        g(weft.ones(3))
    if mode == "static":
        assert state.tolist() == [0.0] * 3
        assert w.grad is None
        assert w.tolist() == [1.0] * 3
    else:
        assert state.tolist() == [1.0] * 3
        assert w.grad.tolist() == [1.0] * 3
        state.zero_()
        w.grad = None
    outside.backward()
    assert w.grad.tolist() == [2.0] * 3
    w.grad = None
    fail = False
    assert g(weft.ones(3)).item() == 3.0
    assert w.tolist() == [2.0] * 3
    assert w.grad.tolist() == [1.0] * 3


def test_history_of_a_trace_ends_with_it() -> None:
    w = weft.ones(3, requires_grad=True)
    total, h = weft.zeros(3), w * 2

    @weft.static
    def adds() -> None:
        total.add_(w)

    for n in range(1, 4):
        adds()
        assert total.tolist() == [float(n)] * 3
        assert not total.requires_grad
        assert total.grad_fn is None

    @weft.static
    def changes() -> None:
        h.mul_(3.0)

    with pytest.raises(weft.TraceError, match="computed outside"):
        changes()
    h.sum().backward()
    assert w.grad.tolist() == [2.0] * 3


def test_tensors_that_leave_a_trace() -> None:
    leaked: list[Any] = []

    @weft.static
    def f(x: Any, fail: bool) -> Any:
        leaked.append(x * 2)
        if fail:
            raise Mine
        return x

    f(weft.ones(3), False)
    with pytest.raises(Mine):
        f(weft.ones(3), True)
    for t in leaked:
        for use in (lambda t: t + 1, lambda t: t.numpy(), lambda t: t.sum().item(), lambda t: weft.ones(3).copy_(t)):
            with pytest.raises(weft.TraceError, match="trace had ended"):
                use(t)
            with pytest.raises(weft.TraceError):
                weft.static(lambda t=t, use=use: use(t))()
            with pytest.raises(weft.TraceError, match="trace had ended"), weft.lazy():
                use(t)
        assert "ended" in repr(t)


@pytest.mark.parametrize("mode", MODES)
def test_exception_in_a_function_of_the_user(mode: str) -> None:
    class Bad(weft.autograd.Function):
        where = "backward"

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            if Bad.where == "forward":
                raise Mine
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            if Bad.where == "backward":
                raise Mine
            return g * 2 if Bad.where == "nowhere" else weft.ones(7)

    a = weft.ones(3, requires_grad=True)
    for Bad.where, error in (("forward", Mine), ("backward", Mine), ("shape", weft.AutogradError)):
        f = MODES[mode](lambda: Bad.apply(a).sum().backward())
        for _ in range(2):
            with pytest.raises(error):
                f()
            assert weft.is_grad_enabled()
            assert _native.recording() is None
        assert a.grad is None
    Bad.where = "nowhere"
    MODES[mode](lambda: Bad.apply(a).sum().backward())()
    assert a.grad.tolist() == [2.0] * 3


def test_error_in_the_middle_of_backward() -> None:
    """The graph behind the error is still there, and a second backward can go through the rest."""
    w = weft.ones(3, requires_grad=True)
    x = w * 1
    saved = weft.ones(3)
    y = x * saved
    saved.add_(1.0)
    with pytest.raises(weft.AutogradError, match="modified"):
        y.sum().backward()
    assert w.grad is None
    with pytest.raises(weft.AutogradError):
        y.sum().backward()
    (x * 5).sum().backward()
    assert w.grad.tolist() == [5.0] * 3


def test_exceptions_from_iteration_and_callbacks() -> None:
    def numbers() -> Iterator[Any]:
        yield weft.ones(2)
        raise Mine

    with pytest.raises(Mine):
        weft.stack(list(numbers()))

    class Odd:
        def __index__(self) -> int:
            raise Mine

        def __array__(self, *_: Any, **__: Any) -> Any:
            raise Mine

        def __float__(self) -> float:
            raise Mine

    x = weft.ones(3)
    for use in (lambda: x[Odd()], lambda: weft.zeros(Odd()), lambda: weft.asarray(Odd()), lambda: x.sum(axis=Odd())):
        with pytest.raises((Mine, TypeError, IndexError, ValueError)):
            use()
    assert (x + 1).tolist() == [2.0] * 3
