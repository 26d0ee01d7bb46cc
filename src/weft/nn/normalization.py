"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.nn import functional as F
from weft.nn import init
from weft.nn.linear import empty
from weft.nn.module import Module


class LayerNorm(Module):
    """Shift and scale each sample to mean 0 and variance 1 over its last axes, then by a trained ``weight`` and ``bias``.

    ``normalized_shape`` is the shape of those axes (or the size of the last one); ``eps`` is added to the variance.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton: Layer Normalization. arXiv:1607.06450, 2016.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = dtypes.default_float,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = empty(shape, dtype) if elementwise_affine else None
        self.bias = empty(shape, dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        shape, affine, bias = self.normalized_shape, self.elementwise_affine, self.bias is not None
        return f"{shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


__all__ = ["LayerNorm"]
