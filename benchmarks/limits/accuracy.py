"""Line 7: errors of products and sums against those of NumPy's, and the same bits in all modes, layouts and threads."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.limits import attention, products, rowwise
from benchmarks.limits.contest import Bench, Limit
from benchmarks.limits.reductions import AXES, FUNCTIONS, array_form
from benchmarks.workloads import MODES

#: How much of an error's estimate is chance: sums of other orders round differently.
CHANCE = 1.01
DRAWS = 4
SIZES = (16, 100, 333, 1024)
LENGTHS = (100, 1000, 10_000, 100_000)

Pair = tuple[np.ndarray, np.ndarray]


# Products


def random_pair(rng: np.random.Generator, n: int) -> Pair:
    """Standard normal values."""
    return rng.standard_normal((n, n), dtype=np.float32), rng.standard_normal((n, n), dtype=np.float32)


def cancelling_pair(rng: np.random.Generator, n: int) -> Pair:
    """Sums whose second half all but cancels the first."""
    a, b = random_pair(rng, n)
    half = n // 2
    order = rng.permutation(half)
    a[:, half : 2 * half] = -a[:, order]
    b[half : 2 * half] = b[order] * np.float32(1 + 1e-4)
    return a, b


def scaled_pair(rng: np.random.Generator, n: int) -> Pair:
    """Terms of very different size: rows, columns and the summed index are each scaled by 1e-3 to 1e3."""
    a, b = random_pair(rng, n)
    rows, columns, left, right = (np.float32(10) ** rng.uniform(-3, 3, n).astype(np.float32) for _ in range(4))
    return a * rows[:, None] * left, b * columns * right[:, None]


PAIRS: dict[str, Callable[[np.random.Generator, int], Pair]] = {
    "random": random_pair,
    "cancelling": cancelling_pair,
    "badly scaled": scaled_pair,
}


def error(found: np.ndarray, exact: np.ndarray, scale: np.ndarray) -> tuple[float, float]:
    """The root mean square and the maximum of the errors, each relative to the sum of the terms' absolute values."""
    relative = np.abs(found - exact) / scale
    return float(np.sqrt(np.mean(relative**2))), float(relative.max())


