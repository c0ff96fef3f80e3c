"""The tables and the infos of one world, read by all readers; files that are none of them."""

from __future__ import annotations

import copy
import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.data.nuscenes_names import CAMERAS, CLASSES
from lab.errors import DataError
from lab.tasks.detection3d.data.nuscenes.frames import NOT_KNOWN, Frame, FrameSource, in_our_order
from lab.tasks.detection3d.data.nuscenes.infos import read_infos
from lab.tasks.detection3d.data.nuscenes.names import DETECTION_NAMES
from lab.tasks.detection3d.data.nuscenes.splits import SPLITS, scenes_of
from lab.tasks.detection3d.data.nuscenes.tables import read_tables, velocities
from tests.unit.tasks.detection3d.data.nuscenes import worlds

SHARED = Path(os.environ.get("LAB_DATA_DIR", "data"))
SAMPLE = SHARED / "nuscenes_sample" / "n015-2018-07-24-11-22-45+0800"
SIZES = {"train": 700, "train_detect": 350, "train_track": 350, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2}


@pytest.fixture(scope="module")
def world() -> worlds.World:
    return worlds.make_world()


def read(world: worlds.World, kind: str, folder: Path) -> list[Frame]:
    """Return the frames of both scenes by one of the readers."""
    if kind == "tables":
        tables = worlds.write_tables(world, folder)
        sources = [read_tables(tables, split, CAMERAS) for split in ("mini_train", "mini_val")]
        source = FrameSource("both", [frame for of in sources for frame in of.frames])
    else:
        content = (worlds.old_infos if kind.startswith("old") else worlds.new_infos)(world)
        source = read_infos(worlds.write(content, folder / f"infos{kind[3:]}"), CAMERAS)
    in_our_order(source, "lwh" if kind == "tables" else "auto")
    assert not source.left_out
    return source.frames


@pytest.mark.parametrize("kind", ["tables", "new.pkl", "new.json"])
def test_all_sources_of_a_world_give_the_same_frames(world: worlds.World, kind: str, tmp_path: Path) -> None:
    found, expected = read(world, kind, tmp_path), read(world, "old.pkl", tmp_path)
    assert [frame.token for frame in found] == [frame.token for frame in expected]
    for one, other in zip(found, expected, strict=True):
        # Measured: 5e-13 m (tables), 0 (1.x); projections 4e-10 of 3e2 (tables) and 6e-6 (1.x, float32).
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-11)
        for shot, wanted in zip(one.shots, other.shots, strict=True):
            assert shot.camera == wanted.camera
            assert Path(shot.file).name == Path(wanted.file).name
            np.testing.assert_allclose(shot.to_pixels, wanted.to_pixels, atol=1e-8 if kind == "tables" else 5e-4)
        np.testing.assert_allclose(one.ego_to_global, other.ego_to_global, atol=1e-12)
        np.testing.assert_allclose(one.rig_to_ego, other.rig_to_ego, atol=1e-12)
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.valid, other.valid)
        np.testing.assert_array_equal(one.lidar, other.lidar)
        assert one.names[:3] == other.names[:3] == ("car", "truck", "pedestrian")
    assert all(frame.names[3] == "static_object.bicycle_rack" for frame in expected)


@pytest.mark.parametrize("wrong", ["the order of the sides", "the old yaw", "sensor to rig", "another pose"])
def test_the_comparison_sees_mutants(wrong: str, world: worlds.World, tmp_path: Path) -> None:
    """What a reader could get wrong moves boxes or projections far beyond the tolerances above."""
    changed = copy.deepcopy(world)
    for info in changed.old:
        for item in info["cams"].values() if wrong == "sensor to rig" else ():
            item["sensor2lidar_rotation"] = item["sensor2lidar_rotation"].T
        if wrong == "the order of the sides":
            info["gt_boxes"][:, [3, 4]] = info["gt_boxes"][:, [4, 3]]
        if wrong == "the old yaw":
            info["gt_boxes"][:, 6] *= -1
        if wrong == "another pose":
            info["ego2global_rotation"] = info["lidar2ego_rotation"]
    (tmp_path / "changed").mkdir()
    source = read_infos(worlds.write(worlds.old_infos(changed), tmp_path / "changed" / "old.pkl"), CAMERAS)
    in_our_order(source, "wlh")
    found, right = source.frames[0], read(world, "old.pkl", tmp_path)[0]
    pixels = max(np.abs(a.to_pixels - b.to_pixels).max() for a, b in zip(found.shots, right.shots, strict=True))
    away = [np.abs(found.boxes - right.boxes).max(), pixels, np.abs(found.ego_to_global - right.ego_to_global).max()]
    assert max(away) > 0.1


