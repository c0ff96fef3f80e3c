"""Batches: what is padded, what is packed, what is refused."""

from __future__ import annotations

import pytest
import torch

from lab.data.images.padding import pad_images
from lab.structures import DetectionSample, DetectionTruth
from lab.tasks.detection.data.collate import collate_detection


def make_sample(height: int, width: int, num_boxes: int, image_id: int, with_truth: bool = False) -> DetectionSample:
    boxes = torch.arange(4 * num_boxes, dtype=torch.float32).reshape(num_boxes, 4)
    truth = None
    if with_truth:
        truth = DetectionTruth(
            boxes=2 * boxes,
            labels=torch.full((num_boxes,), image_id),
            iscrowd=torch.zeros(num_boxes, dtype=torch.bool),
            area=torch.full((num_boxes,), 7.0),
            counts=(num_boxes,),
        )
    return DetectionSample(
        image=torch.full((3, height, width), 9, dtype=torch.uint8),
        boxes=boxes,
        labels=torch.arange(num_boxes),
        image_id=image_id,
        original_size=(2 * height, 2 * width),
        truth=truth,
    )


@pytest.mark.parametrize("widths", [(6, 6), (6, 5)])
def test_a_batch_is_contiguous_where_samples_have_their_channels_last(widths):
    images = [torch.arange(4 * width * 3, dtype=torch.uint8).view(4, width, 3).permute(2, 0, 1) for width in widths]
    stack, _ = pad_images(images)
    assert stack.is_contiguous()
    assert all(torch.equal(row[:, :, : image.shape[2]], image) for row, image in zip(stack, images, strict=True))


def test_equal_sizes_have_no_mask():
    batch = collate_detection([make_sample(4, 6, 1, 10), make_sample(4, 6, 0, 11)])
    assert batch.padding_mask is None
    assert batch.images.shape == (2, 3, 4, 6)
    assert batch.images.dtype == torch.uint8
    assert batch.truth is None
    assert batch.valid.tolist() == [True, True]


def test_padding_stands_right_and_below():
    batch = collate_detection([make_sample(2, 5, 2, 10), make_sample(4, 3, 1, 11)])
    assert batch.images.shape == (2, 3, 4, 5)
    assert batch.images[0, :, :2, :].unique().tolist() == [9]
    assert batch.images[0, :, 2:, :].unique().tolist() == [0]
    assert batch.images[1, :, :, 3:].unique().tolist() == [0]
    assert batch.padding_mask is not None
    assert batch.padding_mask[0].tolist() == [[False] * 5] * 2 + [[True] * 5] * 2
    assert batch.padding_mask[1].tolist() == [[False, False, False, True, True]] * 4


def test_targets_are_packed():
    batch = collate_detection([make_sample(2, 5, 2, 10), make_sample(4, 3, 0, 11), make_sample(4, 3, 1, 12)])
    assert batch.targets.counts == (2, 0, 1)
    assert batch.targets.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert batch.targets.labels.tolist() == [0, 1, 0]
    assert batch.targets.sizes.tolist() == [[2, 5], [4, 3], [4, 3]]
    assert batch.image_ids.tolist() == [10, 11, 12]
    assert batch.original_sizes.tolist() == [[4, 10], [8, 6], [8, 6]]
    assert batch.original_sizes.dtype == torch.int64


def test_truth_is_packed():
    batch = collate_detection([make_sample(2, 5, 2, 10, True), make_sample(4, 3, 0, 11, True)])
    assert batch.truth is not None
    assert batch.truth.counts == (2, 0)
    assert batch.truth.boxes.tolist() == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert batch.truth.labels.tolist() == [10, 10]


def test_mixed_truth_and_empty_batches_are_refused():
    with pytest.raises(ValueError, match="1 of 2 samples carry no truth"):
        collate_detection([make_sample(2, 5, 2, 10, True), make_sample(4, 3, 0, 11)])
    with pytest.raises(ValueError, match="at least one"):
        collate_detection([])
