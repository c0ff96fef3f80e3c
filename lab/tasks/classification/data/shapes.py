"""The generated scenes for classification: one shape an image, whose class is the label, or several shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch

from lab.data.images.resizing import sample_generator
from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES, Scene, ShapesDataset
from lab.errors import ConfigError
from lab.ranges import Options
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec, Drawn
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
        scene = self.scenes[key]
        drawn = self.drawn(key, scene)
        return ClassificationSample(scene.image, int(scene.labels[0]), scene.index, scene.size, augmentation=drawn)

    def drawn(self, key: tuple[int, int], scene: Scene) -> Drawn | None:
        """Return what is done to a scene."""
        options = self.augmentation
        return None if options is None else options.draw(scene.size, sample_generator(self.seed, *key))

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"classification:{super().fingerprint()}"


class ShapesMultilabel(ShapesClassification):
    """Scenes of several shapes: the classes that stand in a scene are its labels."""

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        scene = self.scenes[key]
        shares = torch.zeros(len(CLASS_NAMES))
        shares[torch.as_tensor(scene.labels, dtype=torch.int64)] = 1.0
        drawn = self.drawn(key, scene)
        return ClassificationSample(scene.image, -1, scene.index, scene.size, augmentation=drawn, shares=shares)

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"multilabel:{self.scenes.fingerprint()}"


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

    def num_shapes(self) -> tuple[int, int]:
        """Return 1, 1.

        Raises:
            ConfigError: another number of shapes is asked for.
        """
        least, most = super().num_shapes()
        if least != 1 or most not in (1, _DEFAULT_MOST):
            raise ConfigError(
                f"data.min_shapes={least}, data.max_shapes={most}: an image of one class has one shape; leave both away"
            )
        return 1, 1

    def build(self, split: str) -> ShapesClassification:
        """Return the samples of a split."""
        return ShapesClassification(self.scenes(split), self.drawn if split == "train" else None, self.seed)

    def collate(self, samples: Sequence[Any]) -> ClassificationBatch:
        """Put samples together into a batch."""
        return collate_classification(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ClassificationFolder(paths, EvalTransform(self.input_shape[1:]))


class ShapesMultilabelModule(ShapesDataModule):
    """``data=shapes_multilabel``: scenes of several shapes for classifiers; see ``ScenesDataModule``."""

    @property
    def spec(self) -> ClassificationSpec:
        """The shapes are the classes; an image has those that stand in it."""
        return replace(super().spec, multilabel=True)

    def num_shapes(self) -> tuple[int, int]:
        """Return the fewest and the most shapes of a scene."""
        return ScenesDataModule.num_shapes(self)

    def build(self, split: str) -> ShapesMultilabel:
        """Return the samples of a split."""
        return ShapesMultilabel(self.scenes(split), self.drawn if split == "train" else None, self.seed)
