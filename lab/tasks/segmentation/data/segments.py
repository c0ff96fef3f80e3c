"""Maps of segments on the host: made from maps of classes or instance masks, and renumbered after a crop.

A map is (h, w) int16: 0..n-1, or ``NO_SEGMENT``. It takes 2 bytes per pixel, while n masks would take n bytes.
Therefore maps, not masks, are sent from loader processes to the device.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.checking import check_choice
from lab.structures import NO_SEGMENT, SegmentationTruth

MAX_SEGMENTS = 32767
"""The most segments of one image that int16 can number."""

SegmentKind = Literal["semantic", "panoptic"]


def count_pixels(segments: Tensor, num_segments: int) -> npt.NDArray[np.int64]:
    """Return the number of pixels of each segment, (num_segments,)."""
    # One more bin at the front is for NO_SEGMENT (-1).
    return np.bincount(segments.numpy().ravel().astype(np.intp) + 1, minlength=num_segments + 1)[1:]


def look_up(segments: Tensor, table: npt.NDArray[np.int16]) -> Tensor:
    """Return ``table[s]`` for each pixel's segment s, (h, w) int16; ``NO_SEGMENT`` stays."""
    # In numpy index -1 is the last entry, so the entry for NO_SEGMENT is at the end.
    return torch.from_numpy(np.append(table, np.int16(NO_SEGMENT))[segments.numpy()])


def drop_empty(segments: Tensor, labels: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Remove segments without pixels and those that ``keep`` excludes, and renumber the others.

    Args:
        segments: (h, w) int16.
        labels: (n,) int64.
        keep: (n,) bool: segments to keep if they have pixels; None keeps all.

    Returns:
        The map (h, w) int16 and the labels of the remaining segments, in the same order.
    """
    kept = count_pixels(segments, len(labels)) > 0
    if keep is not None:
        kept &= keep.numpy()
    if kept.all():
        return segments, labels
    table = np.where(kept, np.cumsum(kept) - 1, NO_SEGMENT).astype(np.int16)
    return look_up(segments, table), labels[torch.from_numpy(kept)]


def merge_classes(segments: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return one segment for each class that has a pixel, in order of the labels."""
    present, numbers = np.unique(labels.numpy(), return_inverse=True)
    return drop_empty(look_up(segments, numbers.astype(np.int16)), torch.from_numpy(present))


def from_masks(masks: Tensor, fill: int = NO_SEGMENT) -> Tensor:
    """Return the map of masks (n, h, w) bool, later masks over earlier ones; ``fill`` outside of all masks."""
    segments = torch.full(masks.shape[1:], fill, dtype=torch.int16)
    for number, mask in enumerate(masks):
        segments[mask] = number
    return segments


def truth_of(
    segments: Tensor,
    labels: Tensor,
    iscrowd: Tensor | None = None,
    codes: tuple[bytes, ...] | None = None,
    area: Tensor | None = None,
) -> SegmentationTruth:
    """Return the truth of one image from its map (h, w) int16 and its segments' labels (n,) int64."""
    height, width = segments.shape
    return SegmentationTruth(
        pixels=segments.reshape(-1),
        labels=labels,
        iscrowd=torch.zeros(len(labels), dtype=torch.bool) if iscrowd is None else iscrowd,
        counts=(len(labels),),
        sizes=((height, width),),
        codes=codes,
        area=area,
    )


def check_kind(segments: str) -> SegmentKind:
    """Return ``segments`` if it is a known kind of targets.

    Raises:
        ConfigError: it is unknown.
    """
    check_choice("data.segments", segments, get_args(SegmentKind))
    return cast(SegmentKind, segments)
