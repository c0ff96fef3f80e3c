"""The transformer blocks of the three networks that are called SASRec.

Names: N tokens of all windows, which are in groups of equal length (``lab.models.sasrec.windows``), D ``embed_dim``,
M paddings before the tokens of all windows, for a network that reads padding. These are given as their states, or as
one row where all are equal, as they are before the first dropout and in evaluation. A group of n windows with p such
paddings each has n * p consecutive rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_multiple
from lab.layers.attention import MultiheadAttention, attend
from lab.layers.dropout import dropout, dropped_mean
from lab.models.sasrec.windows import Group

Groups = Sequence[Group]


class Before(NamedTuple):
    """Keys and values of the paddings before the tokens: (M, D) each, or (1, D) where all are equal."""

    keys: Tensor
    values: Tensor


def attend_in_groups(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    groups: Groups,
    heads: int,
    rate: float,
    before: Before | None = None,
) -> Tensor:
    """Attend causally within each window.

    Args:
        queries: (N, D).
        keys: (N, D).
        values: (N, D).
        groups: see ``lab.models.sasrec.windows``.
        heads: number of heads.
        rate: probability of dropping an attention weight.
        before: the paddings before the tokens, to which all tokens attend; None for none.

    Returns:
        (N, D).
    """
    sizes = [count * length for count, length, _ in groups]
    parts = zip(groups, queries.split(sizes), keys.split(sizes), values.split(sizes), strict=True)
    mixed, first = [], 0
    for (count, length, paddings), *tensors in parts:
        query, key, value = (tensor.unflatten(0, (count, length)) for tensor in tensors)
        if before is None or not paddings:
            found = attend(query, key, value, heads, dropout=rate, causal=True)
        elif len(before.keys) == 1:
            found = _attend_after_equal(query, key, value, heads, rate, before, paddings)
        else:
            rows = slice(first, first + count * paddings)
            earlier = (part[rows].unflatten(0, (count, paddings)) for part in before)
            key, value = (torch.cat(pair, dim=1) for pair in zip(earlier, (key, value), strict=True))
            mask = torch.ones(length, paddings + length, dtype=torch.bool, device=query.device).tril(paddings)
            found = attend(query, key, value, heads, mask, rate)
        first += count * paddings
        mixed.append(found.flatten(0, 1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _attend_after_equal(
    query: Tensor, key: Tensor, value: Tensor, heads: int, rate: float, before: Before, paddings: int
) -> Tensor:
    """Attend to equal paddings and then causally: one key counts for all of them, as log p in its logit.

    Args:
        query: (n, l, D).
        key: (n, l, D).
        value: (n, l, D).
        heads: number of heads.
        rate: probability of dropping an attention weight; how many of those of the paddings are kept is drawn at once.
        before: the padding, one row.
        paddings: p.
    """
    count, length, _ = query.shape
    joined = (
        torch.cat([one.expand(count, 1, -1), rest], dim=1) for one, rest in zip(before, (key, value), strict=True)
    )
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, *joined))
    bias = query.new_full((length, length + 1), -math.inf).triu_(2)
    bias[:, 0] = math.log(paddings)
    if rate == 0:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    else:
        shares = (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).add_(bias).softmax(-1)
        kept = dropped_mean(query.new_full((count, heads, length, 1), paddings), rate)
        mixed = dropout(shares[..., 1:], rate, training=True) @ value[..., 1:, :]
        mixed = torch.addcmul(mixed, shares[..., :1] * kept, value[..., :1, :])
    return mixed.transpose(1, 2).flatten(2)


def attend_among_paddings(before: Before, queries: Tensor | None, groups: Groups, heads: int, rate: float) -> Tensor:
    """Return what causal attention among the paddings before each window gives them.

    Args:
        before: their keys and values.
        queries: their queries (M, D); None where all are equal, for then they weigh each other equally.
        groups: see ``lab.models.sasrec.windows``.
        heads: number of heads.
        rate: probability of dropping an attention weight.

    Returns:
        (M, D), or (1, D) if all are still equal.
    """
    if queries is not None:
        alone = [(count, paddings, 0) for count, _, paddings in groups if paddings]
        return attend_in_groups(queries, *before, alone, heads, rate)
    if rate == 0:
        return before.values
    seen = [torch.arange(1, paddings + 1).repeat(count) for count, _, paddings in groups]  # 1 to p
    counts = torch.cat(seen).to(before.values)[:, None].expand(-1, heads)
    shares = dropped_mean(counts, rate)[..., None] * before.values.unflatten(-1, (heads, -1))
    return shares.flatten(1)


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

    @property
    def drops(self) -> float:
        """The present probability of dropping an attention weight."""
        return self.rate if self.training else 0.0

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, groups: Groups) -> Tensor:
        """Attend causally, weights dropped in training."""
        return attend_in_groups(queries, keys, values, groups, self.num_heads, self.drops)


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
    """The block of pmixer's code, with ``nn.MultiheadAttention``. It reads padding like items.

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

    def forward(
        self, x: Tensor, groups: Groups, paddings: Tensor | None = None, last: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Map (N, D) to (N, D), and the paddings before the tokens likewise.

        Args:
            x: (N, D).
            groups: see ``lab.models.sasrec.windows``.
            paddings: (M, D), or (1, D) where all are equal; None where there are none.
            last: nothing reads what this block would make of the paddings.

        Returns:
            (N, D), and (M, D) or (1, D) for the paddings; None if there are none or nothing reads them.
        """
        normed = x if self.norm == "post" else self.attention_norm(x)
        if paddings is None:
            query, key, value = self._project(x, normed)
            return self._follow(x, normed, self.attend(query, key, value, groups)), None
        normed_paddings = paddings if self.norm == "post" else self.attention_norm(paddings)
        source = normed_paddings if self.norm == "pre" else paddings
        before = Before(*self.attention.project(source, 1, 2))
        query, key, value = self._project(x, normed)
        mixed = attend_in_groups(query, key, value, groups, self.num_heads, self.drops, before)
        x = self._follow(x, normed, mixed)
        if last:
            return x, None
        queries = None if len(paddings) == 1 else self.attention.project(normed_paddings, 0)[0]
        mixed = attend_among_paddings(before, queries, groups, self.num_heads, self.drops)
        return x, self._follow(paddings, normed_paddings, mixed)

    def _project(self, x: Tensor, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (N, D)."""
        if self.norm != "query":
            query, key, value = self.attention.project(normed, 0, 3)
            return query, key, value
        (query,), (key, value) = self.attention.project(normed, 0), self.attention.project(x, 1, 2)
        return query, key, value

    def _follow(self, x: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        """Return the block's output, given what attention has mixed."""
        mixed = self.attention.out_proj(mixed)
        if self.norm == "post":
            x = self.attention_norm(x + mixed)
            return self.feedforward_norm(x + self._feed(x))
        if self.norm == "pre":
            x = x + mixed
            return x + self._feed(self.feedforward_norm(x))
        x = self.feedforward_norm(normed + mixed)
        return x + self._feed(x)

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
