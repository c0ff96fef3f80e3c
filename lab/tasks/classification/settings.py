"""What classifiers learn from, how they are measured and what they ask of their data; no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.schemas import Float, WholeAbove0

Smoothing = Annotated[float, Field(ge=0, lt=1)]
ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ClassificationEval(EvalSettings):
    """What a classifier learns from and is measured by."""

    name: Literal["classification"]
    loss: Literal["cross_entropy", "binary_cross_entropy"]
    label_smoothing: Smoothing
    class_weights: Literal["balanced"] | list[ClassWeight] | None
    monitor: (
        Literal["top_1", "top_5", "macro_accuracy", "macro_f1", "ece", "loss", "map", "micro_f1", "exact_match"] | None
    )
    threshold: Annotated[Float, Field(gt=0, lt=1)]
    calibration_bins: WholeAbove0
    top_k: WholeAbove0


class ClassificationAsks(Asks):
    """What a classifier asks of its data.

    Attributes:
        image_size: the side of the square images.
    """

    image_size: WholeAbove0 | None = None


SETTINGS = TaskSettings(ClassificationEval, ClassificationAsks, from_data=("num_classes",))
