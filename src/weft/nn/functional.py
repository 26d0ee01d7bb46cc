"""The functions behind the layers, under PyTorch's names. Most are Weft's own, gathered here."""

from __future__ import annotations

from typing import Any

from weft.ops.attention import scaled_dot_product_attention
from weft.ops.frontend import PUBLIC, called, tensor_of
from weft.ops.losses import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss, nll_loss
from weft.ops.nnfunc import (
    elu,
    gelu,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    relu,
    rms_norm,
    sigmoid,
    silu,
    softmax,
    softplus,
)
from weft.ops.random import dropout

tanh = PUBLIC["tanh"].function


@called
def embedding(x: Any, weight: Any) -> Any:
    """The rows of ``weight`` (count, size) that the integers in ``x`` name: shape (*x.shape, size).

    A negative number counts from the end. Raises ``IndexError`` for one out of range.
    """
    tensor_of(weight, "weight")
    if tensor_of(x).dtype.kind not in "iu":
        raise TypeError(f"embedding looks integers up, not {x.dtype.name}; cast them with x.to(weft.int64).")
    return weight[x]


__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
