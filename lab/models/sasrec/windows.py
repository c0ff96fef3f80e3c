"""Which events a network reads: a window for each state that is asked for, without the padding that it may leave out.

Names: W windows, N tokens of all of them in one row, padding included.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SHORTEST = 4  # windows up to this length share a group; smaller groups cost more than the padding they save


@dataclass
class EventWindows:
    """Windows of events, one after the other, in groups of equal padded length.

    Attributes:
        items: (N,) int64, 0 where padded.
        steps: (N,) int64: the number of the event in its window, from 0; below 0 where padded at the left.
        places: (N,) int64: counted backwards from the last event, which is 0; above 0 where padded at the right.
        sources: (N,) int64: where the event stands in the flattened (B * L) batch.
        last: (W,) int64: where the last event of each window stands among the N, windows in the order they were given.
        groups: (windows, padded length) of each group; their products add up to N.
    """

    items: Tensor
    steps: Tensor
    places: Tensor
    sources: Tensor
    last: Tensor
    groups: list[tuple[int, int]]


def cut_windows(items: Tensor, rows: Tensor, stops: Tensor, max_length: int, left_padded: bool) -> EventWindows:
    """Cut windows of the last ``max_length`` events or fewer.

    On a CPU, windows that may be padded at the right (where causal attention never looks) are sorted into groups of
    similar length. Elsewhere lengths are not looked at, since that would wait for the device.

    Args:
        items: (B, L) int64, right-padded.
        rows: (W,) int64: the sequence of each window.
        stops: (W,) int64: how many of the sequence's events have happened when the window ends, 1 to L.
        max_length: the longest window; earlier events are left out.
        left_padded: pad every window at its left to exactly ``max_length``, for networks that read their padding.
    """
    lengths = stops.clamp(max=max_length)
    groups, order = _groups(lengths, max_length if left_padded else min(items.shape[1], max_length), left_padded)
    if order is not None:
        rows, stops, lengths = rows[order], stops[order], lengths[order]
    window, begin = _expand(groups, items.device)
    steps = torch.arange(len(window), device=items.device) - begin[window]
    last = begin + lengths - 1
    if left_padded:
        steps = steps - (max_length - lengths)[window]
        last = begin + max_length - 1
    places = steps - (lengths - 1)[window]
    sources = (rows * items.shape[1] + stops - 1)[window] + places
    real = (steps >= 0) & (places <= 0)
    tokens = torch.where(real, items.flatten()[sources.clamp(0, items.numel() - 1)], 0)
    if order is not None:
        last = torch.empty_like(last).index_copy_(0, order, last)
    return EventWindows(tokens, steps, places, sources, last, groups)


def _groups(lengths: Tensor, longest: int, equal: bool) -> tuple[list[tuple[int, int]], Tensor | None]:
    """Return (windows, padded length) of each group and the order that sorts windows into them, None as they are."""
    if equal or lengths.device.type != "cpu" or torch.compiler.is_compiling():
        return [(len(lengths), longest)], None
    ordered, order = lengths.sort()
    bounds = torch.tensor([_SHORTEST << power for power in range(longest.bit_length())])
    ends = torch.searchsorted(ordered, bounds, right=True).tolist()
    begins = [0, *ends[:-1]]
    return [(end - begin, int(ordered[end - 1])) for begin, end in zip(begins, ends, strict=True) if end > begin], order


def _expand(groups: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the window of each token (N,) and the first token of each window (W,)."""
    windows, begins, first, token = [], [], 0, 0
    for count, length in groups:
        numbers = torch.arange(count, device=device)
        windows.append((numbers + first).repeat_interleave(length))
        begins.append(numbers * length + token)
        first, token = first + count, token + count * length
    return torch.cat(windows), torch.cat(begins)
