"""The generated scenes for classification: one shape an image, whose class is the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from lab.data.images.resizing import sample_generator
from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES, ShapesDataset
from lab.errors import ConfigError
from lab.ranges import Options
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec
from lab.tasks.classification.data.augmentation import AugmentationOptions
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.transforms import EvalTransform

_DEFAULT_MOST = 3
"""``data.max_shapes`` of the YAML, which serves other kinds too; here it stands for 1."""


class ShapesClassification(SceneSamples[ClassificationSample]):
    """Scenes of one shape as classification samples.

    Args:
        scenes: of one shape each.
        augmentation: what is drawn for a scene in training; None in evaluation.
        seed: decides, with epoch and index, what is drawn.
    """

    class_names = CLASS_NAMES

    def __init__(self, scenes: ShapesDataset, augmentation: AugmentationOptions | None = None, seed: int = 0) -> None:
        super().__init__(scenes)
        self.augmentation, self.seed = augmentation, seed

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        scene, options = self.scenes[key], self.augmentation
        drawn = None if options is None else options.draw(scene.size, sample_generator(self.seed, *key))
        return ClassificationSample(scene.image, int(scene.labels[0]), scene.index, scene.size, augmentation=drawn)

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"classification:{super().fingerprint()}"


@dataclass(eq=False)
class ShapesDataModule(ScenesDataModule):
    """``data=shapes`` for classifiers; see ``ScenesDataModule`` for the other arguments. An image has one shape.

    Args:
        augmentation: other numbers for ``AugmentationOptions``, by name.
    """

    task = "classification"

    _: KW_ONLY
    augmentation: Annotated[Mapping[str, Any] | None, Options(AugmentationOptions)] = None

    def __post_init__(self, task: str | None) -> None:
        super().__post_init__(task)
        self.drawn = AugmentationOptions.from_options(self.augmentation)

    @property
    def spec(self) -> ClassificationSpec:
        """The shapes are the classes, equally frequent."""
        return ClassificationSpec(class_names=CLASS_NAMES, input_shape=self.input_shape)

    @property
    def shapes(self) -> tuple[int, int, int, int, float]:
        """One shape in a scene, its smallest and largest side, and an overlap that does not matter.

        Raises:
            ConfigError: another number of shapes is asked for.
        """
        least, most, min_side, max_side, overlap = super().shapes
        if least != 1 or most not in (1, _DEFAULT_MOST):
            raise ConfigError(
                f"data.min_shapes={least}, data.max_shapes={most}: an image of one class has one shape; leave both away"
            )
        return 1, 1, min_side, max_side, overlap

    def build(self, split: str) -> ShapesClassification:
        """Return the samples of a split."""
        return ShapesClassification(self.scenes(split), self.drawn if split == "train" else None, self.seed)

    def collate(self, samples: Sequence[Any]) -> ClassificationBatch:
        """Put samples together into a batch."""
        return collate_classification(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ClassificationFolder(paths, EvalTransform(self.input_shape[1:]))
