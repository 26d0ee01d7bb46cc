"""Indices out of range: always an error, never a read or a write, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from tests.robustness.helpers import MODES, lazily

SIZE = 4


def table() -> Any:
    return weft.from_numpy(np.arange(12, dtype=np.float32).reshape(SIZE, 3).copy())


def index(*values: int, dtype: Any = weft.int64) -> Any:
    return weft.tensor(values, dtype=dtype)


#: What is just out of range, and what is far out, for each type that holds it.
BAD = {
    "int64": [SIZE, -SIZE - 1, 2**31, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), -(2**63) + SIZE],
    "int32": [SIZE, -SIZE - 1, 2**31 - 1, -(2**31)],
    "int8": [SIZE, -SIZE - 1, 127, -128],
    "uint8": [SIZE, 255],
    "uint32": [SIZE, 2**32 - 1],
    "uint64": [SIZE, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - SIZE, 2**64 - 1],
}

READS: dict[str, Callable[[Any, Any], Any]] = {
    "x[i]": lambda x, i: x[i],
    "x[:, i]": lambda x, i: x.T[:, i],
    "x[i, i]": lambda x, i: x[i, weft.zeros_like(i)],
    "take": lambda x, i: weft.take(x, i, axis=0),
    "index_select": lambda x, i: weft.index_select(x, 0, i),
    "gather": lambda x, i: weft.gather(x, 0, i.reshape(-1, 1)),
    "take_along_axis": lambda x, i: weft.take_along_axis(x, i.reshape(-1, 1), 0),
    "one_hot": lambda x, i: weft.one_hot(i, SIZE),
    "cross_entropy": lambda x, i: weft.cross_entropy(weft.zeros(i.shape[0], SIZE), i),
    "fused": lambda x, i: ((x * 2)[i + 0] * 3 + 1).sum(),
    "softmax": lambda x, i: weft.softmax(x[i], 1),
}

WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "x[i] = 1": lambda x, i: x.__setitem__(i, 1.0),
    "x[i] = tensor": lambda x, i: x.__setitem__(i, weft.ones(i.shape[0], 3)),
    "x.T[:, i] = 1": lambda x, i: x.T.__setitem__((slice(None), i), 1.0),
    "x[i] += 1": lambda x, i: x.__setitem__(i, x[i] + 1),
    "index_add_": lambda x, i: x.index_add_(0, i, weft.ones(i.shape[0], 3)),
    "scatter_add_": lambda x, i: x.scatter_add_(0, i.reshape(-1, 1), weft.ones(i.shape[0], 1)),
    "scatter_": lambda x, i: x.scatter_(0, i.reshape(-1, 1), weft.ones(i.shape[0], 1)),
    "after another": lambda x, i: (x.add_(1.0), x.__setitem__(i, 1.0)),
    "before another": lambda x, i: (x.__setitem__(i, 1.0), x.mul_(3.0)),
}


def test_each_value_of_each_type() -> None:
    x = table()
    for dtype, values in BAD.items():
        for value in values:
            for place in range(3):
                good = [0, 1, 2]
                good[place] = value
                i = index(*good, dtype=weft.dtypes.BY_NAME[dtype])
                for function in (READS["x[i]"], READS["one_hot"], WRITES["x[i] = 1"]):
                    with pytest.raises(IndexError):
                        function(x, i)
    np.testing.assert_array_equal(x.numpy(), table().numpy())
    for dtype in BAD:
        np.testing.assert_array_equal(x[index(3, 0, dtype=weft.dtypes.BY_NAME[dtype])].numpy(), table().numpy()[[3, 0]])
    np.testing.assert_array_equal(x[index(-1, -4)].numpy(), table().numpy()[[-1, -4]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", READS)
def test_read(name: str, mode: str) -> None:
    x, good, bad = table(), index(1, 3), index(1, 2**33)
    f = MODES[mode](READS[name])
    expected = READS[name](x, good).numpy().tobytes()
    with pytest.raises(IndexError, match="out of range"):
        f(x, bad).numpy()
    assert f(x, good).numpy().tobytes() == expected
    with pytest.raises(IndexError, match="out of range"):
        f(x, bad).numpy()
    np.testing.assert_array_equal(x.numpy(), table().numpy())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRITES)
def test_write(name: str, mode: str) -> None:
    """The target keeps its value; and in a static function whatever else was to be written keeps its own."""
    if name == "after another" and mode == "eager":
        pytest.skip("two separate operations")
    x, good, bad = table(), index(1, 3), index(1, -(2**33))
    f = MODES[mode](WRITES[name])
    with pytest.raises(IndexError, match="out of range"):
        f(x, bad)
        x.numpy()
    np.testing.assert_array_equal(x.numpy(), table().numpy())
    version = x._version
    f(x, good)
    assert x._version > version
    expected = table()
    WRITES[name](expected, good)
    np.testing.assert_array_equal(x.numpy(), expected.numpy())
    with pytest.raises(IndexError, match="out of range"):
        f(x, bad)
        x.numpy()
    np.testing.assert_array_equal(x.numpy(), expected.numpy())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_step(momentum: float) -> None:
    """Parameters, momentum, counters and draws after a failed static step are those before it; gradients that the step
    replaces are gone, as after zero_grad."""
    weft.manual_seed(0)
    model = weft.nn.Sequential(weft.nn.Embedding(SIZE, 3), weft.nn.Dropout(0.5), weft.nn.Linear(3, SIZE))
    optimiser = weft.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    count = weft.zeros(())

    @weft.static
    def step(i: Any, target: Any) -> Any:
        optimiser.zero_grad()
        count.add_(1.0)
        loss = weft.cross_entropy(model(i), target)
        loss.backward()
        optimiser.step()
        return loss

    def state() -> list[bytes]:
        found = [p.detach() for p in model.parameters()]
        found += [t for s in optimiser.state.values() for t in s.values()] + [count, weft.get_rng_state()]
        return [t.numpy().tobytes() for t in found]

    good = index(0, 1, 3)
    step(good, good)
    before = state()
    for i, target in ((index(0, 1, SIZE), good), (good, index(0, SIZE, 1)), (good, index(-1, 0, 0))):
        with pytest.raises(IndexError):
            step(i, target)
        assert state() == before
        assert all(p.grad is None for p in model.parameters())
    step(good, good)
    assert state() != before
    assert count.item() == 2


def test_index_that_depends_on_what_is_written() -> None:
    """The check comes after the new value is known, and before it is stored."""
    i, x, log = index(0, 1), table(), weft.zeros(2)

    @weft.static
    def f() -> Any:
        i.add_(1)
        log.add_(1.0)
        y = x[i]
        x.mul_(2.0)
        return y

    f()
    f()
    assert (i.tolist(), log.tolist()) == ([2, 3], [2.0, 2.0])
    before = x.numpy().copy()
    with pytest.raises(IndexError):
        f()
    assert (i.tolist(), log.tolist()) == ([2, 3], [2.0, 2.0])
    np.testing.assert_array_equal(x.numpy(), before)


def test_product_that_an_index_depends_on() -> None:
    """A matrix product into a parameter's own memory waits for the check too."""
    w, x = weft.eye(2), table()

    @weft.static
    def f(a: Any) -> Any:
        w.copy_(a @ w)
        return x[w.to(weft.int64).sum(1)]

    f(weft.tensor([[2.0, 0.0], [0.0, 1.0]]))
    assert w.tolist() == [[2.0, 0.0], [0.0, 1.0]]
    with pytest.raises(IndexError):
        f(weft.tensor([[2.0, 0.0], [0.0, 1.0]]))
    assert w.tolist() == [[2.0, 0.0], [0.0, 1.0]]