def test_boxes_by_hand(world: worlds.World, tmp_path: Path) -> None:
    """The first frame: a car of 4.5 x 2 x 1.6 m that drives 5 m/s along its length, seen from a turned rig."""
    frame = read(world, "old.pkl", tmp_path)[0]
    car = frame.boxes[0]
    np.testing.assert_allclose(car[3:6], [4.5, 2.0, 1.6])
    np.testing.assert_allclose(car[7:], 5 * np.array([np.cos(car[6]), np.sin(car[6])]), atol=2e-3)  # the rig tilts
    to_global = frame.ego_to_global @ frame.rig_to_ego
    np.testing.assert_allclose((to_global @ [*car[:3], 1])[:3], [612, 1605, 0.8], atol=1e-9)
    assert frame.points.tolist() == [13, 2, 3, 5, 4, 0]
    assert frame.valid.tolist() == [True, True, True, True, True, False]
    assert frame.lidar.tolist() == [True, False, True, True, True, False]


def test_attributes(world: worlds.World, tmp_path: Path) -> None:
    """The tables have them; 1.x keeps them with the cameras; 0.x has none."""
    expected = [5, 6, 2, -1, -1, -1]
    assert all(frame.attributes.tolist() == expected for frame in read(world, "tables", tmp_path))
    assert all(frame.attributes.tolist() == expected for frame in read(world, "new.pkl", tmp_path))
    assert all(frame.attributes.tolist() == [-1] * 6 for frame in read(world, "old.pkl", tmp_path))


def test_velocities_as_the_devkit_computes_them() -> None:
    """By hand: centred, one-sided, alone, over 3 s for two steps (known) and over 1.6 s for one (not known)."""
    places = np.array([[0.0, 0], [1, 2], [4, 2], [9, 9], [0, 0], [3, 3], [5, 0], [8, 0]])
    times = np.array([0.0, 0.5, 1.0, 0.0, 0.0, 1.6, 0.0, 3.0])
    before = np.array([-1, 0, 1, -1, -1, 4, -1, 6])
    after = np.array([1, 2, -1, -1, 5, -1, 7, -1])
    nan = np.nan
    expected = [[2.0, 4.0], [4, 2], [6, 0], [nan, nan], [nan, nan], [nan, nan], [nan, nan], [nan, nan]]
    np.testing.assert_array_equal(velocities(places, times, before, after), expected)
    three = velocities(
        np.array([[0.0, 0], [1, 1], [6, 3]]), np.array([0, 1.5, 3.0]), np.array([-1, 0, 1]), np.array([1, 2, -1])
    )
    np.testing.assert_allclose(three, [[1 / 1.5, 1 / 1.5], [2, 1], [5 / 1.5, 2 / 1.5]])


def test_splits() -> None:
    assert {split: len(scenes_of(split)) for split in SPLITS} == SIZES
    assert scenes_of("train_detect") | scenes_of("train_track") == scenes_of("train")
    assert not scenes_of("val") & scenes_of("train")
    assert scenes_of("mini_val") == {"scene-0103", "scene-0916"}
    assert scenes_of("mini_val") < scenes_of("val")
    with pytest.raises(DataError, match=r"no split 'vall'; it has train, .*did you mean 'val'"):
        scenes_of("vall")


def test_categories() -> None:
    """nuScenes' detection task joins 14 of its 23 categories into ten classes."""
    assert len(DETECTION_NAMES) == 14
    assert set(DETECTION_NAMES.values()) == set(CLASSES)


def _without_vehicles(world: worlds.World) -> dict[str, Any]:
    content = worlds.old_infos(world)
    for info in content["infos"]:
        rows = [2, 3, 4, 5]
        for key in ("gt_boxes", "gt_names", "gt_velocity", "num_lidar_pts", "num_radar_pts", "valid_flag"):
            info[key] = info[key][rows]
    return content


def _mixed(world: worlds.World) -> dict[str, Any]:
    content = worlds.old_infos(world)
    for info in content["infos"]:
        info["gt_boxes"][0, [3, 4]] = info["gt_boxes"][0, [4, 3]]
    return content


