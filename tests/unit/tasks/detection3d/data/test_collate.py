"""Batches of frames: padding, packing, black pictures."""

from __future__ import annotations

import pytest
import torch

from lab.tasks.detection3d.data.collate import collate_multiview, draw_chances
from tests.unit.tasks.detection3d.makers import make_sample


def test_frames_are_padded_to_a_multiple_and_boxes_packed() -> None:
    samples = [make_sample(0, boxes=1), make_sample(1, boxes=3, size=(40, 50))]
    batch = collate_multiview(samples, divisor=16)
    assert batch.images.shape == (2, 2, 3, 48, 64)
    assert batch.image_sizes.tolist() == [[30, 60], [40, 50]]
    assert (batch.images[1, ..., :40, :50] == samples[1].images).all()
    assert int(batch.images[0, ..., 30:, :].sum()) + int(batch.images[0, ..., 60:].sum()) == 0
    assert batch.targets.counts == (1, 3)
    assert batch.tokens == ("frame-0", "frame-1")
    part = batch.rows(slice(1, 2))
    assert part.truth is not None
    assert part.truth.boxes.shape == part.targets.boxes.shape == (3, 9)
    assert (part.projections.dtype, part.rig_to_ego.dtype) == (torch.float32, torch.float64)


def test_black_pictures_keep_their_boxes() -> None:
    batch = collate_multiview([make_sample(0), make_sample(1)], black=True)
    assert not batch.images.any()
    assert batch.images.shape == (2, 2, 3, 32, 64)
    assert batch.targets.counts == (2, 2)


def test_truth_and_chances_are_of_all_frames_or_of_none() -> None:
    with pytest.raises(ValueError, match="1 of 2 samples carry no truth"):
        collate_multiview([make_sample(0), make_sample(1, train=True)])
    assert draw_chances(torch.Generator().manual_seed(0), 6).shape == (4 + 11 * 6,)
