"""Losses as layers."""

from __future__ import annotations

from typing import Any

from weft.nn import functional as F
from weft.nn.module import Module
from weft.ops.frontend import one_of
from weft.ops.losses import REDUCTIONS


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = one_of(reduction, "reduction", REDUCTIONS)


class MSELoss(_Loss):
    """Squared differences; their mean, or with ``reduction`` "sum" their sum, with "none" each of them."""

    def forward(self, x: Any, target: Any) -> Any:
        return F.mse_loss(x, target, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """Negative log-probabilities of the right classes; their mean, sum, or each of them.

    Takes scores (batch, classes), not yet normalised, and the classes' numbers (batch,).
    """

    def forward(self, x: Any, target: Any) -> Any:
        return F.cross_entropy(x, target, reduction=self.reduction)


__all__ = ["CrossEntropyLoss", "MSELoss"]
