"""What a confusion matrix of samples of one class each tells: figures of each class, and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lab.structures import Table

MOST_COLUMNS = 32
"""Classes up to which the confusion matrix is a table."""
MOST_CONFUSIONS = 100
"""Of more classes: how many of the most frequent mistakes are."""


def of_classes(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return recall, precision and F1 (K,) float64 of each class from (K, K) counts.

    A class that stands in neither truth nor prediction has NaN; one that stands in one of them has 0 for what would
    divide by nothing, as in torchmetrics.
    """
    hits, true, found = (item.double() for item in (confusion.diag(), confusion.sum(1), confusion.sum(0)))
    present = true + found > 0
    parts = (hits / true.clamp(min=1), hits / found.clamp(min=1), 2 * hits / (true + found).clamp(min=1))
    recall, precision, f1 = (torch.where(present, part, torch.nan) for part in parts)
    return recall, precision, f1


def mean_defined(values: Tensor) -> float:
    """Return the mean of the values (K,) that are not NaN; NaN if there are none."""
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else math.nan


def class_columns(confusion: Tensor, samples: str) -> dict[str, Tensor]:
    """Return of each class (K,): its samples, how many of them are found, precision and F1.

    Args:
        confusion: (K, K) int64, true classes in rows.
        samples: the word for samples, which heads their column.
    """
    accuracy, precision, f1 = of_classes(confusion)
    return {samples: confusion.sum(1), "accuracy": accuracy, "precision": precision, "f1": f1}


def confusion_table(confusion: Tensor, names: Sequence[str], samples: str) -> dict[str, Table]:
    """Return the confusion matrix as a table, or of many classes the most frequent mistakes.

    Args:
        confusion: (K, K) int64, true classes in rows.
        names: of the classes.
        samples: the word for samples.
    """
    if len(names) <= MOST_COLUMNS:
        corner = "true / predicted"
        rows = zip(names, confusion.tolist(), strict=True)
        return {"confusion": [{corner: name, **dict(zip(names, counts, strict=True))} for name, counts in rows]}
    true, found = confusion.nonzero().unbind(1)  # few of the pairs occur: only they are sorted
    true, found = true[true != found], found[true != found]
    counts, order = confusion[true, found].sort(descending=True, stable=True)
    order = order[:MOST_CONFUSIONS]
    most = zip(true[order].tolist(), found[order].tolist(), counts[: len(order)].tolist(), strict=True)
    return {
        "confusions": [{"true": names[row], "predicted": names[column], samples: count} for row, column, count in most]
    }
