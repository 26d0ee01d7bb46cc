"""Random programs as data: hypothesis draws a list of steps, and `run` performs them with Weft in the active mode.

A program keeps a pool of tensors. A step picks tensors from the pool by number (modulo the pool's size, so that every drawn
number is valid) and appends its result. Steps that do not apply to what they picked (a matrix product of a vector and a
cube, say) leave the pool as it is, by a rule that looks at shapes and dtypes only: so every mode takes the same path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import weft

UNARY = ("negative", "abs", "square", "exp", "tanh", "sigmoid", "relu", "sin", "floor", "sqrt_abs", "log1p_abs", "erf")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "divide_safe", "where", "less", "equal")
SCALAR = ("add", "multiply", "rsub", "divide")
REDUCE = ("sum", "mean", "max", "min", "prod", "any", "argmax", "var")
MOVE = ("permute", "reshape", "expand", "slice", "flip", "unsqueeze", "stack", "concat")
SCAN = ("cumsum", "cumprod")
ROWWISE = ("softmax", "log_softmax", "logsumexp", "layer_norm", "attention")
INPLACE = ("add_", "mul_", "copy_", "setitem", "zero_", "view_add_", "mask_set")
EINSUM = ("ij,jk->ki", "...i,...i->...", "ij,ij->j", "i...->...", "ii->i", "...i,j->j...i", "ij,kj,k->i")
INDEX = ("take", "mask_where", "gather_rows", "one_hot_sum")


@dataclass(frozen=True)
class Step:
    """One step: what kind of operation, which one, which tensors of the pool, and a number that fixes the rest."""

    kind: str
    name: str
    a: int
    b: int
    n: int


@dataclass(frozen=True)
class Program:
    """The inputs' shapes and dtypes, the seed of their values, the steps, and whether gradients are taken."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    seed: int
    steps: tuple[Step, ...]
    gradient: bool


def _steps() -> st.SearchStrategy[Step]:
    table = {
        "unary": UNARY,
        "binary": BINARY,
        "scalar": SCALAR,
        "reduce": REDUCE,
        "scan": SCAN,
        "move": MOVE,
        "rowwise": ROWWISE,
        "inplace": INPLACE,
        "index": INDEX,
        "matmul": ("matmul",),
        "einsum": EINSUM,
        "cast": ("float32", "float64", "int32", "float16", "bool"),
    }
    options = [(kind, name) for kind, names in table.items() for name in names]
    small = st.integers(0, 11)
    return st.builds(lambda kn, a, b, n: Step(*kn, a, b, n), st.sampled_from(options), small, small, small)


#: Many that fit together in products and broadcasts, and a few awkward ones.
SHAPES = st.sampled_from(
    [(), (1,), (4,), (3,), (2, 3), (3, 4), (4, 4), (4, 3), (3, 1), (2, 3, 4), (1, 3, 1), (0, 3), (7, 33), (33, 3)]
)

PROGRAMS = st.builds(
    Program,
    st.lists(SHAPES, min_size=2, max_size=3).map(tuple),
    st.lists(st.sampled_from(["float32", "float32", "float64", "int32", "bool"]), min_size=3, max_size=3).map(tuple),
    st.integers(0, 5),
    st.lists(_steps(), min_size=2, max_size=7).map(tuple),
    st.booleans(),
)


def inputs_of(program: Program) -> list[np.ndarray]:
    """The program's input arrays: small round numbers, so that every mode meets ties, zeros and signs."""
    rng = np.random.default_rng(program.seed)
    arrays = []
    for shape, dtype in zip(program.shapes, program.dtypes, strict=False):
        values = rng.integers(-6, 7, shape) / 4 if dtype.startswith("float") else rng.integers(-5, 6, shape)
        arrays.append(np.asarray(values > 0 if dtype == "bool" else values).astype(dtype))
    return arrays


def is_float(t: Any) -> bool:
    return t.dtype.kind == "f"


