"""A classifier from the command line: fit, resume, test and predict agree and leave what they say."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet

from lab.loggers.metrics_file import read_metrics
from tests.data_factory import truncate
from tests.runs import Runs, only_run, record

CLASSIFIER = (
    "model=resnet18",
    "data=shapes",
    "trainer=cpu",
    "logger=csv",
    "data.num_train=32",
    "data.batch_size=8",
    "data.num_val=8",
    "data.num_test=8",
    "data.image_size=32",
    "data.max_side=20",
    "data.augmentation.policy=trivial_augment",
    "data.augmentation.mixup=0.2",
    "data.augmentation.cutmix=1",
    "trainer.val_every_n_steps=2",
    "trainer.checkpoint_every_n_steps=2",
    "trainer.log_every_n_steps=1",
    "trainer.deterministic=true",
    "scheduler.warmup_steps=1",
    "callbacks.pictures=2",
)


@pytest.fixture(scope="module")
def fitted(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    command = runs.run(*CLASSIFIER, "trainer.max_steps=2", "scheduler=constant", folder=folder)
    assert command.code == 0, command.out[-2000:] + command.err
    return only_run(folder)


def test_test_repeats_the_fits_numbers(runs: Runs, fitted: Path) -> None:
    of_fit = {key: value for key, value in record(fitted)["result"].items() if key.startswith("test/")}
    assert {"test/top_1", "test/macro_accuracy", "test/macro_f1", "test/ece"} <= of_fit.keys()
    assert record(fitted)["monitor"] == "val/top_1"
    assert {"val/loss", "val/ece", "test/ece"} == set(record(fitted)["lower_is_better"])
    assert len(list((fitted / "pictures").glob("test-0*.png"))) == 2
    assert (fitted / "pictures" / "test-confusion.png").exists()
    assert (fitted / "pictures" / "train-inputs.png").exists()
    assert (fitted / "pictures" / "test-mistakes.png").exists()
    assert {path.name for path in (fitted / "tables").iterdir()} == {"classes.csv", "confusion.csv"}
    command = runs.run("stage=test", f"ckpt={fitted / 'checkpoints' / 'best.ckpt'}", "eval.explain=auto")
    assert command.code == 0, command.err
    plain, explained = (
        Image.open(fitted / folder / "pictures" / "test-mistakes.png").size for folder in (".", "test-best")
    )
    assert explained[0] > 1.5 * plain[0], "a heat map stands beside each image"
    assert json.loads((fitted / "test-best" / "result.json").read_text())["result"] == of_fit


def test_predict_writes_a_row_and_a_picture_for_each_image(runs: Runs, fitted: Path, tmp_path: Path) -> None:
    for name, size in (("a.png", (40, 50)), ("b.jpg", (61, 33))):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / name)
    (tmp_path / "bad.jpg").write_bytes((tmp_path / "b.jpg").read_bytes())
    truncate(tmp_path / "bad.jpg")
    words = ("stage=predict", f"ckpt={fitted / 'checkpoints' / 'best.ckpt'}", f"input={tmp_path}")
    refused = runs.run(*words, "eval.explain=rollout")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert (
        "ResNet has no attention from every token to every other, as a ViT has: explain it by grad_cam" in refused.err
    )
    command = runs.run(*words, "eval.explain=auto")
    assert command.code == 0, command.err
    (warning,) = command.err.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'bad.jpg'} cannot be read as an image and is left out: ")
    assert "2 images, 1 files left out" in command.out
    folder = fitted / "predict-best"
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["a.png", "b.jpg"]
    for row in rows:
        scores = [float(row[f"score_{place}"]) for place in range(1, 5)]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-4)
        assert {row[f"class_{place}"] for place in range(1, 5)} == {"ellipse", "rectangle", "triangle", "cross"}
    table = parquet.read_table(folder / "predictions.parquet")
    assert list(map(str, table.schema.types)) == ["string", *["string", "float"] * 4]
    assert table.column_names == list(rows[0])
    for typed, row in zip(table.to_pylist(), rows, strict=True):
        assert {key: pytest.approx(float(row[key])) if "score" in key else row[key] for key in row} == typed
    assert len(list((folder / "pictures").glob("*.png"))) == 2
    assert Image.open(next((folder / "pictures").glob("*a.png"))).width > 200, "40 x 50, three times, and its heat map"
    width, height = Image.open(folder / "contact_sheet.png").size
    assert width > 250, "one of the two wide pictures"
    assert height > 300, "above the other"


def test_a_longer_run_goes_on(runs: Runs, fitted: Path, tmp_path: Path) -> None:
    """Its steps are those of a run that was never stopped."""
    again, whole = tmp_path / fitted.name, tmp_path / "whole"
    shutil.copytree(fitted, again)
    whole.mkdir()
    for words in ((f"resume={again}",), (*CLASSIFIER, "scheduler=constant")):
        command = runs.run(*words, "trainer.max_steps=4", folder=whole)
        assert command.code == 0, command.out[-2000:] + command.err
    kept = ("step", "train/loss", "val/loss", "val/top_1", "test/top_1", "test/ece")
    these, those = (
        [{key: row.get(key) for key in kept} for row in read_metrics(run)] for run in (again, only_run(whole))
    )
    assert these[-2:] == those[-2:]
    assert [row["step"] for row in those] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("model.learning.label_smoothing=1",), "model.learning.label_smoothing"),
        (("data=coco",), "model=resnet18 needs data for classification, data=coco gives detection"),
    ],
)
def test_what_cannot_be_is_refused(runs: Runs, words: tuple[str, ...], says: str) -> None:
    command = runs.run("model=resnet18", *words, "check=true")
    assert command.code == 2
    (line,) = command.err.splitlines()
    assert says in line
