"""What the DataModules of images with label maps share: augmentation from a few numbers, prediction on plain images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from lab.data.datamodule import DataModule
from lab.data.images.annotations import BadSamplePolicy
from lab.errors import ConfigError, closest
from lab.ranges import Ge, Le, Len, MinLen, Pixels, Probability, Strength
from lab.structures import KeyedDataset, SegmentationBatch, SegmentationSample, SegmentationSpec
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.files import SegmentationFolder
from lab.tasks.segmentation.data.segments import SegmentKind, check_kind
from lab.tasks.segmentation.data.transforms import SegmentationTransform


@dataclass(frozen=True)
class SegmentationAugmentation:
    """The numbers of ``SegmentationTransform``; None stands for MaskFormer's, scaled with ``image_size``.

    MaskFormer trains on ADE20K with the shorter side at 0.5 to 2 times 512 in steps of 0.1, the longer at most 2048,
    and crops of 512 x 512, and evaluates at 512.
    """

    scales: Annotated[Sequence[Pixels], MinLen(1)] | None = None
    max_size: Pixels | None = None
    crop: Pixels | Annotated[Sequence[Pixels], Len(0, 2)] | None = None
    max_class_share: Probability = 0.75
    crop_tries: Annotated[int, Ge(1), Le(10000)] = 10
    detr_crop_scales: Sequence[Pixels] = ()
    detr_crop_range: Annotated[Sequence[Pixels], Len(2, 2)] = (384, 600)
    color: Strength = 1.0
    flip: Probability = 0.5
    size: Pixels | Annotated[Sequence[Pixels], Len(2, 2)] | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any] | None) -> SegmentationAugmentation:
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

    def transform(self, train: bool, image_size: int | None) -> SegmentationTransform:
        """Return the transform; evaluation resizes the shorter side to ``image_size``, or nothing where that is None.

        Raises:
            ConfigError: neither ``image_size`` nor the numbers are given that training needs.
        """
        if image_size is None:
            scales, largest, crop = self.scales, self.max_size, self.crop
            if train and (scales is None or crop is None) and self.size is None:
                raise ConfigError("data.image_size=null: give data.augmentation.scales and crop, or a size")
            return self._build(train, scales if train and scales else (), largest, crop)
        scales = [max(1, round(image_size * tenths / 10)) for tenths in range(5, 21)]
        scales = scales if self.scales is None else self.scales
        largest = 4 * image_size if self.max_size is None else self.max_size
        return self._build(
            train, scales if train else [image_size], largest, image_size if self.crop is None else self.crop
        )

    def _build(
        self, train: bool, scales: Sequence[int], max_size: int | None, crop: int | Sequence[int] | None
    ) -> SegmentationTransform:
        return SegmentationTransform(
            train,
            scales,
            max_size,
            None if crop == [] else crop,
            self.max_class_share,
            self.crop_tries,
            self.detr_crop_scales,
            self.detr_crop_range,
            self.color,
            self.flip,
            self.size,
        )


class SegmentationDataModule(DataModule):
    """Base of data for segmentation: its datasets have ``class_names`` and give ``SegmentationSample``.

    They may have ``thing_labels``, the labels whose objects are counted one by one.
    """

    task = "segmentation"
    sample_name = "image"

    @property
    def spec(self) -> SegmentationSpec:
        """The classes of the segments."""
        train = self.dataset("train")
        things = tuple(getattr(train, "thing_labels", ()))
        return SegmentationSpec(class_names=tuple(train.class_names), input_shape=self.input_shape, thing_labels=things)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, H, W); 0 where the size varies from image to image."""
        return (3, 0, 0)

    def collate(self, samples: Sequence[SegmentationSample]) -> SegmentationBatch:
        """Put samples together into a batch."""
        return collate_segmentation(samples)


class SegmentationFilesModule(SegmentationDataModule):
    """Base of ``FolderDataModule``, ``PanopticDataModule`` and ``InstancesDataModule``, which give ``build(split)``.

    Args:
        root: the dataset's folder.
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order and the augmentation.
        image_size: the shorter side in evaluation, None for images as they are stored; MaskFormer's augmentation is
            scaled with it (512: as published for ADE20K).
        augmentation: other numbers for ``SegmentationAugmentation``, by name.
        segments: ``"semantic"``: the targets have one segment for each class; ``"panoptic"``: those that are stored.
        on_bad_sample: ``"skip"`` goes on without what cannot be used and says so; ``"error"`` stops.
        cache_images: keep decoded images and maps in memory (small datasets only).
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int,
        num_workers: int,
        seed: int,
        image_size: int | None,
        augmentation: Mapping[str, Any] | None,
        segments: SegmentKind,
        on_bad_sample: BadSamplePolicy,
        cache_images: bool,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.root = Path(root)
        self.image_size = image_size
        self.augmentation = SegmentationAugmentation.from_options(augmentation)
        self.segments = check_kind(segments)
        self.on_bad_sample = on_bad_sample
        self.cache_images = cache_images

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, H, W); 0 where the size varies from image to image."""
        size = self.transform(train=False).size
        return (3, 0, 0) if size is None else (3, *size)

    def transform(self, train: bool) -> SegmentationTransform:
        """Return the transform of training or evaluation."""
        return self.augmentation.transform(train, self.image_size)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return a dataset of these image files, resized as in evaluation."""
        return SegmentationFolder(paths, self.transform(train=False))
