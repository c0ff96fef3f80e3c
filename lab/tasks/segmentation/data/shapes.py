"""The generated scenes for segmentation: the masks of ``lab.data.scenes.shapes`` as maps of segments.

The images are those of the detection benchmark. Class 0 is the background, which is stuff. The shapes are things; a
shape's label is its detection label + 1, as in ``lab.data.scenes.shapes.semantic_mask``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES, ShapesDataset
from lab.structures import KeyedDataset, SegmentationBatch, SegmentationSample, SegmentationSpec
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.files import SegmentationFolder
from lab.tasks.segmentation.data.segments import (
    SegmentKind,
    check_kind,
    drop_empty,
    from_masks,
    merge_classes,
    truth_of,
)
from lab.tasks.segmentation.data.transforms import SegmentationTransform


class ShapesSegmentation(SceneSamples[SegmentationSample]):
    """Scenes of ``ShapesDataset`` in which every pixel belongs to a segment.

    ``truth`` is always panoptic: one segment for each shape with a visible pixel, and one for the background.

    Args:
        scenes: made with ``masks=True``.
        segments: ``"semantic"``: one segment per class in the scene; ``"panoptic"``: one per shape, and the background.

    Raises:
        ConfigError: ``segments`` is neither.
    """

    class_names = ("background", *CLASS_NAMES)
    thing_labels = tuple(range(1, len(CLASS_NAMES) + 1))

    def __init__(self, scenes: ShapesDataset, segments: SegmentKind = "semantic") -> None:
        super().__init__(scenes)
        self.segments = check_kind(segments)

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"{super().fingerprint()},segments={self.segments}"

    def __getitem__(self, key: tuple[int, int]) -> SegmentationSample:
        """Return the sample for ``(epoch, index)``."""
        scene = self.scenes[key]
        assert scene.masks is not None
        segments, labels = scene_segments(scene.masks, scene.labels)
        truth = truth_of(segments, labels) if self.scenes.evaluated else None
        if self.segments == "semantic":
            segments, labels = merge_classes(segments, labels)
        return SegmentationSample(scene.image, segments, labels, scene.index, scene.size, truth)


def scene_segments(masks: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the panoptic map (h, w) int16 of a scene and its segments' labels, the background last."""
    segments = from_masks(masks, fill=len(labels))
    return drop_empty(segments, torch.cat([labels + 1, labels.new_zeros(1)]))


class ShapesDataModule(ScenesDataModule):
    """``data=shapes`` for segmenters; see ``ScenesDataModule`` for the arguments.

    Raises:
        ConfigError: ``segments`` is unknown.
    """

    task = "segmentation"
    masks = True

    @property
    def spec(self) -> SegmentationSpec:
        """The description of the data; the background is stuff, shapes are things."""
        names, things = ShapesSegmentation.class_names, ShapesSegmentation.thing_labels
        return SegmentationSpec(class_names=names, input_shape=self.input_shape, thing_labels=things)

    def build(self, split: str) -> ShapesSegmentation:
        """Return the scenes of a split as maps of segments."""
        return ShapesSegmentation(self.scenes(split), check_kind(self.segments))

    def collate(self, samples: Sequence[Any]) -> SegmentationBatch:
        """Put samples together into a batch."""
        return collate_segmentation(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return SegmentationFolder(paths, SegmentationTransform(train=False, size=self.image_size))
