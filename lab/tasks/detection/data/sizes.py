"""The boxes of a batch at the size that its step trains at (multi-scale training)."""

from __future__ import annotations

from lab.structures import DetectionBatch, DetectionTargets


def targets_at(batch: DetectionBatch) -> DetectionTargets:
    """Return the targets in pixels of the images as the network sees them; see ``DetectionBatch.train_size``."""
    targets = batch.targets
    if batch.train_size is None:
        return targets
    height, width = batch.images.shape[-2:]
    ratio = targets.sizes.new_tensor([batch.train_size[0] / height, batch.train_size[1] / width])
    return DetectionTargets(
        targets.boxes * ratio.flip(0).repeat(2), targets.labels, targets.counts, targets.sizes * ratio
    )
