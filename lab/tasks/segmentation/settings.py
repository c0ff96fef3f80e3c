"""Settings of the evaluation (the group ``eval``) and of what segmenters ask of their data. No torch here."""

from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.value_types import Bool, WholeAbove0


class SegmentationEval(EvalSettings):
    """Which kinds of segmentation are measured."""

    name: Literal["segmentation"]
    semantic: Bool
    panoptic: Bool
    instances: Bool


class SegmentationAsks(Asks):
    """What a segmenter asks of its data.

    Attributes:
        image_size: the shorter side of images from files.
        segments: the training targets: one segment per class, or one per object and region of stuff.
    """

    image_size: WholeAbove0 | None = None
    segments: Literal["semantic", "panoptic"] | None = None


SETTINGS = TaskSettings(SegmentationEval, SegmentationAsks, from_data=("num_classes",))
