"""The generated street scenes for detection: one camera's picture of each scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from lab.data.images.resizing import pair
from lab.data.scenes3d.frames import StreetFrame, StreetScenes
from lab.data.scenes3d.module import StreetArguments
from lab.data.scenes3d.samples import StreetSamples
from lab.ranges import Options
from lab.structures import DetectionSample, DetectionSpec, DetectionTruth, KeyedDataset
from lab.tasks.detection.data.augmentation import AugmentedModule, BoxAugmentation
from lab.tasks.detection.data.augmented_scenes import AugmentedScenes
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
            truth = DetectionTruth.of_scene(boxes, labels, torch.from_numpy(frame.pixels[0][seen]))
        image = torch.from_numpy(np.ascontiguousarray(frame.images[0].transpose(2, 0, 1)))
        return DetectionSample(image, boxes, labels, frame.index, (options.height, options.width), truth)


@dataclass(eq=False)
class Scenes3dDataModule(StreetArguments, AugmentedModule):
    """``data=scenes3d`` for detectors; see ``StreetArguments`` for the other arguments.

    Args:
        augmentation: other numbers for ``BoxAugmentation``, by name.

    Raises:
        ConfigError: a number is out of its range.
    """

    kind = "detection"
    task = "detection"
    sample_name = "image"

    _: KW_ONLY
    augmentation: Annotated[Mapping[str, Any] | None, Options(BoxAugmentation)] = None

    def __post_init__(self, task: str | None) -> None:
        AugmentedModule.__init__(self, self.batch_size, self.num_workers, self.seed)
        self.check_task(task)
        self.numbers = BoxAugmentation.from_options(self.augmentation)
        self.check_multi_scale()

    @property
    def spec(self) -> DetectionSpec:
        """The description of the data."""
        return DetectionSpec(class_names=self.names, input_shape=(3, *self.image_size), grey=self.grey)

    def transform(self, train: bool) -> DetectionTransform:
        """Return the transform of training, or of image files."""
        return self.numbers.fixed(train, pair("data.image_size", self.image_size))

    def build(self, split: str) -> StreetPictures | AugmentedScenes:
        """Return the pictures of a split as samples."""
        scenes = StreetPictures(self.scenes(split))
        if split != "train" or not self.numbers.changes_scenes:
            return scenes
        return AugmentedScenes(scenes, self.transform(train=True), self.seed)

    def unaugmented(self, split: str, prepared: bool) -> StreetPictures:
        """Return the pictures of a split as they are generated."""
        return StreetPictures(self.scenes(split))

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the pictures."""
        return ImageFolder(paths, self.transform(train=False))
