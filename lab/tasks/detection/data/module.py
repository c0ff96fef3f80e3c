"""The base of the DataModules of image files with boxes: augmentation from a few numbers, inputs of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from lab.data.images.module import ImageFilesModule
from lab.ranges import Gt, Le, Len, MinLen, Options, Pixels, Probability
from lab.structures import DetectionSpec, KeyedDataset
from lab.tasks.detection.data.augmentation import AugmentedModule, BoxAugmentation
from lab.tasks.detection.data.transforms import DetectionTransform


@dataclass(frozen=True)
class Augmentation(BoxAugmentation):
    """The numbers of ``DetectionTransform``; None means DETR's value, scaled with ``image_size``.

    DETR trains with the shorter side at 480 to 800 in steps of 32, the longer side at most 1333, and crops of 384 to
    600 from images of 400, 500 or 600. It evaluates at 800. Here all these are scaled by ``image_size`` / 800.
    """

    scales: Annotated[Sequence[Pixels], MinLen(1)] | None = None
    max_size: Pixels | None = None
    crop_scales: Sequence[Pixels] | None = None
    crop_range: Annotated[Sequence[Pixels], Len(2, 2)] | None = None
    crop_probability: Probability = 0.5
    flip: Probability = 0.5
    size: Pixels | Annotated[Sequence[Pixels], Len(2, 2)] | None = None
    zoom: Annotated[Sequence[Annotated[float, Gt(0), Le(100)]], Len(2, 2)] | None = None

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
            min_visible=self.min_visible,
            letterbox=self.letterbox,
            colors=self.colors,
            mosaic=self.mosaics,
        )


@dataclass(eq=False)
class FilesDataModule(AugmentedModule, ImageFilesModule):
    """Base of ``CocoDataModule`` and ``VocDataModule``: ``ImageFilesModule`` for boxes.

    Args:
        image_size: the shorter side in evaluation; DETR's augmentation is scaled with it (800 as published).
        augmentation: other values for the fields of ``Augmentation``, by name.
    """

    task = "detection"

    _: KW_ONLY
    image_size: Pixels = 800
    augmentation: Annotated[Mapping[str, Any] | None, Options(Augmentation)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers: Augmentation = Augmentation.from_options(self.augmentation)
        self.check_multi_scale()

    @property
    def spec(self) -> DetectionSpec:
        """The classes of the boxes."""
        names = tuple(self.dataset("train").class_names)
        return DetectionSpec(class_names=names, input_shape=self.input_shape, resize=self.resize, grey=self.grey)

    def transform(self, train: bool) -> DetectionTransform:
        """Return the transform of training or evaluation."""
        return self.numbers.transform(train, self.image_size)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return a dataset of these image files, resized as in evaluation."""
        from lab.tasks.detection.data.files import ImageFolder

        return ImageFolder(paths, self.transform(train=False))
