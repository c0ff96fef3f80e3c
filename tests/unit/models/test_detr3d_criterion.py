"""DETR3D's coder, matching and losses against the published rules, layer by layer and frame by frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from lab.errors import ConfigError
from lab.models.detr3d.coder import BoxCoder, decode, encode, inverse_sigmoid
from lab.models.detr3d.criterion import Detr3dCriterion, Detr3dLossOptions
from lab.structures.detection3d import Detection3dTargets
from lab.training.terms import divided

LAYERS, FRAMES, QUERIES, CLASSES = 2, 3, 6, 4
COUNTS = (3, 0, 8)  # the last frame has more boxes than queries


def make_targets(unknown: int | None = None) -> Detection3dTargets:
    generator = torch.Generator().manual_seed(1)
    boxes = torch.randn(sum(COUNTS), 9, generator=generator) * 5
    boxes[:, 3:6] = boxes[:, 3:6].abs() + 0.5
    if unknown is not None:
        boxes[unknown, 7] = math.nan
    return Detection3dTargets(boxes, torch.randint(CLASSES, (len(boxes),), generator=generator), COUNTS)


def make_outputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(LAYERS, FRAMES, QUERIES, CLASSES, generator=generator)
    return logits, torch.randn(LAYERS, FRAMES, QUERIES, 10, generator=generator) * 3


def published(logits: Tensor, codes: Tensor, targets: Detection3dTargets) -> tuple[list[float], list[float], int]:
    """Return the class and the box term of each layer, and the number of matched boxes."""
    by_class, by_box = [], []
    for layer in range(LAYERS):
        class_sum, box_sum, matched, first = 0.0, 0.0, 0, 0
        for frame, count in enumerate(targets.counts):
            boxes, labels = targets.boxes[first : first + count], targets.labels[first : first + count]
            first += count
            score = logits[layer, frame].sigmoid().double().numpy()
            code = codes[layer, frame].double().numpy()
            wanted = np.array([published_code(box) for box in boxes.tolist()]).reshape(count, 10)
            cost = np.zeros((QUERIES, count))
            for query in range(QUERIES):
                for box in range(count):
                    p = score[query, labels[box]]
                    positive, negative = -math.log(p) * 0.25 * (1 - p) ** 2, -math.log(1 - p) * 0.75 * p**2
                    distance = np.abs(code[query, :8] - wanted[box, :8]).sum()
                    cost[query, box] = 2 * (positive - negative) + 0.25 * distance
            rows, columns = linear_sum_assignment(cost)
            matched += len(rows)
            target = torch.zeros(QUERIES, CLASSES)
            for query, box in zip(rows, columns, strict=True):
                target[query, labels[box]] = 1
                if np.isfinite(wanted[box]).all():
                    weight = np.array([1.0] * 8 + [0.2] * 2)
                    box_sum += 0.25 * float((np.abs(code[query] - wanted[box]) * weight).sum())
            class_sum += 2 * float(sigmoid_focal_loss(logits[layer, frame], target, 0.25, 2, reduction="sum"))
        by_class.append(class_sum / matched)
        by_box.append(box_sum / matched)
    return by_class, by_box, matched


def published_code(box: list[float]) -> list[float]:
    x, y, z, length, width, height, yaw, vx, vy = box
    size = [math.log(value) for value in (length, width, height)]
    return [x, y, size[0], size[1], z, size[2], math.sin(yaw), math.cos(yaw), vx, vy]


@pytest.mark.parametrize("unknown", [None, 1, 9])
def test_terms_equal_the_published_ones(unknown: int | None) -> None:
    """A frame without boxes, one with more boxes than queries, and a velocity that is not known."""
    criterion, targets, (logits, codes) = Detr3dCriterion(QUERIES), make_targets(unknown), make_outputs()
    totals = criterion.totals(targets)
    found = divided(criterion(logits, codes, targets), totals)
    by_class, by_box, matched = published(logits, codes, targets)
    assert totals == {"num_boxes": matched} == {"num_boxes": 9}
    for index, suffix in enumerate(("_0", "")):
        assert found[f"loss_cls{suffix}"].item() == pytest.approx(by_class[index], rel=2e-6)
        assert found[f"loss_bbox{suffix}"].item() == pytest.approx(by_box[index], rel=2e-6)


def test_an_unknown_velocity_gives_no_gradient_that_is_not_finite() -> None:
    targets, (logits, codes) = make_targets(unknown=1), make_outputs()
    codes.requires_grad_()
    sum(term.sum for term in Detr3dCriterion(QUERIES)(logits, codes, targets).values()).backward()
    assert codes.grad is not None
    assert codes.grad.isfinite().all()


def test_without_boxes_only_the_classes_count() -> None:
    logits, codes = make_outputs()
    targets = Detection3dTargets(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64), (0, 0, 0))
    criterion = Detr3dCriterion(QUERIES)
    found = divided(criterion(logits, codes, targets), criterion.totals(targets))
    assert found["loss_bbox"] == 0
    expected = 2 * sigmoid_focal_loss(logits[-1], torch.zeros_like(logits[-1]), 0.25, 2, reduction="sum")
    torch.testing.assert_close(found["loss_cls"], expected)


def test_options_weigh_the_terms() -> None:
    targets, (logits, codes) = make_targets(), make_outputs()
    plain = Detr3dCriterion(QUERIES)(logits, codes, targets)
    options = Detr3dLossOptions(class_loss_weight=6, box_loss_weight=0.5, cost_class=4, cost_box=0.5)  # costs x 2
    twice = Detr3dCriterion(QUERIES, options)(logits, codes, targets)
    torch.testing.assert_close(twice["loss_cls"].sum, 3 * plain["loss_cls"].sum)
    torch.testing.assert_close(twice["loss_bbox"].sum, 2 * plain["loss_bbox"].sum)


def test_the_code_of_a_box_has_z_in_fifth_place() -> None:
    box = torch.tensor([1.0, 2, 3, 4, 5, 6, 0.5, 7, 8])
    expected = [1, 2, math.log(4), math.log(5), 3, math.log(6), math.sin(0.5), math.cos(0.5), 7, 8]
    torch.testing.assert_close(encode(box), torch.tensor(expected))
    torch.testing.assert_close(decode(encode(box)), box)


def test_predictions_are_pairs_of_query_and_class_and_those_outside_of_the_range_have_the_score_0() -> None:
    logits = torch.full((1, 3, 2), -5.0)
    logits[0, 0, 1], logits[0, 2, 0], logits[0, 2, 1] = 2.0, 3.0, 1.0
    boxes = torch.zeros(1, 3, 9)
    boxes[0, :, 3:6] = 1
    boxes[0, 0, 0], boxes[0, 2, 0], boxes[0, 2, 6] = 31, 29, 3
    found = BoxCoder((-20, -20, -5, 20, 20, 3), max_num=4)(logits, encode(boxes))
    assert found.labels[0, :3].tolist() == [0, 1, 1]
    expected = torch.tensor([3.0, 0, 1]).sigmoid() * torch.tensor([1.0, 0, 1])  # 31 m is beyond 20 + 10
    torch.testing.assert_close(found.scores[0, :3], expected)
    torch.testing.assert_close(found.boxes[0, 0], boxes[0, 2])
    assert found.boxes.shape == (1, 4, 9)


def test_the_published_range_of_centres() -> None:
    coder = BoxCoder((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0))
    assert coder.post_center_range == pytest.approx((-61.2, -61.2, -10.0, 61.2, 61.2, 10.0))


@pytest.mark.parametrize("wrong", [(0, 0, 0, 1, 1), (0, 0, 0, 1, 1, 0), (5, 0, 0, 1, 1, 1)])
def test_an_empty_range_is_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"point_range=\[.*: expected \[x0, y0, z0, x1, y1, z1\] with x0 < x1"):
        BoxCoder(wrong)


def test_the_inverse_sigmoid_is_clamped() -> None:
    found = inverse_sigmoid(torch.tensor([-1.0, 0, 0.3, 1, 2]))
    edge = math.log(1e-5)
    torch.testing.assert_close(found, torch.tensor([edge, edge, math.log(0.3 / 0.7), -edge, -edge]), rtol=1e-5, atol=0)
