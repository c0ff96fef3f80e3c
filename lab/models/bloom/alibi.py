"""Attention with linear biases: each head prefers near keys, by a slope of its own; no position is added to tokens.

Press, Smith and Lewis: "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation",
ICLR 2022, section 3. The bias of key j for query i is ``slope * (j - i)``. transformers and Megatron add ``slope * j``,
which softmax cannot tell from it; distances stay exact in half precision where they are small.

Names: B sequences, H heads (those of this rank under tensor parallelism), Q queries, K keys.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lab.checking import check_range


def alibi_slopes(num_heads: int) -> Tensor:
    """Return the slopes of all heads, (num_heads,) float32.

    For a power of two they are ``2 ** (-8 i / num_heads)``. For other numbers they are those of the next smaller power
    of two, followed by every second one of twice that power.

    Raises:
        ConfigError: there is no head.
    """
    check_range("num_heads", num_heads, least=1)
    power = 2 ** math.floor(math.log2(num_heads))
    exponents = [8 * (index + 1) / power for index in range(power)]
    exponents += [4 * (2 * index + 1) / power for index in range(num_heads - power)]
    return torch.tensor([2.0**-exponent for exponent in exponents])


class CausalBias:
    """Makes what is added to the scores of attention: ALiBi, and -inf where a query must not look.

    The part that all batches share is kept for the longest sequence so far; it is neither copied nor stored with the
    network that it belongs to.

    Args:
        num_heads: of the whole network.
        linear: whether there are linear biases; without them only the mask.

    Attributes:
        heads: which heads are computed here; tensor parallelism sets it to those of the rank.
    """

    def __init__(self, num_heads: int, linear: bool = True) -> None:
        self.num_heads, self.linear = num_heads, linear
        self.heads = slice(0, num_heads)
        self._kept: dict[tuple[torch.device, torch.dtype, int, int, bool], Tensor] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}

    def of(
        self,
        like: Tensor,
        first: int,
        last: int,
        attention_mask: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Return the bias of queries ``first`` to ``last`` (exclusive) for the keys 0 to ``last``.

        Args:
            like: a tensor of the device and dtype to return.
            first: position of the first query.
            last: position behind the last query.
            attention_mask: (B, last) bool, True where a token stands. Padding attends to itself too, so that its
                states are finite.
            documents: (B, last), the document of each token; attention keeps to it.

        Returns:
            (1 or B, H or 1, last - first, last).
        """
        bias = self._rows(like, first, last)
        if attention_mask is not None and _is_padded_right(attention_mask):
            attention_mask = None  # no token looks to its right
        if attention_mask is None and documents is None:
            return bias
        if documents is not None:
            allowed = documents[:, first:last, None] == documents[:, None]
        else:
            allowed = torch.ones((), dtype=torch.bool, device=like.device)
        if attention_mask is not None:
            places = torch.arange(last, device=like.device)
            allowed = allowed & (attention_mask[:, None] | (places[first:, None] == places))
        return torch.where(allowed[:, None], bias, -torch.inf)

    def _rows(self, like: Tensor, first: int, last: int) -> Tensor:
        """Return (1, H, last - first, last), a part of what is kept: a square, and the row of a single query."""
        single = last - first == 1
        key = (like.device, like.dtype, self.heads.start, self.heads.stop, single)
        kept = self._kept.get(key)
        if kept is None or kept.shape[-1] < last:
            with torch.inference_mode(False):  # a tensor made in it could not take part in a training
                kept = self._make(like, max(256, 2 * last) if single else last, single)
            if type(like) is Tensor and not torch.compiler.is_compiling():
                self._kept[key] = kept
        return kept[..., -last:] if single else kept[:, :, first:last, :last]

    def _make(self, like: Tensor, length: int, single: bool) -> Tensor:
        """Return (1, H, L, L) of all queries, or (1, H, 1, L) of the last one."""
        places = torch.arange(length, device=like.device)
        distances = places - (places[-1:] if single else places)[:, None]
        bias = torch.zeros(1, 1, 1, device=like.device)
        if self.linear:
            bias = alibi_slopes(self.num_heads)[self.heads].to(like.device)[:, None, None] * distances
        return torch.where(distances > 0, -torch.inf, bias).to(like.dtype)[None]


def _is_padded_right(attention_mask: Tensor) -> bool:
    """Whether padding stands behind all tokens; False where finding out would make the host wait for the device."""
    if type(attention_mask) is not Tensor or not attention_mask.is_cpu or torch.compiler.is_compiling():
        return False
    return bool((attention_mask[:, :-1] >= attention_mask[:, 1:]).all())
