"""The generated scenes for detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.shapes import CLASS_NAMES, ShapesDataset
from lab.structures import DetectionBatch, DetectionSpec, KeyedDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform


class ShapesDataModule(ScenesDataModule):
    """``data=shapes`` for detectors; see ``ScenesDataModule`` for the arguments."""

    task = "detection"

    @property
    def spec(self) -> DetectionSpec:
        """The description of the data; the classes are the shapes."""
        return DetectionSpec(class_names=CLASS_NAMES, input_shape=self.input_shape)

    def build(self, split: str) -> ShapesDataset:
        """Return the scenes of a split."""
        return self.scenes(split)

    def collate(self, samples: Sequence[Any]) -> DetectionBatch:
        """Put samples together into a batch."""
        return collate_detection(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ImageFolder(paths, DetectionTransform(train=False, size=self.image_size))
