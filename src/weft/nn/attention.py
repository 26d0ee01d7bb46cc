"""Attention of several heads, and the transformer layer that is built around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weft import dtypes
from weft.errors import ShapeError, kind_of
from weft.nn import functional as F
from weft.nn import init
from weft.nn.dropout import Dropout
from weft.nn.linear import Linear, empty
from weft.nn.module import Module
from weft.nn.normalization import LayerNorm
from weft.ops.attention import attention_weights
from weft.ops.elementwise import where
from weft.ops.frontend import integer, one_of, tensor_of
from weft.ops.random import probability

#: A mask is bool or floating-point, and hides positions where it is True or -inf.
Mask = Any


class MultiheadAttention(Module):
    """Attention of ``num_heads`` heads, each over its share of the features, between two linear maps.

    Args:
        embed_dim: the features of the query and of the result; ``num_heads`` divides them.
        num_heads: the number of heads.
        dropout: the probability with which a weight is dropped in training.
        bias: whether the linear maps add a bias.
        kdim, vdim: the features of the key and of the value; ``embed_dim`` if None.
        batch_first: whether operands are [N, L, features] rather than [L, N, features]. [L, features], without a batch,
            is taken in both cases.
        dtype: of the parameters.

    Parameters have PyTorch's names and shapes, so that its state dictionaries can be loaded: ``in_proj_weight``
    [3 * embed_dim, embed_dim], or with kdim or vdim ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``;
    ``in_proj_bias``; ``out_proj``.

    Raises:
        ValueError: where the heads do not divide the features, or the dropout is no probability.

    Source: A. Vaswani et al.: Attention Is All You Need. NeurIPS 2017. Initial values: X. Glorot, Y. Bengio, 2010.

    Example:
        >>> import weft
        >>> from weft import nn
        >>> attend = nn.MultiheadAttention(8, 2, batch_first=True)
        >>> x = weft.ones(3, 5, 8)
        >>> out, weights = attend(x, x, x)
        >>> out.shape, weights.shape
        ((3, 5, 8), (3, 5, 5))
        >>> attend(x, x, x, need_weights=False, is_causal=True)[1] is None
        True
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = dtypes.default_float,
    ) -> None:
        super().__init__()
        self.embed_dim = integer(embed_dim, "embed_dim")
        self.num_heads = integer(num_heads, "num_heads")
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {embed_dim} features.")
        self.dropout = probability(dropout, "dropout")
        self.kdim = embed_dim if kdim is None else integer(kdim, "kdim")
        self.vdim = embed_dim if vdim is None else integer(vdim, "vdim")
        self.batch_first = batch_first
        together = self.kdim == self.vdim == embed_dim
        self.in_proj_weight = empty((3 * embed_dim, embed_dim), dtype) if together else None
        self.q_proj_weight = None if together else empty((embed_dim, embed_dim), dtype)
        self.k_proj_weight = None if together else empty((embed_dim, self.kdim), dtype)
        self.v_proj_weight = None if together else empty((embed_dim, self.vdim), dtype)
        self.in_proj_bias = empty((3 * embed_dim,), dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Mask = None,
        need_weights: bool = True,
        attn_mask: Mask = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """The result, shaped as the query, and the weights, or None.

        Args:
            query: [N, L, embed_dim], [L, N, embed_dim] or [L, embed_dim] (see ``batch_first``).
            key: likewise with S positions of kdim features.
            value: likewise with S positions of vdim features.
            key_padding_mask: [N, S], or [S] without a batch: bool, where True hides a key (the opposite of what it means to
                `scaled_dot_product_attention`, as in PyTorch), or floating-point, which is added to the scores.
            need_weights: whether to give the weights. Without them memory grows with the lengths, not with their product,
                and the time is less.
            attn_mask: [L, S] or [N * num_heads, L, S], likewise.
            average_attn_weights: whether the weights are those of all heads on average, [N, L, S], rather than
                [N, num_heads, L, S].
            is_causal: whether a position sees those up to its own only, as well as what the masks let it see. (In PyTorch
                it says of a mask that must be there that it is the causal one.)

        Raises:
            ShapeError: where the shapes do not fit together.
            TypeError: for other types.
        """
        for name, x in (("query", query), ("key", key), ("value", value)):
            tensor_of(x, name)
        batched = query.ndim == 3
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise ShapeError(
                f"Query, key and value have three axes each, or two without a batch, not shapes {list(query.shape)}, "
                f"{list(key.shape)} and {list(value.shape)}."
            )
        sizes = (self.embed_dim, self.kdim, self.vdim)
        for name, x, size in zip(("query", "key", "value"), (query, key, value), sizes, strict=True):
            if x.shape[-1] != size:
                raise ShapeError(f"The {name} has {size} features, not {x.shape[-1]} (shape {list(x.shape)}).")
        q, k, v = (self._heads(x) for x in self._projected(query, key, value))
        n, _, length, _ = q.shape
        if k.shape[0] != n or v.shape[:3] != k.shape[:3]:
            raise ShapeError(
                f"Query, key and value have one batch, and key and value one length, not shapes {list(query.shape)}, "
                f"{list(key.shape)} and {list(value.shape)}."
            )
        mask = self._mask(key_padding_mask, attn_mask, n, length, k.shape[2], batched, q.dtype)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(attention_weights(q, k, mask, is_causal), p)
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal)
        order = (2, 0, 1, 3) if batched and not self.batch_first else (0, 2, 1, 3)
        return self.out_proj(out.permute(order).reshape(tuple(query.shape))), weights

    def _projected(self, query: Any, key: Any, value: Any) -> list[Any]:
        """What the heads' queries, keys and values are parts of. Operands that are one tensor share a product."""
        e, b = self.embed_dim, self.in_proj_bias
        given = (query, key, value)
        if self.in_proj_weight is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            biases = (None,) * 3 if b is None else (b[:e], b[e : 2 * e], b[2 * e :])
            return [F.linear(x, w, c) for x, w, c in zip(given, weights, biases, strict=True)]
        made: list[Any] = []
        while len(made) < 3:
            first = len(made)
            count = 1 + sum(all(given[j] is given[first] for j in range(first, i + 1)) for i in range(first + 1, 3))
            rows = slice(first * e, (first + count) * e)
            whole = count == 3
            y = F.linear(
                given[first],
                self.in_proj_weight if whole else self.in_proj_weight[rows],
                b if b is None or whole else b[rows],
            )
            made += [y[..., i * e : (i + 1) * e] for i in range(count)]
        return made

    def _heads(self, x: Any) -> Any:
        """[N, heads, L, features of a head]: a view."""
        if x.ndim == 2:
            x = x.unsqueeze(0)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _mask(self, padding: Mask, mask: Mask, n: int, rows: int, keys: int, batched: bool, dtype: Any) -> Any:
        """The mask of the scores [N, heads, L, S], or None: bool, where True takes part, or floating-point, which is added."""
        for name, given in (("key_padding_mask", padding), ("attn_mask", mask)):
            if given is not None and tensor_of(given, name).dtype.kind not in "bf":
                raise TypeError(f"The {name} is bool (True hides) or floating-point, not {given.dtype.name}.")
        found = []
        if padding is not None:
            if tuple(padding.shape) != ((n, keys) if batched else (keys,)):
                want = [n, keys] if batched else [keys]
                raise ShapeError(f"The key_padding_mask has shape {want}, that of the keys, not {list(padding.shape)}.")
            found.append(padding.reshape((n, 1, 1, keys)))
        if mask is not None:
            heads = n * self.num_heads
            if tuple(mask.shape) not in ((rows, keys), (heads, rows, keys)):
                raise ShapeError(
                    f"The attn_mask has shape {[rows, keys]} or {[heads, rows, keys]}, not {list(mask.shape)}."
                )
            found.append(mask if mask.ndim == 2 else mask.reshape((n, self.num_heads, rows, keys)))
        if all(m.dtype is dtypes.bool_ for m in found):
            seen = [m.logical_not() for m in found]
            return None if not seen else seen[0] if len(seen) == 1 else seen[0] & seen[1]
        added = [where(m, float("-inf"), 0.0).to(dtype) if m.dtype is dtypes.bool_ else m.to(dtype) for m in found]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


