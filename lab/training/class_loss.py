"""The cross-entropy of samples of one class each, with label smoothing and weights of classes.

Label smoothing is that of Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (CVPR 2016,
section 7). The loss is a mean over samples: class weights are not divided by their sum, and those of ``balanced`` are 1
on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.ops.precision import full_precision


class CrossEntropy(nn.Module):
    """A softmax cross-entropy as a sum over samples.

    In evaluation neither smoothing nor weights apply, so that ``val/loss`` compares between settings.

    Args:
        label_smoothing: share of a target that is spread over all classes.
        class_weights: (K) what each class counts; None: all the same.
    """

    weights: Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        values = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weights", values, persistent=False)

    def of_training(self) -> tuple[float, Tensor | None]:
        """Return smoothing and weights, which are off in evaluation."""
        return (self.label_smoothing, self.weights) if self.training else (0.0, None)

    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum () of the losses of logits (B, K), for labels (B,) or shares of classes (B, K)."""
        smoothing, weights = self.of_training()
        logits = full_precision(logits)
        return F.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=smoothing)


def class_weights_of(
    asked: str | Sequence[float] | None, counts: Sequence[int], num_classes: int
) -> list[float] | None:
    """Return the weights that ``model.learning.class_weights`` asks for.

    Args:
        asked: a number for each class, ``"balanced"``, or None.
        counts: samples of each class to train on; empty where the classes are equally frequent by construction.
        num_classes: K.

    Raises:
        ConfigError: there are other numbers of weights than of classes.
    """
    if asked is None:
        return None
    if asked == "balanced":
        return balanced_weights(counts)
    if len(asked) != num_classes:
        raise ConfigError(
            f"model.learning.class_weights has {len(asked)} numbers for {num_classes} classes; give one for "
            "each, in the order of the classes, or balanced"
        )
    return [float(value) for value in asked]


def balanced_weights(counts: Sequence[int]) -> list[float] | None:
    """Return N / (K n) for each class of n of the N training samples, 0 for a class of none; None where all are 1."""
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts] if present else None
