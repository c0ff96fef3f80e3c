"""A segmenter from the command line: fit, test and predict agree and leave what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data_factory import truncate
from tests.runs import Runs, record


@pytest.fixture(scope="module")
def fitted(segmenter: Path) -> Path:
    return segmenter


def test_test_repeats_the_fits_numbers(runs: Runs, fitted: Path) -> None:
    of_fit = {key: value for key, value in record(fitted)["result"].items() if key.startswith("test/")}
    assert {"test/miou", "test/pixel_accuracy", "test/pq", "test/pq_stuff", "test/map_segm"} <= of_fit.keys()
    assert len(list((fitted / "pictures").glob("test-0*.png"))) == 2
    command = runs.run("stage=test", f"ckpt={fitted / 'checkpoints' / 'best.ckpt'}")
    assert command.code == 0, command.err
    assert json.loads((fitted / "test-best" / "result.json").read_text())["result"] == of_fit


def test_predict_writes_labels_segments_and_pictures(runs: Runs, fitted: Path, tmp_path: Path) -> None:
    for name, size in (("a.png", (40, 50)), ("b.jpg", (61, 33))):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / name)
    (tmp_path / "bad.jpg").write_bytes((tmp_path / "b.jpg").read_bytes())
    truncate(tmp_path / "bad.jpg")
    command = runs.run("stage=predict", f"ckpt={fitted / 'checkpoints' / 'best.ckpt'}", f"input={tmp_path}")
    assert command.code == 0, command.err
    (warning,) = command.err.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'bad.jpg'} cannot be read as an image and is left out: ")
    assert "2 images, 1 files left out" in command.out
    folder = fitted / "predict-best"
    content = json.loads((folder / "panoptic.json").read_text())
    assert [Path(image["file_name"]).name for image in content["images"]] == ["a.png", "b.jpg"]
    assert len(content["categories"]) == 5
    for annotation, size in zip(content["annotations"], ((50, 40), (33, 61)), strict=True):
        labels = np.asarray(Image.open(folder / "labels" / annotation["file_name"]))
        assert labels.shape == size
        assert labels.max() < 5
        rgb = np.asarray(Image.open(folder / "panoptic" / annotation["file_name"])).astype(int)
        numbers = rgb @ [1, 256, 65536]
        assert set(np.unique(numbers)) - {0} == {info["id"] for info in annotation["segments_info"]}
    assert len(list((folder / "pictures").glob("*.png"))) == 2
