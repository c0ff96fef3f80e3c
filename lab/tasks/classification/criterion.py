"""What all classifiers learn from: a cross-entropy of logits, over classes or for each class by itself.

- ``cross_entropy``: softmax over classes, see ``lab.training.class_loss``.
- ``binary_cross_entropy``: a sigmoid for each class, summed over classes, for several labels or as in Wightman et al.,
  "ResNet strikes back" (2021), section 2.1; smoothing moves targets from 0 and 1 towards one half.

Both are means over images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.ops.precision import full_precision
from lab.structures import Term
from lab.structures.classification import ClassificationSpec, ClassificationTargets
from lab.training.class_loss import CrossEntropy, class_weights_of

NUM_IMAGES = "num_images"


class Criterion(CrossEntropy):
    """The loss of a classifier, as sums over a batch.

    In evaluation neither smoothing nor weights apply, so that ``val/loss`` compares between settings.

    Args:
        loss: ``"cross_entropy"`` or ``"binary_cross_entropy"``.
        label_smoothing: share of a target that is spread over all classes.
        class_weights: (K) what each class counts; None: all the same.
        positive_weights: (K) what an image with a label counts for this label, where one without it counts 1; of the
            binary loss only. None: both the same.
    """

    positive_weights: Tensor | None

    def __init__(
        self,
        loss: str,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        positive_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(label_smoothing, class_weights)
        self.binary = loss == "binary_cross_entropy"
        values = None if positive_weights is None else torch.tensor(positive_weights, dtype=torch.float32)
        self.register_buffer("positive_weights", values, persistent=False)

    def forward(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Term]:
        """Return ``loss_ce`` or ``loss_bce`` of logits (B, K)."""
        labels = targets.labels
        if not self.binary:
            return {"loss_ce": Term(self.entropy(logits, labels), NUM_IMAGES)}
        logits, (smoothing, weights) = full_precision(logits), self.of_training()
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
    weights = class_weights_of(settings["class_weights"], spec.class_counts, spec.num_classes)
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
