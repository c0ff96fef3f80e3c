"""What text classifiers are measured by, from counts that add up over batches and ranks."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassMatthewsCorrCoef

from lab.metrics.confusion import mean_defined, of_classes


class TextMetrics(nn.Module):
    """Everything that a text classifier is measured by, for one split.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self.matthews = MulticlassMatthewsCorrCoef(num_classes, validate_args=False)

    @property
    def parts(self) -> list[Any]:
        """The metrics."""
        return [self.confusion, self.matthews]

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add texts with logits (B, K) and labels (B,) in 0..K-1."""
        found = logits.argmax(1)
        for metric in self.parts:
            metric.update(found, labels)

    def reset(self) -> None:
        """Forget all texts."""
        for metric in self.parts:
            metric.reset()

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """Return the figures, NaN where nothing defines them, and the confusion matrix; all ranks must call it.

        Returns:
            ``accuracy``; ``macro_f1``, the mean over the classes that stand in the truth or the prediction; of two
            classes ``f1``, that of the second one, as GLUE reports it; ``matthews``, Matthews' correlation, 0 where
            truth or prediction has one class alone, as in torchmetrics and scikit-learn. And (K, K) int64 on the host,
            true classes in rows.
        """
        confusion = self.confusion.compute().long().cpu()
        total = int(confusion.sum())
        _, _, f1 = of_classes(confusion)
        values = {
            "accuracy": float(confusion.diag().sum()) / total if total else math.nan,
            "macro_f1": mean_defined(f1),
            "matthews": float(self.matthews.compute()) if total else math.nan,
        }
        if self.num_classes == 2:
            values["f1"] = float(f1[1])
        return values, confusion
