"""Elementwise primitives: each op's types, kernel body, gradient and NumPy reference in one paragraph.

In a gradient rule ``g`` is the gradient of the output and ``c`` what was saved: ``c.x``, ``c.y``, ``c.z`` and ``c.out``. Names
in a body are those of the kernel function library (`weft.codegen.vecmath`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft import dtypes
from weft.dtypes import DType
from weft.ir.node import Node, Where, const, make
from weft.ops.registry import Op, Operand, Weak, broadcast, broadcast_shape, cast, common_dtype, elementwise, register

EXPENSIVE = 20

# Arithmetic

add: Op = elementwise("add", 2, "x + y", grad=lambda g, c: (g, g), reference=np.add)
subtract: Op = elementwise("subtract", 2, "x - y", grad=lambda g, c: (g, negative(g)), reference=np.subtract)
multiply: Op = elementwise(
    "multiply", 2, "x * y", grad=lambda g, c: (multiply(g, c.y), multiply(g, c.x)), reference=np.multiply
)
divide: Op = elementwise(
    "divide",
    2,
    "x / y",
    gives="float",
    grad=lambda g, c: (divide(g, c.y), negative(divide(multiply(g, c.out), c.y))),
    reference=np.divide,
    cost=4,
)
floor_divide: Op = elementwise("floor_divide", 2, "floor_divide(x, y)", reference=np.floor_divide, cost=6)
remainder: Op = elementwise(
    "remainder",
    2,
    "remainder(x, y)",
    grad=lambda g, c: (g, negative(multiply(g, floor(divide(c.x, c.y))))),
    reference=np.remainder,
    cost=8,
)
fmod: Op = elementwise(
    "fmod",
    2,
    "fmod(x, y)",
    grad=lambda g, c: (g, negative(multiply(g, trunc(divide(c.x, c.y))))),
    reference=np.fmod,
    cost=8,
)
power: Op = elementwise(
    "power",
    2,
    "pow(x, y)",
    grad=lambda g, c: (
        multiply(g, multiply(c.y, power(c.x, subtract(c.y, 1)))),
        multiply(g, where(equal(c.x, 0), multiply(c.out, 0), multiply(c.out, log(c.x)))),
    ),
    reference=np.power,
    cost=2 * EXPENSIVE,
)
negative: Op = elementwise("negative", 1, "-x", grad=lambda g, c: (negative(g),), reference=np.negative)
abs_: Op = elementwise("abs", 1, "abs(x)", grad=lambda g, c: (multiply(g, sign(c.x)),), reference=np.abs)
sign: Op = elementwise("sign", 1, "sign(x)", grad=lambda g, c: (multiply(g, 0),), reference=np.sign)
square: Op = elementwise("square", 1, "x * x", grad=lambda g, c: (multiply(g, add(c.x, c.x)),), reference=np.square)
reciprocal: Op = elementwise(
    "reciprocal",
    1,
    "reciprocal(x)",
    gives="float",
    grad=lambda g, c: (negative(multiply(g, square(c.out))),),
    reference=np.reciprocal,
    cost=4,
)
sqrt: Op = elementwise(
    "sqrt",
    1,
    "sqrt(x)",
    gives="float",
    grad=lambda g, c: (divide(g, add(c.out, c.out)),),
    reference=np.sqrt,
    cost=6,
)
maximum: Op = elementwise(
    "maximum",
    2,
    "maximum(x, y)",
    takes="all",
    grad=lambda g, c: (_share(g, greater(c.x, c.y), c), _share(g, less(c.x, c.y), c)),
    reference=np.maximum,
)
minimum: Op = elementwise(
    "minimum",
    2,
    "minimum(x, y)",
    takes="all",
    grad=lambda g, c: (_share(g, less(c.x, c.y), c), _share(g, greater(c.x, c.y), c)),
    reference=np.minimum,
)
clip: Op = elementwise(
    "clip",
    3,
    "clip(x, y, z)",
    grad=lambda g, c: (
        where(bitwise_and(greater_equal(c.x, c.y), less_equal(c.x, c.z)), g, 0.0),
        where(less(c.x, c.y), g, 0.0),
        where(bitwise_and(greater(c.x, c.z), greater_equal(c.x, c.y)), g, 0.0),
    ),
    reference=lambda x, y, z: np.minimum(np.maximum(x, y), z),
    cost=2,
)


def _share(g: Any, wins: Any, c: Any) -> Any:
    """The gradient of the operand that wins a maximum or minimum; equal operands share it."""
    return where(wins, g, where(equal(c.x, c.y), multiply(g, 0.5), 0.0))


# Exponentials and logarithms

exp: Op = elementwise(
    "exp", 1, "exp(x)", gives="float", grad=lambda g, c: (multiply(g, c.out),), reference=np.exp, cost=EXPENSIVE
)
#: The same bits as exp, in fewer steps: what is left of a row's elements once its maximum is taken away.
exp_nonpositive: Op = elementwise(
    "exp_nonpositive",
    1,
    "exp_nonpositive(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, c.out),),
    reference=np.exp,
    cost=EXPENSIVE,
)
exp2: Op = elementwise(
    "exp2",
    1,
    "exp2(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, multiply(c.out, math.log(2))),),
    reference=np.exp2,
    cost=EXPENSIVE,
)
expm1: Op = elementwise(
    "expm1",
    1,
    "expm1(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, exp(c.x)),),
    reference=np.expm1,
    cost=EXPENSIVE,
)
log: Op = elementwise(
    "log", 1, "log(x)", gives="float", grad=lambda g, c: (divide(g, c.x),), reference=np.log, cost=EXPENSIVE
)
log2: Op = elementwise(
    "log2",
    1,
    "log2(x)",
    gives="float",
    grad=lambda g, c: (divide(g, multiply(c.x, math.log(2))),),
    reference=np.log2,
    cost=EXPENSIVE,
)
log10: Op = elementwise(
    "log10",
    1,
    "log10(x)",
    gives="float",
    grad=lambda g, c: (divide(g, multiply(c.x, math.log(10))),),
    reference=np.log10,
    cost=EXPENSIVE,
)
log1p: Op = elementwise(
    "log1p",
    1,
    "log1p(x)",
    gives="float",
    grad=lambda g, c: (divide(g, add(c.x, 1)),),
    reference=np.log1p,
    cost=EXPENSIVE,
)
logaddexp: Op = elementwise(
    "logaddexp",
    2,
    "logaddexp(x, y)",
    gives="float",
    grad=lambda g, c: (_softmax_weight(g, c.x, c.out), _softmax_weight(g, c.y, c.out)),
    reference=np.logaddexp,
    cost=2 * EXPENSIVE,
)


def _softmax_weight(g: Any, x: Any, out: Any) -> Any:
    """``g * exp(x - out)``, and ``g`` where both are the same infinity."""
    return where(equal(x, out), g, multiply(g, exp(subtract(x, out))))


# Trigonometric and hyperbolic functions

sin: Op = elementwise(
    "sin", 1, "sin(x)", gives="float", grad=lambda g, c: (multiply(g, cos(c.x)),), reference=np.sin, cost=EXPENSIVE
)
cos: Op = elementwise(
    "cos",
    1,
    "cos(x)",
    gives="float",
    grad=lambda g, c: (negative(multiply(g, sin(c.x))),),
    reference=np.cos,
    cost=EXPENSIVE,
)
tan: Op = elementwise(
    "tan",
    1,
    "tan(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, add(square(c.out), 1)),),
    reference=np.tan,
    cost=EXPENSIVE,
)
asin: Op = elementwise(
    "asin",
    1,
    "asin(x)",
    gives="float",
    grad=lambda g, c: (divide(g, sqrt(subtract(1, square(c.x)))),),
    reference=np.arcsin,
    cost=EXPENSIVE,
)
acos: Op = elementwise(
    "acos",
    1,
    "acos(x)",
    gives="float",
    grad=lambda g, c: (negative(divide(g, sqrt(subtract(1, square(c.x))))),),
    reference=np.arccos,
    cost=EXPENSIVE,
)
atan: Op = elementwise(
    "atan",
    1,
    "atan(x)",
    gives="float",
    grad=lambda g, c: (divide(g, add(square(c.x), 1)),),
    reference=np.arctan,
    cost=EXPENSIVE,
)
atan2: Op = elementwise(
    "atan2",
    2,
    "atan2(x, y)",
    gives="float",
    grad=lambda g, c: (
        divide(multiply(g, c.y), add(square(c.x), square(c.y))),
        negative(divide(multiply(g, c.x), add(square(c.x), square(c.y)))),
    ),
    reference=np.arctan2,
    cost=EXPENSIVE,
)
sinh: Op = elementwise(
    "sinh", 1, "sinh(x)", gives="float", grad=lambda g, c: (multiply(g, cosh(c.x)),), reference=np.sinh, cost=EXPENSIVE
)
cosh: Op = elementwise(
    "cosh", 1, "cosh(x)", gives="float", grad=lambda g, c: (multiply(g, sinh(c.x)),), reference=np.cosh, cost=EXPENSIVE
)
tanh: Op = elementwise(
    "tanh",
    1,
    "tanh(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, subtract(1, square(c.out))),),
    reference=np.tanh,
    cost=EXPENSIVE,
)
asinh: Op = elementwise(
    "asinh",
    1,
    "asinh(x)",
    gives="float",
    grad=lambda g, c: (divide(g, sqrt(add(square(c.x), 1))),),
    reference=np.arcsinh,
    cost=EXPENSIVE,
)
acosh: Op = elementwise(
    "acosh",
    1,
    "acosh(x)",
    gives="float",
    grad=lambda g, c: (divide(g, sqrt(subtract(square(c.x), 1))),),
    reference=np.arccosh,
    cost=EXPENSIVE,
)
atanh: Op = elementwise(
    "atanh",
    1,
    "atanh(x)",
    gives="float",
    grad=lambda g, c: (divide(g, subtract(1, square(c.x))),),
    reference=np.arctanh,
    cost=EXPENSIVE,
)
hypot: Op = elementwise(
    "hypot",
    2,
    "hypot(x, y)",
    gives="float",
    grad=lambda g, c: (divide(multiply(g, c.x), c.out), divide(multiply(g, c.y), c.out)),
    reference=np.hypot,
    cost=EXPENSIVE,
)


def _reference_erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def _reference_erfc(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erfc, otypes=[np.float64])(x).astype(x.dtype)


erf: Op = elementwise(
    "erf",
    1,
    "erf(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, multiply(exp(negative(square(c.x))), 2 / math.sqrt(math.pi))),),
    reference=_reference_erf,
    cost=EXPENSIVE,
)
erfc: Op = elementwise(
    "erfc",
    1,
    "erfc(x)",
    gives="float",
    grad=lambda g, c: (multiply(g, multiply(exp(negative(square(c.x))), -2 / math.sqrt(math.pi))),),
    reference=_reference_erfc,
    cost=EXPENSIVE,
)

# Rounding and the parts of a number


def _no_slope(g: Any, c: Any) -> tuple[Any, ...]:
    """The gradient of a step function: zero wherever it is defined."""
    return tuple(multiply(g, 0) for _ in c.operands)


floor: Op = elementwise("floor", 1, "floor(x)", grad=_no_slope, reference=np.floor)
ceil: Op = elementwise("ceil", 1, "ceil(x)", grad=_no_slope, reference=np.ceil)
trunc: Op = elementwise("trunc", 1, "trunc(x)", grad=_no_slope, reference=np.trunc)
round_: Op = elementwise("round", 1, "rint(x)", grad=_no_slope, reference=np.round)
copysign: Op = elementwise(
    "copysign",
    2,
    "copysign(x, y)",
    takes="float",
    grad=lambda g, c: (multiply(g, multiply(sign(c.x), copysign(1.0, c.y))), multiply(g, 0)),
    reference=np.copysign,
)
nextafter: Op = elementwise("nextafter", 2, "nextafter(x, y)", takes="float", reference=np.nextafter, cost=6)
signbit: Op = elementwise("signbit", 1, "signbit(x)", takes="float", gives="bool", reference=np.signbit)
isnan: Op = elementwise("isnan", 1, "isnan(x)", takes="all", gives="bool", reference=np.isnan)
isinf: Op = elementwise("isinf", 1, "isinf(x)", takes="all", gives="bool", reference=np.isinf)
isfinite: Op = elementwise("isfinite", 1, "isfinite(x)", takes="all", gives="bool", reference=np.isfinite)

# Comparisons, logic and bits

equal: Op = elementwise("equal", 2, "x == y", takes="all", gives="bool", reference=np.equal)
not_equal: Op = elementwise("not_equal", 2, "x != y", takes="all", gives="bool", reference=np.not_equal)
less: Op = elementwise("less", 2, "x < y", takes="all", gives="bool", reference=np.less)
less_equal: Op = elementwise("less_equal", 2, "x <= y", takes="all", gives="bool", reference=np.less_equal)
greater: Op = elementwise("greater", 2, "x > y", takes="all", gives="bool", reference=np.greater)
greater_equal: Op = elementwise("greater_equal", 2, "x >= y", takes="all", gives="bool", reference=np.greater_equal)
bitwise_and: Op = elementwise("bitwise_and", 2, "x & y", takes="bits", reference=np.bitwise_and)
bitwise_or: Op = elementwise("bitwise_or", 2, "x | y", takes="bits", reference=np.bitwise_or)
bitwise_xor: Op = elementwise("bitwise_xor", 2, "x ^ y", takes="bits", reference=np.bitwise_xor)
bitwise_invert: Op = elementwise("bitwise_invert", 1, "invert(x)", takes="bits", reference=np.invert)
bitwise_left_shift: Op = elementwise(
    "bitwise_left_shift", 2, "left_shift(x, y)", takes="integer", reference=np.left_shift, cost=2
)
bitwise_right_shift: Op = elementwise(
    "bitwise_right_shift", 2, "right_shift(x, y)", takes="integer", reference=np.right_shift, cost=2
)


# Selection, casting, and what indexing and random numbers need


def _build_where(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    condition, x, y = operands
    if not isinstance(condition, Node) or condition.dtype is not dtypes.bool_:
        given = condition.dtype.name if isinstance(condition, Node) else condition.kind.__name__
        raise TypeError(f"where takes a bool tensor as its condition, not {given}.")
    if isinstance(x, Weak) and isinstance(y, Weak):
        kind = max(x.kind, y.kind, key=[bool, int, float].index)
        dtype = dtypes.as_dtype(kind)
    else:
        dtype = common_dtype([x, y])
    shape = broadcast_shape("where", [o.shape for o in operands if isinstance(o, Node)])
    args = [broadcast(cast(o, d), shape) for o, d in zip(operands, (dtypes.bool_, dtype, dtype), strict=True)]
    return make("where", args, (), shape, dtype, where)


where: Op = register(
    Op(
        "where",
        "elementwise",
        3,
        _build_where,
        "y if x else z",
        lambda g, c: (None, where(c.x, g, 0.0), where(c.x, 0.0, g)),
        np.where,
        takes="all",
    )
)


def _build_cast(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (x,) = operands
    return cast(x, attrs, where)


def _build_copy(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (x,) = operands
    assert isinstance(x, Node)
    return make("copy", (x,), (), x.shape, x.dtype, where)


def _identity(x: np.ndarray) -> np.ndarray:
    return x


cast_: Op = register(Op("cast", "elementwise", 1, _build_cast, "x", lambda g, c: (g,), takes="all"))
copy: Op = register(Op("copy", "elementwise", 1, _build_copy, "x", lambda g, c: (g,), _identity, takes="all"))


def _build_check_index(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    i, n = operands
    assert isinstance(i, Node)
    checked = (signed_index(i), broadcast(cast(n, dtypes.int64), i.shape))
    return make("check_index", checked, attrs or (), i.shape, dtypes.int64, where)


def signed_index(i: Node) -> Node:
    """An index as int64; those too large for it stay too large, where a plain cast would make them negative."""
    if i.dtype is dtypes.uint64:
        most = broadcast(const((1 << 63) - 1, dtypes.uint64), i.shape)
        i = make("minimum", (i, most), (), i.shape, dtypes.uint64)
    return cast(i, dtypes.int64)


def _reference_check_index(i: np.ndarray, n: np.ndarray) -> np.ndarray:
    if ((i < -n) | (i >= n)).any():
        raise IndexError("An index is out of range.")
    return np.where(i < 0, i + n, i)


#: operands (index, size); attrs (axis or what the index is, size) for the message, or none
check_index: Op = register(
    Op("check_index", "elementwise", 2, _build_check_index, "", None, _reference_check_index, takes="integer")
)


def _reference_philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox4x32-10 (Salmon et al., SC 2011) over counters (lo, hi, 0, 0); the first two words of each block."""
    mask = np.uint64(0xFFFFFFFF)
    word = np.uint64(32)
    c = [counter & mask, counter >> word, np.zeros_like(counter), np.zeros_like(counter)]
    k0, k1 = key & mask, key >> word
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> word) ^ c[1] ^ k0, p1 & mask, (p0 >> word) ^ c[3] ^ k1, p0 & mask]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    return c[0] | (c[1] << word)


def _build_philox(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    counter, key = operands
    assert isinstance(counter, Node)
    u64: DType = dtypes.uint64
    return make("philox", (cast(counter, u64), broadcast(cast(key, u64), counter.shape)), (), counter.shape, u64, where)


philox: Op = register(
    Op("philox", "elementwise", 2, _build_philox, "philox(x, y)", None, _reference_philox, 40, takes="integer")
)
