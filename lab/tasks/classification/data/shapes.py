"""The generated scenes for classification: one shape an image, whose class is the label, or several shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.data.scenes.module import ScenesDataModule
from lab.data.scenes.samples import SceneSamples
from lab.data.scenes.shapes import CLASS_NAMES, ShapesDataset, ShapesScene
from lab.errors import ConfigError
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.ops.hashing import Int64Array
from lab.ranges import Count, Ge, Gt, Le, Len, Options, Positive, Probability, Seed
from lab.structures import KeyedDataset
from lab.structures.classification import ClassificationBatch, ClassificationSample, ClassificationSpec, Drawn
from lab.tasks.classification.data.augmentation import AugmentationOptions, MovesOptions, moves_of
from lab.tasks.classification.data.chosen import few_labels
from lab.tasks.classification.data.collate import collate_classification
from lab.tasks.classification.data.files import ClassificationFolder
from lab.tasks.classification.data.moves import draw_moves
from lab.tasks.classification.data.transforms import EvalTransform
from lab.tasks.classification.data.unlabelled import PartlyLabelled, check_reflection, partly_labelled

_DEFAULT_MOST = 3
"""``data.max_shapes`` of the YAML, which serves other kinds too; here it stands for 1."""


@dataclass(frozen=True)
class ShapesOptions(AugmentationOptions):
    """Augmentation of scenes: nothing is mirrored or shifted by default, but beside unlabelled scenes.

    Attributes:
        flip: chance to mirror a scene; None: 0, and beside unlabelled ones 0.5.
        shift: the most pixels to each side; None: 0, and beside unlabelled ones an eighth of the side.
        padding_mode: what a shift lets in: ``"constant"``: black; ``"reflect"``: the scene, reflected at its edge.
    """

    flip: Probability | None = None
    shift: Annotated[int, Ge(0), Le(1024)] | None = None
    padding_mode: Literal["constant", "reflect"] = "constant"

    def moves(self, side: int) -> MovesOptions:
        """Return how scenes of a side are moved, beside unlabelled ones."""
        flip = 0.5 if self.flip is None else self.flip
        shift = side // 8 if self.shift is None else self.shift
        return moves_of(self, flip, shift, self.padding_mode)


class ShapesClassification(SceneSamples[ClassificationSample]):
    """Scenes of one shape as classification samples.

    Args:
        scenes: of one shape each.
        augmentation: what is drawn for a scene in training; None in evaluation.
        seed: decides, with epoch and index, what is drawn.
    """

    class_names = CLASS_NAMES

    def __init__(self, scenes: ShapesDataset, augmentation: ShapesOptions | None = None, seed: int = 0) -> None:
        super().__init__(scenes)
        self.augmentation, self.seed = augmentation, seed

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        return self.sample(key, self.scenes[key])

    def sample(self, key: tuple[int, int], scene: ShapesScene) -> ClassificationSample:
        """Return a scene as the sample for ``(epoch, index)``."""
        moves, drawn = self.drawn(key, scene)
        return ClassificationSample(scene.image, int(scene.labels[0]), scene.index, scene.size, moves, drawn)

    def drawn(self, key: tuple[int, int], scene: ShapesScene) -> tuple[tuple[int, int, int, int] | None, Drawn | None]:
        """Return how a scene is moved and what else is done to it."""
        options = self.augmentation
        if options is None:
            return None, None
        moves, generator = None, sample_generator(self.seed, *key)
        if options.flip or options.shift:
            reflect = options.padding_mode == "reflect"
            moves = draw_moves(options.flip or 0.0, options.shift or 0, generator, reflect)
        return moves, options.draw(scene.size, generator)

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
        moves, drawn = self.drawn(key, scene)
        return ClassificationSample(scene.image, -1, scene.index, scene.size, moves, drawn, shares=shares)

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"multilabel:{self.scenes.fingerprint()}"


class ChosenScenes(ShapesClassification):
    """Some scenes of the first epoch, the same in every epoch.

    Args:
        scenes: of one shape each.
        rows: (n,) which of them.
        labels: (n,) of each.
        augmentation: what is drawn for a scene in training.
        seed: decides, with epoch and index, what is drawn.
    """

    def __init__(
        self,
        scenes: ShapesDataset,
        rows: Int64Array,
        labels: Int64Array,
        augmentation: ShapesOptions | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(scenes, augmentation, seed)
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        return self.sample(key, self.scenes[0, int(self.rows[key[1]])])

    def still(self, indices: Int64Array) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images (n, 3, H, W) uint8, not moved, their labels (n,), ids (n,) and stored sizes (n, 2)."""
        found = [self.scenes[0, row] for row in self.rows[indices].tolist()]
        images, sizes = torch.stack([scene.image for scene in found]), torch.tensor([scene.size for scene in found])
        return images, torch.from_numpy(self.labels[indices]), torch.from_numpy(self.rows[indices]), sizes

    def label_array(self) -> Int64Array:
        """Return the label of each scene (n,)."""
        return self.labels

    def class_counts(self) -> ClassCounts:
        """Return the scenes of each class."""
        return ClassCounts(tuple(np.bincount(self.labels, minlength=len(CLASS_NAMES)).tolist()), "image")

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return f"{super().fingerprint()},rows={hashlib.sha256(self.rows.tobytes()).hexdigest()}"


