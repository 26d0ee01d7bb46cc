"""Public elementwise functions: a row gives names, sense and an example; the rest comes from the op's record."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from weft import dtypes
from weft.errors import describe, explain
from weft.ops import elementwise as E
from weft.ops.frontend import (
    Tensor,
    at_least_one,
    number,
    operand,
    public,
    publish,
    python_number,
    refused,
    shortcut,
    tensor_of,
)
from weft.ops.registry import OPS, Op

_TYPES = {
    "numeric": "integer or floating-point",
    "float": "floating-point (integers and bool are converted to the default floating type)",
    "all": "any type",
    "integer": "integer",
    "bits": "bool or integer",
    "bool": "bool",
}

#: (op, public name, other names, what it computes, example, what the example prints)
ROWS: list[tuple[str, str, tuple[str, ...], str, str, str]] = [
    ("multiply", "multiply", ("mul",), "``x * y``.", "[1.0, 2.0], 3", "[3., 6.]"),
    (
        "floor_divide",
        "floor_divide",
        (),
        "``x / y`` rounded down; an integer by zero gives 0.",
        "[7, -7], 2",
        "[ 3, -4]",
    ),
    ("remainder", "remainder", ("mod",), "``x - floor(x / y) * y``, with the sign of ``y``.", "[7, -7], 4", "[3, 1]"),
    ("negative", "negative", ("neg",), "``-x``.", "[1.0, -2.0]", "[-1.,  2.]"),
    ("abs", "abs", ("absolute",), "The absolute value.", "[1.0, -2.0]", "[1., 2.]"),
    ("sign", "sign", ("sgn",), "-1, 0 or 1; NaN for NaN.", "[3.0, -2.0, 0.0]", "[ 1., -1.,  0.]"),
    ("square", "square", (), "``x * x``.", "[3.0, -2.0]", "[9., 4.]"),
    ("reciprocal", "reciprocal", (), "``1 / x``.", "[2.0, 4.0]", "[0.5 , 0.25]"),
    ("sqrt", "sqrt", (), "The square root; NaN below zero.", "[4.0, 9.0]", "[2., 3.]"),
    ("maximum", "maximum", (), "The larger of the two; NaN if either is NaN.", "[1.0, 5.0], 3.0", "[3., 5.]"),
    ("minimum", "minimum", (), "The smaller of the two; NaN if either is NaN.", "[1.0, 5.0], 3.0", "[1., 3.]"),
    ("exp", "exp", (), "e to the power x.", "[0.0, 1.0]", "[1.       , 2.7182817]"),
    ("exp2", "exp2", (), "2 to the power x.", "[0.0, 3.0]", "[1., 8.]"),
    ("expm1", "expm1", (), "``exp(x) - 1``, accurate near zero.", "[0.0]", "[0.]"),
    ("log", "log", (), "The natural logarithm; -inf at zero, NaN below.", "[1.0, 0.0]", "[  0., -inf]"),
    ("log2", "log2", (), "The logarithm to base 2.", "[1.0, 8.0]", "[0., 3.]"),
    ("log10", "log10", (), "The logarithm to base 10.", "[1.0, 100.0]", "[0., 2.]"),
    ("log1p", "log1p", (), "``log(1 + x)``, accurate near zero.", "[0.0]", "[0.]"),
    ("logaddexp", "logaddexp", (), "``log(exp(x) + exp(y))`` without overflow.", "[0.0], 0.0", "[0.6931472]"),
    ("sin", "sin", (), "The sine of an angle in radians.", "[0.0]", "[0.]"),
    ("cos", "cos", (), "The cosine of an angle in radians.", "[0.0]", "[1.]"),
    ("tan", "tan", (), "The tangent of an angle in radians.", "[0.0]", "[0.]"),
    ("asin", "asin", ("arcsin",), "The inverse sine, in radians.", "[0.0]", "[0.]"),
    ("acos", "acos", ("arccos",), "The inverse cosine, in radians.", "[1.0]", "[0.]"),
    ("atan", "atan", ("arctan",), "The inverse tangent, in radians.", "[0.0]", "[0.]"),
    ("atan2", "atan2", ("arctan2",), "The angle of the point (y, x), in radians.", "[0.0], 1.0", "[0.]"),
    ("sinh", "sinh", (), "The hyperbolic sine.", "[0.0]", "[0.]"),
    ("cosh", "cosh", (), "The hyperbolic cosine.", "[0.0]", "[1.]"),
    ("tanh", "tanh", (), "The hyperbolic tangent.", "[0.0]", "[0.]"),
    ("asinh", "asinh", ("arcsinh",), "The inverse hyperbolic sine.", "[0.0]", "[0.]"),
    ("acosh", "acosh", ("arccosh",), "The inverse hyperbolic cosine.", "[1.0]", "[0.]"),
    ("atanh", "atanh", ("arctanh",), "The inverse hyperbolic tangent.", "[0.0]", "[0.]"),
    ("hypot", "hypot", (), "``sqrt(x * x + y * y)`` without overflow.", "[3.0], 4.0", "[5.]"),
    ("erf", "erf", (), "The error function.", "[0.0]", "[0.]"),
    ("erfc", "erfc", (), "``1 - erf(x)``, accurate for large x.", "[0.0]", "[1.]"),
    ("floor", "floor", (), "The largest integer not above x.", "[1.5, -1.5]", "[ 1., -2.]"),
    ("ceil", "ceil", (), "The smallest integer not below x.", "[1.5, -1.5]", "[ 2., -1.]"),
    ("trunc", "trunc", ("fix",), "x without its fraction.", "[1.5, -1.5]", "[ 1., -1.]"),
    ("round", "round", (), "The nearest integer, halves to the even one.", "[1.5, 2.5]", "[2., 2.]"),
    ("copysign", "copysign", (), "x with the sign of y.", "[1.0, -2.0], -1.0", "[-1., -2.]"),
    ("nextafter", "nextafter", (), "The next number after x towards y.", "[0.0], 1.0", "[1.e-45]"),
    ("signbit", "signbit", (), "Whether the sign bit is set.", "[1.0, -0.0]", "[False,  True]"),
    ("isnan", "isnan", (), "Whether x is NaN.", "[1.0, float('nan')]", "[False,  True]"),
    ("isinf", "isinf", (), "Whether x is infinite.", "[1.0, float('inf')]", "[False,  True]"),
    ("isfinite", "isfinite", (), "Whether x is neither infinite nor NaN.", "[1.0, float('inf')]", "[ True, False]"),
    ("equal", "equal", ("eq",), "``x == y``, element by element.", "[1, 2], 2", "[False,  True]"),
    ("not_equal", "not_equal", ("ne",), "``x != y``, element by element.", "[1, 2], 2", "[ True, False]"),
    ("less", "less", ("lt",), "``x < y``.", "[1, 2], 2", "[ True, False]"),
    ("less_equal", "less_equal", ("le",), "``x <= y``.", "[1, 2], 2", "[ True,  True]"),
    ("greater", "greater", ("gt",), "``x > y``.", "[1, 2], 1", "[False,  True]"),
    ("greater_equal", "greater_equal", ("ge",), "``x >= y``.", "[1, 2], 2", "[False,  True]"),
    ("bitwise_and", "bitwise_and", (), "``x & y``, bit by bit.", "[6, 5], 3", "[2, 1]"),
    ("bitwise_or", "bitwise_or", (), "``x | y``, bit by bit.", "[6, 5], 3", "[7, 7]"),
    ("bitwise_xor", "bitwise_xor", (), "``x ^ y``, bit by bit.", "[6, 5], 3", "[5, 6]"),
    ("bitwise_invert", "bitwise_invert", ("bitwise_not",), "``~x``, bit by bit.", "[0, 5]", "[-1, -6]"),
    ("bitwise_left_shift", "bitwise_left_shift", (), "``x << y``; 0 for large y.", "[1, 3], 2", "[ 4, 12]"),
    ("bitwise_right_shift", "bitwise_right_shift", (), "``x >> y``, keeping the sign.", "[8, -8], 2", "[ 2, -2]"),
]


#: Of elementwise functions, by their operands: without what they take only to refuse it.
SIGNATURES = {
    len(names): inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, annotation="Any") for name in names],
        return_annotation="Any",
    )
    for names in ("x", "xy")
}


def _call(op: Op, name: str) -> Callable[..., Any]:
    handle, arity = op.handle, op.arity

    def call(*operands: Any, **named: Any) -> Any:
        if len(operands) != arity or named:
            refused(name, operands, named)
        try:
            out = handle(None, *operands)
        except OverflowError as error:
            raise explain(error, name, operands) from None
        return out if out.__class__ is Tensor else refused(name, operands)

    call.__signature__ = SIGNATURES[arity]  # type: ignore[attr-defined]
    return shortcut(call, by_class=True)


def _document(function: Callable[..., Any], op: Op, name: str, says: str, example: str, prints: str) -> None:
    operands = (
        "x: a tensor or Python number" if op.arity == 1 else "x, y: tensors or Python numbers, at least one a tensor"
    )
    gives = {"bool": "bool", "same": "the type the operands promote to", "float": "the floating type of the operands"}
    shape = "the shape of x" if op.arity == 1 else "the shape the operands broadcast to"
    dtype = {"bool": "bool", "float": "float32"}.get(op.gives)
    if dtype is None:
        dtype = "float32" if "." in example else "int64"
    array, _, rest = example.partition("]")
    function.__name__ = function.__qualname__ = name
    function.__module__ = "weft"
    function.__doc__ = f"""{says}

    Args:
        {operands}; {_TYPES[op.takes]}.

    Returns:
        A tensor of {shape}; its type is {gives[op.gives]}.

    Raises:
        TypeError: for other types.{
        ""
        if op.arity == 1
        else '''
        ShapeError: where the shapes do not broadcast together.'''
    }

    Example:
        >>> weft.{name}(weft.tensor({array}]){rest})
        tensor({prints}, dtype={dtype})
    """


for _op, _name, _also, _says, _example, _prints in ROWS:
    _function = _call(OPS[_op], _name)
    _document(_function, OPS[_op], _name, _says, _example, _prints)
    publish(_function, "elementwise", _also)


def binary(op: Op, name: str, x: Any, y: Any) -> Any:
    """An op of two operands, in whose errors the function is called by a name."""
    out = op.handle(None, x, y)
    return out if out.__class__ is Tensor else refused(name, (x, y))


def scaled(y: Any, alpha: Any, name: str = "alpha") -> Any:
    """A tensor or number times a factor that an argument gives."""
    if type(alpha) is int and alpha == 1:
        return y
    if not isinstance(y, Tensor) and python_number(y) is None:  # the op itself says what it takes
        return y
    return y * (alpha if isinstance(alpha, Tensor) else number(alpha, name))


@public("elementwise")
def add(x: Any, y: Any, /, *, alpha: Any = 1) -> Any:
    """``x + alpha * y``.

    Args:
        x, y: tensors or Python numbers, at least one a tensor; integer or floating-point.
        alpha: a number that multiplies y first.

    Returns:
        A tensor of the shape the operands broadcast to and the type they promote to.

    Raises:
        TypeError: for bool or other types.
        ShapeError: where the shapes do not broadcast together.

    Example:
        >>> weft.add(weft.tensor([1.0, 2.0]), 0.5)
        tensor([1.5, 2.5], dtype=float32)
    """
    return binary(E.add, "add", x, scaled(y, alpha))


@public("elementwise", "sub")
def subtract(x: Any, y: Any, /, *, alpha: Any = 1) -> Any:
    """``x - alpha * y``.

    Args, result and errors are those of `add`.

    Example:
        >>> weft.subtract(weft.tensor([1.0, 2.0]), 0.5)
        tensor([0.5, 1.5], dtype=float32)
    """
    return binary(E.subtract, "subtract", x, scaled(y, alpha))


@public("elementwise", "div", "true_divide")
def divide(x: Any, y: Any, /, *, rounding_mode: str | None = None) -> Any:
    """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers.

    Args:
        x, y: tensors or Python numbers, at least one a tensor; integer or floating-point.
        rounding_mode: None, "floor" or "trunc".

    Returns:
        A tensor of the shape the operands broadcast to.

    Raises:
        TypeError: for bool or other types.
        ShapeError: where the shapes do not broadcast together.

    Example:
        >>> weft.divide(weft.tensor([3, -3]), 2)
        tensor([ 1.5, -1.5], dtype=float32)
    """
    if rounding_mode is None:
        return binary(E.divide, "divide", x, y)
    if rounding_mode == "floor":
        return binary(E.floor_divide, "divide", x, y)
    if rounding_mode == "trunc":
        quotient = binary(E.divide, "divide", x, y)
        truncated = E.trunc(quotient)
        kinds = {o.dtype.kind if isinstance(o, Tensor) else dtypes.of_scalar(o).kind for o in (x, y)}
        return truncated if "f" in kinds else E.cast_(truncated, attrs=dtypes.default_int)
    raise ValueError(f"rounding_mode must be None, 'floor' or 'trunc', not {describe(rounding_mode)}.")


@public("elementwise", "power")
def pow(x: Any, y: Any, /) -> Any:
    """``x ** y``.

    An exponent that is the Python integer 2 is computed as ``square``, and the number 0.5 as ``sqrt``, in every mode. (A
    float that a static function takes as an argument is a run-time value, for which this cannot be known.)

    Args:
        x, y: tensors or Python numbers, at least one a tensor; integer or floating-point. An integer to a negative power
            is 0, except that of 1 and -1.

    Returns:
        A tensor of the shape the operands broadcast to and the type they promote to.

    Raises:
        TypeError: for bool or other types.
        ShapeError: where the shapes do not broadcast together.

    Example:
        >>> weft.pow(weft.tensor([1.0, 2.0]), 3)
        tensor([1., 8.], dtype=float32)
    """
    out = raised(x, y)
    return out if out.__class__ is Tensor else refused("pow", (x, y))


def raised(x: Any, y: Any) -> Any:
    """``x ** y``: the number slot."""
    if type(y) is int:
        if y == 2:
            return E.square.handle(None, x)
    elif type(y) is float and y == 0.5:
        return E.sqrt.handle(None, x)
    return E.power.handle(None, x, y)


@public("elementwise")
def positive(x: Any, /) -> Any:
    """``x`` itself.

    Example:
        >>> weft.positive(weft.tensor([1.0]))
        tensor([1.], dtype=float32)
    """
    return tensor_of(x)


@public("elementwise")
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """``x`` where the condition holds, else ``y``; with the condition alone, the positions where it holds (`nonzero`).

    Args:
        condition: a bool tensor.
        x, y: tensors or Python numbers.

    Returns:
        A tensor of the shape the three broadcast to and the type x and y promote to.

    Raises:
        TypeError: where the condition is not a bool tensor.
        ShapeError: where the shapes do not broadcast together.

    Example:
        >>> weft.where(weft.tensor([True, False]), weft.tensor([1.0, 2.0]), 0.0)
        tensor([1., 0.], dtype=float32)
    """
    if x is None and y is None:
        from weft.ops.picking import nonzero

        return nonzero(condition)
    out = E.where.handle(None, tensor_of(condition, "condition"), x, y)
    return out if out.__class__ is Tensor else refused("where", (condition, x, y))


@public("elementwise", "clamp")
def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN.

    The gradient is passed where ``min <= x <= max``.

    Args:
        x: a tensor.
        min, max: tensors or Python numbers, or None for no bound.

    Returns:
        A tensor of the shape the operands broadcast to and the type they promote to.

    Raises:
        TypeError: where neither bound is given.
        ShapeError: where the shapes do not broadcast together.

    Example:
        >>> weft.clip(weft.tensor([-1.0, 0.5, 2.0]), 0.0, 1.0)
        tensor([0. , 0.5, 1. ], dtype=float32)
    """
    out = clipped(tensor_of(x), min, max)
    return out if out.__class__ is Tensor else refused("clip", (x, min, max))


