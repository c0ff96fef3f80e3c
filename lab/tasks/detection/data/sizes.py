"""The boxes of a batch at the size that its step trains at (multi-scale training)."""

from __future__ import annotations

import torch

from lab.structures import DetectionBatch, DetectionTargets


def targets_at(batch: DetectionBatch) -> DetectionTargets:
    """Return the targets in pixels of the images as the network sees them; see ``DetectionBatch.train_size``."""
    targets = batch.targets
    if batch.train_size is None:
        return targets
    height, width = batch.images.shape[-2:]
    y, x = batch.train_size[0] / height, batch.train_size[1] / width  # numbers, not a tensor: no copy to the device
    sizes = torch.stack([targets.sizes[:, 0] * y, targets.sizes[:, 1] * x], dim=1)
    boxes = torch.stack(
        [side * ratio for side, ratio in zip(targets.boxes.unbind(1), (x, y, x, y), strict=True)], dim=1
    )
    return DetectionTargets(boxes, targets.labels, targets.counts, sizes)
