"""The generated street scenes for segmentation: one camera's picture of each scene, every pixel in a segment.

Objects are things; sky, road, pavement, houses, plants and posts are stuff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.data.datamodule import DataModule
from lab.data.scenes3d.frames import StreetFrame, StreetScenes
from lab.data.scenes3d.module import StreetArguments
from lab.data.scenes3d.names import STUFF_NAMES
from lab.data.scenes3d.samples import StreetSamples
from lab.structures import KeyedDataset, SegmentationBatch, SegmentationSample, SegmentationSpec
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.files import SegmentationFolder
from lab.tasks.segmentation.data.segments import SegmentKind, check_kind, drop_empty, merge_classes, truth_of
from lab.tasks.segmentation.data.transforms import SegmentationTransform


class StreetSegments(StreetSamples[SegmentationSample]):
    """Pictures of ``StreetScenes`` as maps of segments; ``truth`` is always panoptic.

    Args:
        scenes: with one picture each.
        segments: ``"semantic"``: a segment for each class; ``"panoptic"``: one for each object and each class of stuff.
    """

    def __init__(self, scenes: StreetScenes, segments: SegmentKind = "semantic") -> None:
        super().__init__(scenes)
        self.segments = check_kind(segments)
        self.class_names = (*scenes.options.class_names, *STUFF_NAMES)

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"{super().fingerprint()},segments={self.segments}"

    def make(self, frame: StreetFrame) -> SegmentationSample:
        """Return the sample of a scene."""
        options = self.scenes.options
        segments, labels = frame_segments(frame, len(options.class_names))
        truth = truth_of(segments, labels) if self.scenes.evaluated else None
        if self.segments == "semantic":
            segments, labels = merge_classes(segments, labels)
        image = torch.from_numpy(np.ascontiguousarray(frame.images[0].transpose(2, 0, 1)))
        return SegmentationSample(image, segments, labels, frame.index, (options.height, options.width), truth)


def frame_segments(frame: StreetFrame, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the panoptic map (h, w) int16 of the first picture and its segments' labels: objects, then stuff."""
    count = len(frame.layout.labels)
    stuff = count + frame.categories[0] - num_classes
    segments = np.where(frame.instances[0] >= 0, frame.instances[0], stuff).astype(np.int16)
    labels = np.concatenate([frame.layout.labels, num_classes + np.arange(len(STUFF_NAMES))])
    return drop_empty(torch.from_numpy(segments), torch.from_numpy(labels))


@dataclass(eq=False)
class Scenes3dDataModule(StreetArguments, DataModule):
    """``data=scenes3d`` for segmenters; see ``StreetArguments`` for the arguments."""

    kind = "segmentation"
    task = "segmentation"
    sample_name = "image"

    def __post_init__(self, task: str | None) -> None:
        DataModule.__init__(self, self.batch_size, self.num_workers, self.seed)
        self.check_task(task)
        check_kind(self.segments)

    @property
    def spec(self) -> SegmentationSpec:
        """The description of the data; the objects are things."""
        things = tuple(range(len(self.names)))
        names = (*self.names, *STUFF_NAMES)
        return SegmentationSpec(class_names=names, input_shape=(3, *self.image_size), thing_labels=things)

    def build(self, split: str) -> StreetSegments:
        """Return the pictures of a split as maps of segments."""
        return StreetSegments(self.scenes(split), check_kind(self.segments))

    def collate(self, samples: Sequence[Any]) -> SegmentationBatch:
        """Put samples together into a batch."""
        return collate_segmentation(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the pictures."""
        return SegmentationFolder(paths, SegmentationTransform(train=False, size=tuple(self.image_size)))
