"""The generated scenes for detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES
from lab.structures import DetectionBatch, DetectionSample, DetectionSpec, DetectionTruth, KeyedDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform


class ShapesDetection(SceneSamples[DetectionSample]):
    """Scenes of ``ShapesDataset`` as samples for detectors; the truth's ``area`` counts visible pixels only.

    Args:
        scenes: samples carry masks where they are made with ``masks=True``.
    """

    class_names = CLASS_NAMES

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the sample for ``(epoch, index)``."""
        scene = self.scenes[key]
        truth = None
        if self.scenes.evaluated and scene.masks is not None:
            truth = DetectionTruth(
                boxes=scene.boxes.clone(),
                labels=scene.labels.clone(),
                iscrowd=torch.zeros(len(scene.labels), dtype=torch.bool),
                area=scene.masks.sum(dim=(1, 2)).to(torch.float32),
                counts=(len(scene.labels),),
            )
        masks = scene.masks if self.scenes.masks else None
        return DetectionSample(scene.image, scene.boxes, scene.labels, scene.index, scene.size, truth, masks)


class ShapesDataModule(ScenesDataModule):
    """``data=shapes`` for detectors; see ``ScenesDataModule`` for the arguments."""

    task = "detection"

    @property
    def spec(self) -> DetectionSpec:
        """The description of the data; the classes are the shapes."""
        return DetectionSpec(class_names=CLASS_NAMES, input_shape=self.input_shape)

    def build(self, split: str) -> ShapesDetection:
        """Return the scenes of a split as samples for detectors."""
        return ShapesDetection(self.scenes(split))

    def collate(self, samples: Sequence[Any]) -> DetectionBatch:
        """Put samples together into a batch."""
        return collate_detection(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ImageFolder(paths, DetectionTransform(train=False, size=self.image_size))
