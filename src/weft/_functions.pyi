"""What `weft` takes from tables, for type checkers. Made by `python -m weft.stubs`."""

import builtins
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from weft._native import Number, Tensor
from weft.dtypes import DType
from weft.ops.generator import Generator

from weft import autograd as autograd
from weft import data as data
from weft import examples as examples
from weft import linalg as linalg
from weft import nn as nn
from weft import ops as ops
from weft import optim as optim
from weft import viz as viz

bool: DType
half: DType
float: DType
double: DType
short: DType
int: DType
long: DType

def multiply(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x * y``."""

def mul(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x * y``."""

def floor_divide(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x / y`` rounded down; an integer by zero gives 0."""

def remainder(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x - floor(x / y) * y``, with the sign of ``y``."""

def mod(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x - floor(x / y) * y``, with the sign of ``y``."""

def negative(x: Tensor, /) -> Tensor:
    """``-x``."""

def neg(x: Tensor, /) -> Tensor:
    """``-x``."""

def abs(x: Tensor, /) -> Tensor:
    """The absolute value."""

def absolute(x: Tensor, /) -> Tensor:
    """The absolute value."""

def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; NaN for NaN."""

def sgn(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; NaN for NaN."""

def square(x: Tensor, /) -> Tensor:
    """``x * x``."""

def reciprocal(x: Tensor, /) -> Tensor:
    """``1 / x``."""

def sqrt(x: Tensor, /) -> Tensor:
    """The square root; NaN below zero."""

def maximum(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The larger of the two; NaN if either is NaN."""

def minimum(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The smaller of the two; NaN if either is NaN."""

def exp(x: Tensor, /) -> Tensor:
    """e to the power x."""

def exp2(x: Tensor, /) -> Tensor:
    """2 to the power x."""

def expm1(x: Tensor, /) -> Tensor:
    """``exp(x) - 1``, accurate near zero."""

def log(x: Tensor, /) -> Tensor:
    """The natural logarithm; -inf at zero, NaN below."""

def log2(x: Tensor, /) -> Tensor:
    """The logarithm to base 2."""

def log10(x: Tensor, /) -> Tensor:
    """The logarithm to base 10."""

def log1p(x: Tensor, /) -> Tensor:
    """``log(1 + x)``, accurate near zero."""

def logaddexp(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``log(exp(x) + exp(y))`` without overflow."""

def sin(x: Tensor, /) -> Tensor:
    """The sine of an angle in radians."""

def cos(x: Tensor, /) -> Tensor:
    """The cosine of an angle in radians."""

def tan(x: Tensor, /) -> Tensor:
    """The tangent of an angle in radians."""

def asin(x: Tensor, /) -> Tensor:
    """The inverse sine, in radians."""

def arcsin(x: Tensor, /) -> Tensor:
    """The inverse sine, in radians."""

def acos(x: Tensor, /) -> Tensor:
    """The inverse cosine, in radians."""

def arccos(x: Tensor, /) -> Tensor:
    """The inverse cosine, in radians."""

def atan(x: Tensor, /) -> Tensor:
    """The inverse tangent, in radians."""

def arctan(x: Tensor, /) -> Tensor:
    """The inverse tangent, in radians."""

def atan2(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The angle of the point (y, x), in radians."""

def arctan2(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The angle of the point (y, x), in radians."""

def sinh(x: Tensor, /) -> Tensor:
    """The hyperbolic sine."""

def cosh(x: Tensor, /) -> Tensor:
    """The hyperbolic cosine."""

def tanh(x: Tensor, /) -> Tensor:
    """The hyperbolic tangent."""

def asinh(x: Tensor, /) -> Tensor:
    """The inverse hyperbolic sine."""

def arcsinh(x: Tensor, /) -> Tensor:
    """The inverse hyperbolic sine."""

def acosh(x: Tensor, /) -> Tensor:
    """The inverse hyperbolic cosine."""

def arccosh(x: Tensor, /) -> Tensor:
    """The inverse hyperbolic cosine."""

def atanh(x: Tensor, /) -> Tensor:
    """The inverse hyperbolic tangent."""

def arctanh(x: Tensor, /) -> Tensor:
    """The inverse hyperbolic tangent."""

def hypot(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``sqrt(x * x + y * y)`` without overflow."""

def erf(x: Tensor, /) -> Tensor:
    """The error function."""

def erfc(x: Tensor, /) -> Tensor:
    """``1 - erf(x)``, accurate for large x."""

def floor(x: Tensor, /) -> Tensor:
    """The largest integer not above x."""

def ceil(x: Tensor, /) -> Tensor:
    """The smallest integer not below x."""

def trunc(x: Tensor, /) -> Tensor:
    """x without its fraction."""

def fix(x: Tensor, /) -> Tensor:
    """x without its fraction."""

def round(x: Tensor, /) -> Tensor:
    """The nearest integer, halves to the even one."""

def copysign(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """x with the sign of y."""

def nextafter(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The next number after x towards y."""

def signbit(x: Tensor, /) -> Tensor:
    """Whether the sign bit is set."""

def isnan(x: Tensor, /) -> Tensor:
    """Whether x is NaN."""

def isinf(x: Tensor, /) -> Tensor:
    """Whether x is infinite."""

def isfinite(x: Tensor, /) -> Tensor:
    """Whether x is neither infinite nor NaN."""

def equal(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x == y``, element by element."""

def eq(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x == y``, element by element."""

def not_equal(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x != y``, element by element."""

def ne(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x != y``, element by element."""

def less(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x < y``."""

def lt(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x < y``."""

def less_equal(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x <= y``."""

def le(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x <= y``."""

def greater(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x > y``."""

def gt(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x > y``."""

def greater_equal(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x >= y``."""

def ge(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x >= y``."""

def bitwise_and(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x & y``, bit by bit."""

def bitwise_or(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x | y``, bit by bit."""

def bitwise_xor(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x ^ y``, bit by bit."""

def bitwise_invert(x: Tensor, /) -> Tensor:
    """``~x``, bit by bit."""

def bitwise_not(x: Tensor, /) -> Tensor:
    """``~x``, bit by bit."""

def bitwise_left_shift(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x << y``; 0 for large y."""

def bitwise_right_shift(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x >> y``, keeping the sign."""

def add(x: Tensor | Number, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
    """``x + alpha * y``."""

def subtract(x: Tensor | Number, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
    """``x - alpha * y``."""

def sub(x: Tensor | Number, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
    """``x - alpha * y``."""

def divide(x: Tensor | Number, y: Tensor | Number, /, *, rounding_mode: builtins.str | None = None) -> Tensor:
    """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers."""

def div(x: Tensor | Number, y: Tensor | Number, /, *, rounding_mode: builtins.str | None = None) -> Tensor:
    """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers."""

def true_divide(x: Tensor | Number, y: Tensor | Number, /, *, rounding_mode: builtins.str | None = None) -> Tensor:
    """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers."""

def pow(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x ** y``."""

def power(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x ** y``."""

def positive(x: Tensor, /) -> Tensor:
    """``x`` itself."""

def where(condition: Tensor | Number, x: Tensor | Number | None = None, y: Tensor | Number | None = None, /) -> Any:
    """``x`` where the condition holds, else ``y``; with the condition alone, the positions where it holds (`nonzero`)."""

@overload
def clip(x: Tensor, /, min: Tensor | Number | None = None, max: Tensor | Number | None = None) -> Tensor:
    """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

@overload
def clip(input: Tensor, /, a_min: Tensor | Number | None = None, a_max: Tensor | Number | None = None) -> Tensor:
    """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

@overload
def clamp(x: Tensor, /, min: Tensor | Number | None = None, max: Tensor | Number | None = None) -> Tensor:
    """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

@overload
def clamp(input: Tensor, /, a_min: Tensor | Number | None = None, a_max: Tensor | Number | None = None) -> Tensor:
    """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

def logical_and(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """Whether both are true; a number is true unless it is zero."""

def logical_or(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """Whether one or both are true. Args, result and errors are those of `logical_and`."""

def logical_xor(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """Whether exactly one is true. Args, result and errors are those of `logical_and`."""

def logical_not(x: Tensor, /) -> Tensor:
    """Whether x is false, or zero."""

def fmod(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """``x - trunc(x / y) * y``, with the sign of ``x``. Args, result and errors are those of `remainder`."""

def rsqrt(x: Tensor, /) -> Tensor:
    """``1 / sqrt(x)``."""

def lerp(x: Tensor, end: Tensor | Number, weight: Tensor | Number, /) -> Tensor:
    """``x + weight * (end - x)``."""

def addcmul(x: Tensor, a: Tensor | Number, b: Tensor | Number, /, *, value: builtins.float = 1) -> Tensor:
    """``x + value * a * b``."""

def addcdiv(x: Tensor, a: Tensor | Number, b: Tensor | Number, /, *, value: builtins.float = 1) -> Tensor:
    """``x + value * a / b``."""

def isclose(x: Tensor | Number, y: Tensor | Number, /, rtol: builtins.float = 1e-05, atol: builtins.float = 1e-08, equal_nan: builtins.bool = False) -> Tensor:
    """Whether ``abs(x - y) <= atol + rtol * abs(y)``, element by element; infinities are close when they are equal."""

def allclose(x: Tensor | Number, y: Tensor | Number, /, rtol: builtins.float = 1e-05, atol: builtins.float = 1e-08, equal_nan: builtins.bool = False) -> builtins.bool:
    """Whether every element is close, by the rule of `isclose`: a Python bool."""

def array_equal(x: Tensor | Number, y: Tensor | Number, /) -> builtins.bool:
    """Whether two tensors have the same shape and equal elements: a Python bool."""

@overload
def sum(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The sum over one axis, several, or all."""

@overload
def sum(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The sum over one axis, several, or all."""

@overload
def prod(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The product over one axis, several, or all. Args, result and errors are those of `sum`."""

@overload
def prod(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The product over one axis, several, or all. Args, result and errors are those of `sum`."""

@overload
def mean(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The mean over one axis, several, or all; NaN for no elements."""

@overload
def mean(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The mean over one axis, several, or all; NaN for no elements."""

@overload
def var(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
    """The variance over one axis, several, or all: squared deviations, summed and divided by ``n - correction``."""

@overload
def var(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
    """The variance over one axis, several, or all: squared deviations, summed and divided by ``n - correction``."""

@overload
def std(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
    """The standard deviation: the square root of `var`, with the same arguments."""

@overload
def std(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
    """The standard deviation: the square root of `var`, with the same arguments."""

@overload
def max(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The largest element over one axis, several, or all; NaN where there is one."""

@overload
def max(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The largest element over one axis, several, or all; NaN where there is one."""

@overload
def amax(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The largest element over one axis, several, or all; NaN where there is one."""

@overload
def amax(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The largest element over one axis, several, or all; NaN where there is one."""

@overload
def min(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

@overload
def min(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

@overload
def amin(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

@overload
def amin(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

@overload
def any(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """Whether any element is true (not zero), over one axis, several, or all; False for no elements."""

@overload
def any(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """Whether any element is true (not zero), over one axis, several, or all; False for no elements."""

@overload
def all(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """Whether every element is true (not zero), over one axis, several, or all; True for no elements."""

@overload
def all(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """Whether every element is true (not zero), over one axis, several, or all; True for no elements."""

@overload
def count_nonzero(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The number of elements that are not zero, over one axis, several, or all."""

@overload
def count_nonzero(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The number of elements that are not zero, over one axis, several, or all."""

@overload
def argmax(x: Tensor, axis: builtins.int | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The position of the largest element along an axis, or in the flattened tensor. The first among equals; NaN wins."""

@overload
def argmax(input: Tensor, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The position of the largest element along an axis, or in the flattened tensor. The first among equals; NaN wins."""

@overload
def argmin(x: Tensor, axis: builtins.int | None = None, keepdims: builtins.bool = False) -> Tensor:
    """The position of the smallest element. As `argmax`."""

@overload
def argmin(input: Tensor, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
    """The position of the smallest element. As `argmax`."""

def masked_fill(x: Tensor, mask: Tensor, value: Tensor | Number, /) -> Tensor:
    """x with one value wherever a bool mask holds."""

def manual_seed(seed: builtins.int) -> Generator:
    """Start the default generator again from a seed. Gives the generator."""

def initial_seed() -> builtins.int:
    """The seed of the default generator."""

def get_rng_state() -> Tensor:
    """A copy of the default generator's state, a uint64 tensor."""

def set_rng_state(state: Tensor) -> None:
    """Let the default generator go on from a state that `get_rng_state` gave."""

def tensor(data: Any, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, *, device: builtins.str | None = None) -> Tensor:
    """A new tensor with these values, which are copied."""

def asarray(data: Any, dtype: DType | builtins.type | builtins.str | None = None, *, copy: builtins.bool | None = None, device: builtins.str | None = None) -> Tensor:
    """A tensor of these values, sharing memory where that is possible."""

def as_tensor(data: Any, dtype: DType | builtins.type | builtins.str | None = None, *, copy: builtins.bool | None = None, device: builtins.str | None = None) -> Tensor:
    """A tensor of these values, sharing memory where that is possible."""

def from_numpy(array: Any) -> Tensor:
    """A tensor over a NumPy array's memory: a change of one is seen in the other."""

def from_dlpack(x: Tensor) -> Tensor:
    """A tensor over the memory of another library's array, through the DLPack protocol."""

def empty(*shape: builtins.int | Sequence[builtins.int], dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, device: builtins.str | None = None) -> Tensor:
    """A new tensor whose values are whatever the memory held."""

def zeros(*shape: builtins.int | Sequence[builtins.int], dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, device: builtins.str | None = None) -> Tensor:
    """A new tensor of zeros."""

def ones(*shape: builtins.int | Sequence[builtins.int], dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, device: builtins.str | None = None) -> Tensor:
    """A new tensor of ones. Args and errors are those of `zeros`."""

@overload
def full(shape: builtins.int | Sequence[builtins.int], fill_value: Tensor | Number, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, device: builtins.str | None = None) -> Tensor:
    """A new tensor with one value everywhere."""

@overload
def full(size: builtins.int | Sequence[builtins.int], fill_value: Tensor | Number, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, device: builtins.str | None = None) -> Tensor:
    """A new tensor with one value everywhere."""

def zeros_like(x: Tensor, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """Zeros of another tensor's shape and type."""

def ones_like(x: Tensor, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """Ones of another tensor's shape and type."""

def full_like(x: Tensor, fill_value: Tensor | Number, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """One value everywhere, in another tensor's shape and type."""

def empty_like(x: Tensor, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """As `empty`, in another tensor's shape and type."""

def arange(start: Number, stop: Number | None = None, step: Number = 1, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False, device: builtins.str | None = None) -> Tensor:
    """Numbers from ``start`` (0 if only one is given) up to, not including, ``stop``."""

@overload
def linspace(start: builtins.float, stop: builtins.float, num: builtins.int, *, dtype: DType | builtins.type | builtins.str | None = None, endpoint: builtins.bool = True, requires_grad: builtins.bool = False) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, both included unless ``endpoint`` is False."""

@overload
def linspace(start: builtins.float, stop: builtins.float, steps: builtins.int, *, dtype: DType | builtins.type | builtins.str | None = None, endpoint: builtins.bool = True, requires_grad: builtins.bool = False) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, both included unless ``endpoint`` is False."""

@overload
def eye(n: builtins.int, m: builtins.int | None = None, *, k: builtins.int = 0, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """A matrix with ones on a diagonal and zeros elsewhere."""

@overload
def eye(n: builtins.int, m: builtins.int | None = None, *, diagonal: builtins.int = 0, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """A matrix with ones on a diagonal and zeros elsewhere."""

@overload
def tril(x: Tensor, k: builtins.int = 0) -> Tensor:
    """The elements on and below a diagonal of the last two axes, and zeros above."""

@overload
def tril(input: Tensor, diagonal: builtins.int = 0) -> Tensor:
    """The elements on and below a diagonal of the last two axes, and zeros above."""

@overload
def triu(x: Tensor, k: builtins.int = 0) -> Tensor:
    """The elements on and above a diagonal of the last two axes, and zeros below. As `tril`."""

@overload
def triu(input: Tensor, diagonal: builtins.int = 0) -> Tensor:
    """The elements on and above a diagonal of the last two axes, and zeros below. As `tril`."""

def meshgrid(*tensors: Tensor, indexing: builtins.str = 'xy') -> builtins.list[Tensor]:
    """Coordinate grids of one-dimensional tensors: one tensor for each, expanded to all their sizes."""

def rand(*shape: builtins.int | Sequence[builtins.int], dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """Numbers drawn evenly from [0, 1)."""

def randn(*shape: builtins.int | Sequence[builtins.int], dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """Numbers drawn from the normal distribution with mean 0 and variance 1. Args are those of `rand`."""

def rand_like(x: Tensor, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """`rand` in another tensor's shape and type."""

def randn_like(x: Tensor, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None, requires_grad: builtins.bool = False) -> Tensor:
    """`randn` in another tensor's shape and type."""

@overload
def randint(low: builtins.int, high: builtins.int | None = None, shape: builtins.int | Sequence[builtins.int] | None = None, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None) -> Tensor:
    """Integers drawn evenly from ``low`` (0 if only one bound is given) up to, not including, ``high``."""

@overload
def randint(low: builtins.int, high: builtins.int | None = None, size: builtins.int | Sequence[builtins.int] | None = None, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None) -> Tensor:
    """Integers drawn evenly from ``low`` (0 if only one bound is given) up to, not including, ``high``."""

def randperm(n: builtins.int, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None) -> Tensor:
    """The integers from 0 to ``n - 1`` in random order."""

def bernoulli(p: Tensor | Number, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element gives, else 0, in the type of ``p``."""

@overload
def normal(mean: Tensor | Number = 0.0, std: Tensor | Number = 1.0, shape: builtins.int | Sequence[builtins.int] | None = None, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None) -> Tensor:
    """Numbers drawn from the normal distribution with a mean and a standard deviation, which may be tensors."""

@overload
def normal(mean: Tensor | Number = 0.0, std: Tensor | Number = 1.0, size: builtins.int | Sequence[builtins.int] | None = None, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None) -> Tensor:
    """Numbers drawn from the normal distribution with a mean and a standard deviation, which may be tensors."""

def dropout(x: Tensor, p: builtins.float = 0.5, training: builtins.bool = True, *, generator: Generator | None = None) -> Tensor:
    """x with elements zeroed with probability p and the others scaled by ``1 / (1 - p)``; x itself when not training."""

def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: builtins.float = 0.0, is_causal: builtins.bool = False, scale: builtins.float | None = None, enable_gqa: builtins.bool = False) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value``, in blocks, without holding all the scores at once."""

def view(x: Tensor, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
    """A view of x's memory with another shape; as `reshape`, but an error where that would need a copy."""

@overload
def flatten(x: Tensor, start_axis: builtins.int = 0, end_axis: builtins.int = -1) -> Tensor:
    """The axes from ``start_axis`` to ``end_axis`` joined into one (``start_dim`` and ``end_dim`` in PyTorch)."""

@overload
def flatten(input: Tensor, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
    """The axes from ``start_axis`` to ``end_axis`` joined into one (``start_dim`` and ``end_dim`` in PyTorch)."""

def ravel(x: Tensor) -> Tensor:
    """All elements in one axis, row by row."""

@overload
def unflatten(x: Tensor, axis: builtins.int, shape: Sequence[builtins.int]) -> Tensor:
    """One axis split into several."""

@overload
def unflatten(input: Tensor, dim: builtins.int, size: Sequence[builtins.int]) -> Tensor:
    """One axis split into several."""

def transpose(x: Tensor, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
    """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy."""

def swapaxes(x: Tensor, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
    """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy."""

def swapdims(x: Tensor, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
    """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy."""

def moveaxis(x: Tensor, source: builtins.int | Sequence[builtins.int], destination: builtins.int | Sequence[builtins.int], /) -> Tensor:
    """Axes moved to other places; the rest keep their order."""

def movedim(x: Tensor, source: builtins.int | Sequence[builtins.int], destination: builtins.int | Sequence[builtins.int], /) -> Tensor:
    """Axes moved to other places; the rest keep their order."""

@overload
def squeeze(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
    """Without axes of size 1: all of them, or those given (an axis of another size is kept, as in PyTorch)."""

@overload
def squeeze(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
    """Without axes of size 1: all of them, or those given (an axis of another size is kept, as in PyTorch)."""

@overload
def unsqueeze(x: Tensor, axis: builtins.int = 0) -> Tensor:
    """With a new axis of size 1 at a place."""

@overload
def unsqueeze(input: Tensor, dim: builtins.int = 0) -> Tensor:
    """With a new axis of size 1 at a place."""

@overload
def expand_dims(x: Tensor, axis: builtins.int = 0) -> Tensor:
    """With a new axis of size 1 at a place."""

@overload
def expand_dims(input: Tensor, dim: builtins.int = 0) -> Tensor:
    """With a new axis of size 1 at a place."""

def broadcast_to(x: Tensor, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
    """x seen with a larger shape, to which its own broadcasts: a view that repeats elements without copying."""

def broadcast_tensors(*tensors: Tensor) -> builtins.list[Tensor]:
    """Several tensors expanded to the shape they broadcast to."""

def reshape(x: Tensor, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
    """The same elements, row by row, in another shape: a view where strides can say it, else a copy."""

def permute(x: Tensor, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
    """All axes in another order: a view."""

def permute_dims(x: Tensor, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
    """All axes in another order: a view."""

def expand(x: Tensor, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
    """As `broadcast_to`; a size of -1 keeps the axis as it is."""

@overload
def flip(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
    """The order of elements reversed along axes (all by default): a view with negative strides."""

@overload
def flip(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
    """The order of elements reversed along axes (all by default): a view with negative strides."""

@overload
def narrow(x: Tensor, axis: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
    """The positions ``start`` to ``start + length - 1`` of one axis: a view."""

@overload
def narrow(input: Tensor, dim: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
    """The positions ``start`` to ``start + length - 1`` of one axis: a view."""

@overload
def split(x: Tensor, sizes: builtins.int | Sequence[builtins.int], axis: builtins.int = 0) -> builtins.list[Tensor]:
    """Parts of one axis, as views."""

@overload
def split(input: Tensor, sizes: builtins.int | Sequence[builtins.int], dim: builtins.int = 0) -> builtins.list[Tensor]:
    """Parts of one axis, as views."""

@overload
def chunk(x: Tensor, chunks: builtins.int, axis: builtins.int = 0) -> builtins.list[Tensor]:
    """One axis in at most so many parts of equal size (the last may be smaller), as views."""

@overload
def chunk(input: Tensor, chunks: builtins.int, dim: builtins.int = 0) -> builtins.list[Tensor]:
    """One axis in at most so many parts of equal size (the last may be smaller), as views."""

@overload
def unbind(x: Tensor, axis: builtins.int = 0) -> builtins.list[Tensor]:
    """One view for each position of an axis, without that axis."""

@overload
def unbind(input: Tensor, dim: builtins.int = 0) -> builtins.list[Tensor]:
    """One view for each position of an axis, without that axis."""

@overload
def unstack(x: Tensor, axis: builtins.int = 0) -> builtins.list[Tensor]:
    """One view for each position of an axis, without that axis."""

@overload
def unstack(input: Tensor, dim: builtins.int = 0) -> builtins.list[Tensor]:
    """One view for each position of an axis, without that axis."""

@overload
def concat(tensors: Sequence[Tensor], axis: builtins.int | None = 0) -> Tensor:
    """Tensors one after another along an axis; with axis None, flattened first."""

@overload
def concat(tensors: Sequence[Tensor], dim: builtins.int | None = 0) -> Tensor:
    """Tensors one after another along an axis; with axis None, flattened first."""

@overload
def cat(tensors: Sequence[Tensor], axis: builtins.int | None = 0) -> Tensor:
    """Tensors one after another along an axis; with axis None, flattened first."""

@overload
def cat(tensors: Sequence[Tensor], dim: builtins.int | None = 0) -> Tensor:
    """Tensors one after another along an axis; with axis None, flattened first."""

@overload
def concatenate(tensors: Sequence[Tensor], axis: builtins.int | None = 0) -> Tensor:
    """Tensors one after another along an axis; with axis None, flattened first."""

@overload
def concatenate(tensors: Sequence[Tensor], dim: builtins.int | None = 0) -> Tensor:
    """Tensors one after another along an axis; with axis None, flattened first."""

@overload
def stack(tensors: Sequence[Tensor], axis: builtins.int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""

@overload
def stack(tensors: Sequence[Tensor], dim: builtins.int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""

def tile(x: Tensor, *counts: builtins.int | Sequence[builtins.int]) -> Tensor:
    """The whole tensor repeated along each axis: a new tensor. `repeat` is the same with PyTorch's name."""

@overload
def repeat_interleave(x: Tensor, repeats: builtins.int, axis: builtins.int | None = None) -> Tensor:
    """Each element repeated, along one axis or in the flattened tensor."""

@overload
def repeat_interleave(input: Tensor, repeats: builtins.int, dim: builtins.int | None = None) -> Tensor:
    """Each element repeated, along one axis or in the flattened tensor."""

@overload
def roll(x: Tensor, shifts: builtins.int | Sequence[builtins.int], axis: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
    """Elements shifted along axes, those pushed out coming in at the other end; with axis None, of the flattened tensor."""

@overload
def roll(input: Tensor, shifts: builtins.int | Sequence[builtins.int], dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
    """Elements shifted along axes, those pushed out coming in at the other end; with axis None, of the flattened tensor."""

def pad(x: Tensor, widths: builtins.int | Sequence[builtins.int] | Sequence[Sequence[builtins.int]], value: builtins.float = 0) -> Tensor:
    """A border of one value around a tensor."""

@overload
def cumsum(x: Tensor, axis: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The running sums along an axis, or over all elements row by row."""

@overload
def cumsum(input: Tensor, dim: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The running sums along an axis, or over all elements row by row."""

@overload
def cumprod(x: Tensor, axis: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The running products along an axis, or over all elements row by row. Args, result and errors are those of `cumsum`."""

@overload
def cumprod(input: Tensor, dim: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The running products along an axis, or over all elements row by row. Args, result and errors are those of `cumsum`."""

@overload
def cumulative_sum(x: Tensor, *, axis: builtins.int | None = None, dtype: DType | builtins.type | builtins.str | None = None, include_initial: builtins.bool = False) -> Tensor:
    """The running sums along an axis, as the array API has them. See `cumsum`."""

@overload
def cumulative_sum(input: Tensor, *, dim: builtins.int | None = None, dtype: DType | builtins.type | builtins.str | None = None, include_initial: builtins.bool = False) -> Tensor:
    """The running sums along an axis, as the array API has them. See `cumsum`."""

@overload
def cumulative_prod(x: Tensor, *, axis: builtins.int | None = None, dtype: DType | builtins.type | builtins.str | None = None, include_initial: builtins.bool = False) -> Tensor:
    """The running products along an axis, as the array API has them. Args and errors are those of `cumulative_sum`."""

@overload
def cumulative_prod(input: Tensor, *, dim: builtins.int | None = None, dtype: DType | builtins.type | builtins.str | None = None, include_initial: builtins.bool = False) -> Tensor:
    """The running products along an axis, as the array API has them. Args and errors are those of `cumulative_sum`."""

def einsum(subscripts: builtins.str, /, *operands: Tensor) -> Tensor:
    """The sum of products that subscripts describe, in Einstein's notation."""

def matmul(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The matrix product ``x @ y``."""

def mm(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The product of two matrices [m, k] and [k, n]. See `matmul`."""

def bmm(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The products of two stacks of matrices [b, m, k] and [b, k, n]. See `matmul`."""

def dot(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The sum of the products of two vectors [k]."""

def vdot(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The sum of the products of the elements of two tensors of any shapes, row by row, with equally many elements."""

@overload
def vecdot(x: Tensor | Number, y: Tensor | Number, /, *, axis: builtins.int = -1) -> Tensor:
    """The sums of the products of vectors along an axis. The other axes broadcast."""

@overload
def vecdot(input: Tensor | Number, y: Tensor | Number, /, *, dim: builtins.int = -1) -> Tensor:
    """The sums of the products of vectors along an axis. The other axes broadcast."""

def outer(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The matrix [m, n] of the products of the elements of two vectors [m] and [n]."""

def inner(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The sums of products over the last axes of two tensors; the product, if one of them has no axes."""

@overload
def tensordot(x: Tensor | Number, y: Tensor | Number, /, axes: builtins.int | Sequence[builtins.int] | Sequence[Sequence[builtins.int]] = 2) -> Tensor:
    """The sum of products over pairs of axes."""

@overload
def tensordot(input: Tensor | Number, y: Tensor | Number, /, dims: builtins.int | Sequence[builtins.int] | Sequence[Sequence[builtins.int]] = 2) -> Tensor:
    """The sum of products over pairs of axes."""

def multi_dot(tensors: Sequence[Tensor], /) -> Tensor:
    """The product of several matrices in the order of multiplication that takes the fewest steps."""

def kron(x: Tensor | Number, y: Tensor | Number, /) -> Tensor:
    """The Kronecker product: each element of x replaced by its product with all of y."""

@overload
def diagonal(x: Tensor, offset: builtins.int = 0, axis1: builtins.int = 0, axis2: builtins.int = 1) -> Tensor:
    """The diagonal of two axes, as the last axis: a view where x is contiguous, else a copy."""

@overload
def diagonal(input: Tensor, offset: builtins.int = 0, dim1: builtins.int = 0, dim2: builtins.int = 1) -> Tensor:
    """The diagonal of two axes, as the last axis: a view where x is contiguous, else a copy."""

@overload
def trace(x: Tensor, offset: builtins.int = 0, axis1: builtins.int = 0, axis2: builtins.int = 1) -> Tensor:
    """The sum of a `diagonal`, whose arguments and errors these are, in x's type."""

@overload
def trace(input: Tensor, offset: builtins.int = 0, dim1: builtins.int = 0, dim2: builtins.int = 1) -> Tensor:
    """The sum of a `diagonal`, whose arguments and errors these are, in x's type."""

def sigmoid(x: Tensor, /) -> Tensor:
    """``1 / (1 + exp(-x))``."""

def relu(x: Tensor, /) -> Tensor:
    """``max(x, 0)``; its gradient at 0 is 0."""

def leaky_relu(x: Tensor, negative_slope: builtins.float = 0.01) -> Tensor:
    """x above 0, ``negative_slope * x`` below."""

def elu(x: Tensor, alpha: builtins.float = 1.0) -> Tensor:
    """x above 0, ``alpha * (exp(x) - 1)`` below."""

def silu(x: Tensor, /) -> Tensor:
    """``x * sigmoid(x)``."""

def swish(x: Tensor, /) -> Tensor:
    """``x * sigmoid(x)``."""

def softplus(x: Tensor, /) -> Tensor:
    """``log(1 + exp(x))``."""

def gelu(x: Tensor, approximate: builtins.str = 'none') -> Tensor:
    """x times the normal distribution's probability of a smaller number."""

@overload
def softmax(x: Tensor, axis: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow."""

@overload
def softmax(input: Tensor, dim: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow."""

@overload
def log_softmax(x: Tensor, axis: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The logarithm of `softmax`, computed without it."""

@overload
def log_softmax(input: Tensor, dim: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The logarithm of `softmax`, computed without it."""

@overload
def logsumexp(x: Tensor, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over one axis, several, or all, without overflow. Args are those of `sum`."""

@overload
def logsumexp(input: Tensor, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over one axis, several, or all, without overflow. Args are those of `sum`."""

def layer_norm(x: Tensor, normalized_shape: builtins.int | Sequence[builtins.int], weight: Tensor | None = None, bias: Tensor | None = None, eps: builtins.float = 1e-05) -> Tensor:
    """The last axes with mean 0 and variance 1, then scaled and shifted."""

def rms_norm(x: Tensor, normalized_shape: builtins.int | Sequence[builtins.int], weight: Tensor | None = None, eps: builtins.float | None = None) -> Tensor:
    """The last axes divided by the root of the mean of their squares, then scaled."""

def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``."""

def cross_entropy(x: Tensor, target: Tensor, *, reduction: builtins.str = 'mean', label_smoothing: builtins.float = 0.0) -> Tensor:
    """The cross entropy between unnormalised logits and targets: ``-log_softmax(x)`` at the target."""

def nll_loss(x: Tensor, target: Tensor, *, reduction: builtins.str = 'mean') -> Tensor:
    """The negative log-likelihood of labels, given log-probabilities (what `log_softmax` gives)."""

def mse_loss(x: Tensor, target: Tensor, *, reduction: builtins.str = 'mean') -> Tensor:
    """The squared differences of two tensors of one shape: their mean, their sum, or each."""

def mse(x: Tensor, target: Tensor, *, reduction: builtins.str = 'mean') -> Tensor:
    """The squared differences of two tensors of one shape: their mean, their sum, or each."""

def l1_loss(x: Tensor, target: Tensor, *, reduction: builtins.str = 'mean') -> Tensor:
    """The absolute differences of two tensors of one shape. As `mse_loss`."""

def binary_cross_entropy_with_logits(x: Tensor, target: Tensor, *, reduction: builtins.str = 'mean') -> Tensor:
    """The cross entropy of ``sigmoid(x)`` against targets from 0 to 1. As `mse_loss`."""

@overload
def norm(x: Tensor, ord: builtins.float = 2, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The vector norm of the elements over one axis, several, or all: ``sum(abs(x)**ord)**(1/ord)``."""

@overload
def norm(input: Tensor, p: builtins.float = 2, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The vector norm of the elements over one axis, several, or all: ``sum(abs(x)**ord)**(1/ord)``."""

@overload
def matrix_norm(x: Tensor, ord: builtins.str | builtins.float = 'fro', axis: builtins.tuple[builtins.int, builtins.int] = (-2, -1), keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The norms of matrices."""

@overload
def matrix_norm(input: Tensor, p: builtins.str | builtins.float = 'fro', dim: builtins.tuple[builtins.int, builtins.int] = (-2, -1), keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
    """The norms of matrices."""

def nonzero(x: Tensor, as_tuple: builtins.bool = True) -> Any:
    """The positions of the elements that are not zero, row by row."""

def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """The elements where a mask of the same shape holds, in one axis: ``x[mask]``."""

@overload
def take(x: Tensor, indices: Tensor, axis: builtins.int | None = None) -> Tensor:
    """The elements at positions along an axis; with axis None, of the flattened tensor."""

@overload
def take(input: Tensor, indices: Tensor, dim: builtins.int | None = None) -> Tensor:
    """The elements at positions along an axis; with axis None, of the flattened tensor."""

@overload
def index_select(x: Tensor, axis: builtins.int, index: Tensor) -> Tensor:
    """`take` with PyTorch's name and order of arguments."""

@overload
def index_select(input: Tensor, dim: builtins.int, index: Tensor) -> Tensor:
    """`take` with PyTorch's name and order of arguments."""

@overload
def take_along_axis(x: Tensor, indices: Tensor, axis: builtins.int = -1) -> Tensor:
    """For every other position, the elements that ``indices`` names along an axis; other axes broadcast."""

@overload
def take_along_axis(input: Tensor, indices: Tensor, dim: builtins.int = -1) -> Tensor:
    """For every other position, the elements that ``indices`` names along an axis; other axes broadcast."""

@overload
def gather(x: Tensor, axis: builtins.int, index: Tensor) -> Tensor:
    """``out[i][j] = x[index[i][j]][j]`` for axis 0, and so on for other axes, as in PyTorch."""

@overload
def gather(input: Tensor, dim: builtins.int, index: Tensor) -> Tensor:
    """``out[i][j] = x[index[i][j]][j]`` for axis 0, and so on for other axes, as in PyTorch."""

@overload
def scatter(x: Tensor, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x in which the positions that `gather` would read are set; the last of equal positions stays."""

@overload
def scatter(input: Tensor, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x in which the positions that `gather` would read are set; the last of equal positions stays."""

@overload
def scatter_add(x: Tensor, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x to which the source is added at the positions that `gather` would read, one after another."""

@overload
def scatter_add(input: Tensor, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x to which the source is added at the positions that `gather` would read, one after another."""

@overload
def index_add(x: Tensor, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x to whose slices along an axis those of a source are added, one after another."""

@overload
def index_add(input: Tensor, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of x to whose slices along an axis those of a source are added, one after another."""

def one_hot(index: Tensor, num_classes: builtins.int) -> Tensor:
    """A new last axis that holds 1 at the index and 0 elsewhere."""

def astype(x: Tensor, dtype: DType | builtins.type | builtins.str, *, copy: builtins.bool = False) -> Tensor:
    """The tensor in another type. See `Tensor.to`."""

def cast(x: Tensor, dtype: DType | builtins.type | builtins.str, *, copy: builtins.bool = False) -> Tensor:
    """The tensor in another type. See `Tensor.to`."""

def clone(x: Tensor) -> Tensor:
    """A copy, contiguous and on the tape."""

