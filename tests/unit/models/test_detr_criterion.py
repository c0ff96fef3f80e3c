from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.models.detr.criterion import DETRCriterion, DETRLossOptions, sigmoid_focal_loss
from lab.structures import DetectionTargets
from lab.training.terms import divided

LAYERS, QUERIES, CLASSES = 3, 5, 4
SIZES = [[32.0, 48.0], [40, 40], [64, 48], [10, 20]]
COUNTS = (2, 0, 7, 1)  # an image without boxes, and one with more boxes than queries


def scene(counts: tuple[int, ...] = COUNTS, classes: int = CLASSES + 1, groups: int = 1) -> tuple[Tensor, Tensor, Any]:
    random = np.random.RandomState(1)
    images, total = len(counts), sum(counts)
    logits = torch.from_numpy(random.standard_normal((LAYERS, images, groups * QUERIES, classes))).float()
    center, size = random.rand(2, LAYERS, images, groups * QUERIES, 2)
    boxes = torch.from_numpy(np.concatenate((center, 0.1 + 0.3 * size), -1)).float()
    corner = torch.from_numpy(random.rand(total, 2)).float() * 8
    target = torch.cat((corner, corner + 1 + torch.from_numpy(random.rand(total, 2)).float() * 8), 1)
    labels = torch.from_numpy(random.randint(CLASSES, size=total))
    return logits, boxes, DetectionTargets(target, labels, counts, torch.tensor(SIZES[:images]))


def part(targets: DetectionTargets, start: int, stop: int) -> DetectionTargets:
    first, last = sum(targets.counts[:start]), sum(targets.counts[:stop])
    return DetectionTargets(
        targets.boxes[first:last], targets.labels[first:last], targets.counts[start:stop], targets.sizes[start:stop]
    )


def official(logits: Tensor, boxes: Tensor, targets: DetectionTargets, focal: bool) -> list[Tensor]:
    """The loss of one layer as the papers write it, image by image, with torchvision and scipy."""
    ops = pytest.importorskip("torchvision").ops
    from scipy.optimize import linear_sum_assignment

    classes = torch.full(logits.shape[:2], CLASSES)
    box_sum, giou_sum = torch.zeros(()), torch.zeros(())
    for index in range(len(targets.counts)):
        own = part(targets, index, index + 1)
        height, width = own.sizes[0]
        target = ops.box_convert(own.boxes, "xyxy", "cxcywh") / torch.tensor([width, height, width, height])
        corners = [ops.box_convert(item, "cxcywh", "xyxy") for item in (boxes[index], target)]
        giou = ops.generalized_box_iou(corners[0], corners[1])
        if focal:
            p = logits[index].sigmoid()
            by_class = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log() - 0.75 * p**2 * -(1 - p + 1e-8).log()
            cost = 2 * by_class[:, own.labels]
        else:
            cost = -logits[index].softmax(-1)[:, own.labels]
        cost = cost + 5 * torch.cdist(boxes[index], target, p=1) - 2 * giou
        rows, columns = linear_sum_assignment(cost.numpy())
        classes[index, rows] = own.labels[columns]
        box_sum += F.l1_loss(boxes[index, rows], target[columns], reduction="sum")
        giou_sum += (1 - giou[rows, columns]).sum()
    num_boxes = max(sum(targets.counts), 1)
    if focal:
        one_hot = F.one_hot(classes, CLASSES + 1)[..., :-1].float()
        class_loss = 2 * ops.sigmoid_focal_loss(logits, one_hot, 0.25, 2.0, reduction="sum") / num_boxes
    else:
        weight = torch.tensor([1.0] * CLASSES + [0.1])
        class_loss = F.cross_entropy(logits.transpose(1, 2), classes, weight)
    return [class_loss, 5 * box_sum / num_boxes, 2 * giou_sum / num_boxes]


def criterion(focal: bool = False) -> DETRCriterion:
    if not focal:
        return DETRCriterion(QUERIES, CLASSES)
    return DETRCriterion(QUERIES, CLASSES, "sigmoid_focal", DETRLossOptions(cost_class=2.0, class_loss_weight=2.0))


def terms_of(loss: DETRCriterion, logits: Tensor, boxes: Tensor, targets: DetectionTargets, **more: Any) -> Any:
    """The terms of a batch that is a part of nothing."""
    return divided(loss(logits, boxes, targets, **more), loss.totals(targets))


NAMES = ("loss_ce", "loss_bbox", "loss_giou")


