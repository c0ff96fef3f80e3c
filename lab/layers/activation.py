"""The activations that a convolution can have within it."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "relu", "relu6", "leaky_relu"]
SLOPE = 0.1
"""Of ``leaky_relu`` below zero."""


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply an activation in place."""
    if activation == "relu":
        return F.relu(x, inplace=True)
    if activation == "relu6":
        return F.relu6(x, inplace=True)
    return F.leaky_relu(x, SLOPE, inplace=True) if activation == "leaky_relu" else x
