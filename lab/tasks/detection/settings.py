"""How detectors are measured and what they ask of their data; no torch."""

from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.schemas import WholeAbove0


class DetectionEval(EvalSettings):
    """COCO's evaluation as it is: there is nothing to choose."""

    name: Literal["detection"]


class DetectionAsks(Asks):
    """What a detector asks of its data.

    Attributes:
        image_size: the shorter side of images from files.
    """

    image_size: WholeAbove0 | None = None


SETTINGS = TaskSettings(DetectionEval, DetectionAsks, from_data=("num_classes",))
