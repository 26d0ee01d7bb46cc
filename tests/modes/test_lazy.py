"""Lazy mode: nothing runs before a value is needed, and what runs gives the eager bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from weft.ops.registry import OPS


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def launches() -> int:
    return weft.stats().kernel_launches


def test_runs_on_demand_as_one_kernel() -> None:
    x = weft.from_numpy(array(50))
    before = launches()
    with weft.lazy():
        y = (x * 2 + 1).exp() - x
        assert launches() == before
    assert y._pending is not None
    value = y.numpy()
    assert launches() == before + 1
    assert value.tobytes() == ((x * 2 + 1).exp() - x).numpy().tobytes()
    assert y._pending is None


def test_the_same_graph_compiles_once() -> None:
    def run() -> Any:
        with weft.lazy():
            x = weft.from_numpy(array(5))
            return (x + 1).sum().item()

    run()
    programs = weft.stats().programs
    run()
    assert weft.stats().programs == programs


def test_eager_use_outside_the_block() -> None:
    x = weft.from_numpy(array(5))
    with weft.lazy():
        y = x * 3
    z = y + 1
    np.testing.assert_array_equal(z.numpy(), x.numpy() * 3 + 1)


def test_eager_write_after_recording_a_read() -> None:
    data = array(5)
    x = weft.from_numpy(data.copy())
    with weft.lazy():
        y = x * 3
    x.add_(1)
    np.testing.assert_array_equal(y.numpy(), data * 3)
    np.testing.assert_array_equal(x.numpy(), data + 1)


def test_in_place_and_views() -> None:
    data = array(3, 4)
    x = weft.from_numpy(data.copy())
    with weft.lazy():
        v = x[1]
        before = x * 1
        v.add_(5)
        after = x * 1
        y = x + 1
        y[:, 0] = 0
        w = y.T
    expected = data.copy()
    expected[1] += 5
    np.testing.assert_array_equal(before.numpy(), data)
    np.testing.assert_array_equal(after.numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(v.numpy(), expected[1])
    expected = expected + 1
    expected[:, 0] = 0
    np.testing.assert_array_equal(w.numpy(), expected.T)


def test_writes_reach_exported_arrays() -> None:
    data = np.zeros(3, dtype=np.float32)
    x = weft.from_numpy(data)
    with weft.lazy():
        x.add_(2)
    x.numpy()
    np.testing.assert_array_equal(data, [2, 2, 2])


def test_training_step() -> None:
    def train(lazily: bool) -> Any:
        w = weft.from_numpy(array(4, 2)).requires_grad_()
        x, y = weft.from_numpy(array(6, 4)), weft.from_numpy(array(6, 2))
        losses = []
        for _ in range(3):
            if lazily:
                with weft.lazy():
                    losses.append(step(w, x, y))
            else:
                losses.append(step(w, x, y))
        return [w.detach().numpy().tobytes(), *(v.item() for v in losses)]

    def step(w: Any, x: Any, y: Any) -> Any:
        w.grad = None
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        with weft.no_grad():
            w.sub_(w.grad * 0.1)
        return loss.detach()

    assert train(True) == train(False)


def test_dropped_values_do_not_run() -> None:
    x = weft.from_numpy(array(7))
    with weft.lazy():
        y = x + 1
        unused = (x * 2).exp()
        del unused
        before = launches()
        y.numpy()
        assert launches() == before + 1


def test_a_step_recorded_again_builds_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = weft.nn.Sequential(weft.nn.Linear(4, 8), weft.nn.ReLU(), weft.nn.Linear(8, 3))
    optimizer = weft.optim.Adam(model.parameters())
    x, labels = weft.from_numpy(array(5, 4)), weft.asarray([0, 1, 2, 1, 0])

    def step() -> float:
        with weft.lazy():
            loss = weft.nn.functional.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    built: list[str] = []

    def counted(name: str, build: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            built.append(name)
            return build(*args)

        return call

    for _ in range(2):
        step()
    for op in OPS.values():
        if op.build is not None:
            monkeypatch.setattr(op, "build", counted(op.name, op.build))
    step()
    assert built == []


def test_numbers_that_are_equal_are_not_one_number() -> None:
    x = weft.from_numpy(np.array([3.0, -3.0], np.float32))
    made = []
    with weft.lazy():
        for n in (0.0, -0.0, 0, False, 1, 1.0, True, float("nan")):
            made.append((x.copysign(n) if isinstance(n, float) else x.to(weft.int32) * n, n))
    for t, n in made:
        want = x.copysign(n) if isinstance(n, float) else x.to(weft.int32) * n
        assert t.dtype is want.dtype
        assert t.numpy().tobytes() == want.numpy().tobytes(), n


def test_an_index_out_of_range_names_the_line_that_recorded_it() -> None:
    x, index = weft.zeros(3), weft.asarray([5])
    with weft.lazy():
        one = x[index]
    with pytest.raises(IndexError) as first:
        one.numpy()
    with weft.lazy():
        other = x[index]
    with pytest.raises(IndexError) as second:
        other.numpy()
    lines = [int(str(e.value).split("recorded at")[1].split(":")[1].split()[0]) for e in (first, second)]
    assert lines[1] == lines[0] + 4


def test_a_value_that_waits_in_an_operands_memory_spares_the_operand() -> None:
    """A row kernel keeps a value of one pass for the next in a result's memory, here that of an operand of the same pass."""
    x, s = weft.from_numpy(array(5, 2, 40)), weft.tensor(2.0)

    def g(x: Any) -> Any:
        p = weft.softmax(x, -1)
        q = weft.abs(x)
        q[1:].clip_(-1, 1)
        larger = weft.where(weft.greater(q, p), q, p)
        q[1:].sub_(s)
        return p, larger, q, weft.layer_norm(p + 1, (40,))

    expected = [t.numpy().tobytes() for t in g(x)]
    with weft.lazy():
        made = g(x)
    assert [t.numpy().tobytes() for t in made] == expected
