"""Street scenes as frames: what is learnt, what is measured, in which frame of coordinates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.data.nuscenes_names import ATTRIBUTES, CLASSES
from lab.data.scenes3d.rig import CAMERA_NAMES
from lab.errors import ConfigError
from lab.structures.detection3d import MultiviewSample
from lab.tasks.detection3d.attributes import attributes_of
from lab.tasks.detection3d.data.scenes3d import Scenes3dDataModule

pytest.importorskip("embreex")


@pytest.fixture(scope="module")
def data() -> Scenes3dDataModule:
    return Scenes3dDataModule(image_size=(32, 48), num_train=4, num_val=4, batch_size=2, repeat=True)


@pytest.fixture(scope="module")
def measured(data: Scenes3dDataModule) -> MultiviewSample:
    sample: MultiviewSample = data.dataset("val")[0, 1]
    return sample


def test_the_spec_sizes_the_network(data: Scenes3dDataModule) -> None:
    assert data.spec.input_shape == (3, 32, 64)  # padded to a multiple of 32
    assert data.spec.net_arguments() == {
        "num_classes": len(CLASSES),
        "num_cameras": 6,
        "point_range": [-20.0, -20.0, -3.0, 20.0, 20.0, 1.0],
    }
    assert (data.spec.camera_names, data.spec.attribute_names) == (CAMERA_NAMES, ATTRIBUTES)


def test_what_is_too_small_to_see_is_neither_learnt_nor_counted(measured: MultiviewSample) -> None:
    truth = measured.truth
    assert truth is not None
    counted = truth.points > 0
    assert 0 < int(counted.sum()) < len(truth.labels)
    assert (truth.points[counted] >= 12).all()
    assert torch.equal(measured.boxes, truth.boxes[counted].float())
    assert torch.equal(measured.labels, truth.labels[counted])


def test_boxes_stand_on_the_ground_below_the_rig(measured: MultiviewSample) -> None:
    feet = measured.boxes[:, 2] - measured.boxes[:, 5] / 2 + 1.84
    assert np.isin(feet.numpy().round(3), np.array([0.0, 0.12], np.float32).round(3)).all()


def test_frames_of_training_have_chances_that_change_and_pictures_that_repeat(data: Scenes3dDataModule) -> None:
    first, again = data.dataset("train")[0, 2], data.dataset("train")[1, 2]
    assert torch.equal(first.images, again.images)
    assert first.chances is not None
    assert not torch.equal(first.chances, again.chances)
    assert first.truth is None
    other = Scenes3dDataModule(image_size=(32, 48), num_train=4).dataset("train")
    assert torch.equal(other[0, 2].images, first.images)
    assert not torch.equal(other[1, 2].images, first.images)


def test_a_batch_is_padded_and_keeps_its_projections(data: Scenes3dDataModule) -> None:
    batch = data.collate([data.dataset("val")[0, index] for index in (0, 1)])
    assert batch.images.shape == (2, 6, 3, 32, 64)
    assert not batch.images[..., 48:].any()
    assert batch.image_sizes.tolist() == [[32, 48], [32, 48]]
    assert batch.tokens == ("val-0", "val-1")


def test_black_pictures(data: Scenes3dDataModule) -> None:
    black = Scenes3dDataModule(image_size=(32, 48), num_val=4, black=True)
    batch = black.collate([black.dataset("val")[0, 1]])
    assert not batch.images.any()
    assert torch.equal(batch.targets.boxes, data.dataset("val")[0, 1].boxes)


def test_scenes_are_for_the_kind_that_asks() -> None:
    with pytest.raises(ConfigError, match="these scenes are for detection3d"):
        Scenes3dDataModule(task="detection")


def test_attributes_are_those_of_the_rule_but_for_people_who_sit() -> None:
    scenes = Scenes3dDataModule(num_train=40, min_objects=10, max_objects=20).scenes("train")
    layouts = [scenes.layout((0, index)) for index in range(40)]
    labels, given = (np.concatenate([getattr(one, name) for one in layouts]) for name in ("labels", "attributes"))
    velocities = np.concatenate([one.boxes[:, 7:] for one in layouts])
    ruled = attributes_of(labels, velocities, CLASSES, ATTRIBUTES)
    differ = {(ATTRIBUTES[is_], ATTRIBUTES[by]) for is_, by in zip(given, ruled, strict=True) if is_ != by}
    assert differ == {("pedestrian.sitting_lying_down", "pedestrian.standing")}


def test_processes_of_a_loader_make_the_same_samples(data: Scenes3dDataModule) -> None:
    frames, keys = data.dataset("train"), [(3, 0), (3, 1)]
    made = [frames.make(frames.scenes[key]) for key in keys]  # before, so that the processes inherit the meshes
    loaded = list(torch.utils.data.DataLoader(frames, sampler=keys, batch_size=None, num_workers=2))
    for sample, here, key in zip(loaded, made, keys, strict=True):
        assert torch.equal(sample.images, here.images)
        assert torch.equal(sample.boxes, here.boxes)
        assert torch.equal(sample.chances, frames[key].chances)
