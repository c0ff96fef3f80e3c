"""Street scenes as pictures with visible boxes."""

from __future__ import annotations

import pytest
import torch

from lab.structures import DetectionSample
from lab.tasks.detection.data.scenes3d import Scenes3dDataModule

pytest.importorskip("embreex")


@pytest.fixture(scope="module")
def samples() -> list[DetectionSample]:
    data = Scenes3dDataModule(image_size=(32, 48), num_val=8)
    return [data.dataset("val")[0, index] for index in range(8)]


def test_boxes_lie_in_the_picture_and_hold_their_area(samples: list[DetectionSample]) -> None:
    assert sum(len(sample.labels) for sample in samples) > 4
    for sample in samples:
        assert sample.image.shape == (3, 32, 48)
        assert sample.truth is not None
        left, top, right, bottom = sample.boxes.unbind(1)
        assert ((left >= 0) & (top >= 0) & (right <= 48) & (bottom <= 32)).all()
        assert (sample.truth.area >= 12).all()
        assert (sample.truth.area <= (right - left) * (bottom - top)).all()
        assert torch.equal(sample.truth.boxes, sample.boxes)


def test_a_batch_has_the_classes_of_the_data() -> None:
    data = Scenes3dDataModule(image_size=(32, 48), num_train=4, class_names=["car", "pedestrian"])
    assert data.spec.class_names == ("car", "pedestrian")
    batch = data.collate([data.dataset("train")[0, index] for index in range(4)])
    assert batch.images.shape == (4, 3, 32, 48)
    assert batch.truth is None
    assert batch.targets.labels.max() <= 1
