"""Dropout whose mask is cheap on a CPU: four 16-bit draws from each 64-bit random number.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014. PyTorch draws a CPU
mask one Bernoulli number at a time on one thread, which takes a twelfth of a training step of DETR. The probability is
rounded to a multiple of 1 / 65536, and kept values are scaled by exactly that. Other devices use PyTorch's own kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Return ``x`` with entries zeroed with probability ``p`` and the others scaled by ``1 / (1 - p)``."""
    dropped = round(p * _LEVELS)
    if not training or dropped == 0:
        return x
    if x.device.type != "cpu" or dropped == _LEVELS or torch.compiler.is_compiling():
        return F.dropout(x, p)
    count = x.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    keep = draws.view(torch.int16)[:count].view(x.shape) >= dropped - _LEVELS // 2
    return x * keep.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def dropped_mean(counts: Tensor, p: float) -> Tensor:
    """Return the mean of as many ones as each entry of ``counts`` (...) says after ``dropout``: drawn, not computed."""
    dropped = round(p * _LEVELS)
    if dropped in (0, _LEVELS):
        return torch.full_like(counts, float(dropped == 0))
    kept = 1 - dropped / _LEVELS
    return torch.binomial(counts, torch.full_like(counts, kept)).div_(counts * kept)


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth (Huang et al., ECCV 2016): zero whole samples of (B, ...), scale the others up."""
    if not training or rate == 0.0:
        return x
    kept = torch.empty(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(1 - rate)
    return x * (kept.div_(1 - rate) if rate < 1 else kept)


class CheapDropout(nn.Module):
    """Module form of ``dropout``.

    Args:
        p: probability of zeroing an entry in training.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Map (...) to (...)."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"
