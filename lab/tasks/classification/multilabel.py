"""Images of several labels: how they are measured, exact on any number of ranks, and which labels are predicted.

What is counted comes from torchmetrics. Its average precision keeps the scores of all images and sorts them, so the
order in which ranks are joined does not matter.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelExactMatch, MultilabelStatScores

from lab.structures.classification import Classified

MONITORS = ("map", "micro_f1", "macro_f1", "exact_match", "loss")
"""What best.ckpt can be the best of, the default first."""


class MultilabelMetrics(nn.Module):
    """Everything that a classifier of several labels is measured by, for one split.

    Args:
        num_classes: K.
        threshold: a label of a greater probability counts as predicted, for all but the average precision.
    """

    def __init__(self, num_classes: int, threshold: float = 0.5) -> None:
        super().__init__()
        options: dict[str, Any] = {"num_labels": num_classes, "validate_args": False}
        self.precision = MultilabelAveragePrecision(average="none", **options)
        self.counts = MultilabelStatScores(threshold=threshold, average="none", **options)
        self.exact = MultilabelExactMatch(threshold=threshold, **options)

    @property
    def parts(self) -> list[Any]:
        """The metrics."""
        return [self.precision, self.counts, self.exact]

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add images with logits (B, K) and labels (B, K), 1 for each label of an image."""
        # Probabilities: torchmetrics takes the sigmoid of a batch only if it lies outside of 0..1 somewhere.
        scores, truth = logits.float().sigmoid(), (labels > 0.5).long()
        self.precision.update(scores, truth)  # a batch of nothing too: ranks gather what each of them holds
        for metric in (self.counts, self.exact) if len(scores) else ():
            metric.update(scores, truth)

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.parts:
            metric.reset()

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Return the figures, NaN where nothing defines them, and what stands behind them; all ranks must call it.

        Returns:
            ``map``, the mean of the average precisions of the classes that some image has; ``micro_f1`` and
            ``macro_f1``, the latter over the classes in truth or prediction; ``exact_match``, the share of images of
            which every label is right. And (K, 5) float64: images of the class, average precision, true positives,
            false positives, false negatives.
        """
        with warnings.catch_warnings():
            for said in ("No positive samples", "The ``compute`` method of metric .* was called before"):
                warnings.filterwarnings("ignore", said)  # NaN says it
            hits, false, right, missed, images = self.counts.compute().double().cpu().unbind(1)
            total, exact = float((hits + false + right + missed)[0]), self.exact.compute()
            scores = self.precision.compute() if total else torch.full((len(hits),), math.nan)
        average = torch.where(images > 0, scores.double().cpu(), torch.nan)
        found, most = hits.sum(), (2 * hits + false + missed).sum()
        values = {
            "map": _mean(average),
            "micro_f1": float(2 * found / most) if most else math.nan,
            "macro_f1": _mean(_share(2 * hits, 2 * hits + false + missed)),
            "exact_match": float(exact) if total else math.nan,
        }
        return values, torch.stack([images, average, hits, false, missed], 1)


def classes_measured(behind: Tensor) -> dict[str, int]:
    """Return over how many classes the macro means are, from what ``MultilabelMetrics.compute`` returns."""
    images, _, hits, false, missed = behind.unbind(1)
    return {"map": int((images > 0).sum()), "macro_f1": int((hits + false + missed > 0).sum())}


def class_columns(behind: Tensor) -> dict[str, Tensor]:
    """Return of each class (K,): its images, average precision, and precision, recall and F1 at the threshold."""
    images, average, hits, false, missed = behind.unbind(1)
    return {
        "images": images.long(),
        "ap": average,
        "precision": _share(hits, hits + false),
        "recall": _share(hits, hits + missed),
        "f1": _share(2 * hits, 2 * hits + false + missed),
    }


def labels_above(scores: Tensor, threshold: float, names: Sequence[str]) -> list[Classified]:
    """Return the labels of each image whose probability is above the threshold, the most probable first; maybe none.

    Args:
        scores: (B, K) probabilities.
        threshold: from 0 to 1.
        names: of the classes.
    """
    ordered, labels = scores.cpu().sort(dim=1, descending=True, stable=True)
    counts = (ordered > threshold).sum(1).tolist()
    return [
        Classified(labels[row, :count], ordered[row, :count], tuple(names[k] for k in labels[row, :count].tolist()))
        for row, count in enumerate(counts)
    ]


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, NaN where the whole is 0."""
    return torch.where(whole > 0, part / whole.clamp(min=1), torch.nan)


def _mean(values: Tensor) -> float:
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else math.nan
