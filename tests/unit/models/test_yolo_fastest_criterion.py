"""YOLO-FastestV2's loss against loops over boxes, anchors and cells, torchvision's CIoU and numbers by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss

from lab.errors import ConfigError
from lab.models.yolo_fastest.criterion import LOSS_OPTIONS, YoloLossOptions, YoloTargeting, complete_iou
from lab.models.yolo_fastest.network import COCO_ANCHORS, YoloFastestV2
from lab.ops.boxes import box_cxcywh_to_xyxy
from lab.structures import DetectionTargets
from lab.training.terms import batch_terms, divided

K, SIZE = 5, (96, 128)


def maps(seed: int = 0, batch: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(channels, SIZE[0] // stride, SIZE[1] // stride) for stride in (16, 32) for channels in (12, 3, K)]
    return [torch.randn(batch, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


def targets() -> DetectionTargets:
    """Boxes of several sizes, one at a corner, one in mid-cell, one that no anchor matches; none in one image."""
    boxes = [[10.0, 12, 25, 34], [5, 20, 115, 90], [88, 60, 128, 96], [3, 3, 5, 90], [33.0, 9, 47, 23]]
    labels = torch.tensor([0, 4, 2, 1, 0])
    return DetectionTargets(torch.tensor(boxes), labels, (3, 0, 2), torch.tensor([SIZE] * 3, dtype=torch.float32))


def by_loops(
    parts: list[Tensor], wanted: DetectionTargets, options: YoloLossOptions, sigmoid: bool
) -> dict[str, float]:
    """Return the terms as the module's docstring describes them."""
    image_of = [image for image, count in enumerate(wanted.counts) for _ in range(count)]
    box_sum = obj_sum = cls_sum = 0.0
    for scale, stride in enumerate((16, 32)):
        reg, obj, cls = parts[3 * scale : 3 * scale + 3]
        height, width = obj.shape[-2:]
        target = torch.zeros_like(obj)
        for image, box, label in zip(image_of, wanted.boxes.tolist(), wanted.labels.tolist(), strict=True):
            cx, cy = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
            w, h = (box[2] - box[0]) / stride, (box[3] - box[1]) / stride
            cells = [(int(cx), int(cy))]
            if options.neighbour_cells:
                cells += [(int(cx) - 1, int(cy))] if cx % 1 < 0.5 and cx > 1 else []
                cells += [(int(cx), int(cy) - 1)] if cy % 1 < 0.5 and cy > 1 else []
                cells += [(int(cx + 0.5), int(cy))] if (width - cx) % 1 < 0.5 and width - cx > 1 else []
                cells += [(int(cx), int(cy + 0.5))] if (height - cy) % 1 < 0.5 and height - cy > 1 else []
            box_losses, cls_losses = [], []
            for anchor, (x, y) in itertools.product(range(3), cells):
                aw, ah = (COCO_ANCHORS[6 * scale + 2 * anchor + axis] / stride for axis in (0, 1))
                if max(w / aw, aw / w, h / ah, ah / h) >= options.match_ratio:
                    continue
                target[image, anchor, y, x] = 1.0
                tx, ty, tw, th = reg[image, 4 * anchor : 4 * anchor + 4, y, x].sigmoid() * 2
                found = torch.stack((tx - 0.5 + x, ty - 0.5 + y, tw**2 * aw, th**2 * ah))
                pair = [box_cxcywh_to_xyxy(part) for part in (found, found.new_tensor([cx, cy, w, h]))]
                overlap = complete_box_iou_loss if options.box_loss == "ciou" else generalized_box_iou_loss
                box_losses.append(float(overlap(*pair)))
                logits = cls[image, :, y, x]
                if sigmoid:
                    one = F.one_hot(torch.tensor(label), K).double()
                    cls_losses.append(float(F.binary_cross_entropy_with_logits(logits, one)))
                else:
                    cls_losses.append(float(F.cross_entropy(logits, torch.tensor(label))) / K)
            box_sum += sum(box_losses) / max(1, len(box_losses))
            cls_sum += sum(cls_losses) / max(1, len(cls_losses))
        mean = F.binary_cross_entropy_with_logits(obj, target)
        obj_sum += float(mean) * options.objectness_balance[scale]
    boxes = len(wanted.boxes)
    return {
        "loss_box": box_sum / boxes * options.box_loss_weight,
        "loss_objectness": obj_sum * options.objectness_weight,
        "loss_class": cls_sum / boxes * options.class_loss_weight,
    }


def terms(parts: list[Tensor], wanted: DetectionTargets, options: YoloLossOptions, kind: str) -> dict[str, float]:
    loss = YoloTargeting((16, 32), COCO_ANCHORS, kind, options)
    return {name: float(value) for name, value in divided(loss(parts, wanted), loss.totals(wanted)).items()}


CASES: list[dict[str, Any]] = [
    {},
    {"match_ratio": 4.0, "objectness_balance": (4.0, 1.0)},
    {"neighbour_cells": False, "box_loss": "giou"},
]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("case", CASES, ids=["published", "wide", "plain"])
def test_terms_equal_loops(case: dict[str, Any], kind: str) -> None:
    options = replace(LOSS_OPTIONS, **case)
    expected = by_loops(maps(), targets(), options, kind == "sigmoid")
    assert min(expected.values()) > 0.1
    assert terms(maps(), targets(), options, kind) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", [*CASES[1:], {"box_loss_weight": 3.3}], ids=["ratio", "cells", "weight"])