def test_lazy_graph_goes_on() -> None:
    """What does not depend on the index is there; what does says so, again and again, with the line that recorded it."""
    x, y = table(), table()
    with weft.lazy():
        good = x * 2
        bad = x[index(0, 99)]  # recorded here
        worse = bad + 1
        y.add_(1.0)
    assert good.tolist() == (table() * 2).tolist()
    assert y.tolist() == (table() + 1).tolist()
    for _ in range(2):
        with pytest.raises(IndexError, match=r"test_indices\.py:\d+"):
            bad.numpy()
        with pytest.raises(IndexError):
            worse.numpy()
        with pytest.raises(IndexError):
            worse * 2
        with pytest.raises(IndexError), weft.lazy():
            worse * 2
    with weft.lazy():
        z = x + y
    assert z.tolist() == (table() * 2 + 1).tolist()


def test_lazy_write_that_fails() -> None:
    x, y = table(), table()
    with weft.lazy():
        before = x + 1
        x[index(0, 99)] = 5.0
        after = x + 1
        y.add_(1.0)
    with pytest.raises(IndexError):
        y.numpy()  # whatever is asked for first
    assert before.tolist() == (table() + 1).tolist()
    assert y.tolist() == (table() + 1).tolist()
    assert x.tolist() == table().tolist()
    with pytest.raises(IndexError):
        after.numpy()


