"""What is timed: one definition of each workload for Weft and PyTorch, whose names agree, and one each for JAX and NumPy.

A workload makes *cases*: something to time, and a check, which gives arrays that must agree between all cases. Training
steps keep their state between calls; a check makes a fixed number of steps from the same start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.timing import Candidate, call

MODES = ("eager", "lazy", "static")
STEPS_CHECKED = 3

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One library's (or mode's) form of a workload."""

    candidate: Candidate
    check: Callable[[], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Workload:
    """``tensors(module, arrays)`` prepares the workload with ``weft`` or ``torch``: a function and its arguments.

    ``jax`` and ``numpy`` do the same with theirs. A ``step`` returns what it trains, so that it can be checked.
    ``statement`` may time an expression over the arguments instead of a function call, where that is what users write.
    """

    name: str
    title: str
    arrays: Callable[[], Arrays]
    tensors: Callable[[Any, Arrays], tuple[Callable[..., Any], tuple[Any, ...]]]
    jax: Callable[[Any, Arrays], tuple[Callable[..., Any], tuple[Any, ...]]] | None = None
    numpy: Callable[[Arrays], tuple[Callable[..., Any], tuple[Any, ...]]] | None = None
    step: bool = False
    statement: str | None = None
    rounds: int = 15


def random(*shapes: tuple[int, ...]) -> Callable[[], Arrays]:
    """Standard normal float32 arrays, always the same."""

    def make() -> Arrays:
        rng = np.random.default_rng(1)
        return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)

    return make


def from_numpy(module: Any, arrays: Arrays) -> tuple[Any, ...]:
    """Tensors of a module's own memory with the arrays' values."""
    return tuple(module.from_numpy(a.copy()).clone() for a in arrays)


# Functions


def pure(function: Callable[[Any], Callable[..., Any]], requires_grad: bool = False) -> Callable[..., Any]:
    """The ``tensors`` of a workload that is a function of its arrays."""

    def prepare(module: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        tensors = from_numpy(module, arrays)
        if requires_grad:
            for t in tensors:
                t.requires_grad = True
        return function(module), tensors

    return prepare


def pure_jax(function: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
    """The ``jax`` of a workload that is a function of its arrays."""
    return lambda jax, arrays: (function(jax), tuple(jax.device_put(a) for a in arrays))


def add(module: Any) -> Callable[..., Any]:
    return lambda a, b: a + b


def silu(module: Any) -> Callable[..., Any]:
    def fused(a: Any, b: Any, c: Any) -> Any:
        x = a * b + c
        return x * module.sigmoid(x)

    return fused


def silu_numpy(a: Any, b: Any, c: Any) -> Any:
    x = a * b + c
    return x * (1 / (1 + np.exp(-x)))


def softmax(module: Any) -> Callable[..., Any]:
    return lambda x: module.softmax(x, -1)


def softmax_numpy(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def transposed(module: Any) -> Callable[..., Any]:
    return lambda x: x.T.contiguous()


def channels_last(module: Any) -> Callable[..., Any]:
    return lambda x: x.permute(0, 2, 3, 1).contiguous()


def product(module: Any) -> Callable[..., Any]:
    return lambda x, y: x @ y


SCORES = "bqhd,bkhd->bhqk"


def scores(module: Any) -> Callable[..., Any]:
    return lambda q, k: module.einsum(SCORES, q, k)


def layer_norm(module: Any) -> Callable[..., Any]:
    return lambda x, w, b: module.nn.functional.layer_norm(x, (x.shape[-1],), w, b)


def layer_norm_numpy(x: Any, w: Any, b: Any) -> Any:
    d = x - x.mean(axis=-1, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=-1, keepdims=True) + np.float32(1e-5)) * w + b


# Training steps

RATE = 0.01
BATCH = 64


def regression_arrays() -> Arrays:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 8), dtype=np.float32)
    w = rng.standard_normal((8, 1), dtype=np.float32)
    return x, (x @ w + 0.1 * rng.standard_normal((200, 1), dtype=np.float32)).astype(np.float32)


