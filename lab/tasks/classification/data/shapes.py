"""The generated scenes for classification: one shape an image, whose class is the label, or several shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES, ShapesDataset
from lab.errors import ConfigError
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.transforms import EvalTransform

_DEFAULT_MOST = 3
"""``data.max_shapes`` of the YAML, which serves other kinds too; here it stands for 1."""


class ShapesClassification(SceneSamples[ClassificationSample]):
    """Scenes of one shape as classification samples.

    Args:
        scenes: of one shape each.
    """

    class_names = CLASS_NAMES

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        scene = self.scenes[key]
        return ClassificationSample(scene.image, int(scene.labels[0]), scene.index, scene.size)

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
        return ClassificationSample(scene.image, -1, scene.index, scene.size, shares=shares)

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"multilabel:{self.scenes.fingerprint()}"


class ShapesDataModule(ScenesDataModule):
    """``data=shapes`` for classifiers; see ``ScenesDataModule`` for the arguments. An image has one shape."""

    task = "classification"

    @property
    def spec(self) -> ClassificationSpec:
        """The shapes are the classes, equally frequent."""
        return ClassificationSpec(class_names=CLASS_NAMES, input_shape=self.input_shape)

    def scenes(self, split: str) -> ShapesDataset:
        """Return the scenes of a split, of one shape each.

        Raises:
            ConfigError: another number of shapes is asked for.
        """
        least, most, min_side, max_side, max_overlap = self.shapes
        if least != 1 or most not in (1, _DEFAULT_MOST):
            raise ConfigError(
                f"data.min_shapes={least}, data.max_shapes={most}: an image of one class has one shape; leave both away"
            )
        self.shapes = (1, 1, min_side, max_side, max_overlap)
        return super().scenes(split)

    def build(self, split: str) -> ShapesClassification:
        """Return the samples of a split."""
        return ShapesClassification(self.scenes(split))

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

    def scenes(self, split: str) -> ShapesDataset:
        """Return the scenes of a split."""
        return ScenesDataModule.scenes(self, split)

    def build(self, split: str) -> ShapesMultilabel:
        """Return the samples of a split."""
        return ShapesMultilabel(self.scenes(split))
