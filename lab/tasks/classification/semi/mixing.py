"""MixMatch's arithmetic, as google-research/mixmatch computes it: sharpened guesses, MixUp, interleaved batches.

Berthelot et al., "MixMatch: A Holistic Approach to Semi-Supervised Learning" (NeurIPS 2019), section 3. P parts (the
labelled images, then each view of the unlabelled ones), B images in each, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

CHANCE_BITS = 31
"""A batch's ``chances`` are integers of 0 .. 2**31 - 1."""


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Return probabilities (B, C) raised to 1 / temperature, normalised again (equation 7)."""
    # The greatest becomes 1, so that not all underflow at a low temperature.
    powers = (probabilities / probabilities.amax(1, keepdim=True)).pow(1 / temperature)
    return powers / powers.sum(1, keepdim=True)


class FoldedBeta(nn.Module):
    """Quantiles of max(b, 1 - b), where b is of Beta(alpha, alpha) (equations 8 and 9), from a table.

    Interpolating is exact to 4e-6 for an alpha up to 1, apart from the last of its 16384 steps, and works where the
    chances are, so that nothing waits for a device.

    Args:
        alpha: of the distribution; small: nearly 1, large: nearly 1/2.
    """

    table: Tensor

    def __init__(self, alpha: float, steps: int = 2**14) -> None:
        super().__init__()
        from scipy.special import betaincinv

        quantiles = betaincinv(alpha, alpha, np.linspace(0.5, 1, steps + 1))
        table = torch.tensor(quantiles.tolist(), dtype=torch.float32)
        self.register_buffer("table", table, persistent=False)

    def forward(self, chances: Tensor) -> Tensor:
        """Return a number of 1/2 .. 1 for each integer chance."""
        steps = len(self.table) - 1
        place = chances.double() * (steps / 2**CHANCE_BITS)
        below = place.floor().clamp(max=steps - 1)
        row = below.long()
        return torch.lerp(self.table[row], self.table[row + 1], (place - below).to(self.table.dtype))


def mix(values: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Return share * value + (1 - share) * partner (equations 10 and 11), each with a share of its own.

    Args:
        values: (N, ...).
        partners: (N, ...).
        shares: (N,).
    """
    shares = shares.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(partners, values, shares)


def groups(batch_size: int, num_parts: int) -> list[int]:
    """Return for each position of a batch the part whose image stands first there: as even as it goes, last ones more.

    Args:
        batch_size: B, of all ranks.
        num_parts: P.
    """
    sizes = [(batch_size + part) // num_parts for part in range(num_parts)]
    return [part for part, size in enumerate(sizes) for _ in range(size)]


def interleave(parts: Tensor, firsts: Tensor) -> Tensor:
    """Exchange images between parts, so that the first one has images of all; done twice, it is undone.

    Args:
        parts: (P, B, ...).
        firsts: (B,) int64 ``groups`` of the positions.

    Returns:
        (P, B, ...): at position b the parts 0 and ``firsts[b]`` are exchanged.
    """
    numbers = torch.arange(len(parts), device=parts.device)[:, None].expand(-1, len(firsts))
    source = torch.where(numbers == firsts, 0, numbers)
    source = torch.where(numbers == 0, firsts, source)
    return parts[source, torch.arange(len(firsts), device=parts.device)]