def regression(module: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Linear regression by gradient descent, the update written by hand."""
    x, y = from_numpy(module, arrays)
    w = module.zeros((8, 1), requires_grad=True)
    b = module.zeros((1,), requires_grad=True)

    def step(x: Any, y: Any) -> Any:
        loss = module.nn.functional.mse_loss(x @ w + b, y)
        loss.backward()
        with module.no_grad():
            w.sub_(w.grad * RATE)
            b.sub_(b.grad * RATE)
        w.grad = None
        b.grad = None
        return w, b

    return step, (x, y)


def regression_sgd(module: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same with a layer and an optimiser."""
    x, y = from_numpy(module, arrays)
    model = module.nn.Linear(8, 1)
    with module.no_grad():
        for p in model.parameters():
            p.zero_()
    optimizer = module.optim.SGD(model.parameters(), lr=RATE)

    def step(x: Any, y: Any) -> Any:
        loss = module.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return model.weight, model.bias

    return step, (x, y)


def regression_jax(jax: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    x, y = (jax.device_put(a) for a in arrays)

    def loss(params: Any, x: Any, y: Any) -> Any:
        w, b = params
        return ((x @ w + b - y) ** 2).mean()

    @jax.jit
    def update(params: Any, x: Any, y: Any) -> Any:
        return jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(loss)(params, x, y))

    params = (jax.numpy.zeros((8, 1)), jax.numpy.zeros((1,)))

    def step(x: Any, y: Any) -> Any:
        nonlocal params
        params = update(params, x, y)
        return params

    return step, (x, y)


def regression_numpy(arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    w, b = np.zeros((8, 1), np.float32), np.zeros((1,), np.float32)

    def step(x: Any, y: Any) -> Any:
        g = (x @ w + b - y) * np.float32(2 / len(x))
        np.subtract(w, np.float32(RATE) * (x.T @ g), out=w)
        np.subtract(b, np.float32(RATE) * g.sum(axis=0), out=b)
        return w, b

    return step, arrays


TWO_LAYERS = (1000, 100, 10)
TWO_LAYERS_RATE = 1e-6


def two_layers_arrays() -> Arrays:
    rng = np.random.default_rng(1)
    inputs, hidden, outputs = TWO_LAYERS
    shapes = ((BATCH, inputs), (BATCH, outputs), (inputs, hidden), (hidden, outputs))
    return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)


def two_layers(module: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A network of two layers without biases, squared error, gradient descent by hand: the example of PyTorch's tutorial."""
    x, y, w1, w2 = from_numpy(module, arrays)
    w1.requires_grad = w2.requires_grad = True

    def step(x: Any, y: Any) -> Any:
        loss = ((module.relu(x @ w1) @ w2 - y) ** 2).sum()
        loss.backward()
        with module.no_grad():
            w1.sub_(w1.grad * TWO_LAYERS_RATE)
            w2.sub_(w2.grad * TWO_LAYERS_RATE)
        w1.grad = None
        w2.grad = None
        return w1, w2

    return step, (x, y)


def two_layers_jax(jax: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    x, y, *params = (jax.device_put(a) for a in arrays)

    def loss(params: Any, x: Any, y: Any) -> Any:
        w1, w2 = params
        return ((jax.numpy.maximum(x @ w1, 0) @ w2 - y) ** 2).sum()

    @jax.jit
    def update(params: Any, x: Any, y: Any) -> Any:
        return jax.tree.map(lambda p, g: p - TWO_LAYERS_RATE * g, params, jax.grad(loss)(params, x, y))

    def step(x: Any, y: Any) -> Any:
        nonlocal params
        params = update(params, x, y)
        return params

    return step, (x, y)


def two_layers_numpy(arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    x, y = arrays[:2]
    w1, w2 = (w.copy() for w in arrays[2:])
    rate = np.float32(TWO_LAYERS_RATE)

    def step(x: Any, y: Any) -> Any:
        hidden = np.maximum(x @ w1, 0)
        g = 2 * (hidden @ w2 - y)
        g1 = g @ w2.T
        g1[hidden == 0] = 0
        np.subtract(w2, rate * (hidden.T @ g), out=w2)
        np.subtract(w1, rate * (x.T @ g1), out=w1)
        return w1, w2

    return step, (x, y)


SIZES = (64, 128, 64, 10)


def perceptron_arrays() -> Arrays:
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal((n, m), dtype=np.float32) / np.float32(m**0.5) for m, n in pairwise(SIZES)]
    return rng.random((BATCH, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], BATCH), *weights


def perceptron(module: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The demo's classifier (without dropout, whose draws no two libraries share), its optimiser, on one batch."""
    x, y = from_numpy(module, arrays[:2])
    nn = module.nn
    layers: list[Any] = []
    for m, n in pairwise(SIZES):
        layers += [nn.Linear(m, n), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    with module.no_grad():
        for layer, weight in zip(layers[::2], arrays[2:], strict=True):
            layer.weight.copy_(module.from_numpy(weight.copy()))
            layer.bias.zero_()
    optimizer = module.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return [layer.weight for layer in layers[::2]]

    return step, (x, y)


def perceptron_jax(jax: Any, arrays: Arrays) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    np_ = jax.numpy
    x, y = (jax.device_put(a) for a in arrays[:2])
    params = [(jax.device_put(w), np_.zeros(len(w))) for w in arrays[2:]]
    momenta = jax.tree.map(np_.zeros_like, params)

    def loss(params: Any, x: Any, y: Any) -> Any:
        for k, (w, b) in enumerate(params):
            x = x @ w.T + b
            x = x if k == len(params) - 1 else np_.maximum(x, 0)
        return -jax.nn.log_softmax(x)[np_.arange(len(y)), y].mean()

    @jax.jit
    def update(params: Any, momenta: Any, x: Any, y: Any) -> Any:
        momenta = jax.tree.map(lambda m, g: 0.9 * m + g, momenta, jax.grad(loss)(params, x, y))
        return jax.tree.map(lambda p, m: p - RATE * m, params, momenta), momenta

    def step(x: Any, y: Any) -> Any:
        nonlocal params, momenta
        params, momenta = update(params, momenta, x, y)
        return [w for w, _ in params]

    return step, (x, y)


MILLIONS = 8 * 2**20
ROWS = (1024, 1024)

WORKLOADS = {
    w.name: w
    for w in (
        Workload(
            "add",
            "a + b, 16 floats",
            random((16,), (16,)),
            pure(add),
            pure_jax(add),
            lambda arrays: (add(np), arrays),
            statement="a0 + a1",
        ),
        Workload(
            "add_grad", "a + b, 16 floats, requires_grad", random((16,), (16,)), pure(add, True), statement="a0 + a1"
        ),
        Workload(
            "regression",
            "linear regression step, update by hand",
            regression_arrays,
            regression,
            regression_jax,
            regression_numpy,
            step=True,
        ),
        Workload(
            "regression_sgd", "linear regression step, Linear and SGD", regression_arrays, regression_sgd, step=True
        ),
        Workload(
            "silu_4k",
            "silu(a*b + c), 4,096 floats",
            random(*[(4096,)] * 3),
            pure(silu),
            pure_jax(lambda jax: silu(jax.nn)),
            lambda arrays: (silu_numpy, arrays),
        ),
        Workload(
            "silu_8m",
            "silu(a*b + c), 8M floats",
            random(*[(MILLIONS,)] * 3),
            pure(silu),
            pure_jax(lambda jax: silu(jax.nn)),
            lambda arrays: (silu_numpy, arrays),
            rounds=9,
        ),
        Workload(
            "softmax",
            "softmax of 1,024 rows of 1,024",
            random(ROWS),
            pure(softmax),
            pure_jax(lambda jax: softmax(jax.nn)),
            lambda arrays: (softmax_numpy, arrays),
        ),
        Workload(
            "layer_norm",
            "layer norm of 1,024 rows of 1,024",
            random(ROWS, ROWS[1:], ROWS[1:]),
            pure(layer_norm),
            pure_jax(lambda jax: jax_layer_norm(jax)),
            lambda arrays: (layer_norm_numpy, arrays),
        ),
        Workload(
            "transpose",
            "x.T copied, 2,048 × 2,048",
            random((2048, 2048)),
            pure(transposed),
            pure_jax(lambda jax: lambda x: x.T),
            lambda arrays: (lambda x: np.ascontiguousarray(x.T), arrays),
        ),
        Workload(
            "channels_last",
            "16 × 64 × 56 × 56 copied with channels last",
            random((16, 64, 56, 56)),
            pure(channels_last),
            pure_jax(lambda jax: lambda x: x.transpose(0, 2, 3, 1)),
            lambda arrays: (lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)), arrays),
        ),
        Workload(
            "einsum",
            "einsum of 4 × 128 × 8 × 64: bqhd,bkhd->bhqk",
            random((4, 128, 8, 64), (4, 128, 8, 64)),
            pure(scores),
            pure_jax(lambda jax: scores(jax.numpy)),
            lambda arrays: (lambda q, k: np.einsum(SCORES, q, k, optimize=True), arrays),
        ),
        Workload(
            "tiny_batch",
            "10,000 products of 3 × 3",
            random((10000, 3, 3), (10000, 3, 3)),
            pure(product),
            pure_jax(lambda jax: product(jax.numpy)),
            lambda arrays: (np.matmul, arrays),
        ),
        Workload(
            "perceptron",
            "the demo's training step, no dropout",
            perceptron_arrays,
            perceptron,
            perceptron_jax,
            step=True,
        ),
        Workload(
            "two_layers",
            "training step of two layers, 64 × 1000 → 100 → 10",
            two_layers_arrays,
            two_layers,
            two_layers_jax,
            two_layers_numpy,
            step=True,
        ),
    )
}


def jax_layer_norm(jax: Any) -> Callable[..., Any]:
    def apply(x: Any, w: Any, b: Any) -> Any:
        d = x - x.mean(axis=-1, keepdims=True)
        return d / jax.numpy.sqrt((d * d).mean(axis=-1, keepdims=True) + 1e-5) * w + b

    return apply


# Weft's cases


def weft_case(workload: Workload, mode: str) -> Case:
    """A workload in one of Weft's modes."""
    import weft

    function, arguments = workload.tensors(weft, workload.arrays())
    if mode == "static":
        function = weft.static(function)
    elif mode == "lazy":
        function = partial(run_lazily, weft, function)
    statement = workload.statement if mode == "eager" else None
    return case(workload, function, arguments, lambda t: t.detach().numpy(), statement)


def run_lazily(weft: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Record a call, then have it run."""
    with weft.lazy():
        made = function(*arguments)
    (made[0] if isinstance(made, tuple | list) else made).data_ptr()
    return made


def case(
    workload: Workload,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    to_numpy: Callable[[Any], np.ndarray],
    statement: str | None = None,
) -> Case:
    """A case from a function, its arguments, and a way to look at its results."""
    candidate = call(function, *arguments)
    if statement is not None:
        candidate = Candidate(statement, candidate.names)

    def check() -> list[np.ndarray]:
        for _ in range(STEPS_CHECKED if workload.step else 1):
            made = function(*arguments)
        return [np.array(to_numpy(t)) for t in (made if isinstance(made, tuple | list) else (made,))]

    return Case(candidate, check)
