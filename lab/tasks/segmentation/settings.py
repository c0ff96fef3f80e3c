"""How segmenters are measured and what they ask of their data; no torch."""

from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.schemas import Bool, WholeAbove0


class SegmentationEval(EvalSettings):
    """What a segmenter is measured by."""

    name: Literal["segmentation"]
    semantic: Bool
    panoptic: Bool
    instances: Bool


class SegmentationAsks(Asks):
    """What a segmenter asks of its data.

    Attributes:
        image_size: the shorter side of images from files.
        segments: what is learnt from: one segment for each class, or for each object and region of stuff.
    """

    image_size: WholeAbove0 | None = None
    segments: Literal["semantic", "panoptic"] | None = None


SETTINGS = TaskSettings(SegmentationEval, SegmentationAsks, from_data=("num_classes",))