def product_errors(sizes: tuple[int, ...] = SIZES) -> dict[str, tuple[float, float]]:
    """Weft's error over NumPy's, root mean square and maximum, for each kind of operands and size."""
    import weft

    made = {}
    for kind, draw in PAIRS.items():
        for n in sizes:
            each = []
            for seed in range(max(DRAWS, 400 // n)):
                a, b = draw(np.random.default_rng(seed), n)
                exact = a.astype(np.float64) @ b.astype(np.float64)
                scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
                ours = (weft.from_numpy(a) @ weft.from_numpy(b)).numpy()
                each.append((error(ours, exact, scale), error(a @ b, exact, scale)))
            made[f"{kind} {n}"] = over(each)
    return made


def over(each: list[tuple[tuple[float, float], tuple[float, float]]]) -> tuple[float, float]:
    """Our errors over theirs, from several draws: of the mean squares, and of the maxima."""
    errors = np.array(each)
    ours, theirs = np.sqrt((errors[:, :, 0] ** 2).mean(axis=0))
    most = errors[:, :, 1].max(axis=0)
    tiny = np.finfo(np.float64).tiny
    return float((ours + tiny) / (theirs + tiny)), float((most[0] + tiny) / (most[1] + tiny))


# Sums


def cancelling(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Values and their negatives, in another order, and a little more."""
    half = rng.standard_normal((shape[0], shape[1] // 2), dtype=np.float32)
    both = np.concatenate([half, -half, rng.standard_normal((shape[0], shape[1] % 2), dtype=np.float32)], axis=1)
    return rng.permuted(both, axis=1) + rng.standard_normal(shape, dtype=np.float32) * np.float32(1e-4)


VALUES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "random": lambda rng, shape: rng.standard_normal(shape, dtype=np.float32),
    "cancelling": cancelling,
    "positive": lambda rng, shape: rng.random(shape, dtype=np.float32),
}


def sum_errors(lengths: tuple[int, ...] = LENGTHS, terms: int = 2_000_000) -> dict[str, tuple[float, float]]:
    """Weft's error over that of NumPy's pairwise sums: of rows, of columns, and of everything."""
    import weft

    made = {}
    for kind, draw in VALUES.items():
        for n in lengths:
            x = draw(np.random.default_rng(n), (max(8, terms // n), n))
            exact = x.sum(axis=-1, dtype=np.longdouble).astype(np.float64)
            scale = np.abs(x).sum(axis=-1, dtype=np.float64)
            theirs = error(x.sum(axis=-1), exact, scale)
            ours = {
                "rows": weft.from_numpy(x).sum(axis=-1).numpy(),
                "columns": weft.from_numpy(np.ascontiguousarray(x.T)).sum(axis=0).numpy(),
                "everything": np.array([weft.from_numpy(row.copy()).sum().numpy() for row in x]),
            }
            for which, found in ours.items():
                made[f"{kind} {n} {which}"] = over([(error(found, exact, scale), theirs)])
    return made


# Bits

#: A function and what to make its operands of; the operands are made anew for each run.
Bits = tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]


def programs() -> Iterator[tuple[str, Bits]]:
    """What must have the same bits in all modes and for any threads."""
    import weft

    for shape in products.SHAPES:
        for dtype in products.DTYPES:
            chosen = products.product(shape, dtype)
            yield (
                chosen.title,
                (operator.matmul, lambda chosen=chosen: workloads.from_numpy(weft, chosen.arrays())),
            )
    x = products.normal(((1111, 1300),), "float32")
    for name in FUNCTIONS:
        for which, axis in AXES.items():
            yield f"{name} {which}", (array_form(weft, name, axis), lambda: workloads.from_numpy(weft, x))
    for function in rowwise.functions((500, 700), (500, 700), (500, 700)):
        arrays = products.normal((function.result, *function.shapes), "float32")

        def operands(arrays: tuple[np.ndarray, ...] = arrays) -> tuple[Any, ...]:
            g, *others = workloads.from_numpy(weft, arrays)
            return g, *(t.requires_grad_() for t in others)

        yield (
            f"{function.name.split()[0]} and gradient",
            (rowwise.with_gradient(weft, function.tensors(weft)), operands),
        )
    arrays = products.normal(((2, 3, 130, 40),) * 4, "float32")

    def attended() -> tuple[Any, ...]:
        g, *others = workloads.from_numpy(weft, arrays)
        return g, *(t.requires_grad_() for t in others)

    yield "attention and gradient", (rowwise.with_gradient(weft, attention.causal(weft)), attended)


def bits(program: Bits, mode: str, threads: int) -> bytes:
    """The bits of a program's results."""
    import weft

    function, operands = program
    before = weft.get_num_threads()
    weft.set_num_threads(threads)
    try:
        arguments = operands()
        if mode == "static":
            made = weft.static(function)(*arguments)
        elif mode == "lazy":
            made = workloads.run_lazily(weft, function, *arguments)
        else:
            made = function(*arguments)
        return b"".join(t.detach().numpy().tobytes() for t in (made if isinstance(made, tuple) else (made,)))
    finally:
        weft.set_num_threads(before)


def bits_of_layouts() -> dict[str, bool]:
    """Whether a product has the same bits however its operands lie in memory."""
    import weft

    made = {}
    for shape in products.SHAPES:
        for dtype in products.DTYPES:
            a, b = products.product(shape, dtype).arrays()
            found = set()
            for left in (a, np.ascontiguousarray(a.mT).mT):
                for right in (b, np.ascontiguousarray(b.mT).mT):
                    found.add((weft.from_numpy(left) @ weft.from_numpy(right)).numpy().tobytes())
            made[f"{products.title(shape, dtype)} layouts"] = len(found) == 1
    return made


# The line


def accuracy(bench: Bench) -> Iterator[Limit]:
    """Errors, then bits."""
    small = bench.quick
    for name in bench.watched(7, ("errors of products", "errors of sums", "bits")):
        if name == "errors of products":
            yield no_larger("7  error of products ÷ NumPy's", product_errors(SIZES[:-1] if small else SIZES))
        elif name == "errors of sums":
            yield no_larger(
                "7  error of sums ÷ that of NumPy's pairwise", sum_errors(terms=100_000 if small else 2_000_000)
            )
        else:
            same = {}
            for what, program in programs():
                found = {bits(program, mode, threads) for mode in MODES for threads in (1, bench.threads)}
                same[what] = len(found) == 1
            same |= bits_of_layouts()
            other = tuple(what for what, equal in same.items() if not equal)
            figure = f"{len(same) - len(other)} of {len(same)} programs"
            yield Limit("7  same bits in all modes, layouts and threads", "all", figure, not other, other)


def no_larger(what: str, errors: Mapping[str, tuple[float, float]]) -> Limit:
    """A line that is met if no root mean square error is larger than the peer's."""
    worst = max(errors, key=lambda name: errors[name][0])
    median = float(np.median([rms for rms, _ in errors.values()]))
    most = max(largest for _, largest in errors.values())
    missed = tuple(f"{name} {rms:.3f}" for name, (rms, _) in errors.items() if rms > CHANCE)
    figure = f"worst {errors[worst][0]:.3f} ({worst}); median {median:.3f}; of the maxima {most:.2f}"
    return Limit(what, f"≤ {CHANCE:.2f}", figure, not missed, missed)