@dataclass(eq=False)
class ShapesDataModule(ScenesDataModule):
    """``data=shapes`` for classifiers; see ``ScenesDataModule`` for the other arguments. An image has one shape.

    Args:
        mean: (3) by which images are normalised, of colours from 0 to 1.
        std: (3) likewise.
        num_labels: train on so many scenes, balanced by class, which are the same in every epoch; None: on new ones in
            every epoch.
        label_seed: of that choice.
        unlabelled: views of each of the other scenes of the first epoch, which are read beside the labelled ones; 0:
            none.
        augmentation: other numbers for ``ShapesOptions``, by name.

    Raises:
        DataError: ``num_labels`` is out of range, or a shift is too large.
    """

    task = "classification"

    _: KW_ONLY
    mean: Annotated[Sequence[Annotated[float, Ge(0), Le(1)]], Len(3, 3)] = IMAGENET_MEAN
    std: Annotated[Sequence[Annotated[float, Gt(0), Le(1)]], Len(3, 3)] = IMAGENET_STD
    num_labels: Positive | None = None
    label_seed: Seed = 0
    unlabelled: Count = 0
    augmentation: Annotated[Mapping[str, Any] | None, Options(ShapesOptions)] = None

    def __post_init__(self, task: str | None) -> None:
        super().__post_init__(task)
        self.drawn = ShapesOptions.from_options(self.augmentation)

    @property
    def spec(self) -> ClassificationSpec:
        """The shapes are the classes, equally frequent."""
        return ClassificationSpec(
            class_names=CLASS_NAMES,
            input_shape=self.input_shape,
            class_counts=() if self.num_labels is None else self.dataset("train").class_counts().counts,
            mean=tuple(self.mean),
            std=tuple(self.std),
        )

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

    def build(self, split: str) -> ShapesClassification | PartlyLabelled:
        """Return the samples of a split."""
        scenes = self.scenes(split)
        if split != "train":
            return ShapesClassification(scenes)
        size = (self.image_size, self.image_size)
        check_reflection(self.drawn.shift or 0, self.drawn.padding_mode, size)
        if self.num_labels is None and not self.unlabelled:
            return ShapesClassification(scenes, self.drawn, self.seed)
        labels = np.array([scenes.first_label((0, index)) for index in range(len(scenes))], dtype=np.int64)
        keys, count = [str(row) for row in range(len(labels))], self.num_labels or len(labels)
        rows = few_labels(labels, CLASS_NAMES, keys, count, self.label_seed, "data=shapes")
        few = ChosenScenes(scenes, rows, labels[rows], self.drawn, self.seed)
        if not self.unlabelled:
            return few
        others = np.setdiff1d(np.arange(len(labels)), rows)
        rest = ChosenScenes(scenes, others, labels[others])
        return partly_labelled(
            few, rest, self.unlabelled, self.drawn.moves(self.image_size), size, self.seed, "data=shapes"
        )

    def collate(self, samples: Sequence[Any]) -> ClassificationBatch:
        """Put samples together into a batch."""
        return collate_classification(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ClassificationFolder(paths, EvalTransform(self.input_shape[1:]))


class ShapesMultilabelModule(ShapesDataModule):
    """``data=shapes_multilabel``: scenes of several shapes for classifiers; see ``ScenesDataModule``.

    Raises:
        ConfigError: an option is for images of one class each.
    """

    def __post_init__(self, task: str | None) -> None:
        super().__post_init__(task)
        for key in ("num_labels", "unlabelled"):
            if getattr(self, key):
                raise ConfigError(f"data.{key}={getattr(self, key)} is for one label an image; leave it away")

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