def broadcasts(a: Any, b: Any) -> bool:
    try:
        np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    except ValueError:
        return False
    return True


def step(s: Step, pool: list[Any]) -> Any:
    """The result of one step, or None where it does not apply."""
    a, b = pool[s.a % len(pool)], pool[s.b % len(pool)]
    return globals()[f"_{s.kind}"](s, a, b)


def _unary(s: Step, a: Any, b: Any) -> Any:
    if a.dtype is weft.bool_:
        return None
    if s.name == "sqrt_abs":
        return weft.sqrt(weft.abs(a))
    if s.name == "log1p_abs":
        return weft.log1p(weft.abs(a))
    return getattr(weft, s.name)(a)


def _binary(s: Step, a: Any, b: Any) -> Any:
    if not broadcasts(a, b):
        return None
    if s.name == "where":
        return weft.where(weft.greater(a, b), a, b)
    if s.name in ("less", "equal", "maximum", "minimum"):
        return getattr(weft, s.name)(a, b)
    if a.dtype is weft.bool_ and b.dtype is weft.bool_:
        return None
    if s.name == "divide_safe":
        return a / (weft.abs(b.to(weft.float32) if b.dtype is weft.bool_ else b) + 1.5)
    return getattr(weft, s.name)(a, b)


def _scalar(s: Step, a: Any, b: Any) -> Any:
    value = (s.n - 5) / 4 if s.n % 2 else s.n - 5
    if s.name == "rsub":
        return value - a
    if s.name == "divide":
        return a / (value + 7)
    return getattr(weft, s.name)(a, value)


def _axes(s: Step, t: Any) -> Any:
    if t.ndim == 0 or s.n % 4 == 0:
        return None
    if t.ndim >= 2 and s.n % 4 == 1:
        return (0, t.ndim - 1)
    return s.n % t.ndim


def _reduce(s: Step, a: Any, b: Any) -> Any:
    axis = _axes(s, a)
    if s.name == "argmax" and isinstance(axis, tuple):
        axis = 0
    empty = 0 in tuple(a.shape)
    if s.name in ("max", "min", "argmax", "var", "mean") and empty:
        return None
    if s.name in ("mean", "var") and not is_float(a):
        return None
    if s.name == "prod" and a.size > 12:
        return None
    return getattr(weft, s.name)(a, axis=axis, keepdims=bool(s.b % 2))


def _scan(s: Step, a: Any, b: Any) -> Any:
    return getattr(weft, s.name)(a, axis=s.n % a.ndim if a.ndim and s.n % 5 else None)


def _move(s: Step, a: Any, b: Any) -> Any:
    if s.name == "permute":
        order = list(range(a.ndim))
        return a.permute(tuple(order[s.n % a.ndim :] + order[: s.n % a.ndim])) if a.ndim else None
    if s.name == "reshape":
        return a.reshape((-1,)) if a.size else None
    if s.name == "expand":
        return weft.broadcast_to(a, (2, *a.shape))
    if s.name == "slice":
        if a.ndim == 0 or a.shape[0] < 2:
            return None
        return [a[1:], a[::2], a[-1], a[:, None] if a.ndim else a, a[..., :1]][s.n % 5]
    if s.name == "flip":
        return weft.flip(a, axis=s.n % a.ndim) if a.ndim else None
    if s.name == "unsqueeze":
        return weft.unsqueeze(a, s.n % (a.ndim + 1))
    if tuple(a.shape) != tuple(b.shape) or a.dtype is not b.dtype or (s.name == "concat" and a.ndim == 0):
        return None
    return weft.stack([a, b]) if s.name == "stack" else weft.concat([a, b, a], axis=s.n % a.ndim)


def _rowwise(s: Step, a: Any, b: Any) -> Any:
    if not is_float(a) or a.ndim == 0 or 0 in tuple(a.shape):
        return None
    if s.name == "layer_norm":
        return weft.layer_norm(a, (a.shape[-1],))
    if s.name == "attention":
        if a.ndim < 2:
            return None
        return weft.scaled_dot_product_attention(a, a, a, is_causal=s.n % 2 == 1)
    return getattr(weft, s.name)(a, axis=-1 if s.n % 2 else 0)


