"""Look-up tables."""

from __future__ import annotations

from typing import Any

from weft import dtypes
from weft.nn import functional as F
from weft.nn import init
from weft.nn.linear import empty
from weft.nn.module import Module


class Embedding(Module):
    """A trained vector for each of ``num_embeddings`` integers: any shape to that shape with ``embedding_dim`` added.

    The vectors begin normally distributed, with mean 0 and variance 1. An index out of range raises ``IndexError``.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, dtype: Any = dtypes.default_float) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = empty((num_embeddings, embedding_dim), dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new vectors."""
        init.normal_(self.weight)

    def forward(self, x: Any) -> Any:
        return F.embedding(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


__all__ = ["Embedding"]
