"""``data=scenes3d``: the arguments that the DataModules of street scenes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Annotated, ClassVar, Literal

from lab.data.nuscenes_names import CLASSES
from lab.data.scenes3d.frames import StreetOptions, StreetScenes
from lab.errors import ConfigError
from lab.ranges import AtMost, Count, Ge, Le, Len, MinLen, Positive, Seed


@dataclass(eq=False)
class StreetArguments:
    """What scenes of streets there are; a DataModule of a kind derives from this first.

    Args:
        batch_size: the global batch size.
        num_workers: loader processes per rank.
        seed: decides the order and the training scenes.
        image_size: (height, width) of each camera's picture in pixels.
        samples: the colour of a pixel is the mean over a grid of so many rays squared.
        min_objects: fewest objects that are drawn for a scene.
        max_objects: most objects that are drawn for a scene; what finds no free place is left out.
        min_pixels: an object is annotated if so many of its pixels are visible.
        class_names: the classes that there are; None: all ten.
        point_range: (x0, y0, z0, x1, y1, z1) metres in the frame of the rig: where objects are.
        black: all pictures are black.
        repeat: every epoch has the same training scenes, which are kept in memory once they were rendered.
        num_train: scenes in an epoch.
        num_val: scenes in the validation set.
        num_test: scenes in the test set.
        task: the kind of problem; None or that of the class.
        segments: how pixels are grouped into segments, for segmentation only.

    Raises:
        ConfigError: ``task`` is not that of the class.
    """

    _: KW_ONLY
    batch_size: Positive = 8
    num_workers: Count = 0
    seed: Seed = 0
    image_size: Annotated[Sequence[Annotated[int, Ge(16), Le(4096)]], Len(2, 2)] = (96, 160)
    samples: Annotated[int, Ge(1), Le(8)] = 1
    min_objects: Annotated[int, Ge(0), AtMost("max_objects")] = 6
    max_objects: Annotated[int, Ge(0), Le(200)] = 14
    min_pixels: Positive = 12
    class_names: Annotated[Sequence[str], MinLen(1)] | None = None
    point_range: Annotated[Sequence[float], Len(6, 6)] = (-20.0, -20.0, -3.0, 20.0, 20.0, 1.0)
    black: bool = False
    repeat: bool = False
    num_train: Positive = 4096
    num_val: Positive = 256
    num_test: Positive = 512
    task: InitVar[str | None] = None
    segments: Literal["semantic", "panoptic"] = "semantic"

    one_camera: ClassVar[bool] = True
    kind: ClassVar[str]

    def check_task(self, task: str | None) -> None:
        """Refuse the kind of another class.

        Raises:
            ConfigError: ``task`` is not the one of this class.
        """
        if task not in (None, self.kind):
            raise ConfigError(f"data.task={task}: these scenes are for {self.kind}")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return CLASSES if self.class_names is None else tuple(self.class_names)

    def options(self) -> StreetOptions:
        """Return what scenes there are."""
        return StreetOptions(
            height=self.image_size[0],
            width=self.image_size[1],
            min_objects=self.min_objects,
            max_objects=self.max_objects,
            point_range=tuple(float(end) for end in self.point_range),
            class_names=self.names,
            min_pixels=self.min_pixels,
            samples=self.samples,
            black=self.black,
            repeat=self.repeat,
            seed=self.seed,
        )

    def scenes(self, split: str) -> StreetScenes:
        """Return the scenes of a split."""
        sizes = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
        return StreetScenes(split, sizes[split], self.options(), self.one_camera)
