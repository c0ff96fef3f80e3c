"""Batches of sequences without their padding: what is computed for each token alone skips the padded positions.

Names: B sequences, T positions of the longest, N tokens of all sequences, C the width of a token's state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.structures import Movable


@dataclass
class Packing(Movable):
    """Where the tokens of a batch stand.

    Attributes:
        places: (N,) int64, the place of each token among the B * T positions, ascending; None: every position is one.
        mask: (B, 1, 1, T) bool, True where a token may be attended to; None where nothing is padded.
        shape: (B, T).
    """

    places: Tensor | None
    mask: Tensor | None
    shape: tuple[int, int]

    def pack(self, x: Tensor) -> Tensor:
        """Return the tokens (N, ...) of (B, T, ...)."""
        flat = x.flatten(0, 1)
        if self.places is None:
            return flat
        return _Pack.apply(flat, self.places) if x.is_floating_point() else flat.index_select(0, self.places)

    def pad(self, x: Tensor) -> Tensor:
        """Return (B, T, ...) of tokens (N, ...), with zeros where nothing stands."""
        if self.places is not None:
            x = _Pad.apply(x, self.places, self.shape[0] * self.shape[1])
        return x.unflatten(0, self.shape)

    def columns(self, device: torch.device) -> Tensor:
        """Return the position (N,) of each token within its sequence."""
        if self.places is not None:
            return self.places % self.shape[1]
        return torch.arange(self.shape[1], device=device).repeat(self.shape[0])

    def find(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the number (P,) of the tokens that stand at ``columns`` of the sequences ``rows``.

        Where no token stands, it is that of the last one before the place, or of the first one of all.
        """
        wanted = rows * self.shape[1] + columns
        if self.places is None:
            return wanted
        return (torch.searchsorted(self.places, wanted, right=True) - 1).clamp(min=0)

    def first(self, device: torch.device) -> Tensor:
        """Return the number (B,) of each sequence's first token; any token for a sequence that has none."""
        begins = torch.arange(self.shape[0], device=device) * self.shape[1]
        if self.places is None:
            return begins
        return torch.searchsorted(self.places, begins).clamp(max=len(self.places) - 1)


def make_packing(input_ids: Tensor, attention_mask: Tensor | None, num_tokens: int | None) -> Packing:
    """Find the tokens of a batch.

    Without ``num_tokens`` their number is read from the device, which is waited for; where values cannot be read (a
    compiler, tensors without memory) padded positions are computed too.

    Args:
        input_ids: (B, T).
        attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
        num_tokens: the number of True in it.
    """
    batch, length = input_ids.shape
    if attention_mask is None or num_tokens == batch * length:
        return Packing(None, None, (batch, length))
    mask = attention_mask.bool()
    allowed = mask[:, None, None]
    if num_tokens is not None:
        places = torch.nonzero_static(mask.flatten(), size=num_tokens)[:, 0]
    elif torch.compiler.is_compiling() or type(mask) is not Tensor or mask.is_meta:
        return Packing(None, allowed, (batch, length))
    else:
        places = mask.flatten().nonzero()[:, 0]
    if not len(places):  # no token at all: positions are computed as if they were, and mean nothing
        return Packing(None, None, (batch, length))
    return Packing(places, allowed, (batch, length))


class _Pack(torch.autograd.Function):
    """``x[places]``; each place occurs once, so the gradient is copied, not added."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.length = len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Pad.apply(grad, ctx.saved_tensors[0], ctx.length), None


class _Pad(torch.autograd.Function):
    """The inverse of ``_Pack``: zeros elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, length: int) -> Tensor:
        ctx.save_for_backward(places)
        return x.new_zeros(length, *x.shape[1:]).index_copy_(0, places, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Pack.apply(grad, ctx.saved_tensors[0]), None, None
