"""What the DataModules of annotated image files share: augmentation from a few numbers, prediction on plain images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from lab.data.datamodule import DataModule
from lab.data.images.annotations import BadSamplePolicy
from lab.errors import ConfigError, closest
from lab.ranges import Gt, Le, Len, MinLen, Pixels, Probability, Strength
from lab.structures import DetectionBatch, DetectionSample, DetectionSpec, KeyedDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.transforms import DetectionTransform


@dataclass(frozen=True)
class Augmentation:
    """The numbers of ``DetectionTransform``; None stands for DETR's, scaled with ``image_size``.

    DETR trains with the shorter side at 480 to 800 in steps of 32, the longer at most 1333, and crops of 384 to 600
    from images of 400, 500 or 600, and evaluates at 800: all are shares of 800, and here of ``image_size``.
    """

    scales: Annotated[Sequence[Pixels], MinLen(1)] | None = None
    max_size: Pixels | None = None
    crop_scales: Sequence[Pixels] | None = None
    crop_range: Annotated[Sequence[Pixels], Len(2, 2)] | None = None
    crop_probability: Probability = 0.5
    flip: Probability = 0.5
    vertical_flip: Probability = 0.0
    size: Pixels | Annotated[Sequence[Pixels], Len(2, 2)] | None = None
    zoom: Annotated[Sequence[Annotated[float, Gt(0), Le(100)]], Len(2, 2)] | None = None
    color: Strength = 0.0
    min_visible: Probability = 0.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any] | None) -> Augmentation:
        """Return the augmentation that a config's ``data.augmentation`` describes.

        Raises:
            ConfigError: a key is unknown.
        """
        known = [field.name for field in fields(cls)]
        for key in options or {}:
            if key not in known:
                raise ConfigError(
                    f"data.augmentation.{key}: unknown key{closest(key, known) or '; ' + ', '.join(known)}"
                )
        return cls(**(options or {}))

    def transform(self, train: bool, image_size: int) -> DetectionTransform:
        """Return the transform of training or evaluation; evaluation resizes the shorter side to ``image_size``."""

        def share(length: int) -> int:
            return max(1, round(length * image_size / 800))

        scales = [share(length) for length in range(480, 801, 32)] if self.scales is None else self.scales
        crop_scales = [share(length) for length in (400, 500, 600)] if self.crop_scales is None else self.crop_scales
        return DetectionTransform(
            train=train,
            scales=scales if train else [image_size],
            max_size=share(1333) if self.max_size is None else self.max_size,
            crop_scales=crop_scales,
            crop_range=(share(384), share(600)) if self.crop_range is None else self.crop_range,
            crop_probability=self.crop_probability,
            flip=self.flip,
            vertical_flip=self.vertical_flip,
            size=self.size,
            zoom=self.zoom,
            color=self.color,
            min_visible=self.min_visible,
        )


class DetectionDataModule(DataModule):
    """Base of data for detection: its datasets have ``class_names`` and give ``DetectionSample``."""

    task = "detection"
    sample_name = "image"

    @property
    def spec(self) -> DetectionSpec:
        """The classes of the boxes."""
        return DetectionSpec(class_names=tuple(self.dataset("train").class_names), input_shape=self.input_shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, H, W); 0 where the size varies from image to image."""
        return (3, 0, 0)

    def collate(self, samples: Sequence[DetectionSample]) -> DetectionBatch:
        """Put samples together into a batch."""
        return collate_detection(samples)


class FilesDataModule(DetectionDataModule):
    """Base of ``CocoDataModule`` and ``VocDataModule``, which give ``build(split)``.

    Args:
        root: the dataset's folder.
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order and the augmentation.
        image_size: the shorter side in evaluation; DETR's augmentation is scaled with it (800: as published).
        augmentation: other numbers for ``Augmentation``, by name.
        on_bad_sample: ``"skip"`` goes on without what cannot be used and says so; ``"error"`` stops.
        cache_images: keep decoded images in memory (small datasets only).
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int,
        num_workers: int,
        seed: int,
        image_size: int,
        augmentation: Mapping[str, Any] | None,
        on_bad_sample: BadSamplePolicy,
        cache_images: bool,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.root = Path(root)
        self.image_size = image_size
        self.augmentation = Augmentation.from_options(augmentation)
        self.on_bad_sample = on_bad_sample
        self.cache_images = cache_images

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, H, W); 0 where the size varies from image to image."""
        size = self.transform(train=False).size
        return (3, 0, 0) if size is None else (3, *size)

    def transform(self, train: bool) -> DetectionTransform:
        """Return the transform of training or evaluation."""
        return self.augmentation.transform(train, self.image_size)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return a dataset of these image files, resized as in evaluation."""
        from lab.tasks.detection.data.files import ImageFolder

        return ImageFolder(paths, self.transform(train=False))
