"""Public functions of neural networks: activations, normalisation, losses. Each is one op with, mostly, its own gradient.

16-bit operands are computed in float32 inside an op and rounded once, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from weft import dtypes
from weft.errors import ShapeError
from weft.ops import contraction as C
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.frontend import axes_of, axis_of, one_of, public, sizes_of, tensor_of
from weft.ops.indexed import full, iota
from weft.ops.linalg import multiplied
from weft.ops.movement import expand, reshape
from weft.ops.reduce import cast_to, count_of, dropped, floating, kept, over, widened
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


def _logistic(x: Any) -> Any:
    return E.reciprocal(E.add(E.exp(E.negative(x)), 1))


sigmoid_op = composite("sigmoid", 1, grad=_grad_sigmoid)(_activation(lambda x, attrs: _logistic(x)))


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
    s = _logistic(x)
    return (E.multiply(widened(g), E.multiply(s, E.add(E.multiply(x, E.subtract(1, s)), 1))),)


silu_op = composite("silu", 1, grad=_grad_silu)(_activation(lambda x, attrs: E.multiply(x, _logistic(x))))


def _grad_softplus(g: Any, c: Saved) -> Sequence[Any]:
    return (E.multiply(widened(g), _logistic(widened(c.x))),)


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


def _floats(x: Any) -> Any:
    return cast_to(tensor_of(x), floating(x.dtype))


@public("neural networks")
def sigmoid(x: Any, /) -> Any:
    """``1 / (1 + exp(-x))``.

    Example:
        >>> weft.sigmoid(weft.tensor([0.0]))
        tensor([0.5], dtype=float32)
    """
    return sigmoid_op(_floats(x))


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
    return _leaky_relu(_floats(x), attrs=(float(negative_slope),))


@public("neural networks", method=False)
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, ``alpha * (exp(x) - 1)`` below.

    Example:
        >>> weft.elu(weft.tensor([0.0, 2.0]))
        tensor([0., 2.], dtype=float32)
    """
    return _elu(_floats(x), attrs=(float(alpha),))


@public("neural networks", "swish", method=False)
def silu(x: Any, /) -> Any:
    """``x * sigmoid(x)``.

    Example:
        >>> weft.silu(weft.tensor([0.0]))
        tensor([0.], dtype=float32)
    """
    return silu_op(_floats(x))


@public("neural networks", method=False)
def softplus(x: Any, /) -> Any:
    """``log(1 + exp(x))``.

    Example:
        >>> weft.softplus(weft.tensor([0.0]))
        tensor([0.6931472], dtype=float32)
    """
    return softplus_op(_floats(x))


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
    return (gelu_op if approximate == "none" else gelu_tanh_op)(_floats(x))


# Softmax and its logarithm


