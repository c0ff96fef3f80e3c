"""The precision of geometry and matching."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` as float32, or unchanged if it is float64: half precision is too coarse for box geometry."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which operators on ``x`` keep its precision; the meta device has no autocast to leave."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
