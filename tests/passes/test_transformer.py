"""The launches of a transformer block: what the rule of `weft/passes/launches.py` makes of a whole model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import weft
from weft import nn


def launched(function: Callable[..., Any], *operands: Any) -> tuple[int, int]:
    """Products and other kernels of a second call of a static function."""
    function(*operands)
    before = weft.stats()
    function(*operands)
    made = weft.stats() - before
    return made.gemm_launches, made.kernel_launches


def block() -> tuple[nn.Module, Any]:
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    return layer, weft.ones(4, 32, 32)


def test_inference() -> None:
    """Four products and the attention. The first normalisation and the copy that puts heads together lead a product; biases,
    residuals, gelu and the second normalisation follow one."""
    layer, x = block()

    @weft.static
    def use(x: Any) -> Any:
        with weft.no_grad():
            return layer(x, is_causal=True)

    assert launched(use, x) == (4, 1)


def test_training_step() -> None:
    """Twelve products, each once over the whole batch, which the updates of the weights follow. The rest: the attention and its
    gradient, six launches that put the gradients of its three operands into one, eight sums over rows, the loss."""
    layer, x = block()
    optimizer = weft.optim.SGD(layer.parameters(), lr=0.01)

    @weft.static
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = layer(x, is_causal=True).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    products, kernels = launched(step, x)
    assert products == 12
    assert kernels == 17
