"""Frames in files: written and read back, made smaller with their projections, refused by one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lab.errors import DataError
from lab.tasks.detection3d.data.frames import FrameFiles, fitted, write_frames
from tests.unit.tasks.detection3d.makers import make_sample, make_spec

CAMERAS = ("CAM_FRONT", "CAM_BACK")


def test_frames_come_back(tmp_path: Path) -> None:
    sample = make_sample(1)
    found = FrameFiles(write_frames([make_sample(0), sample], CAMERAS, tmp_path), make_spec())[0, 1]
    assert (found.images == sample.images).all()
    for name in ("projections", "rig_to_ego", "ego_to_global"):
        torch.testing.assert_close(getattr(found, name), getattr(sample, name), rtol=0, atol=0)
    swapped = FrameFiles(tmp_path / "frames.json", make_spec(camera_names=CAMERAS[::-1]))[0, 1]
    assert (swapped.images == sample.images.flip(0)).all()


def test_a_smaller_picture_shows_a_point_at_the_same_place() -> None:
    sample = make_sample(0, size=(60, 120))
    images, projections = fitted(sample.images, sample.projections, (3, 32, 64))
    assert images.shape == (2, 3, 32, 64)
    point = torch.tensor([5.0, 1.0, 0.5, 1.0], dtype=torch.float64)
    before, after = ((matrix[0] @ point)[:2] / (matrix[0] @ point)[2] for matrix in (sample.projections, projections))
    torch.testing.assert_close(after, before * torch.tensor([64 / 120, 32 / 60], dtype=torch.float64))
    assert fitted(sample.images, sample.projections, (3, 64, 128))[0] is sample.images


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frames: frames[0].pop("token"), "frames.0.token: Field required; a file of frames has"),
        (lambda frames: frames[0]["cameras"].pop(), "frame frame-0 lacks CAM_BACK; the network reads CAM_FRONT"),
        (lambda frames: frames[0]["cameras"][0].update(image="no.png"), "no.png: .*CAM_FRONT of frame frame-0"),
        (lambda frames: frames.append(frames[0]), "2 frames are called frame-0"),
        (lambda frames: frames.clear(), "it has no frames"),
        (
            lambda frames: frames[0]["cameras"][1].update(projection=[[1]]),
            "cameras.1.projection.0: List should have at least 4 items",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change: object, said: str, tmp_path: Path) -> None:
    path = write_frames([make_sample(0)], CAMERAS, tmp_path)
    content = json.loads(path.read_text())
    change(content["frames"])  # type: ignore[operator]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=said) as error:
        FrameFiles(path, make_spec())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"frames": [' * 2000, '{"frames": [{"token": NaN}]}'])
def test_what_is_no_file_of_frames_is_said_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "frames.json").write_text(text)
    with pytest.raises(DataError, match=r"frames.json: .*a file of frames has frames") as error:
        FrameFiles(tmp_path / "frames.json", make_spec())
    assert "\n" not in str(error.value)
