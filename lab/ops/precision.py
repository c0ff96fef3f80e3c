"""The precision that geometry and matching are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` as float32, or as float64 where it is: box geometry does not survive half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
