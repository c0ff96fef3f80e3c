"""The script that measures ``stage=predict`` on photos: its photos, its clock, and that it finds what it times."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import lab
from lab.data.images import files
from lab.tasks.detection import predict as writer
from lab.training.predictor import ImagePredictor
from scripts import measure_prediction as script


def test_the_inner_part_counts() -> None:
    clock = script.Clock()
    with clock.part("outer"):
        clock.timed("inner", time.sleep)(0.02)
        clock.timed("inner", time.sleep)(0.02)
    assert clock.seconds["inner"] >= 0.04
    assert clock.seconds["outer"] < clock.seconds["inner"]


def test_parts_are_timed_and_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = script.photos(tmp_path, 2)
    with Image.open(folder / "00001.jpg") as photo:
        assert (photo.size, photo.format) == ((640, 480), "JPEG")

    def run(self: Any) -> None:
        for path in self.paths:
            writer.save_picture(files.read_image(path), path.with_suffix(".png"))

    def predict(_: str, source: Path, *words: str) -> str:
        assert words == ("data.num_workers=0", "data.batch_size=1")
        ImagePredictor.run(SimpleNamespace(paths=sorted(source.iterdir())))  # type: ignore[arg-type, call-arg]
        return "the folder"

    monkeypatch.setattr(ImagePredictor, "run", run)
    monkeypatch.setattr(lab, "predict", predict)
    read = files.read_image
    found = script.measure("ckpt", folder, ["data.batch_size=1"])
    assert files.read_image is read
    assert found["photos"] == 2
    assert set(found["seconds"]) == {"all else", "decoding", "writing pictures"}
    script.report(found)
    assert "2 photos in " in capsys.readouterr().out
