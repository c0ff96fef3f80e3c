"""Settings of the evaluation (the group ``eval``) and of what detectors ask of their data. No torch here."""

from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.value_types import WholeAbove0


class DetectionEval(EvalSettings):
    """COCO's standard evaluation, which has no options, and another one beside it.

    Attributes:
        also: measure by this evaluation too; None: by COCO's alone.
    """

    name: Literal["detection"]
    also: Literal["yolo_fastest"] | None = None


class DetectionAsks(Asks):
    """What a detector asks of its data.

    Attributes:
        image_size: the shorter side of images from files.
    """

    image_size: WholeAbove0 | None = None


SETTINGS = TaskSettings(DetectionEval, DetectionAsks, from_data=("num_classes",))
