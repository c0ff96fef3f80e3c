"""Convolutions whose channels lie in another order: how their weights follow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


@torch.no_grad()
def sort_outputs(convolution: nn.Conv2d, order: Sequence[int]) -> None:
    """Have a convolution make its channels in this order."""
    for value in (convolution.weight, convolution.bias):
        if value is not None:
            value.copy_(value[list(order)])


@torch.no_grad()
def sort_inputs(convolution: nn.Conv2d, order: Sequence[int], first: int = 0) -> None:
    """Have a convolution take channels that lie in this order.

    Args:
        convolution: without groups.
        order: which channel lies at each place.
        first: the channel of its input that the order starts at.
    """
    columns = slice(first, first + len(order))
    convolution.weight[:, columns] = convolution.weight[:, columns][:, list(order)]