def clipped(x: Any, low: Any, high: Any) -> Any:
    """`clip` before its result is looked at."""
    if low is None and high is None:
        raise TypeError("clip needs min, max or both.")
    if low is None:
        low = -float("inf") if x.dtype.kind == "f" else None
    if high is None:
        high = float("inf") if x.dtype.kind == "f" else None
    if low is None:
        return E.minimum.handle(None, x, high)
    if high is None:
        return E.maximum.handle(None, x, low)
    return E.clip.handle(None, x, low, high)


def _truth(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x if x.dtype is dtypes.bool_ else E.cast_(x, attrs=dtypes.bool_)
    return bool(x) if isinstance(x, bool | int | float) else x


@public("elementwise")
def logical_and(x: Any, y: Any, /) -> Any:
    """Whether both are true; a number is true unless it is zero.

    Args:
        x, y: tensors or Python numbers of any type, at least one a tensor.

    Returns:
        A bool tensor of the shape the operands broadcast to.

    Raises:
        ShapeError: where the shapes do not broadcast together.

    Example:
        >>> weft.logical_and(weft.tensor([True, False]), weft.tensor([1, 1]))
        tensor([ True, False], dtype=bool)
    """
    return binary(E.bitwise_and, "logical_and", _truth(x), _truth(y))


@public("elementwise")
def logical_or(x: Any, y: Any, /) -> Any:
    """Whether one or both are true. Args, result and errors are those of `logical_and`.

    Example:
        >>> weft.logical_or(weft.tensor([True, False]), weft.tensor([0, 0]))
        tensor([ True, False], dtype=bool)
    """
    return binary(E.bitwise_or, "logical_or", _truth(x), _truth(y))


@public("elementwise")
def logical_xor(x: Any, y: Any, /) -> Any:
    """Whether exactly one is true. Args, result and errors are those of `logical_and`.

    Example:
        >>> weft.logical_xor(weft.tensor([True, False]), weft.tensor([1, 1]))
        tensor([False,  True], dtype=bool)
    """
    return binary(E.bitwise_xor, "logical_xor", _truth(x), _truth(y))


@public("elementwise")
def logical_not(x: Any, /) -> Any:
    """Whether x is false, or zero.

    Example:
        >>> weft.logical_not(weft.tensor([1, 0]))
        tensor([False,  True], dtype=bool)
    """
    return E.bitwise_invert(_truth(tensor_of(x)))


@public("elementwise")
def fmod(x: Any, y: Any, /) -> Any:
    """``x - trunc(x / y) * y``, with the sign of ``x``. Args, result and errors are those of `remainder`.

    Example:
        >>> weft.fmod(weft.tensor([7.0, -7.0]), 4.0)
        tensor([ 3., -3.], dtype=float32)
    """
    return binary(E.fmod, "fmod", x, y)


@public("elementwise")
def rsqrt(x: Any, /) -> Any:
    """``1 / sqrt(x)``.

    Example:
        >>> weft.rsqrt(weft.tensor([4.0]))
        tensor([0.5], dtype=float32)
    """
    return E.reciprocal(E.sqrt(tensor_of(x)))


@public("elementwise")
def lerp(x: Any, end: Any, weight: Any, /) -> Any:
    """``x + weight * (end - x)``.

    Example:
        >>> weft.lerp(weft.tensor([0.0, 1.0]), weft.tensor([1.0, 3.0]), 0.5)
        tensor([0.5, 2. ], dtype=float32)
    """
    tensor_of(x)
    return binary(E.add, "lerp", x, scaled(tensor_of(end, "end") - x, weight, "weight"))


@public("elementwise")
def addcmul(x: Any, a: Any, b: Any, /, *, value: float = 1) -> Any:
    """``x + value * a * b``.

    Example:
        >>> weft.addcmul(weft.tensor([1.0]), weft.tensor([2.0]), weft.tensor([3.0]), value=0.5)
        tensor([4.], dtype=float32)
    """
    at_least_one(a, b)
    return binary(E.add, "addcmul", tensor_of(x), scaled(binary(E.multiply, "addcmul", a, b), value, "value"))


@public("elementwise")
def addcdiv(x: Any, a: Any, b: Any, /, *, value: float = 1) -> Any:
    """``x + value * a / b``.

    Example:
        >>> weft.addcdiv(weft.tensor([1.0]), weft.tensor([3.0]), weft.tensor([2.0]), value=2)
        tensor([4.], dtype=float32)
    """
    at_least_one(a, b)
    return binary(E.add, "addcdiv", tensor_of(x), scaled(binary(E.divide, "addcdiv", a, b), value, "value"))


@public("elementwise")
def isclose(x: Any, y: Any, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether ``abs(x - y) <= atol + rtol * abs(y)``, element by element; infinities are close when they are equal.

    Args:
        x: a tensor.
        y: a tensor or a Python number.
        rtol, atol: the relative and the absolute tolerance, numbers.
        equal_nan: whether NaN is close to NaN.

    Example:
        >>> weft.isclose(weft.tensor([1.0, 2.0]), weft.tensor([1.0, 2.1]))
        tensor([ True, False], dtype=bool)
    """
    x, y = tensor_of(x), _compared(y, x)
    rtol, atol = operand(rtol, "rtol"), operand(atol, "atol")
    with _no_grad():
        close = E.bitwise_and(
            E.isfinite(y), E.less_equal(E.abs_(E.subtract(x, y)), E.add(E.multiply(E.abs_(y), rtol), atol))
        )
        close = E.bitwise_or(close, E.equal(x, y))
        if equal_nan:
            close = E.bitwise_or(close, E.bitwise_and(E.isnan(x), E.isnan(y)))
    return close


@public("elementwise")
def allclose(x: Any, y: Any, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether every element is close, by the rule of `isclose`: a Python bool.

    Example:
        >>> weft.allclose(weft.tensor([1.0, 2.0]), weft.tensor([1.0, 2.0]))
        True
    """
    return bool(isclose(x, y, rtol, atol, equal_nan).all())


@public("elementwise")
def array_equal(x: Any, y: Any, /) -> bool:
    """Whether two tensors have the same shape and equal elements: a Python bool.

    Example:
        >>> weft.array_equal(weft.tensor([1, 2]), weft.tensor([1, 3]))
        False
    """
    x, y = tensor_of(x), tensor_of(y, "y")
    return tuple(x.shape) == tuple(y.shape) and bool(E.equal(x, y).all())


def _compared(y: Any, x: Any) -> Any:
    """What a tensor is compared with: a tensor, or a number as one of the type it takes beside x."""
    plain = None if isinstance(y, Tensor) else python_number(y)
    if plain is None:
        return tensor_of(y, "y")
    return OPS["full"](plain, attrs=((), dtypes.promote_scalar(x.dtype, type(plain))))


def _no_grad() -> Any:
    from weft.autograd.grad_mode import no_grad

    return no_grad()


__all__ = ["ROWS", "SIGNATURES", "clipped", "raised"]
