"""Gradients checked against finite differences, to first and second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import _native
from weft.autograd.engine import gradients, listed, start
from weft.errors import AutogradError, kind_of
from weft.ops.frontend import called, number

if TYPE_CHECKING:
    from weft import Tensor


@called
def gradcheck(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> bool:
    """Compare ``function``'s gradients with central differences along every coordinate of its float64 inputs.

    ``function`` maps the inputs to a tensor or a tuple of tensors. Raises `AutogradError` with the two numbers where they
    differ by more than ``atol + rtol * |difference quotient|``; gives True otherwise. Inputs in float32 are refused:
    differences would be lost in rounding.

    Example:
        >>> import weft
        >>> x = weft.tensor([0.5, 2.0], dtype=weft.float64, requires_grad=True)
        >>> weft.autograd.gradcheck(lambda x: x.exp() * x, [x])
        True
    """
    inputs = _arguments(inputs)
    eps, atol, rtol = number(eps, "eps"), number(atol, "atol"), number(rtol, "rtol")
    wanted = [t for t in inputs if isinstance(t, _native.Tensor) and t.requires_grad]
    if not wanted:
        raise AutogradError("gradcheck needs at least one input that requires grad.")
    for t in wanted:
        if t.dtype.name != "float64":
            raise AutogradError(f"gradcheck needs float64 inputs, not {t.dtype.name}.")
    outs = _outputs(function, inputs)
    rng = np.random.default_rng(0)
    for nr, out in enumerate(outs):
        if not out.requires_grad:
            continue
        weights = rng.standard_normal(tuple(out.shape))
        found = gradients([out], [_native.from_numpy(np.array(weights))], wanted, False)
        for k, (t, g) in enumerate(zip(wanted, found, strict=True)):
            analytic = np.zeros(tuple(t.shape)) if g is None else np.array(g.detach().numpy())
            numeric = _differences(function, inputs, t, nr, weights, eps)
            error = np.abs(analytic - numeric)
            if not (error <= atol + rtol * np.abs(numeric)).all():
                at = np.unravel_index(np.nanargmax(np.where(np.isnan(error), np.inf, error)), error.shape)
                raise AutogradError(
                    f"The gradient of output {nr} with respect to input {k} is {analytic[at]:.8g} at {list(map(int, at))}, but "
                    f"finite differences give {numeric[at]:.8g}."
                )
    return True


def _arguments(inputs: Any) -> list[Any]:
    if isinstance(inputs, _native.Tensor):
        return [inputs]
    if not isinstance(inputs, list | tuple):
        raise TypeError(f"inputs must be a list of the function's arguments, not {kind_of(inputs)}.")
    return list(inputs)


def _outputs(function: Callable[..., Any], inputs: Sequence[Any]) -> list[Any]:
    if not callable(function):
        raise TypeError(f"function must be a function of tensors, not {kind_of(function)}.")
    return listed(function(*inputs), "The function's results")


def _differences(
    function: Callable[..., Any], inputs: list[Any], t: Tensor, nr: int, weights: np.ndarray, eps: float
) -> np.ndarray:
    """d sum(weights * output) / dt by central differences, one coordinate at a time."""
    with _native.GradScope(False):
        start_value = np.array(t.detach().numpy())
        result = np.zeros(start_value.shape)
        position = (
            inputs.index(t) if all(t is not i for i in inputs) else next(k for k, i in enumerate(inputs) if i is t)
        )
        for at in np.ndindex(*start_value.shape):
            sides = []
            for step in (eps, -eps):
                moved = start_value.copy()
                moved[at] += step
                args = [*inputs[:position], _native.from_numpy(moved), *inputs[position + 1 :]]
                out = np.asarray(_outputs(function, args)[nr].detach().numpy())
                sides.append((out * weights).sum())
            result[at] = (sides[0] - sides[1]) / (2 * eps)
        return result


@called
def gradgradcheck(function: Callable[..., Any], inputs: Sequence[Any], **tolerances: float) -> bool:
    """Compare the gradients of ``function``'s gradients with central differences; arguments and errors as for `gradcheck`.

    Example:
        >>> import weft
        >>> x = weft.tensor([0.5, 2.0], dtype=weft.float64, requires_grad=True)
        >>> weft.autograd.gradgradcheck(lambda x: x * x * x, [x])
        True
    """
    inputs = _arguments(inputs)
    wanted = [k for k, t in enumerate(inputs) if isinstance(t, _native.Tensor) and t.requires_grad]
    rng = np.random.default_rng(1)
    weights = [_native.from_numpy(np.array(rng.standard_normal(tuple(o.shape)))) for o in _outputs(function, inputs)]

    def first(*args: Any) -> Any:
        with _native.GradScope(True):
            args = tuple(
                a.detach().requires_grad_() if k in wanted and not a.requires_grad else a for k, a in enumerate(args)
            )
            outs = _outputs(function, args)
            pairs = [(o, w) for o, w in zip(outs, weights, strict=True) if o.requires_grad]
            found = gradients([o for o, _ in pairs], [start(o, w) for o, w in pairs], [args[k] for k in wanted], True)
        return tuple(g if g is not None else args[k] * 0 for g, k in zip(found, wanted, strict=True))

    return gradcheck(first, inputs, **tolerances)
