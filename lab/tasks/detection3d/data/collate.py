"""Frames of several cameras put together into a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lab.data.images.padding import all_or_none
from lab.ops.chances import draw_integers
from lab.structures.detection3d import (
    Detection3dTargets,
    Detection3dTruth,
    MultiviewBatch,
    MultiviewSample,
)

PAD_DIVISOR = 32
"""Height and width are padded to a multiple of it; a network's coarsest features may have this stride."""
OF_GRID, OF_PICTURE = 4, 11
"""Random numbers for the GridMask of a frame, and for the colours of each of its pictures."""


def draw_chances(generator: torch.Generator, num_cameras: int) -> Tensor:
    """Return the random numbers (R,) of a training frame, for what the device draws."""
    return draw_integers(generator, OF_GRID + OF_PICTURE * num_cameras)


def collate_multiview(
    samples: Sequence[MultiviewSample], divisor: int = PAD_DIVISOR, black: bool = False
) -> MultiviewBatch:
    """Put frames together into a batch.

    Args:
        samples: B frames of the same cameras; either all of them have ``truth`` or none, and so with ``chances``.
        divisor: height and width are padded to a multiple of it.
        black: the pictures are black, so that nothing can be learnt from them but where boxes usually are.

    Returns:
        A batch in which every frame is ``valid``.

    Raises:
        ValueError: there is no frame, or only some of them have ``truth`` or ``chances``.
    """
    if not samples:
        raise ValueError("collate_multiview needs at least one frame")
    sizes = torch.tensor([sample.images.shape[-2:] for sample in samples], dtype=torch.int64)
    boxes, labels = [sample.boxes for sample in samples], [sample.labels for sample in samples]
    chances = all_or_none([sample.chances for sample in samples])
    return MultiviewBatch(
        images=_padded([sample.images for sample in samples], divisor, black),
        projections=torch.stack([sample.projections for sample in samples]).float(),
        image_sizes=sizes,
        targets=Detection3dTargets(torch.cat(boxes), torch.cat(labels), tuple(map(len, boxes))),
        frame_ids=torch.tensor([sample.frame_id for sample in samples], dtype=torch.int64),
        tokens=tuple(sample.token for sample in samples),
        rig_to_ego=torch.stack([sample.rig_to_ego for sample in samples]),
        ego_to_global=torch.stack([sample.ego_to_global for sample in samples]),
        valid=torch.ones(len(samples), dtype=torch.bool),
        truth=_packed(all_or_none([sample.truth for sample in samples])),
        chances=torch.stack(chances) if chances else None,
    )


def _padded(images: Sequence[Tensor], divisor: int, black: bool) -> Tensor:
    """Return pictures (N, 3, h, w) of frames as (B, N, 3, H, W), zeros at the right and bottom."""
    height, width = (max(image.shape[side] for image in images) for side in (-2, -1))
    height, width = (-(-side // divisor) * divisor for side in (height, width))
    stack = images[0].new_zeros((len(images), *images[0].shape[:2], height, width))
    for row, image in enumerate(images if not black else ()):  # frames may differ in size
        stack[row, ..., : image.shape[-2], : image.shape[-1]] = image
    return stack


def _packed(truths: Sequence[Detection3dTruth]) -> Detection3dTruth | None:
    if not truths:
        return None
    return Detection3dTruth(
        boxes=torch.cat([truth.boxes for truth in truths]),
        labels=torch.cat([truth.labels for truth in truths]),
        attributes=torch.cat([truth.attributes for truth in truths]),
        points=torch.cat([truth.points for truth in truths]),
        counts=tuple(count for truth in truths for count in truth.counts),
    )
