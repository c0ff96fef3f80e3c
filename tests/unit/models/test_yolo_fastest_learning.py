"""YOLO-FastestV2 learns two images by heart: network, loss, decoding and suppression agree about where a box is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lab
from lab.ops.boxes import box_iou
from lab.structures import DetectionTargets

BOXES = torch.tensor([[8.0, 8, 32, 40], [52, 50, 80, 66], [40, 10, 70, 34]])
COLOURS = 0.7 * torch.eye(3)
ANCHORS = [12.0, 12, 16, 24, 24, 16, 24, 24, 32, 24, 24, 32]
SIZE = torch.full((2, 2), 96.0)


@pytest.fixture(scope="module")
def learnt() -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and labels after 80 steps on two images of three rectangles, which differ by colour."""
    labels = torch.stack([torch.arange(3), torch.arange(3).roll(1)])
    images = 0.2 * torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for image, of_image in zip(images, labels, strict=True):
        for (left, top, right, bottom), label in zip(BOXES.int().tolist(), of_image.tolist(), strict=True):
            image[:, top:bottom, left:right] += COLOURS[label, :, None, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = lab.create_model("yolo_fastest_v2", num_classes=3, anchors=ANCHORS).train()
    targets = DetectionTargets(BOXES.repeat(2, 1), labels.flatten(), (3, 3), SIZE)
    totals = net.totals(targets)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(80):
        terms = net.loss(net(images, None), targets)
        optimizer.zero_grad()
        sum(term.sum / totals[term.normalizer] for term in terms.values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = net.eval().predict(net(images, None), SIZE)
    return found.boxes, found.scores, found.labels


@pytest.mark.parametrize("image", [0, 1])
def test_each_object_is_found(learnt, image):
    boxes, scores, labels = (part[image] for part in learnt)
    right = (scores > 0.5)[:, None] & (labels[:, None] == (torch.arange(3) - image) % 3)
    assert (box_iou(boxes, BOXES) * right).amax(dim=0).min() > 0.5  # worst measured: 0.64
