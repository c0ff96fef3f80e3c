"""The precision of geometry and matching."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` as float32, or unchanged if it is float64: half precision is too coarse for box geometry."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
