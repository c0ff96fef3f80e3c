"""Puts detection samples together into a batch: images padded, boxes packed (see ``lab.data.images.padding``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lab.data.images.padding import all_or_none, pad_images
from lab.structures import (
    DetectionBatch,
    DetectionSample,
    DetectionTargets,
    DetectionTruth,
)


class Letterbox(NamedTuple):
    """What images that keep their aspect ratio are padded to.

    Attributes:
        size: (height, width).
        grey: the level of the pixels that are padded.
    """

    size: tuple[int, int]
    grey: int


def collate_detection(samples: Sequence[DetectionSample], letterbox: Letterbox | None = None) -> DetectionBatch:
    """Put samples together into a batch.

    Args:
        samples: B samples with images (3, h_i, w_i) uint8; either all of them have ``truth`` or none does.
        letterbox: the size in which each image fits, and the level of the padding; None: the largest h_i and w_i, and
            zeros.

    Returns:
        A batch with images (B, 3, H, W) uint8, padded at the right and bottom; ``padding_mask`` is None when no image
        is padded; every sample is ``valid``.

    Raises:
        ValueError: there is no sample, or only some of them have ``truth``.
    """
    if not samples:
        raise ValueError("collate_detection needs at least one sample")
    images, padding_mask = pad_images([sample.image for sample in samples], *(letterbox or (None, 0)))
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
        grey=None if letterbox is None else letterbox.grey,
    )


def _pack_truth(truths: Sequence[DetectionTruth | None]) -> DetectionTruth | None:
    present = all_or_none(truths)
    if not present:
        return None
    return DetectionTruth(
        boxes=torch.cat([truth.boxes for truth in present]),
        labels=torch.cat([truth.labels for truth in present]),
        iscrowd=torch.cat([truth.iscrowd for truth in present]),
        area=torch.cat([truth.area for truth in present]),
        counts=tuple(count for truth in present for count in truth.counts),
    )
