"""``Task.predict`` of images is what ``stage=predict`` finds in them: resized as in evaluation, in the given pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.errors import CheckpointError
from lab.launch.prepare import prepare_job
from lab.structures import DetectionSpec, SegmentationSpec
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.files import ImageFolder
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.task import DetectionTask
from lab.tasks.segmentation.data.collate import collate_segmentation
from lab.tasks.segmentation.data.files import SegmentationFolder
from lab.tasks.segmentation.data.transforms import SegmentationTransform
from lab.tasks.segmentation.task import SegmentationTask

NAMES = ("bird", "cloud")
OPEN = (3, 0, 0)


def make_task(kind: Any, spec: Any, *words: str) -> Any:
    config = prepare_job(list(words), [], machine=False).config
    torch.manual_seed(0)
    return kind(
        net=config["model"]["net"],
        spec=spec.to_plain(),
        optimizer=config["optimizer"],
        scheduler=config["scheduler"],
        max_steps=1,
        eval=config["eval"],
    )


def detector(**spec: Any) -> DetectionTask:
    small = ("model.net.embed_dim=16", "model.net.num_heads=2", "model.net.feedforward_dim=16")
    task: DetectionTask = make_task(DetectionTask, DetectionSpec(class_names=NAMES, **spec), "model=detr_tiny", *small)
    return task


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two images of different sizes."""
    found = []
    for number, shape in enumerate(((60, 40, 3), (50, 90, 3))):
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        found.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


def test_boxes_of_images_of_any_size(paths: list[Path]) -> None:
    task = detector(input_shape=OPEN, resize=(48, 80)).eval()
    folder = ImageFolder(paths, DetectionTransform(train=False, scales=[48], max_size=80))
    with torch.no_grad():
        _, expected = task.predict_step(collate_detection([folder[0, 0], folder[0, 1]]), 0)
    task.train()
    found = task.predict(paths)
    assert task.training
    for one, batch in zip(found, expected, strict=True):
        order = batch.scores[0].argsort(descending=True, stable=True)
        torch.testing.assert_close(one.boxes, batch.boxes[0][order], rtol=0, atol=0)
        assert one.names == tuple(NAMES[label] for label in batch.labels[0][order].tolist())
        assert not one.boxes.requires_grad
    assert [len(item) for item in task.predict(paths[0].parent)] == [len(item) for item in found]


def test_an_older_checkpoint_does_not_know_its_size(paths: list[Path]) -> None:
    with pytest.raises(CheckpointError, match=r"lab.predict\(ckpt, input\), which takes the size from the run's"):
        detector(input_shape=OPEN).predict(paths)


@pytest.mark.parametrize(("model", "resize"), [("per_pixel_tiny", (0, 0)), ("maskformer_tiny", (32, 64))])
def test_segments_of_images_of_any_size(model: str, resize: tuple[int, int], paths: list[Path]) -> None:
    spec = SegmentationSpec(class_names=NAMES, input_shape=OPEN, thing_labels=(0,), resize=resize)
    task = make_task(SegmentationTask, spec, f"model={model}").eval()
    scales = (resize[0],) if resize[0] else ()
    folder = SegmentationFolder(paths, SegmentationTransform(train=False, scales=scales, max_size=resize[1] or None))
    with torch.no_grad():
        _, expected = task.predict_step(collate_segmentation([folder[0, 0], folder[0, 1]]), 0)
    found = task.predict([Image.open(path) for path in paths])
    for one, other, path in zip(found, expected, paths, strict=True):
        assert one.semantic.shape == Image.open(path).size[::-1]
        assert (one.semantic == other.semantic).all()
        assert set(one.names) <= set(NAMES)
        assert (one.panoptic is None) == (model == "per_pixel_tiny")
        assert len(one.segment_names) == (0 if one.panoptic is None else len(one.panoptic.labels))
    assert (task.predict(paths[0]).semantic.shape) == (60, 40)