def _shifted(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """x less its maximum, and that maximum; an infinite one counts as 0."""
    top = over(R.reduce_max, x, axes)
    top = E.where(E.isinf(top), 0.0, top)
    return E.subtract(x, top), top


def _grad_softmax(g: Any, c: Saved) -> Sequence[Any]:
    (axis,) = c.attrs
    y = widened(c.out)
    gy = E.multiply(widened(g), y)
    return (E.subtract(gy, E.multiply(y, over(R.reduce_sum, gy, (axis,)))),)


@composite("softmax", 1, grad=_grad_softmax)
def softmax_op(x: Any, attrs: Any) -> Any:
    """attrs (axis,)"""
    (axis,) = attrs
    e = E.exp(_shifted(widened(x), (axis,))[0])
    return cast_to(E.divide(e, over(R.reduce_sum, e, (axis,))), x.dtype)


def _grad_log_softmax(g: Any, c: Saved) -> Sequence[Any]:
    (axis,) = c.attrs
    g = widened(g)
    return (E.subtract(g, E.multiply(E.exp(widened(c.out)), over(R.reduce_sum, g, (axis,)))),)


@composite("log_softmax", 1, grad=_grad_log_softmax)
def log_softmax_op(x: Any, attrs: Any) -> Any:
    """attrs (axis,)"""
    (axis,) = attrs
    shifted, _ = _shifted(widened(x), (axis,))
    return cast_to(E.subtract(shifted, E.log(over(R.reduce_sum, E.exp(shifted), (axis,)))), x.dtype)


def _logsumexp(x: Any, axes: tuple[int, ...]) -> Any:
    shifted, top = _shifted(x, axes)
    return E.add(E.log(over(R.reduce_sum, E.exp(shifted), axes)), top)


def _grad_logsumexp(g: Any, c: Saved) -> Sequence[Any]:
    axes = c.attrs[0]
    out = widened(kept(c.out, c.x.shape, axes))
    weight = E.exp(E.subtract(widened(c.x), E.where(E.isinf(out), 0.0, out)))
    return (E.multiply(widened(kept(g, c.x.shape, axes)), weight),)


@composite("logsumexp", 1, grad=_grad_logsumexp)
def logsumexp_op(x: Any, attrs: Any) -> Any:
    """attrs (axes, keepdims)"""
    axes, keepdims = attrs
    return cast_to(dropped(_logsumexp(widened(x), axes), axes, keepdims), x.dtype)


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
    x = _floats(x) if dtype is None else cast_to(tensor_of(x), dtypes.as_dtype(dtype))
    return softmax_op(x, attrs=(_some(x, axis),)) if x.size else x.clone()


@public("neural networks")
def log_softmax(x: Any, axis: int = -1, *, dtype: Any = None) -> Any:
    """The logarithm of `softmax`, computed without it.

    Example:
        >>> weft.log_softmax(weft.tensor([0.0, 0.0]))
        tensor([-0.6931472, -0.6931472], dtype=float32)
    """
    x = _floats(x) if dtype is None else cast_to(tensor_of(x), dtypes.as_dtype(dtype))
    return log_softmax_op(x, attrs=(_some(x, axis),)) if x.size else x.clone()


@public("reductions")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` over one axis, several, or all, without overflow. Args are those of `sum`.

    Example:
        >>> weft.logsumexp(weft.tensor([0.0, 0.0]))
        tensor(0.6931472, dtype=float32)
    """
    x = _floats(x)
    return logsumexp_op(x, attrs=(axes_of(axis, x.ndim), bool(keepdims)))


# Normalisation


def _mean_of(x: Any) -> Any:
    n = x.ndim - 1
    return E.divide(R.reduce_sum(x, attrs=(n, n + 1)), float(x.shape[-1]))


def _normalised(x: Any, eps: float, center: bool) -> tuple[Any, Any]:
    """Rows with mean 0 (if centred) and variance 1, and the factors that scaled them."""
    if center:
        x = E.subtract(x, _mean_of(x))
    scale = E.reciprocal(E.sqrt(E.add(_mean_of(E.square(x)), eps)))
    return E.multiply(x, scale), scale


def _rows(x: Any, axes: int) -> Any:
    """The last axes as one."""
    return x if axes == 1 else reshape(x, attrs=((*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :])),))


def _grad_norm(g: Any, c: Saved) -> Sequence[Any]:
    axes, eps, center, has_weight, _ = c.attrs
    shape = tuple(c.x.shape)
    rows, scale = _normalised(widened(_rows(c.x, axes)), eps, center)
    gy = widened(_rows(g, axes))
    gx = E.multiply(gy, widened(_rows(c.y, axes))) if has_weight else gy
    back = E.subtract(gx, E.multiply(rows, _mean_of(E.multiply(gx, rows))))
    if center:
        back = E.subtract(back, _mean_of(gx))
    found = [reshape(E.multiply(back, scale), attrs=(shape,))]
    if has_weight:
        found.append(reshape(E.multiply(gy, rows), attrs=(shape,)))
    return (*found, g)[: len(c.operands)]


@composite("layer_norm", -1, grad=_grad_norm)
def norm_op(x: Any, *parameters: Any, attrs: Any) -> Any:
    """attrs (number of last axes, eps, whether to centre, whether there is a weight, whether there is a bias)"""
    axes, eps, center, has_weight, has_bias = attrs
    rest = [widened(_rows(p, axes)) for p in parameters]
    rows, _ = _normalised(widened(_rows(x, axes)), eps, center)
    if has_weight:
        rows = E.multiply(rows, rest[0])
    if has_bias:
        rows = E.add(rows, rest[-1])
    return cast_to(reshape(rows, attrs=(tuple(x.shape),)), x.dtype)


def _normalise(name: str, x: Any, shape: Any, weight: Any, bias: Any, eps: float, center: bool) -> Any:
    x = _floats(x)
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
    return norm_op(x, *given, attrs=(len(sizes), float(eps), center, weight is not None, bias is not None))


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
def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float = 1e-6) -> Any:
    """The last axes divided by the root of the mean of their squares, then scaled. Args are those of `layer_norm`.

    Example:
        >>> weft.rms_norm(weft.tensor([[3.0, 3.0]]), 2, eps=0.0)
        tensor([[1., 1.]], dtype=float32)
    """
    return _normalise("rms_norm", x, normalized_shape, weight, None, eps, False)


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
    w = transposed(weight, 0, 1)
    y = C.matmul(x, w) if x.ndim >= 2 else multiplied(x, w)
    return y if bias is None else E.add(y, bias)


# Losses

_REDUCTIONS = ("mean", "sum", "none")


def _reduced(loss: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss
    axes = tuple(range(loss.ndim))
    total = dropped(over(R.reduce_sum, loss, axes), axes, False)
    return E.divide(total, float(count_of(loss.shape, axes))) if reduction == "mean" else total


def _unreduced(g: Any, shape: Sequence[int], reduction: str) -> Any:
    """The gradient of each element of a loss, given that of the loss."""
    g = widened(g)
    if reduction == "none":
        return g
    if reduction == "mean":
        g = E.divide(g, float(math.prod(shape)))
    return expand(reshape(g, attrs=((1,) * len(shape),)), attrs=(tuple(shape),)) if shape else g


def _class_mask(x: Any, target: Any, axis: int) -> Any:
    """True at each row's class. Negative labels are refused as well as too large ones."""
    n = x.shape[axis]
    label = E.check_index(E.where(E.less(target, 0), n, target), n, attrs=("A class label", n))
    label = reshape(label, attrs=((*target.shape[:axis], 1, *target.shape[axis:]),))
    classes = reshape(iota(attrs=(n,)), attrs=((n,) + (1,) * (x.ndim - axis - 1),))
    return E.equal(classes, label)


def _grad_cross_entropy(g: Any, c: Saved) -> Sequence[Any]:
    axis, reduction, smoothing = c.attrs
    x = widened(c.x)
    shape = tuple(n for d, n in enumerate(x.shape) if d != axis)
    g = kept(_unreduced(g, shape, reduction), x.shape, (axis,))
    p = E.exp(E.subtract(x, _logsumexp(x, (axis,))))
    even = smoothing / x.shape[axis]
    # The number for the other classes as a tensor, so that both are rounded to x's type and not to the default one.
    wanted = E.where(_class_mask(x, c.y, axis), 1.0 - smoothing + even, full(even, attrs=((), x.dtype)))
    return E.multiply(g, E.subtract(p, E.cast_(wanted, attrs=x.dtype))), None


@composite("cross_entropy", 2, grad=_grad_cross_entropy)
def cross_entropy_op(x: Any, target: Any, attrs: Any) -> Any:
    """attrs (axis of the classes, reduction, label smoothing); class labels"""
    axis, reduction, smoothing = attrs
    wide = widened(x)
    chosen = over(R.reduce_sum, E.where(_class_mask(x, target, axis), wide, 0.0), (axis,))
    if smoothing:
        even = E.multiply(over(R.reduce_sum, wide, (axis,)), smoothing / x.shape[axis])
        chosen = E.add(E.multiply(chosen, 1.0 - smoothing), even)
    loss = dropped(E.subtract(_logsumexp(wide, (axis,)), chosen), (axis,), False)
    return cast_to(_reduced(loss, reduction), x.dtype)


def _grad_soft_cross_entropy(g: Any, c: Saved) -> Sequence[Any]:
    axis, reduction = c.attrs
    x, t = widened(c.x), widened(c.y)
    shape = tuple(n for d, n in enumerate(x.shape) if d != axis)
    g = kept(_unreduced(g, shape, reduction), x.shape, (axis,))
    logp = E.subtract(x, _logsumexp(x, (axis,)))
    gx = E.subtract(E.multiply(E.exp(logp), over(R.reduce_sum, t, (axis,))), t)
    return E.multiply(g, gx), E.negative(E.multiply(g, logp))


@composite("soft_cross_entropy", 2, grad=_grad_soft_cross_entropy)
def soft_cross_entropy_op(x: Any, target: Any, attrs: Any) -> Any:
    """attrs (axis of the classes, reduction); class probabilities"""
    axis, reduction = attrs
    wide = widened(x)
    logp = E.subtract(wide, _logsumexp(wide, (axis,)))
    loss = dropped(E.negative(over(R.reduce_sum, E.multiply(widened(target), logp), (axis,))), (axis,), False)
    return cast_to(_reduced(loss, reduction), x.dtype)


@public("neural networks", method=False)
def cross_entropy(x: Any, target: Any, *, reduction: str = "mean", label_smoothing: float = 0.0) -> Any:
    """The cross entropy between unnormalised logits and targets: ``-log_softmax(x)`` at the target.

    Args:
        x: logits [n, classes], [n, classes, ...] or [classes].
        target: class labels, an integer tensor of x's shape without the classes; or probabilities, a floating-point
            tensor of x's shape.
        reduction: "mean" over all targets, "sum", or "none".
        label_smoothing: the part of each target that is spread evenly over the classes.

    Raises:
        IndexError: for a label below 0 or not below the number of classes.
        ShapeError: where the shapes do not fit.

    Example:
        >>> weft.cross_entropy(weft.tensor([[0.0, 0.0]]), weft.tensor([1]))
        tensor(0.6931472, dtype=float32)
    """
    x = _floats(x)
    tensor_of(target, "target")
    one_of(reduction, "reduction", _REDUCTIONS)
    if x.ndim == 0:
        raise ShapeError("cross_entropy takes logits of at least one axis, the classes.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}.")
    axis = 0 if x.ndim == 1 else 1
    if target.dtype.kind == "f":
        if tuple(target.shape) != tuple(x.shape):
            raise ShapeError(
                f"Target probabilities have the shape of the logits, {list(x.shape)}, not {list(target.shape)}; "
                "labels are integers."
            )
        if label_smoothing:
            target = E.add(E.multiply(target, 1.0 - label_smoothing), label_smoothing / x.shape[axis])
        return soft_cross_entropy_op(x, target, attrs=(axis, reduction))
    wanted = tuple(n for d, n in enumerate(x.shape) if d != axis)
    if target.dtype.kind == "b" or tuple(target.shape) != wanted:
        raise ShapeError(
            f"Labels for logits of shape {list(x.shape)} are integers of shape {list(wanted)}, not "
            f"{target.dtype.name} of shape {list(target.shape)}."
        )
    return cross_entropy_op(x, target, attrs=(axis, reduction, float(label_smoothing)))


@public("neural networks", method=False)
def nll_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The negative log-likelihood of labels, given log-probabilities (what `log_softmax` gives).

    Args are those of `cross_entropy`.

    Example:
        >>> weft.nll_loss(weft.tensor([[-0.5, -1.0]]), weft.tensor([1]))
        tensor(1., dtype=float32)
    """
    one_of(reduction, "reduction", _REDUCTIONS)
    axis = 0 if tensor_of(x).ndim == 1 else 1
    wanted = tuple(n for d, n in enumerate(x.shape) if d != axis)
    if tensor_of(target, "target").dtype.kind not in "iu" or tuple(target.shape) != wanted:
        raise ShapeError(
            f"Labels for shape {list(x.shape)} are integers of shape {list(wanted)}, not {list(target.shape)}."
        )
    return nll_op(x, target, attrs=(axis, reduction))


@composite("nll_loss", 2)
def nll_op(x: Any, target: Any, attrs: Any) -> Any:
    """attrs (axis of the classes, reduction)"""
    axis, reduction = attrs
    chosen = over(R.reduce_sum, E.where(_class_mask(x, target, axis), widened(x), 0.0), (axis,))
    return cast_to(_reduced(E.negative(dropped(chosen, (axis,), False)), reduction), x.dtype)


def _grad_mse(g: Any, c: Saved) -> Sequence[Any]:
    d = E.subtract(widened(c.x), widened(c.y))
    gx = E.multiply(_unreduced(g, tuple(d.shape), c.attrs[0]), E.add(d, d))
    return gx, E.negative(gx)


@composite("mse_loss", 2, grad=_grad_mse)
def mse_op(x: Any, y: Any, attrs: Any) -> Any:
    """attrs (reduction,)"""
    d = E.subtract(widened(x), widened(y))
    return cast_to(_reduced(E.square(d), attrs[0]), _together(x, y))


@composite("l1_loss", 2)
def l1_op(x: Any, y: Any, attrs: Any) -> Any:
    """attrs (reduction,)"""
    d = E.subtract(widened(x), widened(y))
    return cast_to(_reduced(E.abs_(d), attrs[0]), _together(x, y))


def _together(x: Any, y: Any) -> Any:
    return floating(dtypes.promote(x.dtype, y.dtype))


def _pair(name: str, x: Any, target: Any, reduction: str) -> tuple[Any, Any]:
    one_of(reduction, "reduction", _REDUCTIONS)
    if tuple(tensor_of(x).shape) != tuple(tensor_of(target, "target").shape):
        raise ShapeError(
            f"{name} takes two tensors of one shape, not {list(x.shape)} and {list(target.shape)}; reshape one of them first."
        )
    return _floats(x), _floats(target)


@public("neural networks", "mse", method=False)
def mse_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The squared differences of two tensors of one shape: their mean, their sum, or each.

    Args:
        x, target: tensors of one shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: where the shapes differ.

    Example:
        >>> weft.mse_loss(weft.tensor([1.0, 2.0]), weft.tensor([1.0, 4.0]))
        tensor(2., dtype=float32)
    """
    return mse_op(*_pair("mse_loss", x, target, reduction), attrs=(reduction,))


@public("neural networks", method=False)
def l1_loss(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The absolute differences of two tensors of one shape. As `mse_loss`.

    Example:
        >>> weft.l1_loss(weft.tensor([1.0, 2.0]), weft.tensor([1.0, 4.0]))
        tensor(1., dtype=float32)
    """
    return l1_op(*_pair("l1_loss", x, target, reduction), attrs=(reduction,))


def _grad_bce(g: Any, c: Saved) -> Sequence[Any]:
    x, t = widened(c.x), widened(c.y)
    g = _unreduced(g, tuple(x.shape), c.attrs[0])
    return E.multiply(g, E.subtract(_logistic(x), t)), E.negative(E.multiply(g, x))


@composite("binary_cross_entropy_with_logits", 2, grad=_grad_bce)
def bce_op(x: Any, t: Any, attrs: Any) -> Any:
    """attrs (reduction,): ``max(x, 0) - x * t + log1p(exp(-|x|))``"""
    wide, target = widened(x), widened(t)
    loss = E.add(E.subtract(E.maximum(wide, 0), E.multiply(wide, target)), E.log1p(E.exp(E.negative(E.abs_(wide)))))
    return cast_to(_reduced(loss, attrs[0]), _together(x, t))


@public("neural networks", method=False)
def binary_cross_entropy_with_logits(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The cross entropy of ``sigmoid(x)`` against targets from 0 to 1. As `mse_loss`.

    Example:
        >>> weft.binary_cross_entropy_with_logits(weft.tensor([0.0]), weft.tensor([1.0]))
        tensor(0.6931472, dtype=float32)
    """
    return bce_op(*_pair("binary_cross_entropy_with_logits", x, target, reduction), attrs=(reduction,))
