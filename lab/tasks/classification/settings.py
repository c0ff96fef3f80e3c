"""What classifiers learn from, how they are measured and what they ask of their data; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.batches import images_at_once
from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.schemas import WholeAbove0

Smoothing = Annotated[float, Field(ge=0, lt=1)]
ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ClassificationEval(EvalSettings):
    """What a classifier learns from and is measured by."""

    name: Literal["classification"]
    loss: Literal["cross_entropy", "binary_cross_entropy"]
    label_smoothing: Smoothing
    class_weights: Literal["balanced"] | list[ClassWeight] | None
    monitor: Literal["top_1", "top_5", "macro_accuracy", "macro_f1", "ece", "loss"]
    calibration_bins: WholeAbove0
    top_k: WholeAbove0


class ClassificationAsks(Asks):
    """What a classifier asks of its data.

    Attributes:
        image_size: the side of the square images.
    """

    image_size: WholeAbove0 | None = None


def odd_pairs(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why a config cannot mix its images by pairs, or None."""
    options = config["data"].get("augmentation") or {}
    on = [name for name in ("mixup", "cutmix") if isinstance(options.get(name), int | float) and options[name] > 0]
    size = images_at_once(config) if on else 0
    if size % 2 == 0 or config["stage"] != "fit" or options.get("mix_prob") == 0:
        return None
    return "data.batch_size", (
        f"data.augmentation.{on[0]} mixes images by pairs, and each rank gets {size} of them at a time; make it an "
        "even number for each rank and micro-batch"
    )


SETTINGS = TaskSettings(ClassificationEval, ClassificationAsks, ("num_classes",), odd_pairs)
