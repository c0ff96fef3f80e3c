"""Accuracy, F1, calibration and confusions of classifiers, exact on any number of ranks.

What is counted comes from torchmetrics: its states are integers, so that the sum over ranks is the same in any order.
Its calibration error keeps the confidence of every image and adds float32 numbers in their order, which differs from
one number of ranks to the next: ``CalibrationError`` keeps sums of each bin in float64 instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lab.metrics.confusion import mean_defined, of_classes


class CalibrationError(Metric):
    """The expected calibration error of the predicted class (Guo et al., ICML 2017, equation 3).

    Confidences fall into bins of equal width, (0, 1/M], ..., ((M-1)/M, 1]; the error is the mean over images of the
    distance between a bin's mean confidence and its accuracy.

    Args:
        num_bins: M.
        binary: probabilities are sigmoids of the logits, as a binary cross-entropy learns them, not their softmax.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    count: Tensor
    correct: Tensor
    confidence: Tensor

    def __init__(self, num_bins: int = 15, binary: bool = False) -> None:
        super().__init__()
        self.num_bins, self.binary = num_bins, binary
        self.add_state("count", torch.zeros(num_bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros(num_bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("confidence", torch.zeros(num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add images with logits (B, K) and labels (B,)."""
        scores = logits.double()
        confidence, found = (scores.sigmoid() if self.binary else scores.softmax(1)).max(1)
        bins = (confidence * self.num_bins).ceil().long().sub(1).clamp(0, self.num_bins - 1)
        self.count.index_add_(0, bins, torch.ones_like(bins))
        self.correct.index_add_(0, bins, (found == labels).long())
        self.confidence.index_add_(0, bins, confidence)

    def compute(self) -> float:
        """Return the error, NaN without an image."""
        total = int(self.count.sum())
        return float((self.confidence - self.correct).abs().sum()) / total if total else math.nan


class ConfidentMistakes(Metric):
    """The images that are most surely taken for a wrong class, of all batches and ranks.

    Args:
        shape: of an image, (3, H, W).
        count: how many are kept.
    """

    is_differentiable = False
    full_state_update = False

    scores: Tensor
    labels: Tensor
    images: Tensor

    def __init__(self, shape: Sequence[int], count: int) -> None:
        super().__init__()
        self.num_kept = count
        self.add_state("scores", torch.full((count,), -1.0), dist_reduce_fx=_joined)
        self.add_state("labels", torch.zeros(count, 2, dtype=torch.int64), dist_reduce_fx=_joined)
        self.add_state("images", torch.zeros(count, *shape, dtype=torch.uint8), dist_reduce_fx=_joined)

    def update(self, scores: Tensor, labels: Tensor, images: Tensor) -> None:
        """Add images (B, 3, H, W) uint8 with labels (B,) and probabilities (B, K); nothing waits for the device."""
        score, found = scores.float().max(1)
        both = torch.cat([self.scores, torch.where(found == labels, -1.0, score)])
        self.scores, rows = both.topk(self.num_kept)
        self.labels = torch.cat([self.labels, torch.stack([labels, found], 1)])[rows]
        self.images = torch.cat([self.images, images])[rows]

    def compute(self) -> list[tuple[float, int, int, Tensor]]:
        """Return (probability, true label, predicted label, image) of each, the surest first; on all ranks."""
        scores, rows = self.scores.sort(descending=True, stable=True)
        kept = [(score, row) for score, row in zip(scores.tolist(), rows.tolist(), strict=True) if score >= 0]
        labels, images = self.labels.tolist(), self.images.cpu()
        return [(score, *labels[row], images[row]) for score, row in kept[: self.num_kept]]


def _joined(of_ranks: Tensor) -> Tensor:
    return of_ranks.flatten(0, 1)


class ClassificationMetrics(nn.Module):
    """Everything that a classifier is measured by, for one split.

    Args:
        num_classes: K.
        num_bins: of the calibration error.
        binary: see ``CalibrationError``.
    """

    def __init__(self, num_classes: int, num_bins: int = 15, binary: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self.ece = CalibrationError(num_bins, binary)
        has_top_5 = num_classes > 5  # else it is 1 whatever is predicted
        options: dict[str, Any] = {"num_classes": num_classes, "average": "micro", "validate_args": False}
        self.top_5 = MulticlassAccuracy(top_k=5, **options) if has_top_5 else None

    @property
    def parts(self) -> list[Any]:
        """The metrics."""
        return [metric for metric in (self.confusion, self.ece, self.top_5) if metric is not None]

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add images with logits (B, K) and labels (B,) in 0..K-1."""
        for metric in self.parts:
            metric.update(logits, labels)

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.parts:
            metric.reset()

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Return the figures, NaN where nothing defines them, and the confusion matrix; all ranks must call it.

        Returns:
            ``top_1``, ``top_5`` (of more than five classes), ``macro_accuracy``, ``macro_f1`` and ``ece``; and (K, K)
            int64 on the host, true classes in rows. Macro means are over the classes that stand in the truth or the
            prediction, as torchmetrics has them.
        """
        confusion = self.confusion.compute().long().cpu()
        total = int(confusion.sum())
        recall, _, f1 = of_classes(confusion)
        values = {"top_1": float(confusion.diag().sum()) / total if total else math.nan}
        if self.top_5 is not None:
            values["top_5"] = float(self.top_5.compute()) if total else math.nan
        values |= {"macro_accuracy": mean_defined(recall), "macro_f1": mean_defined(f1), "ece": self.ece.compute()}
        return values, confusion
