"""What `Tensor` has besides what it is natively, for type checkers. Made by `python -m weft.stubs`."""

import builtins
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from weft._native import Number, Tensor
from weft.dtypes import DType
from weft.ops.generator import Generator

class Methods:
    def multiply(self, y: Tensor | Number, /) -> Tensor:
        """``x * y``."""

    def mul(self, y: Tensor | Number, /) -> Tensor:
        """``x * y``."""

    def floor_divide(self, y: Tensor | Number, /) -> Tensor:
        """``x / y`` rounded down; an integer by zero gives 0."""

    def remainder(self, y: Tensor | Number, /) -> Tensor:
        """``x - floor(x / y) * y``, with the sign of ``y``."""

    def mod(self, y: Tensor | Number, /) -> Tensor:
        """``x - floor(x / y) * y``, with the sign of ``y``."""

    def negative(self, /) -> Tensor:
        """``-x``."""

    def neg(self, /) -> Tensor:
        """``-x``."""

    def abs(self, /) -> Tensor:
        """The absolute value."""

    def absolute(self, /) -> Tensor:
        """The absolute value."""

    def sign(self, /) -> Tensor:
        """-1, 0 or 1; NaN for NaN."""

    def sgn(self, /) -> Tensor:
        """-1, 0 or 1; NaN for NaN."""

    def square(self, /) -> Tensor:
        """``x * x``."""

    def reciprocal(self, /) -> Tensor:
        """``1 / x``."""

    def sqrt(self, /) -> Tensor:
        """The square root; NaN below zero."""

    def maximum(self, y: Tensor | Number, /) -> Tensor:
        """The larger of the two; NaN if either is NaN."""

    def minimum(self, y: Tensor | Number, /) -> Tensor:
        """The smaller of the two; NaN if either is NaN."""

    def exp(self, /) -> Tensor:
        """e to the power x."""

    def exp2(self, /) -> Tensor:
        """2 to the power x."""

    def expm1(self, /) -> Tensor:
        """``exp(x) - 1``, accurate near zero."""

    def log(self, /) -> Tensor:
        """The natural logarithm; -inf at zero, NaN below."""

    def log2(self, /) -> Tensor:
        """The logarithm to base 2."""

    def log10(self, /) -> Tensor:
        """The logarithm to base 10."""

    def log1p(self, /) -> Tensor:
        """``log(1 + x)``, accurate near zero."""

    def logaddexp(self, y: Tensor | Number, /) -> Tensor:
        """``log(exp(x) + exp(y))`` without overflow."""

    def sin(self, /) -> Tensor:
        """The sine of an angle in radians."""

    def cos(self, /) -> Tensor:
        """The cosine of an angle in radians."""

    def tan(self, /) -> Tensor:
        """The tangent of an angle in radians."""

    def asin(self, /) -> Tensor:
        """The inverse sine, in radians."""

    def arcsin(self, /) -> Tensor:
        """The inverse sine, in radians."""

    def acos(self, /) -> Tensor:
        """The inverse cosine, in radians."""

    def arccos(self, /) -> Tensor:
        """The inverse cosine, in radians."""

    def atan(self, /) -> Tensor:
        """The inverse tangent, in radians."""

    def arctan(self, /) -> Tensor:
        """The inverse tangent, in radians."""

    def atan2(self, y: Tensor | Number, /) -> Tensor:
        """The angle of the point (y, x), in radians."""

    def arctan2(self, y: Tensor | Number, /) -> Tensor:
        """The angle of the point (y, x), in radians."""

    def sinh(self, /) -> Tensor:
        """The hyperbolic sine."""

    def cosh(self, /) -> Tensor:
        """The hyperbolic cosine."""

    def tanh(self, /) -> Tensor:
        """The hyperbolic tangent."""

    def asinh(self, /) -> Tensor:
        """The inverse hyperbolic sine."""

    def arcsinh(self, /) -> Tensor:
        """The inverse hyperbolic sine."""

    def acosh(self, /) -> Tensor:
        """The inverse hyperbolic cosine."""

    def arccosh(self, /) -> Tensor:
        """The inverse hyperbolic cosine."""

    def atanh(self, /) -> Tensor:
        """The inverse hyperbolic tangent."""

    def arctanh(self, /) -> Tensor:
        """The inverse hyperbolic tangent."""

    def hypot(self, y: Tensor | Number, /) -> Tensor:
        """``sqrt(x * x + y * y)`` without overflow."""

    def erf(self, /) -> Tensor:
        """The error function."""

    def erfc(self, /) -> Tensor:
        """``1 - erf(x)``, accurate for large x."""

    def floor(self, /) -> Tensor:
        """The largest integer not above x."""

    def ceil(self, /) -> Tensor:
        """The smallest integer not below x."""

    def trunc(self, /) -> Tensor:
        """x without its fraction."""

    def fix(self, /) -> Tensor:
        """x without its fraction."""

    def round(self, /) -> Tensor:
        """The nearest integer, halves to the even one."""

    def copysign(self, y: Tensor | Number, /) -> Tensor:
        """x with the sign of y."""

    def nextafter(self, y: Tensor | Number, /) -> Tensor:
        """The next number after x towards y."""

    def signbit(self, /) -> Tensor:
        """Whether the sign bit is set."""

    def isnan(self, /) -> Tensor:
        """Whether x is NaN."""

    def isinf(self, /) -> Tensor:
        """Whether x is infinite."""

    def isfinite(self, /) -> Tensor:
        """Whether x is neither infinite nor NaN."""

    def equal(self, y: Tensor | Number, /) -> Tensor:
        """``x == y``, element by element."""

    def eq(self, y: Tensor | Number, /) -> Tensor:
        """``x == y``, element by element."""

    def not_equal(self, y: Tensor | Number, /) -> Tensor:
        """``x != y``, element by element."""

    def ne(self, y: Tensor | Number, /) -> Tensor:
        """``x != y``, element by element."""

    def less(self, y: Tensor | Number, /) -> Tensor:
        """``x < y``."""

    def lt(self, y: Tensor | Number, /) -> Tensor:
        """``x < y``."""

    def less_equal(self, y: Tensor | Number, /) -> Tensor:
        """``x <= y``."""

    def le(self, y: Tensor | Number, /) -> Tensor:
        """``x <= y``."""

    def greater(self, y: Tensor | Number, /) -> Tensor:
        """``x > y``."""

    def gt(self, y: Tensor | Number, /) -> Tensor:
        """``x > y``."""

    def greater_equal(self, y: Tensor | Number, /) -> Tensor:
        """``x >= y``."""

    def ge(self, y: Tensor | Number, /) -> Tensor:
        """``x >= y``."""

    def bitwise_and(self, y: Tensor | Number, /) -> Tensor:
        """``x & y``, bit by bit."""

    def bitwise_or(self, y: Tensor | Number, /) -> Tensor:
        """``x | y``, bit by bit."""

    def bitwise_xor(self, y: Tensor | Number, /) -> Tensor:
        """``x ^ y``, bit by bit."""

    def bitwise_invert(self, /) -> Tensor:
        """``~x``, bit by bit."""

    def bitwise_not(self, /) -> Tensor:
        """``~x``, bit by bit."""

    def bitwise_left_shift(self, y: Tensor | Number, /) -> Tensor:
        """``x << y``; 0 for large y."""

    def bitwise_right_shift(self, y: Tensor | Number, /) -> Tensor:
        """``x >> y``, keeping the sign."""

    def add(self, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
        """``x + alpha * y``."""

    def subtract(self, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
        """``x - alpha * y``."""

    def sub(self, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
        """``x - alpha * y``."""

    def divide(self, y: Tensor | Number, /, *, rounding_mode: builtins.str | None = None) -> Tensor:
        """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers."""

    def div(self, y: Tensor | Number, /, *, rounding_mode: builtins.str | None = None) -> Tensor:
        """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers."""

    def true_divide(self, y: Tensor | Number, /, *, rounding_mode: builtins.str | None = None) -> Tensor:
        """``x / y``, always in floating point; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers."""

    def pow(self, y: Tensor | Number, /) -> Tensor:
        """``x ** y``."""

    def power(self, y: Tensor | Number, /) -> Tensor:
        """``x ** y``."""

    def positive(self, /) -> Tensor:
        """``x`` itself."""

    def where(self, x: Tensor | Number | None = None, y: Tensor | Number | None = None, /) -> Any:
        """``x`` where the condition holds, else ``y``; with the condition alone, the positions where it holds (`nonzero`)."""

    @overload
    def clip(self, /, min: Tensor | Number | None = None, max: Tensor | Number | None = None) -> Tensor:
        """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

    @overload
    def clip(self, /, a_min: Tensor | Number | None = None, a_max: Tensor | Number | None = None) -> Tensor:
        """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

    @overload
    def clamp(self, /, min: Tensor | Number | None = None, max: Tensor | Number | None = None) -> Tensor:
        """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

    @overload
    def clamp(self, /, a_min: Tensor | Number | None = None, a_max: Tensor | Number | None = None) -> Tensor:
        """``x`` held between two bounds: ``minimum(maximum(x, min), max)``. NaN stays NaN."""

    def logical_and(self, y: Tensor | Number, /) -> Tensor:
        """Whether both are true; a number is true unless it is zero."""

    def logical_or(self, y: Tensor | Number, /) -> Tensor:
        """Whether one or both are true. Args, result and errors are those of `logical_and`."""

    def logical_xor(self, y: Tensor | Number, /) -> Tensor:
        """Whether exactly one is true. Args, result and errors are those of `logical_and`."""

    def logical_not(self, /) -> Tensor:
        """Whether x is false, or zero."""

    def fmod(self, y: Tensor | Number, /) -> Tensor:
        """``x - trunc(x / y) * y``, with the sign of ``x``. Args, result and errors are those of `remainder`."""

    def rsqrt(self, /) -> Tensor:
        """``1 / sqrt(x)``."""

    def lerp(self, end: Tensor | Number, weight: Tensor | Number, /) -> Tensor:
        """``x + weight * (end - x)``."""

    def addcmul(self, a: Tensor | Number, b: Tensor | Number, /, *, value: builtins.float = 1) -> Tensor:
        """``x + value * a * b``."""

    def addcdiv(self, a: Tensor | Number, b: Tensor | Number, /, *, value: builtins.float = 1) -> Tensor:
        """``x + value * a / b``."""

    def isclose(self, y: Tensor | Number, /, rtol: builtins.float = 1e-05, atol: builtins.float = 1e-08, equal_nan: builtins.bool = False) -> Tensor:
        """Whether ``abs(x - y) <= atol + rtol * abs(y)``, element by element; infinities are close when they are equal."""

    def allclose(self, y: Tensor | Number, /, rtol: builtins.float = 1e-05, atol: builtins.float = 1e-08, equal_nan: builtins.bool = False) -> builtins.bool:
        """Whether every element is close, by the rule of `isclose`: a Python bool."""

    def array_equal(self, y: Tensor | Number, /) -> builtins.bool:
        """Whether two tensors have the same shape and equal elements: a Python bool."""

    @overload
    def sum(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The sum over one axis, several, or all."""

    @overload
    def sum(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The sum over one axis, several, or all."""

    @overload
    def prod(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The product over one axis, several, or all. Args, result and errors are those of `sum`."""

    @overload
    def prod(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The product over one axis, several, or all. Args, result and errors are those of `sum`."""

    @overload
    def mean(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The mean over one axis, several, or all; NaN for no elements."""

    @overload
    def mean(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The mean over one axis, several, or all; NaN for no elements."""

    @overload
    def var(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
        """The variance over one axis, several, or all: squared deviations, summed and divided by ``n - correction``."""

    @overload
    def var(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
        """The variance over one axis, several, or all: squared deviations, summed and divided by ``n - correction``."""

    @overload
    def std(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
        """The standard deviation: the square root of `var`, with the same arguments."""

    @overload
    def std(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, correction: builtins.float | None = None, unbiased: builtins.bool | None = None) -> Tensor:
        """The standard deviation: the square root of `var`, with the same arguments."""

    @overload
    def max(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The largest element over one axis, several, or all; NaN where there is one."""

    @overload
    def max(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The largest element over one axis, several, or all; NaN where there is one."""

    @overload
    def amax(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The largest element over one axis, several, or all; NaN where there is one."""

    @overload
    def amax(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The largest element over one axis, several, or all; NaN where there is one."""

    @overload
    def min(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

    @overload
    def min(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

    @overload
    def amin(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

    @overload
    def amin(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The smallest element over one axis, several, or all; NaN where there is one. As `max`."""

    @overload
    def any(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """Whether any element is true (not zero), over one axis, several, or all; False for no elements."""

    @overload
    def any(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """Whether any element is true (not zero), over one axis, several, or all; False for no elements."""

    @overload
    def all(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """Whether every element is true (not zero), over one axis, several, or all; True for no elements."""

    @overload
    def all(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """Whether every element is true (not zero), over one axis, several, or all; True for no elements."""

    @overload
    def count_nonzero(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The number of elements that are not zero, over one axis, several, or all."""

    @overload
    def count_nonzero(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The number of elements that are not zero, over one axis, several, or all."""

    @overload
    def argmax(self, axis: builtins.int | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The position of the largest element along an axis, or in the flattened tensor. The first among equals; NaN wins."""

    @overload
    def argmax(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The position of the largest element along an axis, or in the flattened tensor. The first among equals; NaN wins."""

    @overload
    def argmin(self, axis: builtins.int | None = None, keepdims: builtins.bool = False) -> Tensor:
        """The position of the smallest element. As `argmax`."""

    @overload
    def argmin(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The position of the smallest element. As `argmax`."""

    def multiply_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x * y``. Gives the tensor itself."""

    def mul_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x * y``. Gives the tensor itself."""

    def floor_divide_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x / y`` rounded down; an integer by zero gives 0. Gives the tensor itself."""

    def remainder_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x - floor(x / y) * y``, with the sign of ``y``. Gives the tensor itself."""

    def mod_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x - floor(x / y) * y``, with the sign of ``y``. Gives the tensor itself."""

    def negative_(self, /) -> Tensor:
        """In place: ``-x``. Gives the tensor itself."""

    def neg_(self, /) -> Tensor:
        """In place: ``-x``. Gives the tensor itself."""

    def abs_(self, /) -> Tensor:
        """In place: the absolute value. Gives the tensor itself."""

    def absolute_(self, /) -> Tensor:
        """In place: the absolute value. Gives the tensor itself."""

    def sign_(self, /) -> Tensor:
        """In place: -1, 0 or 1; NaN for NaN. Gives the tensor itself."""

    def sgn_(self, /) -> Tensor:
        """In place: -1, 0 or 1; NaN for NaN. Gives the tensor itself."""

    def square_(self, /) -> Tensor:
        """In place: ``x * x``. Gives the tensor itself."""

    def reciprocal_(self, /) -> Tensor:
        """In place: ``1 / x``. Gives the tensor itself."""

    def sqrt_(self, /) -> Tensor:
        """In place: the square root; NaN below zero. Gives the tensor itself."""

    def maximum_(self, y: Tensor | Number, /) -> Tensor:
        """In place: the larger of the two; NaN if either is NaN. Gives the tensor itself."""

    def minimum_(self, y: Tensor | Number, /) -> Tensor:
        """In place: the smaller of the two; NaN if either is NaN. Gives the tensor itself."""

    def exp_(self, /) -> Tensor:
        """In place: e to the power x. Gives the tensor itself."""

    def exp2_(self, /) -> Tensor:
        """In place: 2 to the power x. Gives the tensor itself."""

    def expm1_(self, /) -> Tensor:
        """In place: ``exp(x) - 1``, accurate near zero. Gives the tensor itself."""

    def log_(self, /) -> Tensor:
        """In place: the natural logarithm; -inf at zero, NaN below. Gives the tensor itself."""

    def log2_(self, /) -> Tensor:
        """In place: the logarithm to base 2. Gives the tensor itself."""

    def log10_(self, /) -> Tensor:
        """In place: the logarithm to base 10. Gives the tensor itself."""

    def log1p_(self, /) -> Tensor:
        """In place: ``log(1 + x)``, accurate near zero. Gives the tensor itself."""

    def logaddexp_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``log(exp(x) + exp(y))`` without overflow. Gives the tensor itself."""

    def sin_(self, /) -> Tensor:
        """In place: the sine of an angle in radians. Gives the tensor itself."""

    def cos_(self, /) -> Tensor:
        """In place: the cosine of an angle in radians. Gives the tensor itself."""

    def tan_(self, /) -> Tensor:
        """In place: the tangent of an angle in radians. Gives the tensor itself."""

    def asin_(self, /) -> Tensor:
        """In place: the inverse sine, in radians. Gives the tensor itself."""

    def arcsin_(self, /) -> Tensor:
        """In place: the inverse sine, in radians. Gives the tensor itself."""

    def acos_(self, /) -> Tensor:
        """In place: the inverse cosine, in radians. Gives the tensor itself."""

    def arccos_(self, /) -> Tensor:
        """In place: the inverse cosine, in radians. Gives the tensor itself."""

    def atan_(self, /) -> Tensor:
        """In place: the inverse tangent, in radians. Gives the tensor itself."""

    def arctan_(self, /) -> Tensor:
        """In place: the inverse tangent, in radians. Gives the tensor itself."""

    def atan2_(self, y: Tensor | Number, /) -> Tensor:
        """In place: the angle of the point (y, x), in radians. Gives the tensor itself."""

    def arctan2_(self, y: Tensor | Number, /) -> Tensor:
        """In place: the angle of the point (y, x), in radians. Gives the tensor itself."""

    def sinh_(self, /) -> Tensor:
        """In place: the hyperbolic sine. Gives the tensor itself."""

    def cosh_(self, /) -> Tensor:
        """In place: the hyperbolic cosine. Gives the tensor itself."""

    def tanh_(self, /) -> Tensor:
        """In place: the hyperbolic tangent. Gives the tensor itself."""

    def asinh_(self, /) -> Tensor:
        """In place: the inverse hyperbolic sine. Gives the tensor itself."""

    def arcsinh_(self, /) -> Tensor:
        """In place: the inverse hyperbolic sine. Gives the tensor itself."""

    def acosh_(self, /) -> Tensor:
        """In place: the inverse hyperbolic cosine. Gives the tensor itself."""

    def arccosh_(self, /) -> Tensor:
        """In place: the inverse hyperbolic cosine. Gives the tensor itself."""

    def atanh_(self, /) -> Tensor:
        """In place: the inverse hyperbolic tangent. Gives the tensor itself."""

    def arctanh_(self, /) -> Tensor:
        """In place: the inverse hyperbolic tangent. Gives the tensor itself."""

    def hypot_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``sqrt(x * x + y * y)`` without overflow. Gives the tensor itself."""

    def erf_(self, /) -> Tensor:
        """In place: the error function. Gives the tensor itself."""

    def erfc_(self, /) -> Tensor:
        """In place: ``1 - erf(x)``, accurate for large x. Gives the tensor itself."""

    def floor_(self, /) -> Tensor:
        """In place: the largest integer not above x. Gives the tensor itself."""

    def ceil_(self, /) -> Tensor:
        """In place: the smallest integer not below x. Gives the tensor itself."""

    def trunc_(self, /) -> Tensor:
        """In place: x without its fraction. Gives the tensor itself."""

    def fix_(self, /) -> Tensor:
        """In place: x without its fraction. Gives the tensor itself."""

    def round_(self, /) -> Tensor:
        """In place: the nearest integer, halves to the even one. Gives the tensor itself."""

    def copysign_(self, y: Tensor | Number, /) -> Tensor:
        """In place: x with the sign of y. Gives the tensor itself."""

    def nextafter_(self, y: Tensor | Number, /) -> Tensor:
        """In place: the next number after x towards y. Gives the tensor itself."""

    def bitwise_and_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x & y``, bit by bit. Gives the tensor itself."""

    def bitwise_or_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x | y``, bit by bit. Gives the tensor itself."""

    def bitwise_xor_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x ^ y``, bit by bit. Gives the tensor itself."""

    def bitwise_invert_(self, /) -> Tensor:
        """In place: ``~x``, bit by bit. Gives the tensor itself."""

    def bitwise_not_(self, /) -> Tensor:
        """In place: ``~x``, bit by bit. Gives the tensor itself."""

    def bitwise_left_shift_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x << y``; 0 for large y. Gives the tensor itself."""

    def bitwise_right_shift_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x >> y``, keeping the sign. Gives the tensor itself."""

    def add_(self, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
        """In place: ``x + alpha * y``. Gives the tensor itself."""

    def subtract_(self, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
        """In place: ``x - alpha * y``. As `add_`."""

    def sub_(self, y: Tensor | Number, /, *, alpha: Any = 1) -> Tensor:
        """In place: ``x - alpha * y``. As `add_`."""

    def divide_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x / y``. As `add_`."""

    def div_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x / y``. As `add_`."""

    def pow_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x ** y``. As `add_`."""

    def power_(self, y: Tensor | Number, /) -> Tensor:
        """In place: ``x ** y``. As `add_`."""

    def addcmul_(self, a: Tensor | Number, b: Tensor | Number, /, *, value: builtins.float = 1) -> Tensor:
        """In place: ``x + value * a * b``. As `add_`."""

    def addcdiv_(self, a: Tensor | Number, b: Tensor | Number, /, *, value: builtins.float = 1) -> Tensor:
        """In place: ``x + value * a / b``. As `add_`."""

    def lerp_(self, end: Tensor | Number, weight: Tensor | Number, /) -> Tensor:
        """In place: ``x + weight * (end - x)``. As `add_`."""

    def copy_(self, source: Tensor, /) -> Tensor:
        """The elements of another tensor, broadcast to this one's shape and cast to its type. Gives the tensor itself."""

    def fill_(self, value: Tensor | Number, /) -> Tensor:
        """One value everywhere. Gives the tensor itself."""

    def zero_(self, /) -> Tensor:
        """Zero everywhere. Gives the tensor itself."""

    @overload
    def clip_(self, /, min: Tensor | Number | None = None, max: Tensor | Number | None = None) -> Tensor:
        """In place: `clip`. Gives the tensor itself."""

    @overload
    def clip_(self, /, a_min: Tensor | Number | None = None, a_max: Tensor | Number | None = None) -> Tensor:
        """In place: `clip`. Gives the tensor itself."""

    @overload
    def clamp_(self, /, min: Tensor | Number | None = None, max: Tensor | Number | None = None) -> Tensor:
        """In place: `clip`. Gives the tensor itself."""

    @overload
    def clamp_(self, /, a_min: Tensor | Number | None = None, a_max: Tensor | Number | None = None) -> Tensor:
        """In place: `clip`. Gives the tensor itself."""

    def relu_(self, /) -> Tensor:
        """In place: `relu`. Gives the tensor itself."""

    def masked_fill_(self, mask: Tensor, value: Tensor | Number, /) -> Tensor:
        """One value wherever a bool mask holds. Gives the tensor itself."""

    def masked_fill(self, mask: Tensor, value: Tensor | Number, /) -> Tensor:
        """x with one value wherever a bool mask holds."""

    def zeros_like(self, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
        """Zeros of another tensor's shape and type."""

    def ones_like(self, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
        """Ones of another tensor's shape and type."""

    def full_like(self, fill_value: Tensor | Number, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
        """One value everywhere, in another tensor's shape and type."""

    def empty_like(self, *, dtype: DType | builtins.type | builtins.str | None = None, requires_grad: builtins.bool = False) -> Tensor:
        """As `empty`, in another tensor's shape and type."""

    @overload
    def tril(self, k: builtins.int = 0) -> Tensor:
        """The elements on and below a diagonal of the last two axes, and zeros above."""

    @overload
    def tril(self, diagonal: builtins.int = 0) -> Tensor:
        """The elements on and below a diagonal of the last two axes, and zeros above."""

    @overload
    def triu(self, k: builtins.int = 0) -> Tensor:
        """The elements on and above a diagonal of the last two axes, and zeros below. As `tril`."""

    @overload
    def triu(self, diagonal: builtins.int = 0) -> Tensor:
        """The elements on and above a diagonal of the last two axes, and zeros below. As `tril`."""

    def rand_like(self, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None, requires_grad: builtins.bool = False) -> Tensor:
        """`rand` in another tensor's shape and type."""

    def randn_like(self, *, dtype: DType | builtins.type | builtins.str | None = None, generator: Generator | None = None, requires_grad: builtins.bool = False) -> Tensor:
        """`randn` in another tensor's shape and type."""

    def bernoulli(self, *, generator: Generator | None = None) -> Tensor:
        """1 with the probability that each element gives, else 0, in the type of ``p``."""

    def normal_(self, mean: builtins.float = 0.0, std: builtins.float = 1.0, *, generator: Generator | None = None) -> Tensor:
        """In place: numbers drawn from a normal distribution. Gives the tensor itself."""

    def uniform_(self, low: builtins.float = 0.0, high: builtins.float = 1.0, *, generator: Generator | None = None) -> Tensor:
        """In place: numbers drawn evenly between two bounds. Gives the tensor itself."""

    def bernoulli_(self, p: builtins.float = 0.5, *, generator: Generator | None = None) -> Tensor:
        """In place: 1 with a probability, else 0. Gives the tensor itself."""

    def dropout(self, p: builtins.float = 0.5, training: builtins.bool = True, *, generator: Generator | None = None) -> Tensor:
        """x with elements zeroed with probability p and the others scaled by ``1 / (1 - p)``; x itself when not training."""

    def view(self, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
        """A view of x's memory with another shape; as `reshape`, but an error where that would need a copy."""

    @overload
    def flatten(self, start_axis: builtins.int = 0, end_axis: builtins.int = -1) -> Tensor:
        """The axes from ``start_axis`` to ``end_axis`` joined into one (``start_dim`` and ``end_dim`` in PyTorch)."""

    @overload
    def flatten(self, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        """The axes from ``start_axis`` to ``end_axis`` joined into one (``start_dim`` and ``end_dim`` in PyTorch)."""

    def ravel(self) -> Tensor:
        """All elements in one axis, row by row."""

    @overload
    def unflatten(self, axis: builtins.int, shape: Sequence[builtins.int]) -> Tensor:
        """One axis split into several."""

    @overload
    def unflatten(self, dim: builtins.int, size: Sequence[builtins.int]) -> Tensor:
        """One axis split into several."""

    def transpose(self, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
        """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy."""

    def swapaxes(self, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
        """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy."""

    def swapdims(self, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
        """Two axes exchanged, as in PyTorch: a view. With a tuple all axes in that order, with none reversed, as in NumPy."""

    def moveaxis(self, source: builtins.int | Sequence[builtins.int], destination: builtins.int | Sequence[builtins.int], /) -> Tensor:
        """Axes moved to other places; the rest keep their order."""

    def movedim(self, source: builtins.int | Sequence[builtins.int], destination: builtins.int | Sequence[builtins.int], /) -> Tensor:
        """Axes moved to other places; the rest keep their order."""

    @overload
    def squeeze(self, axis: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """Without axes of size 1: all of them, or those given (an axis of another size is kept, as in PyTorch)."""

    @overload
    def squeeze(self, dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """Without axes of size 1: all of them, or those given (an axis of another size is kept, as in PyTorch)."""

    @overload
    def unsqueeze(self, axis: builtins.int = 0) -> Tensor:
        """With a new axis of size 1 at a place."""

    @overload
    def unsqueeze(self, dim: builtins.int = 0) -> Tensor:
        """With a new axis of size 1 at a place."""

    @overload
    def expand_dims(self, axis: builtins.int = 0) -> Tensor:
        """With a new axis of size 1 at a place."""

    @overload
    def expand_dims(self, dim: builtins.int = 0) -> Tensor:
        """With a new axis of size 1 at a place."""

    def broadcast_to(self, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
        """x seen with a larger shape, to which its own broadcasts: a view that repeats elements without copying."""

    def broadcast_tensors(self) -> builtins.list[Tensor]:
        """Several tensors expanded to the shape they broadcast to."""

    def reshape(self, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
        """The same elements, row by row, in another shape: a view where strides can say it, else a copy."""

    def permute(self, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
        """All axes in another order: a view."""

    def permute_dims(self, *axes: builtins.int | Sequence[builtins.int]) -> Tensor:
        """All axes in another order: a view."""

    def expand(self, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
        """As `broadcast_to`; a size of -1 keeps the axis as it is."""

    @overload
    def flip(self, axis: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """The order of elements reversed along axes (all by default): a view with negative strides."""

    @overload
    def flip(self, dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """The order of elements reversed along axes (all by default): a view with negative strides."""

    @overload
    def narrow(self, axis: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
        """The positions ``start`` to ``start + length - 1`` of one axis: a view."""

    @overload
    def narrow(self, dim: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
        """The positions ``start`` to ``start + length - 1`` of one axis: a view."""

    @overload
    def split(self, sizes: builtins.int | Sequence[builtins.int], axis: builtins.int = 0) -> builtins.list[Tensor]:
        """Parts of one axis, as views."""

    @overload
    def split(self, sizes: builtins.int | Sequence[builtins.int], dim: builtins.int = 0) -> builtins.list[Tensor]:
        """Parts of one axis, as views."""

    @overload
    def chunk(self, chunks: builtins.int, axis: builtins.int = 0) -> builtins.list[Tensor]:
        """One axis in at most so many parts of equal size (the last may be smaller), as views."""

    @overload
    def chunk(self, chunks: builtins.int, dim: builtins.int = 0) -> builtins.list[Tensor]:
        """One axis in at most so many parts of equal size (the last may be smaller), as views."""

    @overload
    def unbind(self, axis: builtins.int = 0) -> builtins.list[Tensor]:
        """One view for each position of an axis, without that axis."""

    @overload
    def unbind(self, dim: builtins.int = 0) -> builtins.list[Tensor]:
        """One view for each position of an axis, without that axis."""

    @overload
    def unstack(self, axis: builtins.int = 0) -> builtins.list[Tensor]:
        """One view for each position of an axis, without that axis."""

    @overload
    def unstack(self, dim: builtins.int = 0) -> builtins.list[Tensor]:
        """One view for each position of an axis, without that axis."""

    def tile(self, *counts: builtins.int | Sequence[builtins.int]) -> Tensor:
        """The whole tensor repeated along each axis: a new tensor. `repeat` is the same with PyTorch's name."""

    def repeat(self, *counts: builtins.int | Sequence[builtins.int]) -> Tensor:
        """The whole tensor repeated along each axis, as PyTorch's ``Tensor.repeat``. See `tile`."""

    @overload
    def repeat_interleave(self, repeats: builtins.int, axis: builtins.int | None = None) -> Tensor:
        """Each element repeated, along one axis or in the flattened tensor."""

    @overload
    def repeat_interleave(self, repeats: builtins.int, dim: builtins.int | None = None) -> Tensor:
        """Each element repeated, along one axis or in the flattened tensor."""

    @overload
    def roll(self, shifts: builtins.int | Sequence[builtins.int], axis: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """Elements shifted along axes, those pushed out coming in at the other end; with axis None, of the flattened tensor."""

    @overload
    def roll(self, shifts: builtins.int | Sequence[builtins.int], dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """Elements shifted along axes, those pushed out coming in at the other end; with axis None, of the flattened tensor."""

    @overload
    def cumsum(self, axis: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The running sums along an axis, or over all elements row by row."""

    @overload
    def cumsum(self, dim: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The running sums along an axis, or over all elements row by row."""

    @overload
    def cumprod(self, axis: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The running products along an axis, or over all elements row by row. Args, result and errors are those of `cumsum`."""

    @overload
    def cumprod(self, dim: builtins.int | None = None, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The running products along an axis, or over all elements row by row. Args, result and errors are those of `cumsum`."""

    def matmul(self, y: Tensor | Number, /) -> Tensor:
        """The matrix product ``x @ y``."""

    def mm(self, y: Tensor | Number, /) -> Tensor:
        """The product of two matrices [m, k] and [k, n]. See `matmul`."""

    def bmm(self, y: Tensor | Number, /) -> Tensor:
        """The products of two stacks of matrices [b, m, k] and [b, k, n]. See `matmul`."""

    def dot(self, y: Tensor | Number, /) -> Tensor:
        """The sum of the products of two vectors [k]."""

    def vdot(self, y: Tensor | Number, /) -> Tensor:
        """The sum of the products of the elements of two tensors of any shapes, row by row, with equally many elements."""

    @overload
    def vecdot(self, y: Tensor | Number, /, *, axis: builtins.int = -1) -> Tensor:
        """The sums of the products of vectors along an axis. The other axes broadcast."""

    @overload
    def vecdot(self, y: Tensor | Number, /, *, dim: builtins.int = -1) -> Tensor:
        """The sums of the products of vectors along an axis. The other axes broadcast."""

    def outer(self, y: Tensor | Number, /) -> Tensor:
        """The matrix [m, n] of the products of the elements of two vectors [m] and [n]."""

    def inner(self, y: Tensor | Number, /) -> Tensor:
        """The sums of products over the last axes of two tensors; the product, if one of them has no axes."""

    @overload
    def tensordot(self, y: Tensor | Number, /, axes: builtins.int | Sequence[builtins.int] | Sequence[Sequence[builtins.int]] = 2) -> Tensor:
        """The sum of products over pairs of axes."""

    @overload
    def tensordot(self, y: Tensor | Number, /, dims: builtins.int | Sequence[builtins.int] | Sequence[Sequence[builtins.int]] = 2) -> Tensor:
        """The sum of products over pairs of axes."""

    def kron(self, y: Tensor | Number, /) -> Tensor:
        """The Kronecker product: each element of x replaced by its product with all of y."""

    @overload
    def diagonal(self, offset: builtins.int = 0, axis1: builtins.int = 0, axis2: builtins.int = 1) -> Tensor:
        """The diagonal of two axes, as the last axis: a view where x is contiguous, else a copy."""

    @overload
    def diagonal(self, offset: builtins.int = 0, dim1: builtins.int = 0, dim2: builtins.int = 1) -> Tensor:
        """The diagonal of two axes, as the last axis: a view where x is contiguous, else a copy."""

    @overload
    def trace(self, offset: builtins.int = 0, axis1: builtins.int = 0, axis2: builtins.int = 1) -> Tensor:
        """The sum of a `diagonal`, whose arguments and errors these are, in x's type."""

    @overload
    def trace(self, offset: builtins.int = 0, dim1: builtins.int = 0, dim2: builtins.int = 1) -> Tensor:
        """The sum of a `diagonal`, whose arguments and errors these are, in x's type."""

    def sigmoid(self, /) -> Tensor:
        """``1 / (1 + exp(-x))``."""

    def relu(self, /) -> Tensor:
        """``max(x, 0)``; its gradient at 0 is 0."""

    @overload
    def softmax(self, axis: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """``exp(x) / sum(exp(x))`` along an axis, without overflow."""

    @overload
    def softmax(self, dim: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """``exp(x) / sum(exp(x))`` along an axis, without overflow."""

    @overload
    def log_softmax(self, axis: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The logarithm of `softmax`, computed without it."""

    @overload
    def log_softmax(self, dim: builtins.int = -1, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The logarithm of `softmax`, computed without it."""

    @overload
    def logsumexp(self, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False) -> Tensor:
        """``log(sum(exp(x)))`` over one axis, several, or all, without overflow. Args are those of `sum`."""

    @overload
    def logsumexp(self, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False) -> Tensor:
        """``log(sum(exp(x)))`` over one axis, several, or all, without overflow. Args are those of `sum`."""

    @overload
    def norm(self, ord: builtins.float = 2, axis: builtins.int | Sequence[builtins.int] | None = None, keepdims: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The vector norm of the elements over one axis, several, or all: ``sum(abs(x)**ord)**(1/ord)``."""

    @overload
    def norm(self, p: builtins.float = 2, dim: builtins.int | Sequence[builtins.int] | None = None, keepdim: builtins.bool = False, *, dtype: DType | builtins.type | builtins.str | None = None) -> Tensor:
        """The vector norm of the elements over one axis, several, or all: ``sum(abs(x)**ord)**(1/ord)``."""

    def nonzero(self, as_tuple: builtins.bool = True) -> Any:
        """The positions of the elements that are not zero, row by row."""

    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where a mask of the same shape holds, in one axis: ``x[mask]``."""

    @overload
    def take(self, indices: Tensor, axis: builtins.int | None = None) -> Tensor:
        """The elements at positions along an axis; with axis None, of the flattened tensor."""

    @overload
    def take(self, indices: Tensor, dim: builtins.int | None = None) -> Tensor:
        """The elements at positions along an axis; with axis None, of the flattened tensor."""

    @overload
    def index_select(self, axis: builtins.int, index: Tensor) -> Tensor:
        """`take` with PyTorch's name and order of arguments."""

    @overload
    def index_select(self, dim: builtins.int, index: Tensor) -> Tensor:
        """`take` with PyTorch's name and order of arguments."""

    @overload
    def take_along_axis(self, indices: Tensor, axis: builtins.int = -1) -> Tensor:
        """For every other position, the elements that ``indices`` names along an axis; other axes broadcast."""

    @overload
    def take_along_axis(self, indices: Tensor, dim: builtins.int = -1) -> Tensor:
        """For every other position, the elements that ``indices`` names along an axis; other axes broadcast."""

    @overload
    def gather(self, axis: builtins.int, index: Tensor) -> Tensor:
        """``out[i][j] = x[index[i][j]][j]`` for axis 0, and so on for other axes, as in PyTorch."""

    @overload
    def gather(self, dim: builtins.int, index: Tensor) -> Tensor:
        """``out[i][j] = x[index[i][j]][j]`` for axis 0, and so on for other axes, as in PyTorch."""

    @overload
    def scatter(self, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """A copy of x in which the positions that `gather` would read are set; the last of equal positions stays."""

    @overload
    def scatter(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """A copy of x in which the positions that `gather` would read are set; the last of equal positions stays."""

    @overload
    def scatter_add(self, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """A copy of x to which the source is added at the positions that `gather` would read, one after another."""

    @overload
    def scatter_add(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """A copy of x to which the source is added at the positions that `gather` would read, one after another."""

    @overload
    def scatter_(self, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """In place: `scatter`. Gives the tensor itself."""

    @overload
    def scatter_(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """In place: `scatter`. Gives the tensor itself."""

    @overload
    def scatter_add_(self, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """In place: `scatter_add`. Gives the tensor itself."""

    @overload
    def scatter_add_(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """In place: `scatter_add`. Gives the tensor itself."""

    @overload
    def index_add(self, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """A copy of x to whose slices along an axis those of a source are added, one after another."""

    @overload
    def index_add(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """A copy of x to whose slices along an axis those of a source are added, one after another."""

    @overload
    def index_add_(self, axis: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """In place: `index_add`. Gives the tensor itself."""

    @overload
    def index_add_(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """In place: `index_add`. Gives the tensor itself."""

    def one_hot(self, num_classes: builtins.int) -> Tensor:
        """A new last axis that holds 1 at the index and 0 elsewhere."""

    def clone(self) -> Tensor:
        """A copy, contiguous and on the tape."""

    def to(self, *args: Any, dtype: DType | builtins.type | builtins.str | None = None, device: builtins.str | None = None, copy: builtins.bool = False, non_blocking: builtins.bool = False) -> Tensor:
        """The tensor in another type; itself where it has that type already."""

    def type_as(self, other: Tensor) -> Tensor:
        """The tensor in the type of another."""

    def contiguous(self) -> Tensor:
        """The tensor itself if its elements lie row by row in memory without gaps, else a copy."""

    def detach(self) -> Tensor:
        """A tensor over the same memory that is not on the tape."""

    def detach_(self) -> Tensor:
        """Takes the tensor itself off the tape: it becomes a leaf that does not require grad. Gives the tensor itself."""

    def numel(self) -> builtins.int:
        """The number of elements."""

    def dim(self) -> builtins.int:
        """The number of axes."""

    def cpu(self) -> Tensor:
        """The tensor itself: it is on the CPU."""

    @overload
    def stride(self, axis: builtins.int | None = None) -> Any:
        """The strides, in elements, or that of one axis."""

    @overload
    def stride(self, dim: builtins.int | None = None) -> Any:
        """The strides, in elements, or that of one axis."""

    def element_size(self) -> builtins.int:
        """The size of an element in bytes."""

    def is_floating_point(self) -> builtins.bool:
        """Whether the type is a floating-point one."""

    def expand_as(self, other: Tensor) -> Tensor:
        """The tensor expanded to another's shape."""

    def view_as(self, other: Tensor) -> Tensor:
        """A view with another tensor's shape."""

    def reshape_as(self, other: Tensor) -> Tensor:
        """The same elements in another tensor's shape."""

    def t(self) -> Tensor:
        """A matrix transposed; a tensor of fewer axes as it is."""

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Sets whether gradients with respect to the tensor are wanted. Gives the tensor itself."""

    def backward(self, gradient: Any = None, retain_graph: builtins.bool | None = None, create_graph: builtins.bool = False) -> None:
        """Adds the gradient of this tensor to the ``.grad`` of every leaf that it was computed from."""

    def retain_grad(self) -> None:
        """Asks that ``.grad`` of a computed tensor is kept by `backward` as a leaf's is."""

    def astype(self, dtype: DType | builtins.type | builtins.str, *, copy: builtins.bool = False) -> Tensor:
        """The tensor in another type. See `Tensor.to`."""

    def float(self) -> Tensor:
        """The tensor in the type float32; itself where it has that type already. See `Tensor.to`."""

    def double(self) -> Tensor:
        """The tensor in the type float64; itself where it has that type already. See `Tensor.to`."""

    def half(self) -> Tensor:
        """The tensor in the type float16; itself where it has that type already. See `Tensor.to`."""

    def bfloat16(self) -> Tensor:
        """The tensor in the type bfloat16; itself where it has that type already. See `Tensor.to`."""

    def int(self) -> Tensor:
        """The tensor in the type int32; itself where it has that type already. See `Tensor.to`."""

    def long(self) -> Tensor:
        """The tensor in the type int64; itself where it has that type already. See `Tensor.to`."""

    def short(self) -> Tensor:
        """The tensor in the type int16; itself where it has that type already. See `Tensor.to`."""

    def char(self) -> Tensor:
        """The tensor in the type int8; itself where it has that type already. See `Tensor.to`."""

    def byte(self) -> Tensor:
        """The tensor in the type uint8; itself where it has that type already. See `Tensor.to`."""

    def bool(self) -> Tensor:
        """The tensor in the type bool; itself where it has that type already. See `Tensor.to`."""

    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""

    def tolist(self) -> Any:
        """The values as nested Python lists; a number for a tensor without axes."""

    def numpy(self) -> np.ndarray:
        """A NumPy array over the tensor's memory: a change of one is seen in the other."""

    @property
    def T(self) -> Tensor:
        """A matrix transposed: a view."""

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged: a view."""

    @property
    def data(self) -> Tensor:
        """A tensor over the same memory that is not on the tape, as `detach`; assigning to it copies values in."""

    @data.setter
    def data(self, value: Tensor) -> None: ...