def test_the_comparison_sees_mutants(case: dict[str, Any]) -> None:
    expected = by_loops(maps(), targets(), LOSS_OPTIONS, False)
    found = terms(maps(), targets(), replace(LOSS_OPTIONS, **case), "softmax")
    assert found != pytest.approx(expected, rel=1e-3)


def test_one_box_by_hand() -> None:
    """A box as large as the second anchor of stride 16, in the middle of its cell: no neighbour, one match."""
    anchors = (12, 20, 36, 52, 56, 140, 128, 80, 132, 216, 280, 260)  # exact in float32
    box = torch.tensor([[22.0, 14, 58, 66]])
    wanted = DetectionTargets(box, torch.tensor([3]), (1,), torch.tensor([[96.0, 128.0]]))
    parts = [torch.zeros_like(part) for part in maps(batch=1)]  # centre 0.5, twice a half: exactly the anchor
    options = replace(LOSS_OPTIONS, match_ratio=1.2)
    loss = YoloTargeting((16, 32), anchors, "softmax", options)
    found = {name: float(value) for name, value in divided(loss(parts, wanted), loss.totals(wanted)).items()}
    # Every logit is 0: objectness costs log 2 in each cell, the classes log 5 / 5, and the box nothing.
    assert found["loss_box"] == pytest.approx(0, abs=1e-5)
    assert found["loss_class"] == pytest.approx(32 * math.log(5) / 5)
    assert found["loss_objectness"] == pytest.approx(64 * 1.4 * math.log(2))


def test_the_loss_does_not_depend_on_how_a_batch_is_split() -> None:
    loss = YoloTargeting((16, 32), COCO_ANCHORS, "softmax", LOSS_OPTIONS)
    whole, totals = divided(loss(maps(), targets()), loss.totals(targets())), loss.totals(targets())
    parts = [slice(0, 1), slice(1, 3)]
    split = [divided(loss([part[rows] for part in maps()], targets().rows(rows)), totals) for rows in parts]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(part[name]) for part in split))


def test_no_boxes_and_gradients() -> None:
    parts = [part.requires_grad_() for part in maps()]
    loss = YoloTargeting((16, 32), COCO_ANCHORS, "softmax", LOSS_OPTIONS)
    empty = DetectionTargets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (0, 0, 0), torch.full((3, 2), 96.0))
    found = divided(loss(parts, empty), loss.totals(empty))
    assert found["loss_box"].item() == found["loss_class"].item() == 0
    assert found["loss_objectness"].item() > 0
    sum(divided(loss(parts, targets()), loss.totals(targets())).values()).backward()
    assert all(part.grad is not None and part.grad.isfinite().all() and part.grad.any() for part in parts)


DEGENERATE = {
    "no_width": [20.0, 20, 20, 60],
    "turned_round": [60.0, 60, 20, 20],
    "a_millionth": [20.0, 20, 20.000001, 20.000001],
    "outside": [-90.0, -90, -60, -40],
    "at_the_far_edge": [100.0, 70, 156, 122],
    "all_of_it": [0.0, 0, 128, 96],
    "nan": [math.nan, 0, 20, 30],
}


@pytest.mark.parametrize("kind", ["ciou", "giou"])
def test_degenerate_boxes_give_no_nan(kind: str) -> None:
    """Alone, together and hundreds of times, also where the network is sure of boxes without an area."""
    loss = YoloTargeting((16, 32), COCO_ANCHORS, "softmax", replace(LOSS_OPTIONS, box_loss=kind))
    rows = list(DEGENERATE.values())
    for boxes in (*([row] for row in rows), rows * 100):
        count = len(boxes)
        wanted = DetectionTargets(
            torch.tensor(boxes), torch.arange(count) % K, (count,), torch.tensor([SIZE], dtype=torch.float32)
        )
        for low in (False, True):
            parts = [part.float().requires_grad_() for part in maps(batch=1)]
            with torch.no_grad():
                parts[0].sub_(200.0 if low else 0.0)  # sides of 0
            found = divided(loss(parts, wanted), loss.totals(wanted))
            assert all(value.isfinite() for value in found.values()), (boxes[0], found)
            sum(found.values()).backward()
            assert all(part.grad is None or part.grad.isfinite().all() for part in parts), boxes[0]


def test_complete_iou_equals_torchvision() -> None:
    boxes = torch.rand(2, 50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    boxes.requires_grad_()
    found = 1 - complete_iou(boxes[0], boxes[1])
    expected = complete_box_iou_loss(*map(box_cxcywh_to_xyxy, boxes))
    assert torch.allclose(found, expected, atol=1e-6)
    (ours,), (theirs,) = (torch.autograd.grad(value.sum(), boxes, retain_graph=True) for value in (found, expected))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_network_learns_one_image() -> None:
    torch.manual_seed(0)
    net = YoloFastestV2(num_classes=K, norm="group_norm")
    images = torch.rand(1, 3, *SIZE)
    wanted = targets().rows(slice(0, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = sum(batch_terms(net, net(images), wanted).values())
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="anchors: 4 numbers"):
        YoloFastestV2(anchors=(1.0, 2.0, 3.0, 4.0))
    with pytest.raises(ConfigError, match="anchors"):
        YoloFastestV2(anchors=(0.0,) * 12)
    with pytest.raises(ConfigError, match="classification='focal'"):
        YoloFastestV2(classification="focal")
