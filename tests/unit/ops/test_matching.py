from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lab.ops.matching import assign, match, pairwise_costs

LAYERS, IMAGES, QUERIES, CLASSES = 2, 4, 5, 3
COUNTS = (2, 0, 7, 1)  # an image without boxes, and one with more boxes than queries


def scene() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    random = np.random.RandomState(0)
    total = sum(COUNTS)

    def boxes(*shape: int) -> Tensor:
        return torch.from_numpy(
            np.concatenate([random.rand(*shape, 2), 0.1 + 0.3 * random.rand(*shape, 2)], -1)
        ).float()

    logits = torch.from_numpy(random.standard_normal((LAYERS, IMAGES, QUERIES, CLASSES + 1))).float()
    labels = torch.from_numpy(random.randint(CLASSES, size=total))
    image = torch.repeat_interleave(torch.tensor(COUNTS))
    return logits, boxes(LAYERS, IMAGES, QUERIES), labels, boxes(total), image


def test_costs_equal_the_definition() -> None:
    """Section 3.1 of the paper with torchvision's GIoU and torch.cdist, one image at a time."""
    ops = pytest.importorskip("torchvision").ops
    logits, boxes, labels, target_boxes, image = scene()
    costs = pairwise_costs(-logits.softmax(-1), boxes, labels, target_boxes, image, 1.0, 5.0, 2.0)
    assert costs.shape == (sum(COUNTS), LAYERS, QUERIES)
    for layer in range(LAYERS):
        for index in range(IMAGES):
            own = image == index
            predicted, target = boxes[layer, index], target_boxes[own]
            giou = ops.generalized_box_iou(
                ops.box_convert(predicted, "cxcywh", "xyxy"), ops.box_convert(target, "cxcywh", "xyxy")
            )
            expected = (
                -logits[layer, index].softmax(-1)[:, labels[own]] + 5 * torch.cdist(predicted, target, p=1) - 2 * giou
            )
            torch.testing.assert_close(costs[own, layer].T, expected)


def test_assignment_equals_scipy_image_by_image() -> None:
    logits, boxes, labels, target_boxes, image = scene()
    costs = pairwise_costs(-logits.softmax(-1), boxes, labels, target_boxes, image)
    ((images, queries, matched_boxes),) = match(costs, counts=COUNTS)
    assert images.shape == (LAYERS, 2 + 0 + QUERIES + 1)
    for layer in range(LAYERS):
        for index in range(IMAGES):
            own = np.flatnonzero(image == index)
            rows, columns = linear_sum_assignment(costs[own, layer].T.numpy())
            here = images[layer] == index
            got = set(zip(queries[layer, here].tolist(), matched_boxes[layer, here].tolist(), strict=True))
            assert got == set(zip(rows.tolist(), own[columns].tolist(), strict=True))


def test_assignment_by_hand() -> None:
    # Greedy would give box 0 its best query 0 and end with 1 + 9; the optimum is 2 + 3.
    costs = np.array([[[1.0, 2.0]], [[3.0, 9.0]]], dtype=np.float32)
    image, query, box = assign(costs, (2,))
    assert (image.tolist(), query.tolist(), box.tolist()) == ([[0, 0]], [[1, 0]], [[0, 1]])


def test_no_boxes_at_all() -> None:
    assert assign(np.zeros((0, LAYERS, QUERIES), dtype=np.float32), (0, 0)).shape == (3, LAYERS, 0)


def test_nan_is_matched_and_left_to_the_loss() -> None:
    costs = np.full((2, 1, 3), np.nan, dtype=np.float32)
    assert sorted(assign(costs, (2,))[2][0].tolist()) == [0, 1]
    assert np.isnan(costs).all()  # the caller's array is not changed
