"""Public functions of neural networks: activations, softmax, normalisation. Each is one op with, mostly, its own gradient.

16-bit operands are computed in float32 inside an op and rounded once, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft import dtypes
from weft.errors import ShapeError
from weft.ops import contraction as C
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.frontend import axes_of, axis_of, number, one_of, public, sizes_of, tensor_of
from weft.ops.linalg import multiplied
from weft.ops.movement import reshape
from weft.ops.reduce import cast_to, dropped, floating, kept, over, widened
from weft.ops.registry import Saved, composite
from weft.ops.shape import transposed

# Activations


def _activation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute a function of one floating tensor, and of attributes, in the wide type; give the tensor's own."""

    def call(x: Any, attrs: Any = None) -> Any:
        return cast_to(function(widened(x), attrs), floating(x.dtype))

    return call


def _grad_sigmoid(g: Any, c: Saved) -> Sequence[Any]:
    y = widened(c.out)
    return (E.multiply(widened(g), E.multiply(y, E.subtract(1, y))),)


def logistic(x: Any) -> Any:
    """``1 / (1 + exp(-x))``, from primitives."""
    return E.reciprocal(E.add(E.exp(E.negative(x)), 1))


sigmoid_op = composite("sigmoid", 1, grad=_grad_sigmoid)(_activation(lambda x, attrs: logistic(x)))


def _grad_relu(g: Any, c: Saved) -> Sequence[Any]:
    return (E.where(E.greater(c.out, 0), g, 0.0),)


@composite("relu", 1, grad=_grad_relu)
def relu_op(x: Any, attrs: Any) -> Any:
    """0 below zero; NaN stays NaN."""
    return E.where(E.less_equal(x, 0), 0, x)


def _grad_leaky_relu(g: Any, c: Saved) -> Sequence[Any]:
    return (E.where(E.greater(c.x, 0), g, E.multiply(g, c.attrs[0])),)


@composite("leaky_relu", 1, grad=_grad_leaky_relu)
def _leaky_relu(x: Any, attrs: Any) -> Any:
    return E.where(E.greater(x, 0), x, E.multiply(x, attrs[0]))


def _grad_elu(g: Any, c: Saved) -> Sequence[Any]:
    (alpha,) = c.attrs
    x = widened(c.x)
    return (E.where(E.greater(x, 0), g, E.multiply(E.multiply(widened(g), alpha), E.exp(E.minimum(x, 0)))),)


@composite("elu", 1, grad=_grad_elu)
@_activation
def _elu(x: Any, attrs: Any) -> Any:
    return E.where(E.greater(x, 0), x, E.multiply(E.expm1(E.minimum(x, 0)), attrs[0]))


def _grad_silu(g: Any, c: Saved) -> Sequence[Any]:
    x = widened(c.x)
    s = logistic(x)
    return (E.multiply(widened(g), E.multiply(s, E.add(E.multiply(x, E.subtract(1, s)), 1))),)


silu_op = composite("silu", 1, grad=_grad_silu)(_activation(lambda x, attrs: E.multiply(x, logistic(x))))


def _grad_softplus(g: Any, c: Saved) -> Sequence[Any]:
    return (E.multiply(widened(g), logistic(widened(c.x))),)


@composite("softplus", 1, grad=_grad_softplus)
@_activation
def softplus_op(x: Any, attrs: Any) -> Any:
    """``log(1 + exp(x))`` as ``max(x, 0) + log1p(exp(-|x|))``, which neither overflows nor loses digits."""
    return E.add(E.maximum(x, 0), E.log1p(E.exp(E.negative(E.abs_(x)))))


_ROOT_HALF = math.sqrt(0.5)
_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBE = 0.044715


def _normal_cdf(x: Any) -> Any:
    return E.multiply(E.add(E.erf(E.multiply(x, _ROOT_HALF)), 1), 0.5)


def _grad_gelu(g: Any, c: Saved) -> Sequence[Any]:
    x = widened(c.x)
    density = E.multiply(E.exp(E.multiply(E.square(x), -0.5)), 1 / math.sqrt(2 * math.pi))
    return (E.multiply(widened(g), E.add(_normal_cdf(x), E.multiply(x, density))),)


gelu_op = composite("gelu", 1, grad=_grad_gelu)(_activation(lambda x, attrs: E.multiply(x, _normal_cdf(x))))


def _tanh_inside(x: Any) -> Any:
    return E.tanh(E.multiply(E.multiply(x, E.add(E.multiply(E.square(x), _TANH_CUBE), 1)), _TANH_SCALE))


def _grad_gelu_tanh(g: Any, c: Saved) -> Sequence[Any]:
    x = widened(c.x)
    t = _tanh_inside(x)
    slope = E.multiply(E.add(E.multiply(E.square(x), 3 * _TANH_CUBE), 1), _TANH_SCALE)
    inner = E.multiply(E.multiply(x, E.subtract(1, E.square(t))), slope)
    return (E.multiply(widened(g), E.multiply(E.add(E.add(t, 1), inner), 0.5)),)


