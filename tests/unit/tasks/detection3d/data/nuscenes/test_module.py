"""``data=nuscenes``: samples, what is learnt and what is measured, pictures that are missing or damaged."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.data.nuscenes_names import CAMERAS, CLASSES
from lab.errors import ConfigError, DataError
from lab.structures.detection3d import RACK
from lab.tasks.detection3d.data.frames import write_frames
from lab.tasks.detection3d.data.nuscenes import module as nuscenes_module
from lab.tasks.detection3d.data.nuscenes import stored
from lab.tasks.detection3d.data.nuscenes.balancing import balanced_frames
from lab.tasks.detection3d.data.nuscenes.module import NuScenesDataModule
from tests.unit.tasks.detection3d.data.nuscenes import worlds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("nuscenes")
    world = worlds.make_world()
    worlds.write_tables(world, folder)
    worlds.write_pictures(world, folder)
    worlds.write(worlds.old_infos(world), folder / "old.pkl")
    return folder


def module(root: Path, **changes: Any) -> NuScenesDataModule:
    return NuScenesDataModule(**{"root": str(root), "train": "v1.0-mini/mini_train", "val": "old.pkl"} | changes)


def test_a_sample(root: Path) -> None:
    """Learnt are boxes with points in range: not the cone (no points), the barrier (75 m away), the rack (no class)."""
    data = module(root)
    assert data.spec.input_shape == (3, 96, 160)
    assert (data.spec.class_names, data.spec.camera_names) == (CLASSES, CAMERAS)
    train, val = data.dataset("train"), data.dataset("val")
    assert (len(train), len(val), len(data.dataset("test"))) == (3, 5, 5)
    sample, measured = train[0, 1], val[0, 1]
    assert sample.token == measured.token == "f-scene-0061-1"
    assert (sample.images.shape, sample.images.dtype) == ((6, 3, 90, 160), torch.uint8)
    assert [CLASSES[label] for label in sample.labels] == ["car", "truck", "pedestrian"]
    assert sample.truth is None
    assert measured.chances is None
    assert sample.chances is not None
    assert not sample.chances.equal(train[1, 1].chances)
    assert sample.chances.equal(module(root).dataset("train")[0, 1].chances)
    truth = measured.truth
    assert truth is not None
    assert [*map(int, truth.labels[:3]), int(truth.labels[3]), len(truth.labels)] == [0, 1, 8, RACK, 6]
    assert truth.points.tolist() == [13, 2, 3, 5, 4, 0]
    batch = data.collate([measured, val[0, 2]])
    assert batch.images.shape == (2, 6, 3, 96, 160)


def test_a_lidar_point_alone_and_the_range(root: Path) -> None:
    """The truck has radar points alone; a range that is 100 m wide holds the barrier too."""
    labels = module(root, use_valid_flag=False).dataset("train")[0, 0].labels
    assert [CLASSES[label] for label in labels] == ["car", "pedestrian"]
    wide = module(root, point_range=[-100, -100, -5, 100, 100, 3]).dataset("train")[0, 0].labels
    assert [CLASSES[label] for label in wide] == ["car", "truck", "pedestrian", "barrier"]
    few = module(root, classes=["pedestrian", "car"]).dataset("train")[0, 0].labels
    assert few.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"no frame has a box to learn from: of bus, with points"):
        module(root, classes=["bus"]).dataset("train")


def test_a_point_is_where_the_picture_shows_it(root: Path) -> None:
    """Halved pictures: pixels halve, depths stay; the point comes from the world by the definition of the tables."""
    whole, half = (module(root, image_size=size).dataset("val")[0, 0] for size in (None, [45, 80]))
    assert half.images.shape[-2:] == (45, 80)
    sensors, poses = (
        worlds.calibrations(),
        {name: worlds.ego(0, -0.01 * row) for row, name in enumerate(["", *CAMERAS])},
    )
    car = worlds.OBJECTS[0][2]
    for row, name in enumerate(CAMERAS):
        to_world = worlds.matrix(*poses[name]) @ worlds.matrix(*sensors[name])
        x, y, z = (np.linalg.inv(to_world) @ [*car, 1.0])[:3]
        expected = np.array([126.6 * x + 81.6 * z, 126.6 * y + 49.1 * z, z, 1.0])
        box = whole.truth.boxes[0, :3].tolist()
        for sample, scale in ((whole, 1.0), (half, 0.5)):
            found = sample.projections[row].numpy() @ [*box, 1.0]
            np.testing.assert_allclose(found, expected * [scale, scale, 1, 1], atol=1e-9)


def test_velocities_that_are_not_known(root: Path, tmp_path: Path) -> None:
    content = worlds.old_infos(worlds.make_world())
    content["infos"][0]["gt_velocity"][0] = np.nan
    path = worlds.write(content, tmp_path / "a.pkl")
    data = module(root, train=str(path), val=str(path))
    assert data.dataset("train")[0, 0].boxes[0, 7:].tolist() == [0, 0]
    assert data.dataset("val")[0, 0].truth.boxes[0, 7:].isnan().all()
    kept = module(root, train=str(path), unknown_velocity="unknown").dataset("train")[0, 0]
    assert kept.boxes[0, 7:].isnan().all()


def test_pictures_that_are_missing(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = worlds.make_world()
    worlds.write_pictures(world, tmp_path)
    worlds.write(worlds.old_infos(world), tmp_path / "old.pkl")
    next((tmp_path / "samples" / "CAM_BACK").glob("scene-0061*")).unlink()
    with caplog.at_level(logging.WARNING):
        data = module(tmp_path, train="old.pkl")
        assert len(data.dataset("train")) == 4
    assert "left out are frames without the picture of CAM_BACK: 1 (f-scene-0061-" in caplog.text
    assert "boxes of other classes, left out: 4 (static_object.bicycle_rack x4)" not in caplog.text  # 5, once a frame
    assert data.rows_read()[str(tmp_path / "old.pkl")]["left_out"] == {"frames without the picture of CAM_BACK": 1}
    with pytest.raises(DataError, match=r"left out are frames without the picture of CAM_BACK: 1 .*on_bad_sample=skip"):
        module(tmp_path, train="old.pkl", on_bad_sample="error").dataset("train")
    (empty := tmp_path / "empty").mkdir()
    worlds.write(worlds.old_infos(world), empty / "old.pkl")
    with pytest.raises(DataError, match=r"none of its frames can be used.*frames without all their pictures: 5"):
        module(empty, train="old.pkl").dataset("train")


@pytest.mark.parametrize("place", ["samples/CAM_{}", "CAM_{}", ""])
def test_where_pictures_are_looked_for(place: str, tmp_path: Path) -> None:
    """By the names of 1.x, which have no folder; a path that leads out is not followed."""
    world = worlds.make_world()
    worlds.write_pictures(world, tmp_path / "made")
    for file in (tmp_path / "made").rglob("*.jpg"):
        target = tmp_path / place.format(file.parent.name.removeprefix("CAM_")) / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    content = worlds.new_infos(world)
    image = content["data_list"][0]["images"]["CAM_BACK"]
    image["img_path"] = "../../samples/../" + image["img_path"]
    worlds.write(content, tmp_path / "new.json")
    assert len(module(tmp_path, train="new.json").dataset("train")) == 5


def test_pictures_that_cannot_be_decoded(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training takes the next frame, evaluation a black picture; of another size, it is resized with its projection."""
    world = worlds.make_world()
    worlds.write_pictures(world, tmp_path)
    worlds.write(worlds.old_infos(world), tmp_path / "old.pkl")
    first, second = sorted((tmp_path / "samples" / "CAM_FRONT").glob("scene-0061*"))[:2]
    data = module(tmp_path, train="old.pkl")
    whole = data.dataset("val")[0, 1]
    identity = data.fingerprint()
    first.write_bytes(first.read_bytes()[:-400])
    Image.new("RGB", (320, 90), (200, 60, 20)).save(second)
    with caplog.at_level(logging.WARNING):
        data = module(tmp_path, train="old.pkl", image_size=[90, 160])
        assert data.fingerprint() != identity
        assert data.dataset("train")[0, 0].token == "f-scene-0061-1"
        images = data.dataset("val")[0, 0].images
    assert "the next frame replaces its frame (1 so far)" in caplog.text
    assert "evaluated as black" in caplog.text
    assert images[0].max() == 0
    assert images[1].min() > 0
    np.testing.assert_allclose(
        data.dataset("val")[0, 1].projections[0],
        whole.projections[0] * torch.tensor([[0.5], [1], [1], [1]]),
        atol=1e-12,
    )
    with pytest.raises(DataError, match=r"cannot be decoded .*data.on_bad_sample=skip"):
        module(tmp_path, train="old.pkl", image_size=[90, 160], on_bad_sample="error").dataset("train")[0, 0]


