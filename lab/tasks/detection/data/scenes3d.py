"""The generated street scenes for detection: one camera's picture of each scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.data.datamodule import DataModule
from lab.data.scenes3d.frames import StreetFrame, StreetScenes
from lab.data.scenes3d.module import StreetArguments
from lab.data.scenes3d.samples import StreetSamples
from lab.structures import DetectionBatch, DetectionSample, DetectionSpec, DetectionTruth, KeyedDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform


class StreetPictures(StreetSamples[DetectionSample]):
    """Pictures of ``StreetScenes`` as samples for detectors: a box encloses what is visible of an object.

    Objects with fewer than ``min_pixels`` visible pixels have no box. ``area`` counts visible pixels.

    Args:
        scenes: with one picture each.
    """

    def __init__(self, scenes: StreetScenes) -> None:
        super().__init__(scenes)
        self.class_names = scenes.options.class_names

    def make(self, frame: StreetFrame) -> DetectionSample:
        """Return the sample of a scene."""
        options = self.scenes.options
        seen = frame.pixels[0] >= options.min_pixels
        boxes, labels = torch.from_numpy(frame.boxes[0][seen]), torch.from_numpy(frame.layout.labels[seen])
        truth = None
        if self.scenes.evaluated:
            truth = DetectionTruth(
                boxes=boxes.clone(),
                labels=labels.clone(),
                iscrowd=torch.zeros(len(labels), dtype=torch.bool),
                area=torch.from_numpy(frame.pixels[0][seen].astype(np.float32)),
                counts=(len(labels),),
            )
        image = torch.from_numpy(np.ascontiguousarray(frame.images[0].transpose(2, 0, 1)))
        return DetectionSample(image, boxes, labels, frame.index, (options.height, options.width), truth)


@dataclass(eq=False)
class Scenes3dDataModule(StreetArguments, DataModule):
    """``data=scenes3d`` for detectors; see ``StreetArguments`` for the arguments."""

    kind = "detection"
    task = "detection"
    sample_name = "image"

    def __post_init__(self, task: str | None) -> None:
        DataModule.__init__(self, self.batch_size, self.num_workers, self.seed)
        self.check_task(task)

    @property
    def spec(self) -> DetectionSpec:
        """The description of the data."""
        return DetectionSpec(class_names=self.names, input_shape=(3, *self.image_size))

    def build(self, split: str) -> StreetPictures:
        """Return the pictures of a split as samples."""
        return StreetPictures(self.scenes(split))

    def collate(self, samples: Sequence[Any]) -> DetectionBatch:
        """Put samples together into a batch."""
        return collate_detection(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the pictures."""
        return ImageFolder(paths, DetectionTransform(train=False, size=tuple(self.image_size)))