@composite("gelu_tanh", 1, grad=_grad_gelu_tanh)
@_activation
def gelu_tanh_op(x: Any, attrs: Any) -> Any:
    """Hendrycks and Gimpel's approximation of gelu."""
    return E.multiply(E.multiply(x, E.add(_tanh_inside(x), 1)), 0.5)


def floats(x: Any) -> Any:
    """A tensor argument, integers as the default floating type."""
    return cast_to(tensor_of(x), floating(x.dtype))


@public("neural networks")
def sigmoid(x: Any, /) -> Any:
    """``1 / (1 + exp(-x))``.

    Example:
        >>> weft.sigmoid(weft.tensor([0.0]))
        tensor([0.5], dtype=float32)
    """
    return sigmoid_op(floats(x))


@public("neural networks")
def relu(x: Any, /) -> Any:
    """``max(x, 0)``; its gradient at 0 is 0.

    Example:
        >>> weft.relu(weft.tensor([-1.0, 2.0]))
        tensor([0., 2.], dtype=float32)
    """
    return relu_op(tensor_of(x))


@public("neural networks", method=False)
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x above 0, ``negative_slope * x`` below.

    Example:
        >>> weft.leaky_relu(weft.tensor([-1.0, 2.0]), 0.5)
        tensor([-0.5,  2. ], dtype=float32)
    """
    return _leaky_relu(floats(x), attrs=(float(number(negative_slope, "negative_slope")),))


@public("neural networks", method=False)
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, ``alpha * (exp(x) - 1)`` below.

    Example:
        >>> weft.elu(weft.tensor([0.0, 2.0]))
        tensor([0., 2.], dtype=float32)
    """
    return _elu(floats(x), attrs=(float(number(alpha, "alpha")),))


@public("neural networks", "swish", method=False)
def silu(x: Any, /) -> Any:
    """``x * sigmoid(x)``.

    Example:
        >>> weft.silu(weft.tensor([0.0]))
        tensor([0.], dtype=float32)
    """
    return silu_op(floats(x))


@public("neural networks", method=False)
def softplus(x: Any, /) -> Any:
    """``log(1 + exp(x))``.

    Example:
        >>> weft.softplus(weft.tensor([0.0]))
        tensor([0.6931472], dtype=float32)
    """
    return softplus_op(floats(x))


@public("neural networks", method=False)
def gelu(x: Any, approximate: str = "none") -> Any:
    """x times the normal distribution's probability of a smaller number.

    Args:
        x: a tensor.
        approximate: "none" for the exact function, with erf; "tanh" for the usual approximation.

    Raises:
        ValueError: for another approximation.

    Example:
        >>> weft.gelu(weft.tensor([0.0, 100.0]))
        tensor([  0., 100.], dtype=float32)
    """
    one_of(approximate, "approximate", ("none", "tanh"))
    return (gelu_op if approximate == "none" else gelu_tanh_op)(floats(x))


# Softmax and its logarithm


def exponentials(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any, Any, Any]:
    """The maximum of x (0 where all is -inf), x less that, the exponentials of the difference, and their sum.

    Forward and backward functions are made from these, so that a program that contains both computes them once.
    """
    top = over(R.reduce_max, x, axes)
    top = E.where(E.equal(top, -math.inf), 0.0, top)
    shifted = E.subtract(x, top)
    e = E.exp_nonpositive(shifted)
    return top, shifted, e, over(R.reduce_sum, e, axes)


