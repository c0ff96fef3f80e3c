"""Windows of events: one for each state that is computed, with as little padding as possible.

Names: W windows, N tokens of all windows in one row, with padding. A group (n, l, p) is n windows of l tokens each,
before each of which a network that reads padding reads p more paddings; they are not among the N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SHORTEST = 4  # windows up to this length share a group; smaller groups cost more than the padding they save


Group = tuple[int, int, int]


@dataclass
class EventWindows:
    """Windows of events, one after the other, in groups of equal padded length.

    Attributes:
        items: (N,) int64, 0 for padding.
        steps: (N,) int64: the number of the event in its window, from 0; below 0 for padding at the left.
        places: (N,) int64: position counted from the last event, which is 0; above 0 for padding at the right.
        sources: (N,) int64: index of the event in the flattened (B * L) batch.
        last: (W,) int64: index of the last event of each window among the N tokens, in the given order of windows.
        groups: (number of windows, padded length, paddings before them) of each group; n * l add up to N.
    """

    items: Tensor
    steps: Tensor
    places: Tensor
    sources: Tensor
    last: Tensor
    groups: list[Group]


def cut_windows(items: Tensor, rows: Tensor, stops: Tensor, max_length: int, left_padded: bool) -> EventWindows:
    """Cut windows of the last ``max_length`` events or fewer.

    On a CPU, windows are sorted into groups of similar length. Padding at the right is never read by causal attention;
    of padding at the left a group lists how much is before its tokens. On other devices lengths are not read, since
    that would wait for the device.

    Args:
        items: (B, L) int64, right-padded.
        rows: (W,) int64: the sequence of each window.
        stops: (W,) int64: how many of the sequence's events have happened when the window ends, 1 to L.
        max_length: the longest window; earlier events are left out.
        left_padded: pad at the left, every window to exactly ``max_length`` if those before its tokens are counted, for
            networks that read padding.
    """
    lengths = stops.clamp(max=max_length)
    groups, order = _groups(lengths, max_length if left_padded else min(items.shape[1], max_length))
    if order is not None:
        rows, stops, lengths = rows[order], stops[order], lengths[order]
    window, begin = _expand(groups, items.device)
    steps = torch.arange(len(window), device=items.device) - begin[window]
    last = begin + lengths - 1
    if left_padded:
        sizes = torch.cat([lengths.new_full((count,), length) for count, length, _ in groups])
        steps = steps - (sizes - lengths)[window]
        last = begin + sizes - 1
        groups = [(count, length, max_length - length) for count, length, _ in groups]
    places = steps - (lengths - 1)[window]
    sources = (rows * items.shape[1] + stops - 1)[window] + places
    real = (steps >= 0) & (places <= 0)
    tokens = torch.where(real, items.flatten()[sources.clamp(0, items.numel() - 1)], 0)
    if order is not None:
        last = torch.empty_like(last).index_copy_(0, order, last)
    return EventWindows(tokens, steps, places, sources, last, groups)


def _groups(lengths: Tensor, longest: int) -> tuple[list[Group], Tensor | None]:
    """Return the groups, with no padding before them, and the order that sorts windows into them; None: unchanged."""
    if lengths.device.type != "cpu" or torch.compiler.is_compiling():
        return [(len(lengths), longest, 0)], None
    ordered, order = lengths.sort()
    bounds = torch.tensor([_SHORTEST << power for power in range(longest.bit_length())])
    ends = torch.searchsorted(ordered, bounds, right=True).tolist()
    begins = [0, *ends[:-1]]
    bounded = [(begin, end) for begin, end in zip(begins, ends, strict=True) if end > begin]
    return [(end - begin, int(ordered[end - 1]), 0) for begin, end in bounded], order


def _expand(groups: list[Group], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the window of each token (N,) and the first token of each window (W,)."""
    windows, begins, first, token = [], [], 0, 0
    for count, length, _ in groups:
        numbers = torch.arange(count, device=device)
        windows.append((numbers + first).repeat_interleave(length))
        begins.append(numbers * length + token)
        first, token = first + count, token + count * length
    return torch.cat(windows), torch.cat(begins)
