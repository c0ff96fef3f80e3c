"""Where the channels of a stage lie and go if none moves before a block needs it, for ``lab.deploy``.

Each block of stride 1 changes half of its channels and shuffles all of them. Here what a block has made stays where it
is, and each later block gathers its half from there. The rows of the weights that make a result are sorted by who takes
them, so that each takes one piece of it; the columns of the weights that take it follow. So what passes by is not
copied before the end of the stage, and no channel is ever moved alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

T = TypeVar("T")
Shuffle = Literal["after", "before"]
ResultPiece = tuple[int, int]
"""The number of a result, and which of its pieces."""


@dataclass(frozen=True)
class ChannelPlan:
    """Of the results 0 and 1 (both branches of the first block), 2, 3, ... (of each block after it).

    Attributes:
        made: for each result, which of its channels lies at each place.
        sizes: for each result, the channels of its pieces.
        pieces: for each block of stride 1, and at last for the stage, which pieces make up its input.
        taken: for the same, which of its channels lies at each place.
    """

    made: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[ResultPiece, ...], ...]
    taken: tuple[tuple[int, ...], ...]


def plan(half: int, blocks: int, shuffle: Shuffle) -> ChannelPlan:
    """Follow the channels through a stage.

    Args:
        half: half of its channels.
        blocks: those of stride 1.
        shuffle: when the blocks shuffle.
    """
    now = _joined([(0, channel) for channel in range(half)], [(1, channel) for channel in range(half)], shuffle)
    inputs = []
    for block in range(blocks):
        aside, through = (now[0::2], now[1::2]) if shuffle == "before" else (now[:half], now[half:])
        inputs.append(through)
        now = _joined(aside, [(block + 2, channel) for channel in range(half)], shuffle)
    inputs.append(now)
    made: list[list[int]] = [[] for _ in range(blocks + 2)]
    sizes: list[list[int]] = [[] for _ in range(blocks + 2)]
    pieces, taken = [], []
    for wanted in inputs:  # each takes one piece of a result, behind those that were taken before
        pieces.append([(result, len(sizes[result])) for result in sorted({result for result, _ in wanted})])
        taken.append(sorted(range(len(wanted)), key=lambda at, wanted=wanted: wanted[at]))  # type: ignore[misc]
        for result, _ in pieces[-1]:
            channels = sorted(channel for source, channel in wanted if source == result)
            made[result] += channels
            sizes[result].append(len(channels))
    return ChannelPlan(_fixed(made), _fixed(sizes), _fixed(pieces), _fixed(taken))


@torch.no_grad()
def sort_outputs(convolution: nn.Conv2d, order: Sequence[int]) -> None:
    """Have a convolution make its channels in this order."""
    for value in (convolution.weight, convolution.bias):
        if value is not None:
            value.copy_(value[list(order)])


@torch.no_grad()
def sort_inputs(convolution: nn.Conv2d, order: Sequence[int]) -> None:
    """Have a convolution take channels that lie in this order.

    Args:
        convolution: without groups.
        order: which channel lies at each place.
    """
    convolution.weight.copy_(convolution.weight[:, list(order)])


def _fixed(lists: list[list[T]]) -> tuple[tuple[T, ...], ...]:
    return tuple(map(tuple, lists))


def _joined(first: list[tuple[int, int]], second: list[tuple[int, int]], shuffle: Shuffle) -> list[tuple[int, int]]:
    if shuffle == "before":
        return first + second
    return [channel for pair in zip(first, second, strict=True) for channel in pair]
