"""Pictures agree with boxes: what is seen of an object lies inside of its projected 3-D box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.data.nuscenes_names import CLASSES
from lab.data.scenes3d.frames import StreetFrame, StreetOptions, StreetScenes
from lab.data.scenes3d.names import STUFF_NAMES
from lab.data.scenes3d.rig import boxes_to_rig, projections
from lab.errors import ConfigError

pytest.importorskip("embreex")

OPTIONS = StreetOptions(height=48, width=80)


@pytest.fixture(scope="module")
def scenes() -> StreetScenes:
    return StreetScenes("train", 8, OPTIONS)


@pytest.fixture(scope="module")
def frames(scenes: StreetScenes) -> list[StreetFrame]:
    return [scenes[0, index] for index in range(6)]


def hull_in_camera(box: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
    """Return the rectangle around the projected corners of a box of the rig; None if one is not in front."""
    x, y, z, length, width, height, yaw = box[:7]
    signs = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    local = signs * [length, width, height]
    corners = np.column_stack(
        [
            x + np.cos(yaw) * local[:, 0] - np.sin(yaw) * local[:, 1],
            y + np.sin(yaw) * local[:, 0] + np.cos(yaw) * local[:, 1],
            z + local[:, 2],
            np.ones(8),
        ]
    )
    seen = corners @ matrix.T
    if (seen[:, 2] < 0.1).any():
        return None
    pixels = seen[:, :2] / seen[:, 2:3]
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def excess(frame: StreetFrame, matrices: np.ndarray) -> list[float]:
    """Return by how many pixels the visible box of each object leaves the projection of its 3-D box."""
    found = []
    boxes = boxes_to_rig(frame.layout.boxes)
    for camera, matrix in enumerate(matrices):
        for box, seen, pixels in zip(boxes, frame.boxes[camera], frame.pixels[camera], strict=True):
            hull = hull_in_camera(box, matrix) if pixels else None
            if hull is not None:
                found.append(max(*(hull[:2] - seen[:2]), *(seen[2:] - hull[2:])))
    return found


def test_what_is_seen_lies_in_the_projected_box(frames: list[StreetFrame]) -> None:
    matrices = projections(OPTIONS.width, OPTIONS.height)
    found = [value for frame in frames for value in excess(frame, matrices)]
    assert len(found) > 40
    assert max(found) <= 0.5  # pixels have a width: their centres are inside (worst measured: see below)


def test_mutants_of_the_projection_are_seen(frames: list[StreetFrame]) -> None:
    matrices = projections(OPTIONS.width, OPTIONS.height)
    swapped = matrices[[0, 2, 1, 3, 4, 5]]  # right for left
    raised = matrices.copy()
    raised[:, :, 3] += matrices[:, :, 2]  # the rig a metre too low
    for wrong in (swapped, raised):
        assert max(value for frame in frames for value in excess(frame, wrong)) > 3


def test_masks_boxes_and_counts_agree(frames: list[StreetFrame]) -> None:
    for frame in frames:
        for camera in range(6):
            numbers = frame.instances[camera]
            counted = np.bincount(numbers[numbers >= 0], minlength=len(frame.layout.labels))
            assert (counted == frame.pixels[camera]).all()
            owners = numbers >= 0
            assert (frame.categories[camera][owners] == frame.layout.labels[numbers[owners]]).all()
            assert (frame.categories[camera][~owners] >= len(CLASSES)).all()
            for number in np.flatnonzero(counted):
                rows, columns = np.nonzero(numbers == number)
                expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert frame.boxes[camera, number].tolist() == expected


def test_sky_is_up_and_road_is_down(frames: list[StreetFrame]) -> None:
    labels = np.stack([frame.categories for frame in frames]) - len(CLASSES)
    shares = {name: (labels == number).mean(axis=(0, 1, 3)) for number, name in enumerate(STUFF_NAMES)}
    assert shares["sky"][0] > 0.1
    assert shares["sky"][-1] == 0.0
    assert shares["road"][-1] > 0.3
    assert all(share.sum() > 0 for share in shares.values())


def test_a_scene_is_a_function_of_seed_epoch_and_index(scenes: StreetScenes) -> None:
    again = StreetScenes("train", 8, OPTIONS)[0, 1]
    same = scenes[0, 1]
    assert (again.images == same.images).all()
    others = [scenes[1, 1], scenes[0, 2], StreetScenes("train", 8, replace(OPTIONS, seed=1))[0, 1]]
    assert all((other.images != same.images).any() for other in others)


def test_scenes_of_an_evaluation_are_the_same_for_every_seed_and_epoch() -> None:
    first, second = (StreetScenes("val", 8, replace(OPTIONS, seed=seed), one_camera=True) for seed in (0, 1))
    assert (first[0, 3].images == second[5, 3].images).all()
    assert len(first[0, 3].images) == 1


def test_black_pictures_have_the_same_boxes(scenes: StreetScenes) -> None:
    black = StreetScenes("train", 8, replace(OPTIONS, black=True))[0, 1]
    assert not black.images.any()
    assert (black.layout.boxes == scenes[0, 1].layout.boxes).all()
    assert (black.pixels == scenes[0, 1].pixels).all()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (StreetOptions(class_names=("car", "pedestrain")), "pedestrian"),
        (StreetOptions(class_names=()), "at least one class"),
        (StreetOptions(min_objects=5, max_objects=4), "min_objects=5"),
    ],
)
def test_scenes_that_cannot_be_are_refused(options: StreetOptions, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        StreetScenes("train", 8, options)
