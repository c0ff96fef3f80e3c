"""``data=shapes``: the generated scenes as a DataModule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from lab.data.collate import collate_detection, collate_segmentation
from lab.data.datamodule import DataModule
from lab.data.images import ImageFolder, SegmentationFolder
from lab.data.segmentation_transforms import SegmentationTransform
from lab.data.segments import check_kind
from lab.data.shapes import ShapesDataset
from lab.data.shapes_segmentation import ShapesSegmentation
from lab.data.transforms import DetectionTransform
from lab.errors import ConfigError
from lab.ranges import AtMost, Count, Ge, Le, Positive, Probability, Seed
from lab.structures import DetectionBatch, KeyedDataset, SegmentationBatch


class ShapesDataModule(DataModule):
    """Generated scenes, endless in training, fixed in validation and test, for detection or segmentation.

    Args:
        batch_size: the global batch.
        num_workers: loader processes of each rank.
        seed: of the order and of the training scenes.
        image_size: side of the square images in pixels.
        min_shapes: fewest shapes of an image.
        max_shapes: most shapes of an image.
        min_side: smallest side of a shape in pixels.
        max_side: largest side of a shape in pixels.
        max_overlap: largest IoU of two boxes of an image.
        num_train: images of an epoch; every epoch has new ones.
        num_val: images of the validation set.
        num_test: images of the test set.
        task: what the samples are for.
        segments: segmentation: see ``ShapesSegmentation``.

    Raises:
        ConfigError: ``task`` or ``segments`` is unknown.
    """

    task = "detection"

    def __init__(
        self,
        batch_size: Positive = 32,
        num_workers: Count = 0,
        seed: Seed = 0,
        image_size: Annotated[int, Ge(3), Le(1024)] = 64,
        min_shapes: Annotated[int, Ge(0), AtMost("max_shapes")] = 1,
        max_shapes: Annotated[int, Ge(0), Le(254)] = 3,
        min_side: Annotated[int, Ge(3), AtMost("max_side")] = 10,
        max_side: Annotated[int, Ge(3), AtMost("image_size")] = 32,
        max_overlap: Probability = 0.5,
        num_train: Positive = 8192,
        num_val: Positive = 256,
        num_test: Positive = 512,
        task: Literal["detection", "segmentation"] = "detection",
        segments: Literal["semantic", "panoptic"] = "semantic",
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        if task not in ("detection", "segmentation"):
            raise ConfigError(f"data.task={task!r} is unknown: give 'detection' or 'segmentation'")
        self.task = task
        self.segments = check_kind(segments)
        self.image_size = image_size
        self.shapes = (min_shapes, max_shapes, min_side, max_side, max_overlap)
        self.sizes = {"train": num_train, "val": num_val, "test": num_test}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, image_size, image_size)."""
        return (3, self.image_size, self.image_size)

    def build(self, split: str) -> ShapesDataset | ShapesSegmentation:
        """Return the scenes of a split."""
        scenes = self._scenes(split)
        return scenes if self.task == "detection" else ShapesSegmentation(scenes, self.segments)

    def _scenes(self, split: str) -> ShapesDataset:
        min_shapes, max_shapes, min_side, max_side, max_overlap = self.shapes
        return ShapesDataset(
            split=split,
            num_samples=self.sizes[split],
            image_size=self.image_size,
            min_shapes=min_shapes,
            max_shapes=max_shapes,
            min_side=min_side,
            max_side=max_side,
            max_overlap=max_overlap,
            # Validation and test scenes are the same for every seed: results of several seeds compare.
            seed=self.seed if split == "train" else 0,
            masks=self.task == "segmentation",
        )

    def collate(self, samples: Sequence[Any]) -> DetectionBatch | SegmentationBatch:
        """Put samples together into a batch."""
        return collate_detection(samples) if self.task == "detection" else collate_segmentation(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        if self.task == "segmentation":
            return SegmentationFolder(paths, SegmentationTransform(train=False, size=self.image_size))
        return ImageFolder(paths, DetectionTransform(train=False, size=self.image_size))
