"""Generated scenes of one size, augmented for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from torch import Generator

from lab.data.images import draws
from lab.data.images.resizing import sample_generator
from lab.structures import DetectionSample, KeyedDataset
from lab.tasks.detection.data.mosaic import BoxedImage, MosaicPlan
from lab.tasks.detection.data.transforms import DetectionTransform


class Scenes(KeyedDataset, Protocol):
    """What is augmented: scenes as samples."""

    @property
    def class_names(self) -> Sequence[str]:
        """The name of each label."""
        ...

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the sample for ``(epoch, index)``."""
        ...

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        ...


class AugmentedScenes:
    """Training scenes after a transform; a mosaic is of scenes of the same epoch.

    Args:
        scenes: of one size.
        transform: of training.
        seed: decides, with epoch and index, every random choice.

    Attributes:
        mosaics: which samples may be mosaics, where the transform makes them.
    """

    aspect_ratios = None
    mosaics = MosaicPlan()

    def __init__(self, scenes: Scenes, transform: DetectionTransform, seed: int) -> None:
        self.scenes, self.transform, self.seed = scenes, transform, seed
        self.class_names = scenes.class_names

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return len(self.scenes)

    def box_counts(self) -> list[int]:
        """Return the number of boxes of each of the first scenes, if the scenes say it."""
        found: list[int] = self.scenes.box_counts() if hasattr(self.scenes, "box_counts") else []
        return found

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the sample for ``(epoch, index)``."""
        sample, epoch = self.scenes[key], key[0]

        def other(generator: Generator) -> BoxedImage:
            found = self.scenes[epoch, draws.integer(0, (self.mosaics.length or len(self)) - 1, generator)]
            return BoxedImage(found.image, found.boxes, found.labels)

        done = self.transform(
            sample.image,
            sample.boxes,
            sample.labels,
            sample_generator(self.seed, *key),
            sample.masks,
            other if self.mosaics.allows(*key) else None,
        )
        return replace(sample, image=done.image, boxes=done.boxes, labels=done.labels, masks=done.masks)

    def fingerprint(self) -> str:
        """Return everything that the scenes depend on, in one line."""
        return self.scenes.fingerprint()
