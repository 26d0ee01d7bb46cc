"""Dropout."""

from __future__ import annotations

from typing import Any

from weft.nn import functional as F
from weft.nn.module import Module
from weft.ops.random import probability


class Dropout(Module):
    """In training, zero each element with probability ``p`` and divide the others by ``1 - p``; otherwise nothing.

    With ``inplace`` the result is written over the operand.

    Draws come from Weft's generator (`weft.manual_seed`), and are the same in every mode.

    Source: N. Srivastava et al.: Dropout: A Simple Way to Prevent Neural Networks from Overfitting. JMLR 15, 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = probability(p, "p")
        self.inplace = inplace

    def forward(self, x: Any) -> Any:
        dropped = F.dropout(x, self.p, self.training)
        return x.copy_(dropped) if self.inplace and dropped is not x else dropped

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


__all__ = ["Dropout"]
