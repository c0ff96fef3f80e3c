"""The transformer blocks of the three networks that are called SASRec.

Names: N tokens of all windows, which are in groups of equal length (``lab.models.sasrec.windows``), D ``embed_dim``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_multiple
from lab.layers.attention import MultiheadAttention, attend
from lab.layers.dropout import dropout

Groups = Sequence[tuple[int, int]]


def attend_in_groups(queries: Tensor, keys: Tensor, values: Tensor, groups: Groups, heads: int, rate: float) -> Tensor:
    """Attend causally within each window.

    Args:
        queries: (N, D).
        keys: (N, D).
        values: (N, D).
        groups: (windows, length) of each group of tokens.
        heads: number of heads.
        rate: probability of dropping an attention weight.

    Returns:
        (N, D).
    """
    sizes = [count * length for count, length in groups]
    parts = zip(groups, queries.split(sizes), keys.split(sizes), values.split(sizes), strict=True)
    mixed = []
    for group, *tensors in parts:
        query, key, value = (tensor.unflatten(0, group) for tensor in tensors)
        mixed.append(attend(query, key, value, heads, dropout=rate, causal=True).flatten(0, 1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


class Block(nn.Module):
    """The base of the three blocks.

    Args:
        embed_dim: D.
        num_heads: heads of the attention; divides D.
        feedforward_dim: hidden width of the feed-forward network.
        dropout: probability of dropping an attention weight or a hidden value.
        norm: the place of the norms in ``PmixerBlock``.

    Raises:
        ConfigError: ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, norm: str = "post"
    ) -> None:
        super().__init__()
        check_multiple("embed_dim", embed_dim, num_heads, "num_heads")
        self.num_heads, self.rate, self.norm = num_heads, dropout, norm

    def drop(self, x: Tensor) -> Tensor:
        """Drop values in training."""
        return dropout(x, self.rate, self.training)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, groups: Groups) -> Tensor:
        """Attend causally, weights dropped in training."""
        return attend_in_groups(queries, keys, values, groups, self.num_heads, self.rate if self.training else 0.0)


class OfficialBlock(Block):
    """The block of the authors' code: both residual sums start from the normalised input.

    Queries come from the normalised tokens, keys and values from the tokens themselves; there is no output projection.
    Keys and values are fused (rows of ``key_value``: keys, values).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, norm: str = "post"
    ) -> None:
        super().__init__(embed_dim, num_heads, feedforward_dim, dropout)
        self.attention_norm = nn.LayerNorm(embed_dim, eps=1e-8)
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key_value = nn.Linear(embed_dim, 2 * embed_dim)
        self.feedforward_norm = nn.LayerNorm(embed_dim, eps=1e-8)
        self.linear1 = nn.Linear(embed_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, embed_dim)

    def forward(self, x: Tensor, groups: Groups) -> Tensor:
        """Map (N, D) to (N, D)."""
        normed = self.attention_norm(x)
        keys, values = self.key_value(x).chunk(2, dim=-1)
        x = self.feedforward_norm(normed + self.attend(self.query(normed), keys, values, groups))
        return x + self.drop(self.linear2(self.drop(self.linear1(x).relu())))


class PmixerBlock(Block):
    """The block of pmixer's code, with ``nn.MultiheadAttention``.

    ``norm``: ``post``: after the residual sums (default since May 2025); ``pre``: before the branches; ``query``: on
    the queries and the input of the feed-forward network, from which the residual sums start too (until May 2025).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, norm: str = "post"
    ) -> None:
        super().__init__(embed_dim, num_heads, feedforward_dim, dropout, norm)
        self.attention_norm = nn.LayerNorm(embed_dim, eps=1e-8)
        self.attention = MultiheadAttention(embed_dim, num_heads, dropout)
        self.feedforward_norm = nn.LayerNorm(embed_dim, eps=1e-8)
        self.linear1 = nn.Linear(embed_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, embed_dim)

    def forward(self, x: Tensor, groups: Groups) -> Tensor:
        """Map (N, D) to (N, D)."""
        if self.norm == "post":
            x = self.attention_norm(x + self._mix(x, x, groups))
            return self.feedforward_norm(x + self._feed(x))
        normed = self.attention_norm(x)
        if self.norm == "pre":
            x = x + self._mix(normed, normed, groups)
            return x + self._feed(self.feedforward_norm(x))
        x = self.feedforward_norm(normed + self._mix(normed, x, groups))
        return x + self._feed(x)

    def _mix(self, queries: Tensor, keys: Tensor, groups: Groups) -> Tensor:
        if queries is keys:
            query, key, value = self.attention.project(keys, 0, 3)
        else:
            (query,), (key, value) = self.attention.project(queries, 0), self.attention.project(keys, 1, 2)
        return self.attention.out_proj(self.attend(query, key, value, groups))

    def _feed(self, x: Tensor) -> Tensor:
        return self.drop(self.linear2(self.drop(self.linear1(x)).relu()))


class RecboleBlock(Block):
    """The block of RecBole's code, which is BERT's: GELU, norms after the residual sums.

    Queries, keys and values are fused (rows of ``query_key_value`` in this order).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float, norm: str = "post"
    ) -> None:
        super().__init__(embed_dim, num_heads, feedforward_dim, dropout)
        self.query_key_value = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        self.attention_norm = nn.LayerNorm(embed_dim, eps=1e-12)
        self.linear1 = nn.Linear(embed_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, embed_dim)
        self.feedforward_norm = nn.LayerNorm(embed_dim, eps=1e-12)

    def forward(self, x: Tensor, groups: Groups) -> Tensor:
        """Map (N, D) to (N, D)."""
        query, key, value = self.query_key_value(x).chunk(3, dim=-1)
        x = self.attention_norm(x + self.drop(self.out_proj(self.attend(query, key, value, groups))))
        return self.feedforward_norm(x + self.drop(self.linear2(F.gelu(self.linear1(x)))))
