"""How detectors in 3-D are measured, how they learn, and what they ask of their data; no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from lab.config.kinds import Asks, EvalSettings, Learning, TaskSettings
from lab.config.value_types import Above0, Float, PartAbove0, Rate, Strict, WholeFrom0

Share01 = Annotated[Rate, Field(le=1)]
Factors = Annotated[list[Rate], Field(min_length=2, max_length=2)]


class Detection3dEval(EvalSettings):
    """The protocol of nuScenes, by which a detector is measured.

    Attributes:
        monitor: what best.ckpt is the best of.
        class_ranges: of each class the distance from the rig in metres up to which boxes count; None: as nuScenes.
        bands: edges in metres of the bands of distance of which a test has a table; empty: no table.
        pictures: ``stage=predict`` draws so many frames, the first ones.
    """

    name: Literal["detection3d"]
    monitor: Literal["map", "nds", "loss"]
    class_ranges: dict[str, Above0] | None
    bands: list[Rate]
    pictures: WholeFrom0

    @field_validator("bands")
    @classmethod
    def _ascending(cls, edges: list[float]) -> list[float]:
        if any(first >= second for first, second in pairwise(edges)) or len(edges) == 1:
            raise ValueError("must be two or more edges, in ascending order, or an empty list")
        return edges


class Detection3dAsks(Asks):
    """What a detector in 3-D asks of its data.

    Attributes:
        point_range: (x0, y0, z0, x1, y1, z1) in metres: where the boxes to be found lie.
    """

    point_range: Annotated[list[Float], Field(min_length=6, max_length=6)] | None = None


class GridMaskSettings(Strict):
    """GridMask (Chen et al., "GridMask Data Augmentation", arXiv 2001.04086) as DETR3D uses it.

    Attributes:
        probability: how often a frame is masked; all of its pictures are masked alike.
        ratio: of the width of a bar to the distance of two bars.
    """

    probability: Share01 = 0.7
    ratio: Annotated[PartAbove0, Field(lt=1)] = 0.5


class PhotometricSettings(Strict):
    """Changes of colours, of each picture by itself; each is made to every second one.

    Attributes:
        brightness: most that is added to or taken from pixels of 0..255.
        contrast: lowest and highest factor of pixels.
        saturation: lowest and highest factor of saturations.
        hue: most by which hues are turned, in degrees.
        swap_channels: whether channels change places.
    """

    brightness: Rate = 32.0
    contrast: Factors = Field(default_factory=lambda: [0.5, 1.5])
    saturation: Factors = Field(default_factory=lambda: [0.5, 1.5])
    hue: Annotated[Rate, Field(le=180)] = 18.0
    swap_channels: bool = True


class Detection3dLearning(Learning):
    """What a training does to the pictures on the device.

    Attributes:
        grid_mask: bars that hide parts of all pictures of a frame; None: there are none.
        photometric: changes of colours; None: there are none.
    """

    grid_mask: GridMaskSettings | None = None
    photometric: PhotometricSettings | None = None


SETTINGS = TaskSettings(
    Detection3dEval,
    Detection3dAsks,
    from_data=("num_classes", "num_cameras", "point_range"),
    learning=Detection3dLearning,
)