def test_message_names_the_line() -> None:
    @weft.static
    def f(x: Any, i: Any) -> Any:
        return x[i]

    @weft.static
    def g(x: Any, i: Any) -> Any:
        return x[i]  # the same graph

    def line(function: Any) -> int:
        with pytest.raises(IndexError, match="axis 0, which has size 4") as caught:
            function(table(), index(9))
        return int(str(caught.value).rsplit(":", 1)[1])

    assert line(g) - line(f) == 4


def test_gradient() -> None:
    w = table().requires_grad_()
    with pytest.raises(IndexError):
        w[index(0, SIZE)].sum().backward()
    assert w.grad is None
    i = index(0, 1)
    y = w[i].sum()
    i.copy_(index(0, SIZE))  # the tape kept the tensor, not its values
    with pytest.raises(RuntimeError, match="modified"):
        y.backward()
    assert w.grad is None


def test_many_indices_on_many_threads() -> None:
    """One bad index anywhere in a large tensor is found, for any number of threads."""
    before = weft.get_num_threads()
    x = weft.ones(1000)
    good = np.random.default_rng(0).integers(-1000, 1000, 300_000)
    try:
        for threads in (1, 2, 4):
            weft.set_num_threads(threads)
            assert x[weft.from_numpy(good)].sum().item() == len(good)
            for place in (0, 1, 150_000, len(good) - 1):
                bad = good.copy()
                bad[place] = 1000
                with pytest.raises(IndexError):
                    x[weft.from_numpy(bad)]
    finally:
        weft.set_num_threads(before)


def test_empty() -> None:
    x = table()
    none = weft.zeros(0, dtype=weft.int64)
    assert tuple(x[none].shape) == (0, 3)
    x[none] = 1.0
    assert tuple(weft.zeros(0, 3)[none].shape) == (0, 3)
    for mode in MODES.values():
        with pytest.raises(IndexError):
            mode(lambda x: x[index(0)])(weft.zeros(0, 3)).numpy()
    np.testing.assert_array_equal(x.numpy(), table().numpy())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [n for n in (*READS, *WRITES) if n not in ("one_hot", "cross_entropy")])
def test_axis_without_elements(name: str, mode: str) -> None:
    """Where there is no position at all, not even that is touched which stands for a wrong one."""
    function = {**READS, **WRITES}[name]
    with pytest.raises(IndexError, match=r"out of range for axis ., which has size 0"):
        made = MODES[mode](function)(weft.zeros(0, 3), index(2, 0))
        if isinstance(made, weft.Tensor):
            made.numpy()


def test_python_integers_and_lists() -> None:
    x = table()
    for key in (SIZE, -SIZE - 1, 2**70, (0, 3), [0, SIZE], (slice(None), [3]), np.int64(SIZE), np.array([9])):
        for function in (lambda x, key=key: x[key], lazily(lambda x, key=key: x[key])):
            with pytest.raises(IndexError):
                function(x).numpy()
        with pytest.raises(IndexError):
            x[key] = 1.0
    np.testing.assert_array_equal(x.numpy(), table().numpy())


def test_masks_that_do_not_fit() -> None:
    x = table()
    for mask in (
        weft.ones(3, dtype=weft.bool_),
        weft.ones(4, 4, dtype=weft.bool_),
        weft.ones(4, 3, 1, dtype=weft.bool_),
    ):
        with pytest.raises(IndexError):
            x[mask]
        with pytest.raises((IndexError, ValueError)):
            x[mask] = 1.0
    np.testing.assert_array_equal(x.numpy(), table().numpy())
