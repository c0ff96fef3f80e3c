"""From samples to a batch: images padded to one size, boxes and segments packed one after the other.

DETR (Carion et al., 2020) pads at the right and the bottom to the largest height and width of the batch, without
rounding up to a multiple, and marks the padding in a mask. The rest of the padding rules belongs to the loader, which
puts images of alike shapes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from lab.structures import (
    NO_SEGMENT,
    DetectionBatch,
    DetectionSample,
    DetectionTargets,
    DetectionTruth,
    SegmentationBatch,
    SegmentationSample,
    SegmentationTargets,
    SegmentationTruth,
)

TruthT = TypeVar("TruthT", DetectionTruth, SegmentationTruth)


def collate_detection(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Put samples together into a batch.

    Args:
        samples: B samples with images (3, h_i, w_i) uint8; either all of them carry ``truth`` or none does.

    Returns:
        A batch with images (B, 3, max h_i, max w_i) uint8, zeros where padded; ``padding_mask`` is None when no image
        is padded; every sample is ``valid``.

    Raises:
        ValueError: there is no sample, or only some of them carry ``truth``.
    """
    if not samples:
        raise ValueError("collate_detection needs at least one sample")
    images, padding_mask = pad_images([sample.image for sample in samples])
    sizes = torch.tensor([sample.image.shape[-2:] for sample in samples], dtype=torch.float32)
    targets = DetectionTargets(
        boxes=torch.cat([sample.boxes for sample in samples]),
        labels=torch.cat([sample.labels for sample in samples]),
        counts=tuple(len(sample.boxes) for sample in samples),
        sizes=sizes,
    )
    return DetectionBatch(
        images=images,
        padding_mask=padding_mask,
        targets=targets,
        image_ids=torch.tensor([sample.image_id for sample in samples], dtype=torch.int64),
        original_sizes=torch.tensor([sample.original_size for sample in samples], dtype=torch.int64),
        valid=torch.ones(len(samples), dtype=torch.bool),
        truth=_pack_truth([sample.truth for sample in samples]),
    )


def collate_segmentation(samples: Sequence[SegmentationSample]) -> SegmentationBatch:
    """Put samples together into a batch; masks are not built here but on the device.

    Args:
        samples: B samples with images (3, h_i, w_i) uint8; either all of them carry ``truth`` or none does.

    Returns:
        A batch as ``collate_detection`` makes it; ``targets.segments`` is (B, max h_i, max w_i) int16, ``NO_SEGMENT``
        where padded.

    Raises:
        ValueError: there is no sample, or only some of them carry ``truth``.
    """
    if not samples:
        raise ValueError("collate_segmentation needs at least one sample")
    images, padding_mask = pad_images([sample.image for sample in samples])
    segments = images.new_full((len(samples), *images.shape[-2:]), NO_SEGMENT, dtype=torch.int16)
    for row, sample in enumerate(samples):  # maps differ in size: there is nothing to vectorise over
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


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Stack (3, h_i, w_i) images into (B, 3, H, W), padded with zeros at the right and the bottom.

    Returns:
        The stack and the mask (B, H, W) bool, True where padded, or None when all images have one size.
    """
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) == 1:
        return torch.stack(list(images)), None
    height = max(image.shape[-2] for image in images)
    width = max(image.shape[-1] for image in images)
    stack = images[0].new_zeros((len(images), images[0].shape[0], height, width))
    mask = torch.ones((len(images), height, width), dtype=torch.bool)
    for row, image in enumerate(images):  # images differ in size: there is nothing to vectorise over
        stack[row, :, : image.shape[-2], : image.shape[-1]] = image
        mask[row, : image.shape[-2], : image.shape[-1]] = False
    return stack, mask


def _pack_truth(truths: Sequence[DetectionTruth | None]) -> DetectionTruth | None:
    present = _all_or_none(truths)
    if not present:
        return None
    return DetectionTruth(
        boxes=torch.cat([truth.boxes for truth in present]),
        labels=torch.cat([truth.labels for truth in present]),
        iscrowd=torch.cat([truth.iscrowd for truth in present]),
        area=torch.cat([truth.area for truth in present]),
        counts=tuple(count for truth in present for count in truth.counts),
    )


def _pack_segments(truths: Sequence[SegmentationTruth | None]) -> SegmentationTruth | None:
    present = _all_or_none(truths)
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


def _all_or_none(truths: Sequence[TruthT | None]) -> list[TruthT]:
    present = [truth for truth in truths if truth is not None]
    if present and len(present) < len(truths):
        raise ValueError(f"{len(truths) - len(present)} of {len(truths)} samples carry no truth: all need it or none")
    return present
