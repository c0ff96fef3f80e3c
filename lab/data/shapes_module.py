"""``data=shapes``: the generated scenes as a DataModule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.data.collate import collate_detection
from lab.data.datamodule import DataModule
from lab.data.images import ImageFolder
from lab.data.shapes import ShapesDataset
from lab.data.transforms import DetectionTransform
from lab.structures import DetectionBatch, DetectionSample, KeyedDataset


class ShapesDataModule(DataModule):
    """Generated scenes, endless in training, fixed in validation and test.

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
    """

    task = "detection"

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        image_size: int = 64,
        min_shapes: int = 1,
        max_shapes: int = 3,
        min_side: int = 10,
        max_side: int = 32,
        max_overlap: float = 0.5,
        num_train: int = 8192,
        num_val: int = 256,
        num_test: int = 512,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.image_size = image_size
        self.shapes = (min_shapes, max_shapes, min_side, max_side, max_overlap)
        self.sizes = {"train": num_train, "val": num_val, "test": num_test}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, image_size, image_size)."""
        return (3, self.image_size, self.image_size)

    def build(self, split: str) -> ShapesDataset:
        """Return the scenes of a split."""
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
        )

    def collate(self, samples: Sequence[DetectionSample]) -> DetectionBatch:
        """Put samples together into a batch."""
        return collate_detection(samples)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
        return ImageFolder(paths, DetectionTransform(train=False, size=self.image_size))
