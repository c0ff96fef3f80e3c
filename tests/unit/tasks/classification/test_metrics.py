"""What classifiers are measured by, against torchmetrics and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
)

from lab.metrics.confusion import of_classes
from lab.tasks.classification.metrics import (
    CalibrationError,
    ClassificationMetrics,
    ConfidentMistakes,
    _joined,
)


@pytest.fixture(scope="module")
def case() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (200, 7) and labels; class 5 stands in no truth, class 6 in neither truth nor prediction."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 5, (200,), generator=generator)
    logits = torch.randn(200, 7, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 7)
    logits[:, 6] = -9.0
    return logits, labels


def test_figures_are_those_of_torchmetrics(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    metrics = ClassificationMetrics(7)
    for part in (slice(0, 70), slice(70, 200)):
        metrics.update(case[0][part], case[1][part])
    values, confusion = metrics.compute()
    expected = {
        "top_1": MulticlassAccuracy(7, average="micro")(*case),
        "top_5": MulticlassAccuracy(7, average="micro", top_k=5)(*case),
        "macro_accuracy": MulticlassAccuracy(7, average="macro")(*case),
        "macro_f1": MulticlassF1Score(7, average="macro")(*case),
        "ece": MulticlassCalibrationError(7)(*case),
    }
    assert values == pytest.approx({key: float(value) for key, value in expected.items()}, abs=1e-6)  # worst 6e-8
    assert 0.3 < values["macro_accuracy"] < values["top_1"] < values["top_5"] < 1
    recall, precision, f1 = (item[:6].float() for item in of_classes(confusion))
    torch.testing.assert_close(recall, MulticlassAccuracy(7, average="none")(*case)[:6])
    torch.testing.assert_close(precision, MulticlassPrecision(7, average="none")(*case)[:6])
    torch.testing.assert_close(f1, MulticlassF1Score(7, average="none")(*case)[:6])


def test_calibration_by_hand() -> None:
    """Confidences 0.8 (right), 0.8 (wrong), 0.6 (right) in five bins: |1.6 - 1| + |0.6 - 1|, over 3 images."""
    probabilities = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6]], dtype=torch.float64)
    metric = CalibrationError(5)
    metric.update(probabilities.log(), torch.tensor([0, 1, 1]))
    assert metric.compute() == pytest.approx((0.6 + 0.4) / 3, abs=1e-12)


def test_what_nothing_defines_is_nan_and_top_5_of_five_classes_says_nothing() -> None:
    values, _ = ClassificationMetrics(5).compute()
    assert set(values) == {"top_1", "macro_accuracy", "macro_f1", "ece"}
    assert all(map(math.isnan, values.values()))


def test_the_surest_mistakes_are_kept_over_batches_and_ranks() -> None:
    """By hand: of six images four are wrong, at 0.9, 0.8, 0.7 and 0.6; the three surest are wanted."""
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.99, 0.01], [0.3, 0.7], [0.05, 0.95]])
    labels = torch.tensor([1, 0, 1, 0, 0, 1])
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 2, 2)
    parts = [slice(0, 2), slice(2, 3), slice(3, 6)]
    expected = [(0.9, 1, 0, 0), (0.8, 0, 1, 1), (0.7, 0, 1, 4)]

    def plain(metric: ConfidentMistakes) -> list[tuple[float, int, int, int]]:
        return [(round(score, 6), true, found, int(image.max())) for score, true, found, image in metric.compute()]

    alone = ConfidentMistakes((3, 2, 2), 3)
    for part in parts:
        alone.update(scores[part], labels[part], images[part])
    assert plain(alone) == expected
    ranks = [ConfidentMistakes((3, 2, 2), 3) for _ in range(2)]
    for number, part in enumerate(parts):
        ranks[number % 2].update(scores[part], labels[part], images[part])
    for name in ("scores", "labels", "images"):  # as torchmetrics joins them
        setattr(alone, name, _joined(torch.stack([getattr(rank, name) for rank in ranks])))
    alone._computed = None
    assert plain(alone) == expected


def test_calibration_of_a_binary_cross_entropy_is_of_its_sigmoids() -> None:
    """Of the probabilities that predictions show; sigmoid(2) and sigmoid(3), both right."""
    logits = torch.tensor([[2.0, 1.9, -1.0], [3.0, -2.0, 2.9]], dtype=torch.float64)
    metrics = ClassificationMetrics(3, binary=True)
    metrics.update(logits, torch.tensor([0, 0]))
    confidence = torch.tensor([2.0, 3.0]).sigmoid()
    assert metrics.compute()[0]["ece"] == pytest.approx(float((1 - confidence).mean()), abs=1e-6)
