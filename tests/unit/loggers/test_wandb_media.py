"""Samples, tables and confusion matrices as W&B's own media, read back from the files of an offline run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from PIL import Image

from lab.loggers import wandb_media
from lab.loggers.media import MediaBox, MediaSample, label_caption, label_values
from lab.loggers.wandb_media import LARGEST, MOST_BOXES, NO_CLASS, log_evaluation, log_pictures, log_samples
from lab.loggers.wandb_run import WandbRun
from lab.report.sounds import SoundPanel
from tests.unit.compat.test_wandb_log import summary_of

NAMES = ("cat", "dog\x1b[31m", "bird")


def _samples() -> list[MediaSample]:
    picture = Image.new("RGB", (64, 48), "blue")
    mask = np.full((48, 64), -1)
    mask[:10], mask[10:20] = 1, 2
    boxes = {
        "truth": [MediaBox((1.5, 2.0, 30.0, 40.0), 1)],
        "prediction": [
            MediaBox((-5.0, 2.0, 70.0, 40.0), 0, 0.25),
            MediaBox((1.0, 1.0, 2.0, 2.0), 2, 1.0000001),
            MediaBox((float("nan"), 1.0, 2.0, 2.0), 2, 0.9),
        ],
    }
    large = Image.new("RGB", (2 * LARGEST, LARGEST), "red")
    sound = SoundPanel(picture, np.zeros(800, np.float32), 8000, "a sound").wave()
    values = label_values("dog", [0.5, 0.2, 0.3], ["cat", "dog", "bird"], most=2)
    return [
        MediaSample(picture, boxes, {"truth": mask, "prediction": mask}, label_caption(values), values, sound),
        MediaSample(large, {"truth": [MediaBox((10.0, 20.0, 30.0, 40.0), 0)]}, {"truth": np.zeros((640, 1280), int)}),
    ]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of an offline run with media, and its summary."""
    folder = tmp_path_factory.mktemp("media")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("WANDB_CONFIG_DIR", str(folder / "settings"))
        patch.setenv("XDG_DATA_HOME", str(folder / "home"))
        wandb.teardown()
        run = WandbRun(folder / "run", mode="offline")
        run.log_metrics({"val/map": 0.5}, step=3)
        log_samples(run, "val", _samples(), NAMES, 3, table=True)
        rows = [{"class": "cat", "f1": 0.5}, {"class": "dog", "f1": float("nan"), "images": 3}]
        log_evaluation(run, "val", {"classes": rows, "none": []}, [[5, 1, 0], [2, 7, 0], [0, 0, 0]], NAMES, 3)
        log_pictures(run, {"val/confusion": Image.new("RGB", (20, 20))}, 3)
        assert (folder / "run" / "wandb" / "scratch").exists()
        run.finish()
    assert not (folder / "run" / "wandb" / "scratch").exists()
    assert not (folder / "home").exists()  # the files of tables are in the run directory
    (offline,) = (folder / "run" / "wandb").glob("offline-run-*")
    (log,) = offline.glob("*.wandb")
    return offline, summary_of(log)["summary"]


def _boxes(folder: Path, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The boxes of each image, by layer, from the files."""
    found = []
    for layers in summary["val/predictions"]["all_boxes"]:
        read = {name: json.loads((folder / "files" / one["path"]).read_text()) for name, one in layers.items()}
        found.append({name: content["box_data"] for name, content in read.items()})
    return found


def test_boxes_are_in_pixels_within_the_picture_and_scores_from_0_to_1(logged: tuple[Path, dict[str, Any]]) -> None:
    first, second = _boxes(*logged)
    assert first["truth"] == [
        {
            "position": {"minX": 1.5, "minY": 2.0, "maxX": 30.0, "maxY": 40.0},
            "domain": "pixel",
            "class_id": 1,
            "box_caption": "dog\\x1b[31m",
        }
    ]
    assert [(box["scores"], box["box_caption"]) for box in first["prediction"]] == [
        ({"score": 1.0}, "bird 1.00"),
        ({"score": 0.25}, "cat 0.25"),
    ]
    assert first["prediction"][1]["position"] == {"minX": 0.0, "minY": 2.0, "maxX": 64.0, "maxY": 40.0}
    # The second picture was made smaller by half, and its boxes with it.
    assert second["truth"][0]["position"] == {"minX": 5.0, "minY": 10.0, "maxX": 15.0, "maxY": 20.0}


def test_pictures_and_masks_have_one_size(logged: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = logged
    shown = summary["val/predictions"]
    files = [folder / "files" / name for name in shown["filenames"]]
    assert [Image.open(file).size for file in files] == [(64, 48), (LARGEST, LARGEST // 2)]
    assert [file.suffix for file in files] == [".png", ".jpg"]
    masks = [
        {name: Image.open(folder / "files" / one["path"]) for name, one in layers.items()}
        for layers in shown["all_masks"]
    ]
    assert sorted(masks[0]) == ["prediction", "truth"]
    stored = np.asarray(masks[0]["truth"])
    assert (stored[:10] == 1).all()
    assert (stored[10:20] == 2).all()
    assert (stored[20:] == NO_CLASS).all()
    assert masks[1]["truth"].size == (LARGEST, LARGEST // 2)
    assert shown["captions"][0] == "cat 0.50 (true: dog)"


def test_sounds_and_tables(logged: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = logged
    (sound,) = (folder / "files" / "media" / "audio").rglob("*.wav")
    assert sound.read_bytes()[:4] == b"RIFF"
    table = json.loads((folder / "files" / summary["val/samples"]["path"]).read_text())
    assert table["columns"] == ["sample", "picture", "truth", "prediction", "right", "score", "highest"]
    assert table["data"][0][2:] == ["dog", "cat", False, 0.5, "cat 0.500, bird 0.300"]
    classes = json.loads((folder / "files" / summary["val/classes"]["path"]).read_text())
    assert (classes["columns"], classes["data"]) == (["class", "f1", "images"], [["cat", 0.5, None], ["dog", None, 3]])
    assert "val/none" not in summary


def test_the_confusion_matrix_is_a_chart_of_wandb(logged: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = logged
    table = json.loads((folder / "files" / summary["val/confusion_matrix_table"]["path"]).read_text())
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert [row[2] for row in table["data"]] == [5, 1, 0, 2, 7, 0, 0, 0, 0]
    assert table["data"][1][:2] == ["cat", "dog\\x1b[31m"]


def test_the_numbers_of_boxes_rows_and_classes_are_bounded() -> None:
    picture = Image.new("RGB", (64, 48))
    many = [MediaBox((0.0, 0.0, 5.0, 5.0), 0, number / 200) for number in range(150)]
    boxes = wandb_media._boxes(many, 1.0, picture, {0: "cat"})
    assert len(boxes) == MOST_BOXES
    assert boxes[0]["scores"]["score"] == 149 / 200
    names = [str(number) for number in range(wandb_media.MOST_CLASSES + 1)]
    assert wandb_media.confusion_chart([[0] * len(names)] * len(names), names, "") is None
    table = wandb_media.rows_as_table([{"row": number} for number in range(wandb_media.MOST_ROWS + 5)])
    assert table is not None
    assert len(table.data) == wandb_media.MOST_ROWS