def _inplace(s: Step, a: Any, b: Any) -> Any:
    if a.requires_grad and a.is_leaf:
        return None
    target = a.clone() if s.n % 3 == 0 else a
    if any(n > 1 and k == 0 for n, k in zip(target.shape, target.strides, strict=True)):
        return None
    order = "bui" + "f"
    fits = order.index(b.dtype.kind) <= order.index(target.dtype.kind) and b.dtype.kind != "b"
    fits = (
        fits
        and broadcasts(target, b)
        and np.broadcast_shapes(tuple(target.shape), tuple(b.shape)) == tuple(target.shape)
    )
    base = target.base
    if base is not None and base.requires_grad and base.is_leaf:
        return None
    if target.dtype is weft.bool_:
        return None
    if s.name in ("add_", "mul_", "copy_"):
        if not fits:
            return None
        getattr(target, s.name)(b)
    elif s.name == "zero_":
        target.zero_()
    elif s.name == "setitem":
        if target.ndim == 0 or target.shape[0] == 0:
            return None
        target[s.n % target.shape[0]] = 2
    elif s.name == "view_add_":
        if target.ndim == 0 or target.shape[0] == 0:
            return None
        target[: 1 + s.n % 2].add_(1)
    else:
        target[target > 0] = 1
    return target


def _index(s: Step, a: Any, b: Any) -> Any:
    if a.ndim == 0 or 0 in tuple(a.shape):
        return None
    rows = a.shape[0]
    if s.name == "take":
        return weft.take(a, weft.tensor([0, rows - 1, -1, s.n % rows]), axis=0)
    if s.name == "mask_where":
        return weft.where(a == a, a, 0)
    if s.name == "gather_rows":
        return a[weft.tensor([[s.n % rows, 0], [rows - 1, -rows]])]
    return weft.one_hot(weft.tensor([0, 2, 1, s.n % 3]), 3).sum(axis=0)


def _matmul(s: Step, a: Any, b: Any) -> Any:
    if not (is_float(a) and is_float(b)) or a.ndim == 0 or b.ndim == 0 or a.dtype is not b.dtype:
        return None
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        b = b.mT if b.ndim > 1 else b
        inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
        if a.shape[-1] != inner:
            return None
    if a.ndim > 2 and b.ndim > 2:
        try:
            np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
        except ValueError:
            return None
    return a @ b


def _einsum(s: Step, a: Any, b: Any) -> Any:
    operands = [a, b, b[..., 0] if b.ndim and b.shape[-1] else b][: s.name.count(",") + 1]
    try:
        return weft.einsum(s.name, *operands)
    except (weft.ShapeError, TypeError):  # other sizes, or bool
        return None


def _cast(s: Step, a: Any, b: Any) -> Any:
    return a.to(getattr(weft, s.name if s.name != "bool" else "bool_"))


def run(program: Program, *inputs: Any) -> list[Any]:
    """Every tensor the program ends with, and the gradients of its inputs where it takes them."""
    pool = list(inputs)
    if program.gradient:
        pool = [t.detach().requires_grad_() if is_float(t) else t for t in pool]
    leaves = list(pool)
    for s in program.steps:
        made = step(s, pool)
        if made is not None:
            pool.append(made)
    results = [t.detach() for t in pool[len(leaves) :]]
    if program.gradient:
        total = None
        for t in pool[len(leaves) :]:
            if is_float(t) and t.requires_grad:
                part = (t.to(weft.float64) * 0.5).sum()
                total = part if total is None else total + part
        if total is not None and total.requires_grad:
            wanted = [t for t in leaves if t.requires_grad]
            results += [g for g in weft.grad(total, wanted, allow_unused=True) if g is not None]
    return results
