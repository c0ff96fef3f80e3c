"""``data=shapes``: the base of the DataModules of generated scenes; each kind of problem makes its own samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from lab.data.datamodule import DataModule
from lab.data.scenes.shapes import ShapesDataset
from lab.errors import ConfigError
from lab.ranges import AtMost, Count, Ge, Le, Positive, Probability, Seed
from lab.structures import KeyedDataset


@dataclass(eq=False)
class ScenesDataModule(DataModule):
    """Generated scenes, endless in training, fixed in validation and test.

    A subclass names its ``task``, implements ``spec`` and makes samples from the scenes.

    Args:
        batch_size: the global batch size.
        num_workers: loader processes per rank.
        seed: decides the order and the training scenes.
        image_size: side of the square images in pixels.
        min_shapes: fewest shapes in an image.
        max_shapes: most shapes in an image.
        min_side: smallest side of a shape in pixels.
        max_side: largest side of a shape in pixels.
        max_overlap: largest IoU of two boxes in an image.
        num_train: images in an epoch; every epoch has new ones.
        num_val: images in the validation set.
        num_test: images in the test set.
        task: the kind of problem; None or that of the class.
        segments: how pixels are grouped into segments, for segmentation only.

    Attributes:
        masks: whether scenes carry the mask of each shape.

    Raises:
        ConfigError: ``task`` is not that of the class.
    """

    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    image_size: Annotated[int, Ge(3), Le(1024)] = 64
    min_shapes: Annotated[int, Ge(0), AtMost("max_shapes")] = 1
    max_shapes: Annotated[int, Ge(0), Le(254)] = 3
    min_side: Annotated[int, Ge(3), AtMost("max_side")] = 10
    max_side: Annotated[int, Ge(3), AtMost("image_size")] = 32
    max_overlap: Probability = 0.5
    num_train: Positive = 8192
    num_val: Positive = 256
    num_test: Positive = 512
    task: InitVar[str | None] = None
    segments: Literal["semantic", "panoptic"] = "semantic"

    masks: ClassVar[bool] = False
    sample_name = "image"

    def __post_init__(self, task: str | None) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        if task not in (None, self.task):
            raise ConfigError(f"data.task={task}: these scenes are for {self.task}")
        self.sizes = {"train": self.num_train, "val": self.num_val, "test": self.num_test}

    def num_shapes(self) -> tuple[int, int]:
        """Return the fewest and the most shapes of a scene."""
        return self.min_shapes, self.max_shapes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(3, image_size, image_size)."""
        return (3, self.image_size, self.image_size)

    def scenes(self, split: str) -> ShapesDataset:
        """Return the scenes of a split."""
        min_shapes, max_shapes = self.num_shapes()
        return ShapesDataset(
            split=split,
            num_samples=self.sizes[split],
            image_size=self.image_size,
            min_shapes=min_shapes,
            max_shapes=max_shapes,
            min_side=self.min_side,
            max_side=self.max_side,
            max_overlap=self.max_overlap,
            # Validation and test scenes are the same for every seed, so that results of several seeds compare.
            seed=self.seed if split == "train" else 0,
            masks=self.masks,
        )

    @abstractmethod
    def build(self, split: str) -> KeyedDataset:
        """Return the samples of a split."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Any:
        """Put samples together into a batch."""

    @abstractmethod
    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return image files resized to the size of the scenes."""
