"""What all classifiers learn from: a cross-entropy of logits, over classes or for each class by itself.

- ``cross_entropy``: softmax over classes, with label smoothing (Szegedy et al., "Rethinking the Inception Architecture
  for Computer Vision", CVPR 2016, section 7) and weights of classes as in ``torch.nn.functional.cross_entropy``.
- ``binary_cross_entropy``: a sigmoid for each class, summed over classes, for several labels or as in Wightman et al.,
  "ResNet strikes back" (2021), section 2.1; smoothing moves targets from 0 and 1 towards one half.

Both are means over images. Class weights are not divided by their sum: those of ``balanced`` are 1 on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.ops.precision import full_precision
from lab.structures import Term
from lab.structures.classification import ClassificationSpec, ClassificationTargets

NUM_IMAGES = "num_images"


class Criterion(nn.Module):
    """The loss of a classifier, as sums over a batch.

    In evaluation neither smoothing nor weights apply, so that ``val/loss`` compares between settings.

    Args:
        loss: ``"cross_entropy"`` or ``"binary_cross_entropy"``.
        label_smoothing: share of a target that is spread over all classes.
        class_weights: (K) what each class counts; None: all the same.
        positive_weights: (K) what an image with a label counts for this label, where one without it counts 1; of the
            binary loss only. None: both the same.
    """

    weights: Tensor | None
    positive_weights: Tensor | None

    def __init__(
        self,
        loss: str,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        positive_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.binary, self.label_smoothing = loss == "binary_cross_entropy", label_smoothing
        for name, given in (("weights", class_weights), ("positive_weights", positive_weights)):
            values = None if given is None else torch.tensor(given, dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)

    def forward(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Term]:
        """Return ``loss_ce`` or ``loss_bce`` of logits (B, K)."""
        logits, labels = full_precision(logits), targets.labels
        smoothing, weights = (self.label_smoothing, self.weights) if self.training else (0.0, None)
        if not self.binary:
            entropy = F.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=smoothing)
            return {"loss_ce": Term(entropy, NUM_IMAGES)}
        shares = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
        shares = shares.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        positive = self.positive_weights if self.training else None
        each = F.binary_cross_entropy_with_logits(logits, shares, weights, reduction="sum", pos_weight=positive)
        return {"loss_bce": Term(each, NUM_IMAGES)}

    def totals(self, targets: ClassificationTargets) -> Mapping[str, float]:
        """Return the number of images."""
        return {NUM_IMAGES: float(len(targets.labels))}


def make_criterion(settings: Mapping[str, Any], spec: ClassificationSpec) -> Criterion:
    """Return the loss that ``model.learning`` describes.

    Raises:
        ConfigError: there are other numbers of class weights than of classes, or nothing that balances them; or the
            loss is not for data of this kind.
    """
    weights = settings["class_weights"]
    if weights == "balanced":
        weights = balanced_weights(spec)
    elif weights is not None and len(weights) != spec.num_classes:
        raise ConfigError(
            f"model.learning.class_weights has {len(weights)} numbers for {spec.num_classes} classes; give one for "
            "each, in the order of the classes, or balanced"
        )
    binary = settings["loss"] == "binary_cross_entropy"
    if spec.multilabel and not binary:
        raise ConfigError(
            f"model.learning.loss={settings['loss']} is for one label an image, and images of this data have several; "
            "take model.learning.loss=binary_cross_entropy"
        )
    positive = positive_weights(settings.get("positive_weights"), spec)
    if positive is not None and not binary:
        raise ConfigError("model.learning.positive_weights are for model.learning.loss=binary_cross_entropy")
    return Criterion(settings["loss"], settings["label_smoothing"], weights, positive)


def positive_weights(asked: str | Sequence[float] | None, spec: ClassificationSpec) -> Sequence[float] | None:
    """Return what an image with a label counts for each label: (N - n) / n of n among N images if ``balanced``.

    Raises:
        ConfigError: there are other numbers than of classes, or the data does not tell how frequent they are.
    """
    if asked is None:
        return None
    if asked != "balanced":
        if len(asked) != spec.num_classes:
            raise ConfigError(
                f"model.learning.positive_weights has {len(asked)} numbers for {spec.num_classes} classes; give one "
                "for each, in the order of the classes, or balanced"
            )
        return [float(value) for value in asked]
    total = spec.num_images or sum(spec.class_counts)
    if not total:
        raise ConfigError("model.learning.positive_weights=balanced: this data does not tell how frequent classes are")
    return [(total - count) / count if count else 1.0 for count in spec.class_counts]


def balanced_weights(spec: ClassificationSpec) -> list[float] | None:
    """Return N / (K n) for each class of n of the N images to train on, 0 for a class of none; None where all are 1."""
    counts = spec.class_counts
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts] if present else None
