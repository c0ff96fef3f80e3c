"""The loss of classifiers, against torch and numbers by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.structures.classification import ClassificationSpec, ClassificationTargets
from lab.tasks.classification.criterion import Criterion, make_criterion
from lab.training.terms import divided

LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
LABELS = torch.tensor([0, 2])


def value(criterion: Criterion, labels: torch.Tensor = LABELS) -> float:
    targets = ClassificationTargets(labels)
    (found,) = divided(criterion(LOGITS, targets), criterion.totals(targets)).values()
    return float(found)


def test_cross_entropy_by_hand() -> None:
    first = math.log(math.e + 1 + 1 / math.e) - 1
    second = math.log(2 * math.exp(0.5) + 1)
    assert value(Criterion("cross_entropy")) == pytest.approx((first + second) / 2, rel=1e-6)


def test_smoothing_and_weights_are_torchs_and_of_training_alone() -> None:
    criterion = Criterion("cross_entropy", 0.1, [1.0, 2.0, 3.0])
    weights = torch.tensor([1.0, 2.0, 3.0])
    expected = F.cross_entropy(LOGITS, LABELS, weights, label_smoothing=0.1, reduction="sum") / 2
    assert value(criterion) == pytest.approx(float(expected), rel=1e-6)
    assert value(criterion.eval()) == value(Criterion("cross_entropy"))


def test_binary_cross_entropy_of_one_and_of_several_labels() -> None:
    several = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    criterion = Criterion("binary_cross_entropy")
    expected = F.binary_cross_entropy_with_logits(LOGITS, several, reduction="sum") / 2
    assert value(criterion, several) == pytest.approx(float(expected), rel=1e-6)
    assert value(criterion) == value(criterion, F.one_hot(LABELS, 3).float())
    # One class, logit 0: whatever the target, log 2; smoothing changes nothing there.
    zero = ClassificationTargets(torch.zeros(1, 1))
    term = Criterion("binary_cross_entropy", 0.2)(torch.zeros(1, 1), zero)["loss_bce"]
    assert float(term.sum) == pytest.approx(math.log(2), rel=1e-6)


def test_mixed_labels_are_shares() -> None:
    """Half of each label is half of each label's loss (Zhang et al., mixup, 2018, section 3)."""
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    criterion = Criterion("cross_entropy")
    halves = (value(criterion, torch.tensor([0, 2])) + value(criterion, torch.tensor([1, 2]))) / 2
    assert value(criterion, shares) == pytest.approx(halves, rel=1e-6)


def test_a_wrong_number_of_weights_is_refused() -> None:
    spec = ClassificationSpec(class_names=("a", "b", "c"))
    settings: dict[str, Any] = {"loss": "cross_entropy", "label_smoothing": 0.0, "class_weights": [1.0, 2.0]}
    with pytest.raises(
        ConfigError, match=r"^model\.learning\.class_weights has 2 numbers for 3 classes; give one for each"
    ):
        make_criterion(settings, spec)
