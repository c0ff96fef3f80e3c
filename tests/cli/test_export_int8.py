"""``scripts/export.py``: integers beside floats, both measured, on a tiny network of darknet; flags that are wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.export import main

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CFG = """[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=8
pad=1
activation=leaky
[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=9
size=1
stride=1
activation=linear
[yolo]
mask=0
anchors=24,24
classes=4
num=1
"""


def test_integers_beside_floats_and_both_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.cfg").write_text(CFG)
    sizes = {"image_size": 64, "num_train": 16, "num_val": 4, "num_test": 6, "batch_size": 4}
    data = [f"data.{name}={value}" for name, value in sizes.items()]
    words = ["model=yolo_fastest_v1_1", f"model.net.cfg={tmp_path / 'net.cfg'}", "data=shapes", *data]
    flags = [
        "--size",
        "64",
        "64",
        "--batch",
        "1",
        "--int8",
        "--calibrate",
        "8",
        "--evaluate",
        "test",
        "--out",
        str(tmp_path / "net.onnx"),
    ]
    assert main([*words, *flags]) == 0
    said = capsys.readouterr().out
    for expected in (
        "8 images of the training set",
        "2 of integers, 1 of float32",
        "ms an image, int8",
        "6 images of the test set",
        "map_50",
    ):
        assert expected in said
    line = next(line for line in said.splitlines() if "map_50" in line)
    # darknet's own prediction counts every class of a box, its file the best one: the numbers may differ.
    assert re.search(r"network \d\.\d{4}  onnx \d\.\d{4}  int8 \d\.\d{4}", line)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "net.cfg",
        "net.int8.onnx",
        "net.int8.onnx.json",
        "net.onnx",
        "net.onnx.json",
    ]
    details = json.loads((tmp_path / "net.int8.onnx.json").read_text())["details"]
    assert details["int8"]["calibrated_on"] == 8
    assert len(details["int8"]["floats"]) == 1


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--int8", "--format", "ncnn"], "--int8 is of format onnx, not of ncnn"),
        (["--half"], "--half is of format ncnn, not of onnx"),
        (["--layout", "published"], "--layout is of format ncnn, not of onnx"),
        (["--evaluate", "test", "--format", "ncnn"], "--evaluate is of format onnx and torch_export, not of ncnn"),
    ],
    ids=["int8", "half", "layout", "evaluate"],
)
def test_flags_of_another_format_are_refused(
    flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model=yolo_fastest_v2", *flags]) == 2
    assert capsys.readouterr().err == f"error: {problem}\n"
