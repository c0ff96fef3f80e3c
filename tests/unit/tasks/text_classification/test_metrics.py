"""What text classifiers are measured by, against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.classification import BinaryF1Score, BinaryMatthewsCorrCoef, MulticlassAccuracy, MulticlassF1Score

from lab.tasks.text_classification.metrics import TextMetrics


def test_two_classes_are_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 2, (101,), generator=generator)
    logits = torch.randn(101, 2, generator=generator) + torch.nn.functional.one_hot(labels, 2)
    metrics = TextMetrics(2)
    for part in (slice(0, 40), slice(40, 101)):
        metrics.update(logits[part], labels[part])
    values, confusion = metrics.compute()
    found = logits.argmax(1)
    expected = {
        "accuracy": MulticlassAccuracy(2, average="micro")(found, labels),
        "macro_f1": MulticlassF1Score(2, average="macro")(found, labels),
        "matthews": BinaryMatthewsCorrCoef()(found, labels),
        "f1": BinaryF1Score()(found, labels),
    }
    assert values == pytest.approx({key: float(value) for key, value in expected.items()}, abs=1e-6)
    assert int(confusion.sum()) == 101


def test_no_texts_and_one_class() -> None:
    metrics = TextMetrics(3)
    values, _ = metrics.compute()
    assert all(math.isnan(value) for value in values.values())
    assert set(values) == {"accuracy", "macro_f1", "matthews"}
    metrics.update(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0]))
    assert metrics.compute()[0] == {"accuracy": 1.0, "macro_f1": 1.0, "matthews": 0.0}