class TransformerEncoderLayer(Module):
    """Self-attention and two linear maps with an activation between them, each added to what it was given and normalised.

    Args:
        d_model: the features.
        nhead: the heads of the attention.
        dim_feedforward: the features between the two linear maps.
        dropout: the probability of dropout after each part, between the linear maps, and of the attention's weights.
        activation: "relu", "gelu" or a function of tensors.
        layer_norm_eps: what the normalisations add to the variance.
        batch_first: whether operands are [N, L, d_model] rather than [L, N, d_model].
        norm_first: whether each part normalises what it is given, rather than the sum of both.
        bias: whether linear maps and normalisations add a bias.
        dtype: of the parameters.

    Parameters have PyTorch's names and shapes.

    Source: A. Vaswani et al.: Attention Is All You Need. NeurIPS 2017. ``norm_first``: R. Xiong et al.: On Layer Normalization
    in the Transformer Architecture. ICML 2020.

    Example:
        >>> import weft
        >>> from weft import nn
        >>> layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
        >>> layer(weft.ones(3, 5, 8), is_causal=True).shape
        (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = dtypes.default_float,
    ) -> None:
        super().__init__()
        if isinstance(activation, str):
            known: dict[str, Callable[[Any], Any]] = {"relu": F.relu, "gelu": F.gelu}
            activation = known[one_of(activation, "activation", tuple(known))]
        elif not callable(activation):
            raise TypeError(f"activation must be 'relu', 'gelu' or a function, not {kind_of(activation)}.")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def forward(
        self, src: Any, src_mask: Mask = None, src_key_padding_mask: Mask = None, is_causal: bool = False
    ) -> Any:
        """A tensor shaped as ``src``. The masks are `MultiheadAttention`'s attn_mask and key_padding_mask."""

        def attended(x: Any) -> Any:
            found, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout1(found)

        def mapped(x: Any) -> Any:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = src + attended(self.norm1(src))
            return x + mapped(self.norm2(x))
        x = self.norm1(src + attended(src))
        return self.norm2(x + mapped(x))


__all__ = ["MultiheadAttention", "TransformerEncoderLayer"]