def kept_exponentials(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """What gradients need of `exponentials`, a number each for a row: the maximum and the sum."""
    top, _, _, total = exponentials(widened(x), axes)
    return top, total


def again(x: Any, kept: tuple[Any, Any]) -> tuple[Any, Any]:
    """The exponentials and their sum, of what was kept."""
    top, total = kept
    return E.exp_nonpositive(E.subtract(widened(x), top)), total


def weights(x: Any, axes: tuple[int, ...]) -> Any:
    """Softmax from primitives. One division a row: that each element is divided by the sum shows in the last bit only."""
    _, _, e, total = exponentials(x, axes)
    return E.multiply(e, E.reciprocal(total))


def log_weights(x: Any, axes: tuple[int, ...]) -> Any:
    """The logarithm of softmax from primitives."""
    _, shifted, _, total = exponentials(x, axes)
    return E.subtract(shifted, E.log(total))


def _grad_softmax(g: Any, c: Saved) -> Sequence[Any]:
    (axis,) = c.attrs
    y = widened(c.out)
    gy = E.multiply(widened(g), y)
    return (E.subtract(gy, E.multiply(y, over(R.reduce_sum, gy, (axis,)))),)


@composite("softmax", 1, grad=_grad_softmax)
def softmax_op(x: Any, attrs: Any) -> Any:
    """attrs (axis,)"""
    return cast_to(weights(widened(x), attrs), x.dtype)


def _grad_log_softmax(g: Any, c: Saved) -> Sequence[Any]:
    e, total = again(c.x, c.kept)
    g = widened(g)
    return (E.subtract(g, E.multiply(e, E.multiply(E.reciprocal(total), over(R.reduce_sum, g, c.attrs)))),)


@composite("log_softmax", 1, grad=_grad_log_softmax, keeps=lambda x, attrs: kept_exponentials(x, attrs))
def log_softmax_op(x: Any, attrs: Any) -> Any:
    """attrs (axis,)"""
    return cast_to(log_weights(widened(x), attrs), x.dtype)


def _grad_logsumexp(g: Any, c: Saved) -> Sequence[Any]:
    axes = c.attrs[0]
    e, total = again(c.x, c.kept)
    share = E.where(E.equal(total, 0), 0.0, E.reciprocal(total))  # all -inf
    return (E.multiply(e, E.multiply(widened(kept(g, c.x.shape, axes)), share)),)


@composite("logsumexp", 1, grad=_grad_logsumexp, keeps=lambda x, attrs: kept_exponentials(x, attrs[0]))
def logsumexp_op(x: Any, attrs: Any) -> Any:
    """attrs (axes, keepdims)"""
    axes, keepdims = attrs
    top, _, _, total = exponentials(widened(x), axes)
    out = E.where(E.isinf(top), top, E.add(E.log(total), top))
    return cast_to(dropped(out, axes, keepdims), x.dtype)


def _some(x: Any, axis: Any) -> int:
    if isinstance(axis, list | tuple) or axis is None:
        raise TypeError("This function works along one axis; pass an integer.")
    return axis_of(axis, x.ndim)


@public("neural networks")
def softmax(x: Any, axis: int = -1, *, dtype: Any = None) -> Any:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Args:
        x: a tensor.
        axis: the axis along which the result sums to 1.
        dtype: the type to compute in and give.

    Raises:
        ShapeError: where the axis does not exist.

    Example:
        >>> weft.softmax(weft.tensor([0.0, 0.0]))
        tensor([0.5, 0.5], dtype=float32)
    """
    x = floats(x) if dtype is None else cast_to(tensor_of(x), dtypes.as_dtype(dtype))
    return softmax_op(x, attrs=(_some(x, axis),)) if x.size else x.clone()


@public("neural networks")
def log_softmax(x: Any, axis: int = -1, *, dtype: Any = None) -> Any:
    """The logarithm of `softmax`, computed without it.

    Example:
        >>> weft.log_softmax(weft.tensor([0.0, 0.0]))
        tensor([-0.6931472, -0.6931472], dtype=float32)
    """
    x = floats(x) if dtype is None else cast_to(tensor_of(x), dtypes.as_dtype(dtype))
    return log_softmax_op(x, attrs=(_some(x, axis),)) if x.size else x.clone()


@public("reductions")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` over one axis, several, or all, without overflow. Args are those of `sum`.

    Example:
        >>> weft.logsumexp(weft.tensor([0.0, 0.0]))
        tensor(0.6931472, dtype=float32)
    """
    x = floats(x)
    return logsumexp_op(x, attrs=(axes_of(axis, x.ndim), bool(keepdims)))


# Normalisation


def _mean_of(x: Any) -> Any:
    n = x.ndim - 1
    return E.divide(R.reduce_sum(x, attrs=(n, n + 1)), float(x.shape[-1]))


def _statistics(x: Any, eps: float, center: bool) -> tuple[Any, ...]:
    """The means of rows (if they are to be centred), and the factors that then scale them to variance 1."""
    means = (_mean_of(x),) if center else ()
    rows = _centred(x, means)
    return *means, E.reciprocal(E.sqrt(E.add(_mean_of(E.square(rows)), eps)))


def _centred(x: Any, means: Sequence[Any]) -> Any:
    return E.subtract(x, *means) if means else x


def _rows(x: Any, axes: int) -> Any:
    """The last axes as one."""
    return x if axes == 1 else reshape(x, attrs=((*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :])),))


def _grad_norm(g: Any, c: Saved) -> Sequence[Any]:
    axes, _, center, has_weight, _ = c.attrs
    shape = tuple(c.x.shape)
    *means, scale = c.kept
    rows = _centred(widened(_rows(c.x, axes)), means)
    gy = widened(_rows(g, axes))
    gx = E.multiply(gy, widened(_rows(c.y, axes))) if has_weight else gy
    # in terms of rows that are not scaled yet, so that, with the result, this mean is over the same pass as their variance
    slope = E.multiply(_mean_of(E.multiply(gx, rows)), E.square(scale))
    back = E.subtract(gx, E.multiply(rows, slope))
    if center:
        back = E.subtract(back, _mean_of(gx))
    found = [reshape(E.multiply(back, scale), attrs=(shape,))]
    if has_weight:
        found.append(reshape(E.multiply(gy, E.multiply(rows, scale)), attrs=(shape,)))
    return (*found, g)[: len(c.operands)]


