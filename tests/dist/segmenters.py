"""Tiny segmenters and scenes whose numbers of segments and of pixels with a class are unlike, for tests on ranks."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lab.data.datamodule import LoadPlan
from lab.structures import NO_SEGMENT, SegmentationSample
from lab.tasks.segmentation.data.segments import drop_empty
from lab.tasks.segmentation.data.shapes import ShapesDataModule, ShapesSegmentation
from lab.tasks.segmentation.task import SegmentationTask

STEPS = 5
SMALL = {"embed_dim": 16, "mask_dim": 16, "num_groups": 4, "backbone_options": {"widths": (8, 8, 16, 16)}}
MASKFORMER = {
    "_target_": "maskformer_tiny",
    "num_queries": 5,
    "num_heads": 2,
    "num_decoder_layers": 2,
    "feedforward_dim": 16,
    "object_threshold": 0.3,
    "overlap_threshold": 0.5,
    **SMALL,
}
NETS: dict[str, dict[str, Any]] = {
    "maskformer": MASKFORMER,
    # One layer: in evaluation the codes of the masks are taken into the last convolution.
    "maskformer-encoder": {
        **MASKFORMER,
        "num_decoder_layers": 1,
        "pixel_decoder": "transformer_encoder",
        "num_encoder_layers": 1,
    },
    "per-pixel": {"_target_": "per_pixel_tiny", **SMALL},
}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": False}
# Where a gradient is zero but for rounding, AdamW with its default eps makes a whole step of the rounding.
ADAMW = {"name": "adamw", "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-4}


class Holed(ShapesSegmentation):
    """Scenes of 48 columns, the first ones of which belong to no segment: few or none, or all of them.

    So the images have unlike numbers of segments and of pixels with a class, up to more segments than there are
    queries. A third of the training images have none, and the first two to validate.
    """

    def __getitem__(self, key: tuple[int, int]) -> SegmentationSample:
        sample, index = super().__getitem__(key), key[1]
        split = self.scenes.split
        is_empty = index % 3 == 0 if split == "train" else split == "val" and index < 2
        hole = 48 if is_empty else 4 * (index % 5)
        sample.segments[:, :hole] = NO_SEGMENT
        sample.segments, sample.labels = drop_empty(sample.segments, sample.labels)
        if sample.truth is not None:
            sample.truth.pixels.view(sample.truth.sizes[0])[:, :hole] = NO_SEGMENT
        return sample


class Scenes(ShapesDataModule):
    """Batches of one rank; ``length`` images to test and one less to validate, or one.

    ``learning`` trains on the images of the test, so that a few seconds are enough to find something.
    """

    def __init__(self, rank: int, ranks: int, batch_size: int = 8, length: int = 9, learning: bool = False) -> None:
        counts = {"num_train": 24, "num_val": max(1, length - 1), "num_test": length}
        super().__init__(
            batch_size, image_size=48, max_side=24, max_shapes=5, **counts, task="segmentation", segments="panoptic"
        )
        self.plan = LoadPlan(rank=rank, world_size=ranks)
        self.learning = learning

    def build(self, split: str) -> ShapesSegmentation:
        return Holed(self.scenes("test" if self.learning else split), self.segments)


def make_task(name: str, optimizer: dict[str, Any] = ADAMW) -> SegmentationTask:
    """Return a task whose weights are the same in every process."""
    pl.seed_everything(0, verbose=False)
    finds_masks = name != "per-pixel"
    asked = {"name": "segmentation", "semantic": True, "panoptic": finds_masks, "instances": finds_masks}
    settings = {**optimizer, "weight_decay": 1e-4, "no_decay_norm_bias": True, "groups": []}
    spec = Scenes(0, 1).spec.to_plain()
    return SegmentationTask(NETS[name], spec, settings, {"name": "constant", "warmup_steps": 0}, STEPS, asked)
