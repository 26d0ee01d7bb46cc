"""Random graphs: every kind of node, over a few small shapes that share factors, from a seed."""

from __future__ import annotations

import math

import numpy as np

from weft import dtypes
from weft.ir.graph import Graph
from weft.ir.node import Node, make

from .build import Builder, op

UNARY = ("negative", "abs", "exp", "tanh", "square", "copy", "floor", "sqrt")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "divide", "less", "equal")
REDUCE = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin")
TYPES = (
    dtypes.float32,
    dtypes.float32,
    dtypes.float64,
    dtypes.int32,
    dtypes.float16,
    dtypes.bfloat16,
    dtypes.bool_,
    dtypes.int64,
)
LIMIT = 2000


class Maker:
    """Grows a pool of nodes; a step that does not fit what it picked leaves the pool as it is."""

    def __init__(self, seed: int, steps: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = Builder()
        self.pool: list[Node] = []
        for _ in range(int(self.rng.integers(1, 4))):
            self.pool.append(self.leaf())
        kinds = [getattr(self, k) for k in dir(self) if k.startswith("do_")]
        for _ in range(steps):
            made = kinds[self.rng.integers(len(kinds))](self.pick())
            if made is not None and made.size <= LIMIT:
                self.pool.append(made)

    def pick(self) -> Node:
        n = len(self.pool)
        return self.pool[min(n - 1, int(n * self.rng.random() ** 0.5))]

    def choice(self, options: tuple) -> object:
        return options[self.rng.integers(len(options))]

    def shape(self) -> tuple[int, ...]:
        sizes = (1, 2, 3, 4, 6) if self.rng.random() < 0.95 else (0, 2)
        return tuple(int(self.choice(sizes)) for _ in range(self.rng.integers(0, 4)))  # type: ignore[call-overload]

    def leaf(self, shape: tuple[int, ...] | None = None, dtype: dtypes.DType | None = None) -> Node:
        shape = self.shape() if shape is None else shape
        strides = None
        if self.rng.random() < 0.3 and shape:
            order = self.rng.permutation(len(shape))
            strides, step = [0] * len(shape), int(self.rng.integers(1, 3))
            for d in order:
                strides[d] = step if self.rng.random() < 0.8 else -step
                step *= max(shape[d], 1)
        return self.builder.input(*shape, dtype=dtype or self.choice(TYPES), strides=strides)  # type: ignore[arg-type]

    def same_shape(self, shape: tuple[int, ...]) -> Node:
        """Something of the pool that broadcasts to a shape, expanded; or a new input."""
        fits = [
            n
            for n in self.pool
            if n.ndim <= len(shape)
            and all(a in (1, b) for a, b in zip(reversed(n.shape), reversed(shape), strict=False))
        ]
        if not fits:
            fits = [self.leaf(shape)]
            self.pool += fits
        n = fits[self.rng.integers(len(fits))]
        padded = (1,) * (len(shape) - n.ndim) + n.shape
        n = make("reshape", (n,), (padded,), padded, n.dtype) if padded != n.shape else n
        return make("expand", (n,), (shape,), shape, n.dtype) if shape != n.shape else n

    # Elementwise

    def do_unary(self, x: Node) -> Node | None:
        name = str(self.choice(UNARY))
        if x.dtype.kind == "b" and name != "copy":
            return None
        if x.dtype.kind != "f" and name in ("exp", "tanh", "sqrt", "floor"):
            return None
        return op(name, x)

    def do_binary(self, x: Node) -> Node | None:
        name = str(self.choice(BINARY))
        y = op("cast", self.same_shape(x.shape), attrs=x.dtype)
        if x.dtype.kind == "b" and name not in ("maximum", "minimum", "equal", "less"):
            return None
        if x.dtype.kind != "f" and name == "divide":
            return None
        return op(name, x, y)

    do_binary2 = do_binary3 = do_binary

    def do_number(self, x: Node) -> Node | None:
        return None if x.dtype.kind == "b" else op("multiply", x, 3)

    def do_scalar(self, x: Node) -> Node | None:
        if x.dtype is not dtypes.float32:
            return None
        return op("add", x, self.builder.scalar())

    def do_where(self, x: Node) -> Node | None:
        return (
            op("where", op("cast", self.same_shape(x.shape), attrs=dtypes.bool_), x, op("negative", x))
            if (x.dtype.kind != "b")
            else None
        )

    def do_cast(self, x: Node) -> Node | None:
        to = self.choice(TYPES)
        if x.dtype.kind == "f" and to.kind in "iu":  # type: ignore[attr-defined]
            x = op("minimum", op("maximum", x, -100.0), 100.0)
        return op("cast", x, attrs=to)

    # Movement

    def do_reshape(self, x: Node) -> Node | None:
        flat = x.size
        if not flat:
            return None
        shape: list[int] = []
        while flat > 1 and len(shape) < 4:
            divisors = [d for d in range(1, flat + 1) if flat % d == 0]
            n = int(divisors[self.rng.integers(len(divisors))])
            shape.append(n)
            flat //= n
        if flat > 1:
            shape.append(flat)
        return op("reshape", x, attrs=(tuple(shape),))

    do_reshape2 = do_reshape

    def do_again(self, _: Node) -> Node | None:
        """An input under other axes: operands are read in several shapes at once."""
        inputs = [n for n in self.pool if n.op == "input" and n.size]
        return self.do_reshape(inputs[self.rng.integers(len(inputs))]) if inputs else None

    do_again2 = do_again

    def do_permute(self, x: Node) -> Node:
        return op("permute", x, attrs=(tuple(int(p) for p in self.rng.permutation(x.ndim)),))

    do_permute2 = do_permute

    def do_expand(self, x: Node) -> Node:
        return op("expand", x, attrs=(tuple(3 if n == 1 else n for n in x.shape),))

    def do_slice(self, x: Node) -> Node:
        starts, steps, sizes = [], [], []
        for n in x.shape:
            step = int(self.choice((1, 1, 2, -1, -2)))  # type: ignore[call-overload]
            start = int(self.rng.integers(n)) if n else 0
            room = (n - 1 - start) // step if step > 0 else start // -step
            size = int(self.rng.integers(1, room + 2)) if n else 0
            if self.rng.random() < 0.4:
                start, step, size = 0, 1, n
            starts.append(start)
            steps.append(step)
            sizes.append(size)
        return op("slice", x, attrs=(tuple(starts), tuple(steps), tuple(sizes)))

    def do_as_strided(self, x: Node) -> Node | None:
        if x.size < 6:
            return None
        return op("as_strided", x, attrs=(1, (1, 2), (2, 2)))

    # Reductions and products

    def do_reduce(self, x: Node) -> Node | None:
        if not x.ndim or not x.size or x.dtype.kind == "b":
            return None
        lo = int(self.rng.integers(x.ndim))
        hi = int(self.rng.integers(lo, x.ndim)) + 1
        return op(str(self.choice(REDUCE)), x, attrs=(lo, hi))

    do_reduce2 = do_reduce3 = do_reduce

    def do_scan(self, x: Node) -> Node | None:
        if not x.ndim or x.dtype.kind == "b":
            return None
        attrs = int(self.rng.integers(x.ndim)), bool(self.rng.random() < 0.5)
        name = str(self.choice(("scan_sum", "scan_prod", "scan_linear")))
        if name != "scan_linear":
            return op(name, x, attrs=attrs)
        return op(name, op("cast", self.same_shape(x.shape), attrs=x.dtype), x, attrs=attrs)

    do_scan2 = do_scan

    def do_any(self, x: Node) -> Node | None:
        if not x.ndim:
            return None
        return op(str(self.choice(("reduce_any", "reduce_all"))), op("cast", x, attrs=dtypes.bool_), attrs=(0, x.ndim))

    def do_centre(self, x: Node) -> Node | None:
        """An element-level value made from a reduction, which row kernels are for."""
        if not x.ndim or not x.size or x.dtype.kind != "f":
            return None
        return op("subtract", x, op("reduce_max", x, attrs=(x.ndim - 1, x.ndim)))

    do_centre2 = do_centre

    def do_scale(self, x: Node) -> Node | None:
        """The last axes, however many, by the sum of their squares; the sums in another shape are there for others to use."""
        if not x.ndim or not x.size or x.dtype.kind != "f":
            return None
        kept = x.shape[: int(self.rng.integers(x.ndim))]
        rows = op("reshape", x, attrs=((*kept, x.size // math.prod(kept)),))
        squares = op("reduce_sum", op("square", rows), attrs=(len(kept), len(kept) + 1))
        self.pool.append(op("reshape", squares, attrs=((1, *squares.shape),)))
        scaled = op("multiply", rows, squares)
        return scaled if self.rng.random() < 0.5 else op("reshape", scaled, attrs=(x.shape,))

    do_scale2 = do_scale

    def do_matmul(self, x: Node) -> Node | None:
        if x.ndim < 2 or x.dtype.kind == "b" or not x.size:
            return None
        return op("matmul", x, op("permute", x, attrs=((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2),)))

    # Indexed

    def index(self, shape: tuple[int, ...], n: int) -> Node:
        i = op("cast", op("minimum", op("cast", self.same_shape(shape), attrs=dtypes.int64), n - 1), attrs=dtypes.int64)
        return op("check_index", op("maximum", i, -n), n)

    def do_gather(self, x: Node) -> Node | None:
        if not x.size or x.ndim == 0:
            return None
        shape = (3, 2) if self.rng.random() < 0.5 else (4,)
        return op("gather", x, *(self.index(shape, n) for n in x.shape), attrs=(shape,))

    def do_scatter(self, x: Node) -> Node | None:
        if not x.size or x.ndim == 0:
            return None
        name = str(self.choice(("scatter_add", "scatter_set")))
        if x.dtype.kind == "b":
            name = "scatter_set"
        shape = (3, 2) if self.rng.random() < 0.5 else (4,)
        value = op("cast", self.same_shape(shape), attrs=x.dtype)
        return op(name, x, value, *(self.index(shape, n) for n in x.shape), attrs=(shape,))

    def do_assign(self, x: Node) -> Node | None:
        if x.ndim == 0 or not x.size:
            return None
        n = x.shape[0]
        rest = x.size // n
        take = int(self.rng.integers(1, n + 1))
        shape = (take, *x.shape[1:])
        strides = tuple(math.prod(x.shape[d + 1 :]) for d in range(x.ndim))
        value = op("cast", self.same_shape(shape), attrs=x.dtype)
        return op("assign", x, value, attrs=((n - take) * rest, strides))

    do_assign2 = do_assign

    def do_fill(self, x: Node) -> Node:
        return op("full", 2, attrs=(x.shape, x.dtype))

    def do_iota(self, x: Node) -> Node | None:
        n = x.size
        return op("reshape", op("iota", attrs=(n,)), attrs=(x.shape,)) if n else None

    def graph(self) -> Graph:
        outputs = [self.pick() for _ in range(self.rng.integers(1, 4))]
        if self.rng.random() < 0.2:
            outputs.append(outputs[0])
        writes = []
        if self.rng.random() < 0.5:
            for n in dict.fromkeys(self.pool):
                if n.op == "input":
                    fits = [v for v in self.pool if v.shape == n.shape]
                    value = fits[self.rng.integers(len(fits))]
                    if self.rng.random() < 0.5:
                        writes.append((n, op("cast", value, attrs=n.dtype)))
        return self.builder.graph(*outputs, writes=writes, alias=bool(self.rng.random() < 0.3))


def random_graph(seed: int, steps: int = 12) -> tuple[Graph, list[float]]:
    """A graph and its scalars."""
    graph = Maker(seed, steps).graph()
    return graph, [0.5 + k for k in range(len(graph.scalars))]
