"""Dropout."""

from __future__ import annotations

from typing import Any

from weft.nn import functional as F
from weft.nn.module import Module


class Dropout(Module):
    """In training, zero each element with probability ``p`` and divide the others by ``1 - p``; otherwise nothing.

    Draws come from Weft's generator (`weft.manual_seed`), and are the same in every mode.

    Source: N. Srivastava et al.: Dropout: A Simple Way to Prevent Neural Networks from Overfitting. JMLR 15, 2014.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout's probability must be from 0 to 1, not {p}.")
        self.p = p

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


__all__ = ["Dropout"]