@pytest.mark.parametrize(
    ("make", "words"),
    [(_without_vehicles, "no box of it is of bicycle, bus, car"), (_mixed, "50% of 10 vehicles are longer")],
)
def test_an_order_of_sides_that_cannot_be_told(
    make: Callable[[worlds.World], Any], words: str, world: worlds.World, tmp_path: Path
) -> None:
    path = worlds.write(make(copy.deepcopy(world)), tmp_path / "a.pkl")
    with pytest.raises(DataError, match=f"{words}.*set data.box_order=lwh"):
        in_our_order(read_infos(path, CAMERAS), "auto")
    source = read_infos(path, CAMERAS)
    in_our_order(source, "wlh")
    np.testing.assert_allclose(source.frames[0].boxes[-1, 3:6], [0.4, 0.4, 0.7])


def _break(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(info: dict[str, Any]) -> None:
        at = info
        *path, last = key.split(".")
        for part in path:
            at = at[part]
        at.pop(last) if value is None else at.update({last: value})

    return change


OLD_FRAMES = [
    ("cams.CAM_BACK", None, "it has no camera CAM_BACK"),
    ("cams", None, "it has no 'cams'"),
    ("cams.CAM_BACK.cam_intrinsic", np.zeros((3, 3)), "cam_intrinsic of CAM_BACK does not invert"),
    ("cams.CAM_BACK.cam_intrinsic", np.full((3, 3), np.nan), "cam_intrinsic of CAM_BACK holds a number that is not"),
    ("cams.CAM_BACK.cam_intrinsic", np.eye(2), "cam_intrinsic of CAM_BACK has the shape"),
    ("cams.CAM_BACK.sensor2lidar_rotation", np.zeros((3, 3)), "the rotation of CAM_BACK to the rig is none"),
    ("cams.CAM_BACK.data_path", None, "CAM_BACK has no 'data_path'"),
    ("lidar2ego_rotation", [0, 0, 0, 0], "the rotation of lidar2ego is no quaternion"),
    ("ego2global_translation", ["a", 1, 2], "the translation of ego2global is no array of numbers"),
    ("gt_velocity", np.zeros((2, 2)), "gt_velocity has 2 entries for 6 boxes"),
    ("gt_names", np.array(["car"]), "gt_names has 1 entries for 6 boxes"),
    ("gt_boxes", np.zeros((6, 5)), "gt_boxes has the shape"),
]


@pytest.mark.parametrize(("key", "value", "words"), OLD_FRAMES)
def test_a_frame_of_0x_that_cannot_be_used_is_left_out_by_name(
    key: str, value: Any, words: str, world: worlds.World, tmp_path: Path
) -> None:
    content = worlds.old_infos(copy.deepcopy(world))
    _break(key, value)(content["infos"][1])
    source = read_infos(worlds.write(content, tmp_path / "a.pkl"), CAMERAS)
    assert len(source.frames) == 4
    ((why, names),) = source.left_out.items()
    assert words in why
    assert names == ["f-scene-0061-1"]


NEW_FRAMES = [
    ("images.CAM_BACK", None, "it has no camera CAM_BACK"),
    ("images.CAM_BACK.lidar2cam", np.ones((4, 4)).tolist(), "the rotation of lidar2cam of CAM_BACK is none"),
    ("images.CAM_BACK.cam2img", None, "CAM_BACK has no 'cam2img'"),
    ("lidar_points", None, "lidar_points has no 'lidar2ego'"),
    ("instances", [3], "an instance is no mapping"),
    ("instances", [{"velocity": [0, 0]}], "it has no 'bbox_3d'"),
]


@pytest.mark.parametrize(("key", "value", "words"), NEW_FRAMES)
def test_a_frame_of_1x_that_cannot_be_used_is_left_out_by_name(
    key: str, value: Any, words: str, world: worlds.World, tmp_path: Path
) -> None:
    content = worlds.new_infos(copy.deepcopy(world))
    _break(key, value)(content["data_list"][1])
    source = read_infos(worlds.write(content, tmp_path / "a.json"), CAMERAS)
    assert len(source.frames) == 4
    ((why, names),) = source.left_out.items()
    assert words in why
    assert names == ["f-scene-0061-1"]


def test_odd_boxes_and_frames(world: worlds.World, tmp_path: Path) -> None:
    """A box without a height is left out, a velocity of infinity is not known; a token twice, and none."""
    content = worlds.old_infos(copy.deepcopy(world))
    infos = content["infos"]
    infos[0]["gt_boxes"][1, 5] = 0
    infos[0]["gt_boxes"][2, 0] = np.nan
    infos[0]["gt_velocity"][0] = [np.inf, 1]
    infos += [infos[1], {"cams": {}}, 7]
    source = read_infos(worlds.write(content, tmp_path / "a.pkl"), CAMERAS)
    assert source.left_out == {
        "boxes with a side that is not above 0, or a number that is not finite": [
            "truck in f-scene-0061-0",
            "pedestrian in f-scene-0061-0",
        ],
        "frames that stand in the file again": ["f-scene-0061-1"],
        "frames without a token": ["number 6", "number 7"],
    }
    assert source.frames[0].names == ("car", "static_object.bicycle_rack", "barrier", "traffic_cone")
    assert np.isnan(source.frames[0].boxes[0, 7:]).all()


def test_what_a_file_may_lack(world: worlds.World, tmp_path: Path) -> None:
    """Old files have no points and no flags; a test set has no boxes."""
    content = worlds.old_infos(copy.deepcopy(world))
    for key in ("num_lidar_pts", "num_radar_pts", "valid_flag", "gt_velocity"):
        del content["infos"][0][key]
    for key in ("gt_boxes", "gt_names"):
        del content["infos"][1][key]
    frames = read_infos(worlds.write(content, tmp_path / "a.pkl"), CAMERAS).frames
    assert frames[0].points.tolist() == [NOT_KNOWN] * 6
    assert frames[0].valid.all()
    assert np.isnan(frames[0].boxes[:, 7:]).all()
    assert [frame.annotated for frame in frames] == [True, False, True, True, True]


class _Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pkl", pickle.dumps({"infos": [_Code()]}), "cannot be read: .*it names (posix|nt).system"),
        ("a.pkl", b"\x80\x04nothing", "cannot be read"),
        ("a.pkl", pickle.dumps([1, 2]), "no infos of MMDetection3D.*it has list"),
        ("a.pkl", pickle.dumps({"images": 1}), "no infos of MMDetection3D.*it has images"),
        ("a.pkl", pickle.dumps({"data_list": [], "metainfo": {}}), "its metainfo names no classes"),
        ("a.pkl", b"", "is empty"),
        ("a.json", gzip.compress(b"{}", mtime=0), "is compressed"),
        ("a.json", b"{", "is not json"),
    ],
)
def test_files_that_are_no_infos(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_infos(tmp_path / name, CAMERAS)


def test_tables_of_a_test_set(world: worlds.World, tmp_path: Path) -> None:
    """They have no annotations."""
    folder = worlds.write_tables(world, tmp_path)
    worlds.write([], folder / "sample_annotation.json")
    frames = read_tables(folder, None, CAMERAS).frames
    assert [(frame.annotated, frame.boxes.shape) for frame in frames] == [(False, (0, 9))] * 5


def test_tables_that_cannot_be_used(world: worlds.World, tmp_path: Path) -> None:
    changed = copy.deepcopy(world)
    rows = {row["token"]: row for name in ("sample_data", "calibrated_sensor") for row in changed.tables[name]}
    rows["d-f-scene-0061-0-CAM_BACK"]["is_key_frame"] = False
    rows["d-f-scene-0061-1-LIDAR_TOP"]["ego_pose_token"] = "another"
    folder = worlds.write_tables(changed, tmp_path)
    source = read_tables(folder, "mini_train", CAMERAS)
    assert source.left_out == {
        "frames: it has no CAM_BACK": ["f-scene-0061-0"],
        "frames: ego_pose has no row for its LIDAR_TOP": ["f-scene-0061-1"],
    }
    with pytest.raises(
        DataError, match=r"none of the scenes of 'test' is in it; its 2 scenes belong to train, train_detect, val, mini"
    ):
        read_tables(folder, "test", CAMERAS)
    worlds.write([{"token": 3}], folder / "scene.json")
    with pytest.raises(DataError, match=r"scene.json: row 0 has no name"):
        read_tables(folder, "mini_val", CAMERAS)
    worlds.write([{"token": 3, "name": "a"}], folder / "scene.json")
    with pytest.raises(DataError, match=r"scene.json: token of row 0 is no text"):
        read_tables(folder, "mini_val", CAMERAS)
    (folder / "scene.json").unlink()
    with pytest.raises(DataError, match=r"scene.json: no such table"):
        read_tables(folder, "mini_val", CAMERAS)


@pytest.mark.skipif(not SAMPLE.with_suffix(".json").is_file(), reason="no nuscenes_sample in LAB_DATA_DIR")
@pytest.mark.parametrize("suffix", [".json", ".pkl"])
def test_a_real_keyframe_projects_into_its_cameras_as_its_file_says(suffix: str) -> None:
    """MMDetection3D counted 2/47/18/2/10/5 boxes in the six pictures of this keyframe, by another projection."""
    source = read_infos(SAMPLE.with_suffix(suffix), CAMERAS)
    in_our_order(source, "auto")
    (frame,) = source.frames
    assert len(frame.boxes) == 69
    known = [not name.startswith("label") for name in frame.names]
    counts = {shot.camera: sum(_is_seen(box, shot.to_pixels) for box in frame.boxes[known]) for shot in frame.shots}
    assert counts == {
        "CAM_FRONT_LEFT": 2,
        "CAM_FRONT": 47,
        "CAM_FRONT_RIGHT": 18,
        "CAM_BACK_RIGHT": 5,
        "CAM_BACK": 10,
        "CAM_BACK_LEFT": 2,
    }
    moving = np.hypot(*frame.boxes[:, 7:].T) > 0.5
    turned = np.arctan2(frame.boxes[moving, 8], frame.boxes[moving, 7]) - frame.boxes[moving, 6]
    assert moving.sum() == 28
    assert np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() < 0.16  # all move along their length: 0.15 measured


@pytest.mark.skipif(not (SHARED / "nuscenes_mini_val_infos").is_dir(), reason="no nuscenes_mini_val_infos")
def test_real_infos_of_0x_have_the_old_order() -> None:
    """81 keyframes; what drives in them drives along its length."""
    source = read_infos(SHARED / "nuscenes_mini_val_infos" / "nuscenes_infos_val.pkl", CAMERAS)
    in_our_order(source, "auto")
    boxes = np.concatenate([frame.boxes for frame in source.frames])
    names = [name for frame in source.frames for name in frame.names]
    assert (len(source.frames), len(boxes)) == (81, 4514)
    assert (sum(np.isnan(boxes[:, 7])), names.count("car")) == (8, 2568)
    fast = (np.hypot(*np.nan_to_num(boxes[:, 7:]).T) > 2) & [name == "car" for name in names]
    turned = np.arctan2(boxes[fast, 8], boxes[fast, 7]) - boxes[fast, 6]
    away = np.abs((turned + np.pi) % (2 * np.pi) - np.pi)
    assert np.quantile(away, 0.95) < 0.2  # 0.14 measured, of cars that turn


@pytest.mark.skipif(not SAMPLE.with_suffix(".json").is_file(), reason="no nuscenes_sample in LAB_DATA_DIR")
def test_real_infos_in_the_layout_of_1x_with_the_boxes_of_0x() -> None:
    """MMDetection3D's own test data: what moves in it moves along its length only by the old convention."""
    path = SAMPLE.parent / "mmdet3d_tests" / "nus_info.pkl"
    away = {}
    for order in ("auto", "wlh", "lwh"):
        source = read_infos(path, CAMERAS)
        in_our_order(source, order)
        boxes = np.concatenate([frame.boxes for frame in source.frames])
        boxes = boxes[np.hypot(*np.nan_to_num(boxes[:, 7:]).T) > 1]
        turned = np.arctan2(boxes[:, 8], boxes[:, 7]) - boxes[:, 6]
        away[order] = np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max()
    assert away["auto"] == away["wlh"] < 0.3  # 0.27 measured
    assert away["lwh"] > 2.5


def _is_seen(box: np.ndarray, to_pixels: np.ndarray) -> bool:
    """Return whether the hull of a box's corners in front of a camera meets its picture (1600 x 900)."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    local = signs * box[3:6]
    turn = np.array([[np.cos(box[6]), -np.sin(box[6])], [np.sin(box[6]), np.cos(box[6])]])
    corners = np.concatenate([local[:, :2] @ turn.T, local[:, 2:]], axis=1) + box[:3]
    seen = np.concatenate([corners, np.ones((8, 1))], axis=1) @ to_pixels.T
    seen = seen[seen[:, 2] > 0]
    if not len(seen):
        return False
    u, v = (seen[:, :2] / seen[:, 2:3]).T
    return bool(u.max() > 0 and v.max() > 0 and u.min() < 1600 and v.min() < 900)