def _kept_statistics(x: Any, *_: Any, attrs: Any) -> tuple[Any, ...]:
    axes, eps, center, *_ = attrs
    return _statistics(widened(_rows(x, axes)), eps, center)


@composite("layer_norm", -1, grad=_grad_norm, keeps=_kept_statistics)
def norm_op(x: Any, *parameters: Any, attrs: Any) -> Any:
    """attrs (number of last axes, eps, whether to centre, whether there is a weight, whether there is a bias)"""
    axes, eps, center, has_weight, has_bias = attrs
    rest = [widened(_rows(p, axes)) for p in parameters]
    rows = widened(_rows(x, axes))
    *means, scale = _statistics(rows, eps, center)
    rows = E.multiply(_centred(rows, means), scale)
    if has_weight:
        rows = E.multiply(rows, rest[0])
    if has_bias:
        rows = E.add(rows, rest[-1])
    return cast_to(reshape(rows, attrs=(tuple(x.shape),)), x.dtype)


def _normalise(name: str, x: Any, shape: Any, weight: Any, bias: Any, eps: float, center: bool) -> Any:
    x = floats(x)
    sizes = sizes_of((shape,))
    if not sizes or tuple(x.shape[x.ndim - len(sizes) :]) != sizes or len(sizes) > x.ndim:
        raise ShapeError(
            f"{name} normalises the last axes, of shape {list(x.shape)}; {list(sizes)} is not their shape."
        )
    given = [p for p in (weight, bias) if p is not None]
    for p in given:
        if tuple(tensor_of(p, "A weight or bias").shape) != sizes:
            raise ShapeError(
                f"The weight and bias of {name} have the normalised shape {list(sizes)}, not {list(p.shape)}."
            )
    return norm_op(
        x, *given, attrs=(len(sizes), float(number(eps, "eps")), center, weight is not None, bias is not None)
    )


@public("neural networks", method=False)
def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """The last axes with mean 0 and variance 1, then scaled and shifted.

    Args:
        x: a tensor [..., *normalized_shape].
        normalized_shape: a size or a tuple of sizes, those of x's last axes.
        weight, bias: tensors of that shape, or None.
        eps: added to the variance.

    Raises:
        ShapeError: where the shapes do not fit.

    Example:
        >>> weft.layer_norm(weft.tensor([[1.0, 3.0]]), 2, eps=0.0)
        tensor([[-1.,  1.]], dtype=float32)
    """
    return _normalise("layer_norm", x, normalized_shape, weight, bias, eps, True)


@public("neural networks", method=False)
def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """The last axes divided by the root of the mean of their squares, then scaled.

    Args:
        x: a tensor [..., *normalized_shape].
        normalized_shape: a size or a tuple of sizes, those of x's last axes.
        weight: a tensor of that shape, or None.
        eps: added to the mean; None for the machine epsilon of the type that it is computed in (float32 for 16-bit types).

    Raises:
        ShapeError: where the shapes do not fit.

    Example:
        >>> weft.rms_norm(weft.tensor([[3.0, 3.0]]), 2, eps=0.0)
        tensor([[1., 1.]], dtype=float32)
    """
    if eps is None:
        eps = float(np.finfo(floating(tensor_of(x).dtype).compute.numpy).eps)
    return _normalise("rms_norm", x, normalized_shape, weight, None, eps, False)


@composite("linear", 3)
def _linear(x: Any, weight: Any, bias: Any, attrs: Any) -> Any:
    return E.add(C.matmul(x, transposed(weight, 0, 1)), bias)


@public("neural networks", method=False)
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """``x @ weight.T + bias``.

    Args:
        x: a tensor [..., in].
        weight: a tensor [out, in].
        bias: a tensor [out], or None.

    Raises:
        ShapeError: where the shapes do not fit.

    Example:
        >>> weft.linear(weft.ones(2), weft.tensor([[1.0, 2.0]]), weft.tensor([0.5]))
        tensor([3.5], dtype=float32)
    """
    tensor_of(x)
    if tensor_of(weight, "weight").ndim != 2:
        raise ShapeError(f"The weight of linear has two axes, [out, in], not shape {list(weight.shape)}.")
    if bias is not None and x.ndim >= 2:
        return _linear(x, weight, bias)
    y = multiplied(x, transposed(weight, 0, 1))
    return y if bias is None else E.add(y, bias)
