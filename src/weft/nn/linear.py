"""Layers that reshape or map features linearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.nn import functional as F
from weft.nn import init
from weft.nn.module import Module
from weft.nn.parameter import Parameter
from weft.ops.creation import filled
from weft.ops.frontend import axis_of, integer, shape_of, tensor_of


def empty(shape: Sequence[Any], dtype: Any) -> Parameter:
    """A parameter to be filled by ``reset_parameters``."""
    kind = dtypes.as_dtype(dtype)
    if not kind.is_floating_point:
        raise TypeError(f"Parameters are floating-point, not {kind.name}.")
    return Parameter(filled(shape_of((shape,)), 0, kind))


class Linear(Module):
    """``x @ weight.T + bias``: (..., in_features) to (..., out_features).

    ``weight`` (out_features, in_features) and ``bias`` (out_features,) begin uniform in ±1/√in_features, drawn from Weft's
    generator (`weft.manual_seed`).

    Source of the initial values: K. He, X. Zhang, S. Ren, J. Sun: Delving Deep into Rectifiers. ICCV 2015; with
    a = √5, as in PyTorch.

    Example:
        >>> import weft
        >>> weft.nn.Linear(3, 2)(weft.ones((5, 3))).shape
        (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: Any = dtypes.default_float
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty((out_features, in_features), dtype)
        self.bias = empty((out_features,), dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Gives what it is given; arguments are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` as one; the first axis, the batch, stays by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = integer(start_dim, "start_dim")
        self.end_dim = integer(end_dim, "end_dim")

    def forward(self, x: Any) -> Any:
        n = tensor_of(x).ndim
        start, end = axis_of(self.start_dim, n), axis_of(self.end_dim, n)
        return x.reshape((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


__all__ = ["Flatten", "Identity", "Linear"]
