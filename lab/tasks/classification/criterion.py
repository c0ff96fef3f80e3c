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
    """

    weights: Tensor | None

    def __init__(self, loss: str, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.binary, self.label_smoothing = loss == "binary_cross_entropy", label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Term]:
        """Return ``loss_ce`` or ``loss_bce`` of logits (B, K)."""
        logits, labels = full_precision(logits), targets.labels
        smoothing, weights = (self.label_smoothing, self.weights) if self.training else (0.0, None)
        if not self.binary:
            entropy = F.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=smoothing)
            return {"loss_ce": Term(entropy, NUM_IMAGES)}
        shares = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
        shares = shares.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits, shares, weights, reduction="sum")
        return {"loss_bce": Term(each, NUM_IMAGES)}

    def totals(self, targets: ClassificationTargets) -> Mapping[str, float]:
        """Return the number of images."""
        return {NUM_IMAGES: float(len(targets.labels))}


def make_criterion(settings: Mapping[str, Any], spec: ClassificationSpec) -> Criterion:
    """Return the loss that ``model.learning`` describes.

    Raises:
        ConfigError: there are other numbers of class weights than of classes, or nothing that balances them.
    """
    weights = settings["class_weights"]
    if weights == "balanced":
        weights = balanced_weights(spec)
    elif weights is not None and len(weights) != spec.num_classes:
        raise ConfigError(
            f"model.learning.class_weights has {len(weights)} numbers for {spec.num_classes} classes; give one for "
            "each, in the order of the classes, or balanced"
        )
    return Criterion(settings["loss"], settings["label_smoothing"], weights)


def balanced_weights(spec: ClassificationSpec) -> list[float] | None:
    """Return N / (K n) for each class of n of the N images to train on, 0 for a class of none; None where all are 1."""
    counts = spec.class_counts
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts] if present else None
