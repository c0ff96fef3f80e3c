"""``scripts/browse_data.py`` for each kind of data, in this process: sheets, a page and a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts.browse_data import main

SMALL = ("data.num_train=32", "data.num_val=8", "data.num_test=8", "data.batch_size=8")
KINDS = {
    "detection": ("data=shapes", *SMALL),
    "classification": ("model=resnet18", "data=shapes", *SMALL),
    "several": ("model=resnet18", "data=shapes_multilabel", *SMALL),
    "semi": ("model=mixmatch", "data=shapes", "data.num_labels=8", *SMALL),
    "segmentation": ("model=maskformer_tiny", "data=shapes", *SMALL),
    "recommendation": ("model=sasrec", "data=sessions_synthetic", "data.num_items=20", *SMALL),
    "lanes": ("model=gru4rec", "data=sessions_synthetic", "data.num_items=20", *SMALL),
    "audio": ("model=vggish_tiny", "data=tones", *SMALL),
    "operator_learning": ("model=afno_tiny", "data=advection", *SMALL),
    "causal": ("model=bloom_tiny", "data=text", *SMALL),
    "masked": ("model=bert_tiny", "data=pretraining", "data.num_documents=60", "data.batch_size=4"),
    "text_classification": ("model=bert_tiny_classifier", "data=texts", *SMALL),
    "question_answering": ("model=bert_tiny_answerer", "data=questions", *SMALL),
}


@pytest.mark.parametrize("words", KINDS.values(), ids=KINDS)
def test_each_kind(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--num", "5", "--limit", "6", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-00.png", "train.html", "train.json"]
    with Image.open(tmp_path / "train-00.png") as sheet:
        assert min(sheet.size) > 100
    assert (tmp_path / "train.html").read_text().count("<figure>") == 5
    report = json.loads((tmp_path / "train.json").read_text())
    assert set(report["splits"]) == {"train", "val", "test"}
    assert report["splits"]["train"]["read"] == 6
    assert report["command"].startswith("python scripts/browse_data.py ")
    out = capsys.readouterr().out
    assert "6 of " in out
    assert "written " in out


def test_another_split_alone_and_without_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "val-07.png").write_bytes(b"of an earlier call")
    words = [*KINDS["detection"], "split=val", "augmented=false", "--num", "30", "--sheets", "--no-report"]
    assert main([*words, "--out", str(tmp_path), "--seed", "4"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["val-00.png"]  # 8 samples: one sheet
    assert "exact duplicates" not in capsys.readouterr().out


def test_a_model_is_chosen_for_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data=tones", *SMALL, "--num", "2", "--html", "--no-report", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "note: model=vggish_tiny was taken, since none was named" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["train.html"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["split=training"], "error: split=training: split is train or val or test; did you mean 'train'?"),
        (["augmented=maybe"], "error: augmented=maybe: augmented is true or false"),
        (["data=shapse"], "error: data=shapse: no such data; did you mean 'shapes'"),
        (["data=coco", "data.root=/nowhere"], "error: data=coco: /nowhere does not exist"),
        (["--out", "/dev/null/x"], "error: --out /dev/null/x: /dev/null is a file; name a folder"),
    ],
)
def test_mistakes(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("words", [["--num", "0"], ["--limit", "x"]])
def test_numbers(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "is no number above 0" in capsys.readouterr().err