def test_an_epoch_with_balanced_classes() -> None:
    """Of 10 frames 9 hold class 0, 3 class 1, none class 2: each present class is drawn 6 times of 12."""
    labels = [{0}] * 7 + [{0, 1}] * 2 + [{1}]
    drawn = balanced_frames(labels, 3, seed=3)
    assert len(drawn) == 12
    assert drawn == balanced_frames(labels, 3, seed=3) != balanced_frames(labels, 3, seed=4)
    many = Counter(drawn[6:])
    assert set(many) <= {7, 8, 9}
    counts = Counter(number for seed in range(400) for number in balanced_frames(labels, 3, seed))
    # A frame of class 0 alone is drawn 6/9 times an epoch, one of both 6/9 + 2, one of class 1 alone 2 times.
    np.testing.assert_allclose([counts[row] / 400 for row in (0, 7, 9)], [0.667, 2.667, 2.0], atol=0.15)


def test_balanced_frames_in_an_epoch(root: Path) -> None:
    data = module(root, class_balanced=True)
    assert len(data.dataset("train")) == 12  # 3 frames of 4 classes, the barrier out of range among them
    assert len(data.dataset("val")) == 5


def test_inputs_of_a_prediction(root: Path, tmp_path: Path) -> None:
    """Infos without boxes can be predicted, and not be trained on or measured by."""
    world = copy.deepcopy(worlds.make_world())
    for info in world.new:
        del info["instances"]
    path = worlds.write(worlds.new_infos(world), tmp_path / "test.json")
    data = module(root, val=str(path))
    inputs = data.build_inputs([path])
    assert (len(inputs), inputs[0, 2].truth, len(inputs[0, 2].boxes)) == (5, None, 0)
    assert len(data.build_inputs([root / "v1.0-mini"])) == 5
    frames = write_frames([inputs[0, 0], inputs[0, 1]], CAMERAS, tmp_path / "frames")
    assert (len(data.build_inputs([frames])), len(data.build_inputs([frames.parent]))) == (2, 2)
    with pytest.raises(DataError, match="it has no annotations to measure by; its frames can be predicted"):
        data.dataset("val")
    with pytest.raises(ConfigError, match="expected one file of infos"):
        data.build_inputs([path, path])
    data.follow(module(root, cameras=["CAM_BACK"]).spec)
    with pytest.raises(ConfigError, match=r"data.cameras=.*: the checkpoint was trained on \['CAM_BACK'\]"):
        data.build_inputs([path])


