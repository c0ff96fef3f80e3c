"""``stage=predict``: a submission as nuScenes takes it, a table in the rig's frame, pictures of the first frames."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from PIL import Image

from lab.errors import DataError
from lab.tasks.detection3d.data.frames import write_frames
from lab.tasks.detection3d.predict import Detection3dPredictor
from tests.unit.tasks.detection3d.makers import FakeFramesModule, make_sample, make_task


def make_trainer(callbacks: list[Any], progress: bool = True) -> pl.Trainer:
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    return pl.Trainer(callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, **options)


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [make_sample(number) for number in range(3)]
    write_frames(samples, ("CAM_FRONT", "CAM_BACK"), tmp_path / "in")
    task = make_task().eval()
    with torch.no_grad():
        task.net.head.bias[5] = math.nan  # the height of the first query
    Detection3dPredictor(str(tmp_path / "in"), task, FakeFramesModule(batch_size=2)).run(
        make_trainer, tmp_path / "out", 0
    )
    said = capsys.readouterr()
    assert "3 frames, 9 detections" in said.out
    assert "3 detections are left out: a number is not finite" in said.err
    submission = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert submission["meta"]["use_camera"] is True
    assert list(submission["results"]) == ["frame-0", "frame-1", "frame-2"]
    rows = list(csv.DictReader((tmp_path / "out" / "detections.csv").open(newline="")))
    assert len(rows) == 9
    row, box = rows[3], submission["results"]["frame-1"][0]
    assert set(box) == {
        *("sample_token", "translation", "size", "rotation", "velocity"),
        *("detection_name", "detection_score", "attribute_name"),
    }
    assert (row["frame"], row["class"]) == ("frame-1", box["detection_name"])
    assert float(row["score"]) == pytest.approx(box["detection_score"], abs=1e-4)
    place = torch.tensor([*(float(row[name]) for name in "xyz"), 1.0], dtype=torch.float64)
    expected = samples[1].ego_to_global @ samples[1].rig_to_ego @ place
    assert box["translation"] == pytest.approx(expected[:3].tolist(), abs=2e-4)
    assert box["size"] == pytest.approx([float(row[name]) for name in ("width", "length", "height")], abs=1e-4)
    pictures = sorted((tmp_path / "out" / "pictures").iterdir())
    assert [path.name for path in pictures] == ["frame-00000.png", "frame-00001.png"]
    assert Image.open(pictures[0]).size[1] == 800


def test_python_finds_what_the_file_has(tmp_path: Path) -> None:
    path = write_frames([make_sample(0), make_sample(1)], ("CAM_FRONT", "CAM_BACK"), tmp_path)
    task = make_task().eval()
    found, one = task.predict(path), task.predict(make_sample(1))
    assert len(found) == 2
    torch.testing.assert_close(found[1].boxes, one.boxes)
    assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)
    assert one.names == tuple(task.class_names[label] for label in one.labels.tolist())
    assert not task.training


def test_what_is_no_frame_is_refused() -> None:
    sample, task = make_sample(0), make_task()
    with pytest.raises(DataError, match="a dict is no frame: give a MultiviewSample"):
        task.predict({})
    with pytest.raises(DataError, match="frame frame-0 has 1 pictures and 2 projections; the network reads 2 cameras"):
        task.predict(replace(sample, images=sample.images[:1]))
