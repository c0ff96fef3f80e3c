from __future__ import annotations

import pytest
import torch

from lab.ops.boxes import (
    box_area,
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    generalized_box_iou,
    image_index,
    in_originals,
    normalize_boxes,
    paired_generalized_iou,
    reach_into,
)

A = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 8], [10, 10, 12, 11]])
B = torch.tensor([[2.0, 2, 4, 4], [1, 0, 5, 4]])


def test_by_hand() -> None:
    assert box_area(A).tolist() == [16, 24, 2]
    assert box_xyxy_to_cxcywh(A)[1].tolist() == [4, 5, 4, 6]
    # [0 0 4 4] and [1 0 5 4]: intersection 12, union 20, hull 20. With [2 2 6 8] and [2 2 4 4]: 4 of 24, hull 24.
    assert box_iou(A, B)[0].tolist() == pytest.approx([4 / 16, 12 / 20])
    assert generalized_box_iou(A, B)[0, 1].item() == pytest.approx(0.6)
    assert generalized_box_iou(A, B)[1, 0].item() == pytest.approx(4 / 24)
    # [10 10 12 11] and [2 2 4 4] are apart: union 6, hull 10 x 9.
    assert generalized_box_iou(A, B)[2, 0].item() == pytest.approx(-84 / 90)


def test_equals_torchvision() -> None:
    tv = pytest.importorskip("torchvision").ops
    points = torch.sin(torch.arange(400.0)).reshape(50, 2, 4) * 20
    low, high = points[..., :2].minimum(points[..., 2:]), points[..., :2].maximum(points[..., 2:])
    first, second = torch.cat((low, high + 1), -1).unbind(1)
    torch.testing.assert_close(box_iou(first, second), tv.box_iou(first, second))
    torch.testing.assert_close(generalized_box_iou(first, second), tv.generalized_box_iou(first, second))
    torch.testing.assert_close(paired_generalized_iou(first, second), tv.generalized_box_iou(first, second).diagonal())
    converted = tv.box_convert(first, "xyxy", "cxcywh")
    torch.testing.assert_close(box_xyxy_to_cxcywh(first), converted)
    torch.testing.assert_close(box_cxcywh_to_xyxy(converted), first)


def test_packed_boxes_are_normalised_by_their_own_image() -> None:
    image = image_index((1, 0, 2), "cpu")
    assert image.tolist() == [0, 2, 2]
    sizes = torch.tensor([[8.0, 16.0], [1, 1], [10, 20]])
    boxes = normalize_boxes(torch.tensor([[0.0, 0, 16, 8], [0, 0, 10, 10], [10, 5, 20, 10]]), sizes, image)
    expected = [[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1], [0.75, 0.75, 0.5, 0.5]]
    torch.testing.assert_close(boxes, torch.tensor(expected))


def test_nothing_to_do() -> None:
    assert image_index((0, 0), "cpu").shape == (0,)
    assert box_iou(A, A[:0]).shape == (3, 0)


def test_boxes_in_the_images_that_came_in() -> None:
    boxes = torch.tensor([[[-2.0, 1, 6, 9], [4, 4, 5, 5]]])
    sizes, originals = torch.tensor([[8.0, 4]]), torch.tensor([[16, 12]])
    assert in_originals(boxes, sizes, originals, clip=False)[0, 0].tolist() == [-6, 2, 18, 18]
    assert in_originals(boxes, sizes, originals, clip=True)[0, 0].tolist() == [0, 2, 12, 16]
    assert reach_into(boxes, sizes).tolist() == [[True, False]]  # the second one begins at the edge