@pytest.mark.parametrize("focal", [False, True])
@pytest.mark.parametrize("counts", [COUNTS, (1, 3), (0, 0)])
def test_every_term_of_every_layer(focal: bool, counts: tuple[int, ...]) -> None:
    logits, boxes, targets = scene(counts, CLASSES + (not focal))
    terms = terms_of(criterion(focal), logits, boxes, targets)
    assert set(terms) == {*NAMES, *(f"{name}_{layer}" for name in NAMES for layer in range(LAYERS - 1))}
    for layer in range(LAYERS):
        suffix = f"_{layer}" if layer < LAYERS - 1 else ""
        got = torch.stack([terms[name + suffix] for name in NAMES])
        # worst measured: 2e-7 relative
        torch.testing.assert_close(
            got, torch.stack(official(logits[layer], boxes[layer], targets, focal)), rtol=2e-6, atol=1e-6
        )


def test_class_term_by_hand() -> None:
    """One image, one box, two queries, uniform logits: -ln(1/5) whatever the weights, as it is a weighted mean."""
    logits, boxes = torch.zeros(1, 1, 2, 5), torch.tensor([[[[0.5, 0.5, 1, 1], [0.1, 0.1, 0.1, 0.1]]]])
    targets = DetectionTargets(torch.tensor([[0.0, 0, 8, 6]]), torch.tensor([2]), (1,), torch.tensor([[6.0, 8]]))
    loss = DETRCriterion(num_queries=2, num_classes=4)
    assert loss.totals(targets) == {"num_boxes": 1.0, "class_weight": pytest.approx(1.1)}
    terms = terms_of(loss, logits, boxes, targets)
    assert terms["loss_ce"].item() == pytest.approx(math.log(5))
    assert terms["loss_bbox"].item() == terms["loss_giou"].item() == 0
    # Raise no-object of the matched query to logit ln 6: its class then has probability 1 in 10.
    logits[0, 0, 0, 4] = math.log(6)
    assert terms_of(loss, logits, boxes, targets)["loss_ce"].item() == pytest.approx(
        (math.log(10) + 0.1 * math.log(5)) / 1.1
    )


@pytest.mark.parametrize("focal", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_two_micro_batches_are_the_whole_batch(focal: bool, cut: int) -> None:
    logits, boxes, targets = scene(classes=CLASSES + (not focal))
    loss = criterion(focal)
    halves = [(slice(0, cut), part(targets, 0, cut)), (slice(cut, None), part(targets, cut, len(COUNTS)))]
    shares = [loss.totals(target) for _, target in halves]
    totals = {name: sum(share[name] for share in shares) for name in shares[0]}
    assert totals == pytest.approx(loss.totals(targets))
    summed = [divided(loss(logits[:, images], boxes[:, images], target), totals) for images, target in halves]
    for name, whole in terms_of(loss, logits, boxes, targets).items():
        torch.testing.assert_close(summed[0][name] + summed[1][name], whole)


@pytest.mark.parametrize("focal", [False, True])
def test_groups_are_averaged(focal: bool) -> None:
    logits, boxes, targets = scene(classes=CLASSES + (not focal), groups=2)
    loss = criterion(focal)
    halves = (slice(QUERIES), slice(QUERIES, None))
    alone = [terms_of(loss, logits[:, :, item], boxes[:, :, item], targets) for item in halves]
    for name, both in terms_of(loss, logits, boxes, targets, num_groups=2).items():
        torch.testing.assert_close(both, (alone[0][name] + alone[1][name]) / 2)


def test_images_without_boxes_still_teach_the_classifier() -> None:
    logits, boxes, targets = scene((0, 0))
    logits.requires_grad_()
    terms = terms_of(criterion(), logits, boxes, targets)
    sum(terms.values()).backward()
    assert terms["loss_bbox"].item() == 0
    assert (logits.grad.abs().sum(-1) > 0).all()


def test_focal_loss_equals_torchvision() -> None:
    ops = pytest.importorskip("torchvision").ops
    logits = torch.linspace(-6, 6, 24).reshape(4, 6)
    target = (torch.arange(24).reshape(4, 6) % 3 == 0).float()
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, target, 0.25, 2.0), ops.sigmoid_focal_loss(logits, target, 0.25, 2.0)
    )


def test_half_precision_outputs_are_compared_in_float32() -> None:
    logits, boxes, targets = scene()
    half = terms_of(criterion(), logits.bfloat16(), boxes.bfloat16(), targets)
    assert all(term.dtype == torch.float32 for term in half.values())
    expected = terms_of(criterion(), logits.bfloat16().float(), boxes.bfloat16().float(), targets)
    for name, term in half.items():
        torch.testing.assert_close(term, expected[name], rtol=0, atol=0)
