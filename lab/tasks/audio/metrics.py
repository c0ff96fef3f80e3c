"""What networks for sound are measured by, exact on any number of ranks.

One label a clip: accuracy and macro F1, from counts that add up. Several labels, as AudioSet's authors measure them
(Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section 3.3): the means over
classes of average precision and of the area under the ROC curve, and d-prime, the separation of two normal
distributions of unit variance that have this area: sqrt(2) times the inverse normal distribution function of it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix, MultilabelAUROC, MultilabelAveragePrecision

from lab.metrics.confusion import mean_defined, of_classes


def d_prime(area: Tensor) -> Tensor:
    """Return d' for areas under ROC curves, of any shape; NaN where it is not finite, for areas of 0 and 1."""
    found = math.sqrt(2) * torch.special.ndtri(area)
    return torch.where(found.isfinite(), found, torch.nan)


class LabelMetrics(nn.Module):
    """Everything that clips of one label each are measured by, for one split.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add clips with logits (B, K) and labels (B,) in 0..K-1."""
        self.confusion.update(logits.argmax(1), labels)

    def reset(self) -> None:
        """Forget all clips."""
        self.confusion.reset()

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Return ``accuracy`` and ``macro_f1``, NaN where nothing defines them; all ranks must call it.

        Returns:
            The figures, and (K, K) int64 on the host, true classes in rows. The macro mean is over the classes that
            stand in the truth or the prediction.
        """
        confusion = self.confusion.compute().long().cpu()
        total = int(confusion.sum())
        accuracy = float(confusion.diag().sum()) / total if total else math.nan
        return {"accuracy": accuracy, "macro_f1": mean_defined(of_classes(confusion)[2])}, confusion


class TagMetrics(nn.Module):
    """Everything that clips of several labels are measured by, for one split.

    Scores of all clips are kept, and sorted, so the order in which ranks are joined does not matter.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        options: dict[str, Any] = {"num_labels": num_classes, "average": "none", "validate_args": False}
        self.num_classes = num_classes
        self.precision, self.area = MultilabelAveragePrecision(**options), MultilabelAUROC(**options)
        self.clips = ClipCounts(num_classes)

    @property
    def parts(self) -> list[Any]:
        """The metrics."""
        return [self.precision, self.area, self.clips]

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add clips with logits (B, K) and labels (B, K), 1 for each label of a clip."""
        # Probabilities: torchmetrics takes the sigmoid of a batch only if it lies outside of 0..1 somewhere.
        scores, truth = logits.double().sigmoid(), (labels > 0.5).long()
        self.precision.update(scores, truth)  # a batch of nothing too: ranks gather what each of them holds
        self.area.update(scores, truth)
        self.clips.update(truth)

    def reset(self) -> None:
        """Forget all clips."""
        for metric in self.parts:
            metric.reset()

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Return ``map``, ``auc`` and ``d_prime``, NaN where nothing defines them; all ranks must call it.

        Returns:
            The figures. ``map`` is the mean over the classes that some clip has, ``auc`` over those that some clip also
            lacks, ``d_prime`` that of the mean area. And (K, 3) float64 on the host: clips of each class, its average
            precision and area.
        """
        *counts, total = self.clips.compute().tolist()
        clips = torch.tensor(counts, dtype=torch.float64)
        average = area = torch.full_like(clips, torch.nan)
        if total:
            with warnings.catch_warnings():
                for said in ("No positive samples", "No negative samples", "The ``compute`` method of metric"):
                    warnings.filterwarnings("ignore", said)  # NaN says it
                average, area = (metric.compute().double().cpu() for metric in (self.precision, self.area))
        average = torch.where(clips > 0, average, torch.nan)
        area = torch.where((clips > 0) & (clips < total), area, torch.nan)
        mean = mean_defined(area)
        values = {"map": mean_defined(average), "auc": mean, "d_prime": float(d_prime(torch.tensor(mean).double()))}
        return values, torch.stack([clips, average, area], 1)


class ClipCounts(Metric):
    """How many clips have each label, and how many there are.

    Args:
        num_classes: K.
    """

    is_differentiable = False
    full_state_update = False

    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(num_classes + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, truth: Tensor) -> None:
        """Add clips (B, K) int64, 1 for each label of a clip."""
        self.counts += torch.cat([truth.sum(0), truth.new_tensor([len(truth)])])

    def compute(self) -> Tensor:
        """Return the numbers (K + 1) int64, that of all clips last."""
        return self.counts


def tag_columns(behind: Tensor) -> dict[str, Tensor]:
    """Return of each class (K,): its clips, average precision, area and d-prime."""
    clips, average, area = behind.unbind(1)
    return {"clips": clips.long(), "ap": average, "auc": area, "d_prime": d_prime(area)}
