"""Hand-made outputs compared: what counts as rounding, as another order, as an error."""

from __future__ import annotations

import pytest
import torch

from lab.errors import ExportError
from lab.export.comparison import compare

BOXES = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 50, 25]]])
SCORES = torch.tensor([[0.5, 0.5]])
NAMES, LOGITS = ("boxes", "scores", "labels"), ("logits",)
LABELS = torch.tensor([[1, 2]])


def test_logits_are_compared_relative_to_the_largest() -> None:
    wanted = torch.tensor([[200.0, -1]])
    assert compare(LOGITS, [wanted + 0.02], [wanted], 1).worst == pytest.approx({"logits": 1e-4}, rel=1e-3)


def test_boxes_are_compared_relative_to_the_side_of_the_image() -> None:
    found = compare(NAMES, [BOXES + 0.01, SCORES, LABELS], [BOXES, SCORES, LABELS], 100)
    assert found.worst == pytest.approx({"boxes": 1e-4, "scores": 0, "labels": 0}, rel=1e-3)
    assert found.moved == 0


def test_boxes_of_equal_scores_may_change_places_and_are_counted() -> None:
    found = compare(NAMES, [BOXES.flip(1), SCORES, LABELS.flip(1)], [BOXES, SCORES, LABELS], 100)
    assert found.largest == 0
    assert found.moved == 2


def test_another_label_or_a_box_of_its_own_is_an_error() -> None:
    assert compare(NAMES, [BOXES, SCORES, LABELS + 5], [BOXES, SCORES, LABELS], 100).worst["labels"] == 1
    twice = BOXES[:, :1].repeat(1, 2, 1)  # the second box is lost, the first one there twice
    assert compare(NAMES, [twice, SCORES, LABELS[:, :1].repeat(1, 2)], [BOXES, SCORES, LABELS], 100).largest > 0.1
    more = BOXES.clone()
    more[0, 1] = 0  # a box that the network has not, while the network has the first one twice
    assert compare(NAMES, [more, SCORES, LABELS], [twice, SCORES, LABELS], 100).largest > 0.04


@pytest.mark.parametrize("found", [torch.zeros(1, 3), torch.tensor([[0.0, float("nan")]])], ids=["shape", "nan"])
def test_other_shapes_and_numbers_that_are_not_finite_are_refused(found: torch.Tensor) -> None:
    with pytest.raises(ExportError, match="the file gives"):
        compare(LOGITS, [found], [torch.zeros(1, 2)], 1)