@pytest.mark.parametrize("train", ["v1.0-mini/mini_train", "broken.pkl"])
def test_large_sources_are_read_once(root: Path, train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes from the cache is what was read, to the bit; of changed files nothing does."""
    content = worlds.old_infos(worlds.make_world())
    content["infos"][1]["cams"].pop("CAM_BACK")
    worlds.write(content, root / "broken.pkl")
    read = module(root, train=train)
    expected = read.found(root / train)
    monkeypatch.setattr(nuscenes_module, "LARGE", 0)
    monkeypatch.setattr(stored, "LARGE", 0)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    assert_same(module(root, train=train).found(root / train), expected)
    for name in ("read_infos", "read_scenes"):
        monkeypatch.setattr(nuscenes_module, name, None)
    found = module(root, train=train)
    assert_same(found.found(root / train), expected)
    assert found.rows_read() == read.rows_read()
    worlds.write(content | {"more": 1}, root / "broken.pkl")
    worlds.write([], root / "v1.0-mini" / "more.json")
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        module(root, train=train).found(root / train)
    (root / "v1.0-mini" / "more.json").unlink()


def assert_same(found: nuscenes_module.FoundFrames, expected: nuscenes_module.FoundFrames) -> None:
    assert (found.source.name, found.source.left_out) == (expected.source.name, expected.source.left_out)
    assert found.files == expected.files
    for one, other in zip(found.frames, expected.frames, strict=True):
        assert (one.token, one.names, one.annotated) == (other.token, other.names, other.annotated)
        for name in ("rig_to_ego", "ego_to_global", "boxes", "attributes", "points", "valid", "lidar"):
            values = getattr(one, name), getattr(other, name)
            np.testing.assert_array_equal(*values)
            assert values[0].dtype == values[1].dtype
        for shot, of in zip(one.shots, other.shots, strict=True):
            assert (shot.camera, shot.file) == (of.camera, of.file)
            np.testing.assert_array_equal(shot.to_pixels, of.to_pixels)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": "none.pkl"}, "none.pkl: no such file"),
        ({"train": "samples"}, "samples: a folder; expected MMDetection3D's infos"),
        ({"train": "v1.0-trainval/train"}, "v1.0-trainval/train: not there; expected"),
        ({"train": "v1.0-mini/mini_vall"}, "did you mean 'mini_val'"),
        ({"train": "old.pkl", "cameras": ["CAM_BAK"]}, "it has no camera CAM_BAK; did you mean 'CAM_BACK'"),
        ({"cameras": ["CAM_BACK", "CAM_BACK"]}, "data.cameras: CAM_BACK stands there twice"),
        ({"classes": ["car", "car"]}, "data.classes: car stands there twice"),
    ],
)
def test_what_is_refused(root: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        module(root, **changes).dataset("train")
