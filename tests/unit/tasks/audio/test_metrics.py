"""The figures of one label and of several, against numbers by hand and scipy's distribution."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from lab.tasks.audio.metrics import LabelMetrics, TagMetrics, d_prime, tag_columns

SCORES = torch.tensor([[0.9, 0.2, 0.3], [0.8, 0.6, 0.2], [0.7, 0.4, 0.1], [0.1, 0.4, 0.6]])
TRUTH = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def area_by_pairs(scores: list[float], truth: list[float]) -> float:
    """The share of pairs of a clip with the label and one without in which the former scores higher; a tie is half."""
    having = [score for score, label in zip(scores, truth, strict=True) if label]
    lacking = [score for score, label in zip(scores, truth, strict=True) if not label]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(having, lacking)]
    return sum(wins) / len(wins)


def test_average_precision_and_area_by_hand() -> None:
    """Class 0: hits at ranks 1 and 3: (1 + 2/3) / 2. Class 1: ranks 1 and, tied with a miss, 3: (1 + 2/3) / 2."""
    metrics = TagMetrics(3)
    for part in (slice(0, 1), slice(1, 4), slice(4, 4)):
        metrics.update(SCORES[part].logit(), TRUTH[part])
    values, behind = metrics.compute()
    precision = [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2]
    areas = [area_by_pairs(SCORES[:, k].tolist(), TRUTH[:, k].tolist()) for k in (0, 1)]
    assert areas == [0.75, 0.875]
    assert behind[:2, 1].tolist() == pytest.approx(precision)
    assert behind[:2, 2].tolist() == pytest.approx(areas)
    assert behind[2].isnan().tolist() == [False, True, True]  # no clip has the last class
    assert behind[:, 0].tolist() == [2, 2, 0]
    assert (values["map"], values["auc"]) == (pytest.approx(5 / 6), pytest.approx(0.8125))
    assert tag_columns(behind)["clips"].tolist() == [2, 2, 0]


def test_d_prime_is_root_two_times_the_inverse_normal() -> None:
    """AudioSet's baseline: an area of .959 is a d' of 2.46 (Hershey et al. 2017 print .959 and 2.452)."""
    stats = pytest.importorskip("scipy.stats")
    areas = [0.5, 0.75, 0.959, 0.2]
    expected = [math.sqrt(2) * stats.norm.ppf(area) for area in areas]
    torch.testing.assert_close(d_prime(torch.tensor(areas).double()), torch.tensor(expected).double())
    assert d_prime(torch.tensor(0.959).double()).item() == pytest.approx(2.46, abs=0.01)
    assert d_prime(torch.tensor([0.0, 1.0])).isnan().all()


def test_one_label_by_hand() -> None:
    metrics = LabelMetrics(3)
    metrics.update(torch.tensor([[2.0, 0, 0], [2.0, 0, 0], [0, 2.0, 0]]), torch.tensor([0, 2, 1]))
    values, confusion = metrics.compute()
    assert values == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx((2 / 3 + 1 + 0) / 3)}
    assert confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_nothing_measured_is_not_a_number() -> None:
    tags, labels = TagMetrics(2), LabelMetrics(2)
    tags.update(torch.zeros(0, 2), torch.zeros(0, 2))
    found = {**tags.compute()[0], **labels.compute()[0]}
    assert set(found) == {"map", "auc", "d_prime", "accuracy", "macro_f1"}
    assert all(math.isnan(value) for value in found.values())
    tags.update(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert math.isnan(tags.compute()[0]["auc"])  # no clip lacks the only label that one has
