"""How networks that classify sound learn, how they are measured and what they ask of their data; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.batches import images_at_once
from lab.config.kinds import Asks, ClassLearning, EvalSettings, TaskSettings
from lab.config.value_types import Above0, Float, Rate, Strict, WholeAbove0

MOST_MASKS = 4
"""Of each kind: for so many ``AudioBatch.chances`` has random numbers."""


class AudioEval(EvalSettings):
    """What a network is measured by, and what ``stage=predict`` writes."""

    name: Literal["audio"]
    monitor: Literal["accuracy", "macro_f1", "loss", "map", "auc"] | None
    top_k: WholeAbove0
    embeddings: Literal["none", "parquet", "tfrecord"]
    pca: str | None
    rounding: Literal["truncate", "round"]


class AudioAsks(Asks):
    """What a network asks of its data.

    Attributes:
        sample_rate: samples per second, in Hz.
        example_seconds: length of the pieces that the network sees at once.
        example_hop_seconds: time between the starts of two of them.
    """

    sample_rate: WholeAbove0 | None = None
    example_seconds: Above0 | None = None
    example_hop_seconds: Above0 | None = None


class SpecAugmentSettings(Strict):
    """Masks of SpecAugment (Park et al., Interspeech 2019, section 2), without its time warping.

    Attributes:
        frequency_masks: how many bands of frequencies are masked.
        frequency_width: F, the most mel bands of one.
        time_masks: how many spans of time are masked.
        time_width: T, the most frames of one.
        time_share: p, the largest share of a clip's frames that one takes.
    """

    frequency_masks: Annotated[int, Field(ge=0, le=MOST_MASKS)] = 2
    frequency_width: Annotated[int, Field(ge=0)] = 8
    time_masks: Annotated[int, Field(ge=0, le=MOST_MASKS)] = 2
    time_width: Annotated[int, Field(ge=0)] = 16
    time_share: Annotated[Float, Field(gt=0, le=1)] = 1.0


class AudioLearning(ClassLearning):
    """What a network learns from, besides smoothing and weights of classes; all of it in training only.

    Attributes:
        loss: ``cross_entropy``: one label for each clip; ``binary_cross_entropy``: each class by itself; None: by the
            data, which has one label or several.
        mixup: alpha of the Beta distribution by which clips are mixed in pairs (Zhang et al. 2018); 0: they are not.
        spec_augment: masks on the log-mel spectrogram; None: there are none.
    """

    loss: Literal["cross_entropy", "binary_cross_entropy"] | None = None
    mixup: Annotated[Rate, Field(le=1000)] = 0.0
    spec_augment: SpecAugmentSettings | None = None


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why a training cannot mix its clips by pairs, or embeddings are no codes; or None."""
    if config["eval"]["embeddings"] == "tfrecord" and not config["eval"]["pca"]:
        return "eval.embeddings", (
            "a TFRecord holds codes of eight bits, which take the PCA of the embeddings: give its file by eval.pca, or "
            "write numbers by eval.embeddings=parquet"
        )
    mixup = config["model"].get("learning", {}).get("mixup", 0)
    if config["stage"] != "fit" or not mixup or images_at_once(config) % 2 == 0:
        return None
    return "data.batch_size", (
        f"model.learning.mixup mixes clips by pairs, and each rank gets {images_at_once(config)} of them at a time; "
        "make it an even number for each rank and micro-batch"
    )


SETTINGS = TaskSettings(AudioEval, AudioAsks, from_data=("num_classes",), conflict=conflict, learning=AudioLearning)
