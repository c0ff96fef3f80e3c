"""The generated scenes for detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES
from lab.ranges import Options
from lab.structures import DetectionSample, DetectionSpec, DetectionTruth, KeyedDataset
from lab.tasks.detection.data.augmentation import AugmentedModule, BoxAugmentation
from lab.tasks.detection.data.augmented_scenes import AugmentedScenes
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform


class ShapesDetection(SceneSamples[DetectionSample]):
    """Scenes of ``ShapesDataset`` as samples for detectors; the truth's ``area`` counts visible pixels only.

    Args:
        scenes: samples carry masks where they are made with ``masks=True``.
    """

    class_names = CLASS_NAMES

    def box_counts(self) -> list[int]:
        """Return the number of boxes of each of the first 10,000 scenes."""
        return self.scenes.counts()

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the sample for ``(epoch, index)``."""
        scene = self.scenes[key]
        truth = None
        if self.scenes.evaluated and scene.masks is not None:
            truth = DetectionTruth.of_scene(scene.boxes, scene.labels, scene.masks.sum(dim=(1, 2)))
        masks = scene.masks if self.scenes.masks else None
        return DetectionSample(scene.image, scene.boxes, scene.labels, scene.index, scene.size, truth, masks)


@dataclass(eq=False)
class ShapesDataModule(AugmentedModule, ScenesDataModule):
    """``data=shapes`` for detectors; see ``ScenesDataModule`` for the other arguments.

    Args:
        augmentation: other numbers for ``BoxAugmentation``, by name.

    Raises:
        ConfigError: a number is out of its range.
    """

    task = "detection"

    _: KW_ONLY
    augmentation: Annotated[Mapping[str, Any] | None, Options(BoxAugmentation)] = None

    def __post_init__(self, task: str | None) -> None:
        super().__post_init__(task)
        self.numbers = BoxAugmentation.from_options(self.augmentation)
        self.check_multi_scale()

    @property
    def spec(self) -> DetectionSpec:
        """The description of the data; the classes are the shapes."""
        return DetectionSpec(class_names=CLASS_NAMES, input_shape=self.input_shape, grey=self.grey)

    def transform(self, train: bool) -> DetectionTransform:
        """Return the transform of training, or of image files."""
        return self.numbers.fixed(train, (self.image_size, self.image_size))

    def build(self, split: str) -> ShapesDetection | AugmentedScenes:
        """Return the scenes of a split as samples for detectors."""
        scenes = ShapesDetection(self.scenes(split))
        if split != "train" or not self.numbers.changes_scenes:
            return scenes
        return AugmentedScenes(scenes, self.transform(train=True), self.seed)

    def unaugmented(self, split: str, prepared: bool) -> ShapesDetection:
        """Return the scenes of a split as they are generated."""
        return ShapesDetection(self.scenes(split))

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ImageFolder(paths, self.transform(train=False))
