"""``scripts/inspect_model.py`` for networks of every kind of problem, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.inspect_model import main

SESSIONS = ("data=sessions_synthetic", "data.num_items=20", "data.num_train=40", "data.num_val=4", "data.num_test=4")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("model=detr_tiny",), ("detr_tiny: 703,186 parameters", "AnchorDecoder", "1x96x8x8")),
        (("model=maskformer_tiny", "data=shapes"), ("MaskFormer", "TransformerPredictor")),
        (("model=sasrec_pmixer", *SESSIONS), ("PmixerBlock", "Embedding x2")),
        (("model=resnet18", "data=shapes", "data.batch_size=2"), ("BasicBlock", "2x512x2x2")),
    ],
    ids=["detection", "segmentation", "recommendation", "classification"],
)
def test_the_tree(
    words: tuple[str, ...], shown: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--depth", "2", "--json", str(tmp_path / "tree.json")]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in (*shown, "MACs", "100.0 %")), out
    tree = json.loads((tmp_path / "tree.json").read_text())["tree"]
    assert tree["macs"] > 0
    assert tree["kept_bytes"] > 0
    assert tree["parameters"] >= sum(child["parameters"] for child in tree["children"][:1])


def test_the_difference_of_two_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "both.json"
    assert main(["model=resnet18", "data=shapes", "--json", str(file), "--diff", "model=resnet34"]) == 0
    out = capsys.readouterr().out
    assert "layer4.2" in out
    assert "21,286,724" in out
    content = json.loads(file.read_text())
    assert (content["model"], content["other_model"]) == ("resnet18", "resnet34")
    assert {each["change"] for each in content["differences"]} == {"added"}
    assert len(content["differences"]) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=resnet19", "data=shapes"], "error: model=resnet19: no such model; did you mean 'resnet18'"),
        (["model=popularity", *SESSIONS], "error: model=popularity has no parameters and no modules to look at"),
        (
            ["model=resnet18", "data=coco"],
            "error: model=resnet18 needs data for classification, data=coco gives detection",
        ),
        (["model=detr_tiny", "--json", "/nowhere/tree.json"], "error: --json /nowhere/tree.json: cannot be written"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(said)
    assert "\n" not in error
