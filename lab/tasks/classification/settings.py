"""How classifiers learn, how they are measured and what they ask of their data; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.batches import images_at_once
from lab.config.kinds import Asks, ClassLearning, ClassWeight, EvalSettings, Learning, TaskSettings
from lab.config.value_types import Above0, Float, Rate, WholeAbove0


class ClassificationEval(EvalSettings):
    """What a classifier is measured by."""

    name: Literal["classification"]
    monitor: (
        Literal["top_1", "top_5", "macro_accuracy", "macro_f1", "ece", "loss", "map", "micro_f1", "exact_match"] | None
    )
    threshold: Annotated[Float, Field(gt=0, lt=1)]
    calibration_bins: WholeAbove0
    top_k: WholeAbove0
    explain: Literal["none", "auto", "grad_cam", "rollout"]
    explain_layer: str | None


class ClassificationAsks(Asks):
    """What a classifier asks of its data.

    Attributes:
        image_size: the side of the square images.
        unlabelled: views of each image without a label, where only ``data.num_labels`` have one; None: no such images.
    """

    image_size: WholeAbove0 | None = None
    unlabelled: WholeAbove0 | None = None


class ClassificationLearning(ClassLearning):
    """What a classifier learns from, besides smoothing and weights of classes.

    Attributes:
        method: ``supervised``: from labelled images alone; ``mixmatch`` and ``pseudo_label`` also from others.
        loss: ``cross_entropy``: one label for each image; ``binary_cross_entropy``: each class separately.
        positive_weights: weight of the images with a label, where one without it has 1, a list; ``balanced``: images
            without over images with it; None. Of the binary loss only, and in training only.
    """

    method: Literal["supervised", "mixmatch", "pseudo_label"] = "supervised"
    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    positive_weights: Literal["balanced"] | list[ClassWeight] | None = None

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> type[Learning]:
        """Return the schema of the method."""
        kinds: dict[str, type[Learning]] = {"mixmatch": MixMatchLearning, "pseudo_label": PseudoLabelLearning}
        return kinds.get(str(given.get("method")), cls)


class SemiSupervisedLearning(ClassificationLearning):
    """What a classifier learns from labelled and unlabelled images.

    Attributes:
        loss: of labelled images.
        ramp_steps: steps after which the unlabelled images have their full weight, which rises from 0; below 1: as a
            share of the training.
    """

    loss: Literal["cross_entropy"] = "cross_entropy"
    lambda_u: Rate
    ramp_steps: Rate


class MixMatchLearning(SemiSupervisedLearning):
    """The settings of MixMatch, as published for CIFAR-10.

    Attributes:
        temperature: T of the sharpened guesses.
        alpha: of MixUp's Beta distribution.
        lambda_u: full weight of the unlabelled images.
    """

    method: Literal["mixmatch"]
    temperature: Above0 = 0.5
    alpha: Annotated[Float, Field(gt=0, le=1000)] = 0.75
    lambda_u: Rate = 75.0
    ramp_steps: Rate = 16384.0


class PseudoLabelLearning(SemiSupervisedLearning):
    """The settings of pseudo-labels, as MixMatch's authors compare with them.

    Attributes:
        threshold: the least probability of a pseudo-label.
        lambda_u: full weight of the unlabelled images.
    """

    method: Literal["pseudo_label"]
    threshold: Annotated[Float, Field(ge=0, le=1)] = 0.95
    lambda_u: Rate = 1.0
    ramp_steps: Rate = 0.4


STRATEGIES = ("auto", "single", "ddp")
"""Under which ranks can exchange the images that MixMatch mixes."""


def odd_pairs(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why a training cannot mix its images by pairs, or None."""
    options = config["data"].get("augmentation") or {}
    on = [name for name in ("mixup", "cutmix") if isinstance(options.get(name), int | float) and options[name] > 0]
    size = images_at_once(config) if on else 0
    if size % 2 == 0 or options.get("mix_prob") == 0:
        return None
    return "data.batch_size", (
        f"data.augmentation.{on[0]} mixes images by pairs, and each rank gets {size} of them at a time; make it an "
        "even number for each rank and micro-batch"
    )


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return a setting that a method of learning, or mixing by pairs, cannot be used with, and what works instead."""
    method = config["model"].get("learning", {}).get("method", "supervised")
    if config["stage"] != "fit":
        return None
    options = config["data"].get("augmentation") or {}
    on = [name for name in ("policy", "erase", "mixup", "cutmix") if options.get(name) not in (None, 0, "none")]
    if on and (method != "supervised" or config["data"].get("unlabelled")):
        return f"data.augmentation.{on[0]}", "beside unlabelled images there are flips and shifts alone; leave it out"
    if method == "supervised":
        return odd_pairs(config)
    if not config["data"].get("unlabelled"):
        return "model.learning.method", (
            f"data={config['data']['name']} gives no unlabelled images: say how many views of each, data.unlabelled=2, "
            "and how many images have labels, data.num_labels=250"
        )
    if config["data"].get("num_labels") is None:
        return "model.learning.method", "say how many images have labels: data.num_labels=250"
    if method == "mixmatch" and config["trainer"]["accumulate_grad_batches"] != 1:
        return "trainer.accumulate_grad_batches", "mixmatch mixes the images of a whole batch; use 1"
    if method == "mixmatch" and config["strategy"]["name"] not in STRATEGIES:
        return "strategy.name", f"mixmatch mixes the images of all ranks; it works with {', '.join(STRATEGIES)}"
    return None


SETTINGS = TaskSettings(
    ClassificationEval, ClassificationAsks, ("num_classes",), conflict, learning=ClassificationLearning
)
