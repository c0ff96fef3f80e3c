"""Samples for trackers: each kind's layers and columns, against what is known of the batch."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.structures import (
    DetectionBatch,
    DetectionPredictions,
    DetectionTargets,
    ImageBatch,
    SegmentationBatch,
    SegmentationTargets,
)
from lab.structures.classification import ClassificationBatch, ClassificationTargets
from lab.tasks.audio.media import audio_media
from lab.tasks.classification.media import classification_media
from lab.tasks.detection.media import LOWEST, detection_media
from lab.tasks.detection3d.media import frame_media
from lab.tasks.operator_learning.media import field_media
from lab.tasks.segmentation.media import segmentation_media
from lab.training.spec import task_names, task_spec
from tests.unit.tasks.audio import makers as audio
from tests.unit.tasks.detection3d import makers as detection3d
from tests.unit.tasks.operator_learning import makers as operators

VALID = torch.tensor([True, False, True])
SIZES = torch.tensor([[8.0, 6.0], [8.0, 8.0], [4.0, 8.0]])


def batch_fields() -> dict[str, Any]:
    """Three images of 8 x 8, the second of which only pads the batch; image n has the level n."""
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 8, 8).clone()
    return {
        "images": images,
        "padding_mask": None,
        "image_ids": torch.arange(3),
        "original_sizes": SIZES.long() * 10,
        "valid": VALID,
    }


def test_boxes_of_detections() -> None:
    """A detector that finds in each image its true box with a score of 0.9, and noise below what is kept."""
    boxes = torch.tensor([[0.0, 1.0, 5.0, 6.0], [1.0, 1.0, 2.0, 2.0], [2.0, 0.0, 7.0, 4.0]])
    targets = DetectionTargets(boxes[[0, 2]], torch.tensor([1, 2]), (1, 0, 1), SIZES)
    batch = DetectionBatch(targets=targets, **batch_fields())
    found = DetectionPredictions(
        boxes[:, None].repeat(1, 2, 1), torch.tensor([[0.9, LOWEST / 2]] * 3), torch.tensor([[1, 0]] * 3)
    )
    assert found.scores.shape == (3, 2)
    given: list[Tensor] = []
    net = SimpleNamespace(predict=lambda outputs, sizes: (given.append(sizes), found)[1])
    samples = list(detection_media(SimpleNamespace(net=net), None, batch, 5))
    assert torch.equal(given[0], SIZES)  # in pixels of the pictures, not of the stored images
    assert [sample.picture.size for sample in samples] == [(6, 8), (8, 4)]
    assert samples[1].picture.getpixel((0, 0)) == (2, 2, 2)
    for sample, row, label in zip(samples, (0, 2), (1, 2), strict=True):
        (truth,), (prediction,) = sample.boxes["truth"], sample.boxes["prediction"]
        assert (truth.xyxy, truth.label, truth.score) == (tuple(boxes[row].tolist()), label, None)
        assert (prediction.xyxy, prediction.label) == (truth.xyxy, 1)
        assert prediction.score == pytest.approx(0.9)
    assert len(list(detection_media(SimpleNamespace(net=net), None, batch, 1))) == 1


def test_masks_of_segmentations() -> None:
    segments = torch.zeros(3, 8, 8, dtype=torch.int16)
    segments[:, :, 3:] = -1
    targets = SegmentationTargets(segments, torch.tensor([4, 0, 7]), (1, 1, 1), (0, 0, 0), SIZES)
    batch: SegmentationBatch = ImageBatch(targets=targets, **batch_fields())
    maps = [torch.full((int(height), int(width)), 5) for height, width in SIZES.tolist()]
    net = SimpleNamespace(semantic=lambda outputs, sizes, original: maps)
    samples = list(segmentation_media(SimpleNamespace(net=net), None, batch, 5))
    assert [sample.masks["truth"].shape for sample in samples] == [(8, 6), (4, 8)]
    for sample, label in zip(samples, (4, 7), strict=True):
        truth = sample.masks["truth"]
        assert np.unique(truth[:, :3]).tolist() == [label]
        assert np.unique(truth[:, 3:]).tolist() == [-1]
        assert np.unique(sample.masks["prediction"]).tolist() == [5]


def test_scores_of_classifications() -> None:
    outputs = torch.tensor([[2.0, 1.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    names = ("cat", "dog", "bird")
    batch = ClassificationBatch(targets=ClassificationTargets(torch.tensor([1, 0, 2])), **batch_fields())
    task: Any = SimpleNamespace(scores=lambda logits: logits.softmax(1), class_names=names)
    task.spec, task.threshold = SimpleNamespace(multilabel=False), 0.5
    samples = list(classification_media(task, outputs, batch, 5))
    assert [sample.caption for sample in samples] == ["cat 0.67 (true: dog)", "bird 0.58"]
    assert samples[0].values["highest"] == "cat 0.665, dog 0.245, bird 0.090"  # exp(-n) / (1 + exp(-1) + exp(-2))
    assert [sample.values["right"] for sample in samples] == [False, True]
    task.scores, task.spec = torch.sigmoid, SimpleNamespace(multilabel=True)
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    batch = replace(batch, targets=ClassificationTargets(labels))
    samples = list(classification_media(task, outputs, batch, 1))
    assert dict(samples[0].values) == {"truth": "cat, dog", "prediction": "cat, dog", "right": True}


def test_what_is_drawn_and_heard() -> None:
    task, batch = audio.make_task(), audio.make_batch([0, 2, 1], [160, 80, 240])
    with torch.no_grad():
        sounds = list(audio_media(task, task(batch), batch, 2))
    assert [sample.sound[:4] for sample in sounds] == [b"RIFF"] * 2
    assert all(sample.caption for sample in sounds)
    fields, states = operators.make_task(), operators.make_batch()
    with torch.no_grad():
        assert len(list(field_media(fields, fields(states), states, 1))) == 1
    detector, frames = detection3d.make_task().eval(), detection3d.make_batch(2)
    with torch.no_grad():
        assert len(list(frame_media(detector, detector(frames), frames, 5))) == 2


def test_every_kind_that_draws_without_its_network_has_samples() -> None:
    drawing = {name for name in task_names() if task_spec(name).pictures} - {"language_modeling"}
    assert {name for name in task_names() if task_spec(name).load_media() is not None} == drawing
