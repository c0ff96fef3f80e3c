"""How classifiers learn, how they are measured and what they ask of their data; no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.config.kinds import Asks, EvalSettings, Learning, TaskSettings
from lab.config.schemas import Float, WholeAbove0

Smoothing = Annotated[float, Field(ge=0, lt=1)]
ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ClassificationEval(EvalSettings):
    """What a classifier is measured by."""

    name: Literal["classification"]
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


class ClassificationLearning(Learning):
    """What a classifier learns from.

    Attributes:
        loss: ``cross_entropy``: one label for each image; ``binary_cross_entropy``: each class separately.
        label_smoothing: share of the target that is spread over all classes; in training only, like ``class_weights``.
        class_weights: weight of each class in the loss, a list; ``balanced``: by its number of training images; None.
        positive_weights: weight of the images with a label, where one without it has 1, a list; ``balanced``: images
            without over images with it; None. Of the binary loss only, and in training only.
    """

    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: Smoothing = 0.0
    class_weights: Literal["balanced"] | list[ClassWeight] | None = None
    positive_weights: Literal["balanced"] | list[ClassWeight] | None = None


SETTINGS = TaskSettings(
    ClassificationEval, ClassificationAsks, from_data=("num_classes",), learning=ClassificationLearning
)
