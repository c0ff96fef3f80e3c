"""The base of the DataModules of images with label maps: augmentation from a few numbers, inputs of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from lab.data.images.module import ImageFilesModule, NamedNumbers
from lab.errors import ConfigError
from lab.ranges import Ge, Le, Len, MinLen, Options, Pixels, Probability, Strength
from lab.structures import KeyedDataset, SegmentationBatch, SegmentationSample, SegmentationSpec
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.files import SegmentationFolder
from lab.tasks.segmentation.data.segments import SegmentKind, check_kind
from lab.tasks.segmentation.data.transforms import SegmentationTransform


@dataclass(frozen=True)
class SegmentationAugmentation(NamedNumbers):
    """The numbers of ``SegmentationTransform``; None means MaskFormer's value, scaled with ``image_size``.

    MaskFormer trains on ADE20K with the shorter side at 0.5 to 2 times 512 in steps of 0.1, the longer side at most
    2048, and crops of 512 x 512. It evaluates at 512.
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

    def transform(self, train: bool, image_size: int | None) -> SegmentationTransform:
        """Return the transform; evaluation resizes the shorter side to ``image_size``, or does not resize if None.

        Raises:
            ConfigError: training needs ``image_size``, or numbers that replace it, and neither is given.
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


@dataclass(eq=False)
class SegmentationFilesModule(ImageFilesModule):
    """Base of ``FolderDataModule``, ``PanopticDataModule`` and ``InstancesDataModule``.

    Args:
        segments: ``"semantic"``: targets have one segment per class; ``"panoptic"``: the stored segments.
        image_size: the shorter side in evaluation, None for images as stored; MaskFormer's augmentation is scaled with
            it (512 as published for ADE20K).
        augmentation: other values for the fields of ``SegmentationAugmentation``, by name.
    """

    task = "segmentation"

    _: KW_ONLY
    segments: SegmentKind = "panoptic"
    image_size: Pixels | None = 800
    augmentation: Annotated[Mapping[str, Any] | None, Options(SegmentationAugmentation)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers = SegmentationAugmentation.from_options(self.augmentation)
        check_kind(self.segments)

    @property
    def spec(self) -> SegmentationSpec:
        """The description of the data: classes; label maps do not tell which of them are things."""
        train = self.dataset("train")
        return SegmentationSpec(
            class_names=tuple(train.class_names),
            input_shape=self.input_shape,
            thing_labels=tuple(getattr(train, "thing_labels", ())),
            resize=self.resize,
        )

    def transform(self, train: bool) -> SegmentationTransform:
        """Return the transform of training or evaluation."""
        return self.numbers.transform(train, self.image_size)

    def collate(self, samples: Sequence[SegmentationSample]) -> SegmentationBatch:
        """Put samples together into a batch."""
        return collate_segmentation(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return a dataset of these image files, resized as in evaluation."""
        return SegmentationFolder(paths, self.transform(train=False))
