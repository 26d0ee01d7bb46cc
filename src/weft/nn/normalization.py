"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.nn import functional as F
from weft.nn import init
from weft.nn.linear import empty
from weft.nn.module import Module
from weft.ops.frontend import number, shape_of


class _Normalisation(Module):
    """What normalisations over the last axes share: their arguments, and the weight that scales the result."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None, elementwise_affine: bool, dtype: Any
    ) -> None:
        super().__init__()
        shape = shape_of(normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,))
        self.normalized_shape = shape
        self.eps: Any = None if eps is None else number(eps, "eps")
        self.elementwise_affine = elementwise_affine
        self.weight = empty(shape, dtype) if elementwise_affine else None

    def reset_parameters(self) -> None:
        """Set the weight to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LayerNorm(_Normalisation):
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
        super().__init__(normalized_shape, eps, elementwise_affine, dtype)
        self.bias = empty(self.normalized_shape, dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        super().reset_parameters()
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class RMSNorm(_Normalisation):
    """Scale each sample so that the mean of its squares over its last axes is 1, then by a trained ``weight``.

    ``normalized_shape`` is the shape of those axes (or the size of the last one); ``eps`` is added to the mean square, None
    for the machine epsilon of the type that it is computed in.

    Source: B. Zhang, R. Sennrich: Root Mean Square Layer Normalization. NeurIPS 2019.

    Example:
        >>> import weft
        >>> from weft import nn
        >>> nn.RMSNorm(2)(weft.tensor([[3.0, -3.0]]))
        tensor([[ 1., -1.]], dtype=float32, grad_fn=<layer_norm>)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = dtypes.default_float,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, dtype)
        self.reset_parameters()

    def forward(self, x: Any) -> Any:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


__all__ = ["LayerNorm", "RMSNorm"]
