"""The generated scenes as samples for detectors."""

from __future__ import annotations

import torch

from lab.data.scenes.shapes import ShapesDataset
from lab.tasks.detection.data.shapes import ShapesDataModule, ShapesDetection


def test_samples_have_the_types_of_the_contract() -> None:
    sample = ShapesDetection(ShapesDataset("test", masks=True))[0, 17]
    assert (sample.image_id, sample.original_size) == (17, (64, 64))
    assert sample.truth is not None
    assert sample.masks is not None
    assert torch.equal(sample.truth.boxes, sample.boxes)
    assert torch.equal(sample.truth.labels, sample.labels)
    assert torch.equal(sample.truth.area, sample.masks.sum(dim=(1, 2)).float())
    assert not sample.truth.iscrowd.any()
    assert sample.truth.counts == (len(sample.labels),)
    plain = ShapesDetection(ShapesDataset("train"))[0, 0]
    assert plain.truth is None
    assert plain.masks is None


def test_the_module_gives_the_scenes_of_the_benchmark() -> None:
    data = ShapesDataModule(num_val=4)
    sample, scene = data.dataset("val")[0, 3], ShapesDataset("val", 4)[0, 3]
    assert torch.equal(sample.image, scene.image)
    assert torch.equal(sample.boxes, scene.boxes)
    assert sample.masks is None
    assert sample.truth is not None
    assert data.dataset("val").fingerprint() == ShapesDataset("val", 4).fingerprint()
