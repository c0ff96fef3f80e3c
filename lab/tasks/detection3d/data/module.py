"""The base of all DataModules of frames of several cameras: batches and the input of a prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from lab.data.datamodule import DataModule
from lab.errors import ConfigError
from lab.ranges import Count, Len, Positive, Seed
from lab.structures import DataSpec, KeyedDataset
from lab.structures.detection3d import Detection3dSpec, MultiviewBatch, MultiviewSample
from lab.tasks.detection3d.data.collate import PAD_DIVISOR, collate_multiview
from lab.tasks.detection3d.data.frames import FrameFiles

NUSCENES_RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
"""Where DETR3D looks for boxes, in metres around the lidar."""


@dataclass(eq=False)
class MultiviewModule(DataModule):
    """Base of the DataModules of frames: a subclass implements ``spec`` and ``build``.

    ``build(split)`` returns a ``KeyedDataset`` of ``MultiviewSample``, of training with ``chances`` (``draw_chances``),
    of validation and test with ``truth``.

    Args:
        batch_size: the global batch size in frames.
        num_workers: loader processes per rank.
        seed: decides the order of the frames and what is drawn for them.
        point_range: (x0, y0, z0, x1, y1, z1) in metres: where the boxes to be found lie.
        pad_divisor: height and width of the pictures are padded to a multiple of it.
        black: all pictures are black: what is found then follows from where boxes usually are.

    Raises:
        ConfigError: ``point_range`` holds nothing.
    """

    task = "detection3d"
    sample_name = "frame"

    _: KW_ONLY
    batch_size: Positive = 8
    num_workers: Count = 0
    seed: Seed = 0
    point_range: Annotated[Sequence[float], Len(6, 6)] = NUSCENES_RANGE
    pad_divisor: Positive = PAD_DIVISOR
    black: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        low, high = self.point_range[:3], self.point_range[3:]
        if not all(start < end for start, end in zip(low, high, strict=True)):
            raise ConfigError(
                f"data.point_range={list(self.point_range)}: expected [x0, y0, z0, x1, y1, z1] "
                "with x0 < x1, y0 < y1, z0 < z1"
            )
        self.followed: Detection3dSpec | None = None

    @property
    @abstractmethod
    def spec(self) -> Detection3dSpec:
        """Classes, attributes, cameras, the padded size of the pictures and the range."""

    def padded_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return ``input_shape`` of the spec for pictures of a size: (3, H, W), padded."""
        sides = (-(-side // self.pad_divisor) * self.pad_divisor for side in (height, width))
        return (3, *sides)  # type: ignore[return-value]

    def follow(self, spec: DataSpec) -> None:
        """Note the description of the data of a trained task, whose cameras an input must have."""
        assert isinstance(spec, Detection3dSpec)
        self.followed = spec

    def collate(self, samples: Sequence[Any]) -> MultiviewBatch:
        """Put frames together into a batch."""
        typed: Sequence[MultiviewSample] = samples
        return collate_multiview(typed, self.pad_divisor, self.black)

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return the frames of a json file, or of the ``frames.json`` of a folder, to predict; see ``FrameFiles``."""
        path = paths[0] / "frames.json" if paths[0].is_dir() else paths[0]
        return FrameFiles(path, self.followed or self.spec)
