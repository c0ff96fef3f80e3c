"""Puts segmentation samples together into a batch: images and maps are padded (see ``lab.data.images.padding``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab.data.images.padding import all_or_none, pad_images
from lab.structures import (
    NO_SEGMENT,
    SegmentationBatch,
    SegmentationSample,
    SegmentationTargets,
    SegmentationTruth,
)


def collate_segmentation(samples: Sequence[SegmentationSample]) -> SegmentationBatch:
    """Put samples together into a batch. Masks are built later, on the device.

    Args:
        samples: B samples with images (3, h_i, w_i) uint8; either all of them have ``truth`` or none does.

    Returns:
        A batch as ``collate_detection`` makes it; ``targets.segments`` is (B, max h_i, max w_i) int16, ``NO_SEGMENT``
        where padded.

    Raises:
        ValueError: there is no sample, or only some of them have ``truth``.
    """
    if not samples:
        raise ValueError("collate_segmentation needs at least one sample")
    images, padding_mask = pad_images([sample.image for sample in samples])
    segments = images.new_full((len(samples), *images.shape[-2:]), NO_SEGMENT, dtype=torch.int16)
    for row, sample in enumerate(samples):  # maps differ in size, so this cannot be vectorised
        segments[row, : sample.segments.shape[0], : sample.segments.shape[1]] = sample.segments
    targets = SegmentationTargets(
        segments=segments,
        labels=torch.cat([sample.labels for sample in samples]),
        counts=tuple(len(sample.labels) for sample in samples),
        num_pixels=tuple((segments != NO_SEGMENT).sum(dim=(1, 2)).tolist()),
        sizes=torch.tensor([sample.image.shape[-2:] for sample in samples], dtype=torch.float32),
    )
    return SegmentationBatch(
        images=images,
        padding_mask=padding_mask,
        targets=targets,
        image_ids=torch.tensor([sample.image_id for sample in samples], dtype=torch.int64),
        original_sizes=torch.tensor([sample.original_size for sample in samples], dtype=torch.int64),
        valid=torch.ones(len(samples), dtype=torch.bool),
        truth=_pack_segments([sample.truth for sample in samples]),
    )


def _pack_segments(truths: Sequence[SegmentationTruth | None]) -> SegmentationTruth | None:
    present = all_or_none(truths)
    if not present:
        return None
    codes = [truth.codes for truth in present if truth.codes is not None]
    areas = [truth.area for truth in present if truth.area is not None]
    if len(codes) not in (0, len(present)) or len(areas) not in (0, len(present)):
        raise ValueError("only some of the samples' truths carry codes or areas: all need them or none")
    return SegmentationTruth(
        pixels=torch.cat([truth.pixels for truth in present]),
        labels=torch.cat([truth.labels for truth in present]),
        iscrowd=torch.cat([truth.iscrowd for truth in present]),
        counts=tuple(count for truth in present for count in truth.counts),
        sizes=tuple(size for truth in present for size in truth.sizes),
        codes=None if len(codes) < len(present) else tuple(code for part in codes for code in part),
        area=None if len(areas) < len(present) else torch.cat(areas),
    )
