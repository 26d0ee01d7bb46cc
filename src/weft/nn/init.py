"""Initial values of parameters. Each function fills a tensor in place, without a gradient, and gives it.

Random values come from Weft's generator (`weft.manual_seed`), or from the one given.
"""

from __future__ import annotations

import math
from typing import Any

from weft.autograd.grad_mode import no_grad
from weft.ops.frontend import called, number, one_of, tensor_of


@called
def constant_(tensor: Any, val: float) -> Any:
    """Fill with a number."""
    tensor_of(tensor, "tensor")
    with no_grad():
        return tensor.fill_(val)


@called
def zeros_(tensor: Any) -> Any:
    """Fill with 0."""
    return constant_(tensor, 0.0)


@called
def ones_(tensor: Any) -> Any:
    """Fill with 1."""
    return constant_(tensor, 1.0)


@called
def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Fill with numbers drawn uniformly from ``a`` up to ``b``."""
    tensor_of(tensor, "tensor")
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


@called
def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Fill with numbers drawn from a normal distribution."""
    tensor_of(tensor, "tensor")
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


@called
def fans(tensor: Any) -> tuple[int, int]:
    """How many inputs and outputs an element of a weight (out, in, ...) connects: (fan in, fan out)."""
    if tensor_of(tensor, "tensor").ndim < 2:
        raise ValueError(
            f"Fan in and fan out are those of a weight of at least two axes, not of shape {list(tensor.shape)}."
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


@called
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a weight's spread makes up for what follows it: "linear", "relu", "leaky_relu", "tanh", "sigmoid"."""
    slope = 0.01 if param is None else number(param, "param")
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
    }
    return gains[one_of(nonlinearity, "nonlinearity", tuple(gains))]


def _spread(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = fans(tensor)
    fan = fan_in if one_of(mode, "mode", ("fan_in", "fan_out")) == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


@called
def kaiming_uniform_(
    tensor: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Fill with uniform numbers of standard deviation gain / √fan (K. He et al.: Delving Deep into Rectifiers, 2015)."""
    bound = math.sqrt(3) * _spread(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


@called
def kaiming_normal_(
    tensor: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Fill with normal numbers of standard deviation gain / √fan (K. He et al., 2015)."""
    return normal_(tensor, 0.0, _spread(tensor, a, mode, nonlinearity), generator)


@called
def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Fill with uniform numbers of variance 2 gain² / (fan in + fan out) (X. Glorot, Y. Bengio, 2010)."""
    bound = number(gain, "gain") * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


@called
def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Fill with normal numbers of variance 2 gain² / (fan in + fan out) (X. Glorot, Y. Bengio, 2010)."""
    return normal_(tensor, 0.0, number(gain, "gain") * math.sqrt(2 / sum(fans(tensor))), generator)
