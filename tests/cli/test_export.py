"""``scripts/export.py`` in this process: what it writes for words of run.py, and the lines that refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.data.scenes.shapes import CLASS_NAMES
from scripts.export import main


def test_words_with_data_give_a_file_compared_on_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.pt2"
    small = ("data.num_train=2", "data.num_val=1", "data.num_test=1", "data.batch_size=2")
    words = ("model=resnet20", "data=shapes", *small)
    assert main([*words, "--format", "torch_export", "--out", str(out), "--size", "32", "48", "--batch", "3"]) == 0
    printed = capsys.readouterr().out
    assert "images of its data: 3x3x32x48" in printed
    assert "worst error of logits" in printed
    said = json.loads(out.with_name("net.pt2.json").read_text())
    assert said["class_names"] == list(CLASS_NAMES)
    assert (said["dynamic"], said["size"], said["source"]) == ([], [32, 48], " ".join(words))
    assert said["input"] == {"images": "float32 (3, 3, 32, 48), RGB from 0 to 1, normalised inside"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["runs/none"], "runs/none: there is no such run or checkpoint; words are written KEY=VALUE"),
        (["model=detr_tiny", "--size", "64"], "--size 64: give H W, or H W dynamic, or dynamic"),
        (["model=detr_tiny", "--batch", "0"], "--batch 0: give a number above 0, or dynamic"),
        (["model=maskformer_tiny"], "a network for segmentation is not exported: it does not take images alone"),
        (["model=detr_tiny", "--size", "64", "64", "--nms"], "--nms: detr_tiny does not suppress boxes"),
        (["model=detr_tiny", "--out", "no/such/net.onnx"], "--out no/such/net.onnx: there is no folder no/such"),
    ],
    ids=["run", "size", "batch", "kind", "nms", "folder"],
)
def test_what_cannot_be_is_refused_with_one_line(
    given: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1
