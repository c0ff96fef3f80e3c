"""What a fit leaves is what the other stages work on: the same numbers, written beside it."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from lab import create_model
from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from lab.tasks.detection.task import DetectionTask
from tests.data_factory import truncate
from tests.runs import DETECTOR, ROOT, SMALL, Runs, only_run, record


@pytest.fixture(scope="module")
def fitted(detector: Path) -> Path:
    return detector


def one_line(error: str) -> str:
    """Return the only line of an error output."""
    (line,) = error.splitlines()
    assert line.startswith("error: ")
    return line


def test_best_checkpoint_stands_alone_and_holds_the_average(fitted: Path) -> None:
    task = DetectionTask.load_from_checkpoint(fitted / "checkpoints" / "best.ckpt")
    assert task.weights_kind == record(fitted)["weights"] == "averaged"
    assert task.class_names == ("ellipse", "rectangle", "triangle", "cross")
    best, last = (CheckpointReader(fitted / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert not [name for name in best.names() if not name.startswith("model/")]
    assert last.state["weights_kind"] == "raw"
    if record(fitted)["best_step"] == 6:  # else the average has moved on since
        for name, parameter in task.named_parameters():
            assert torch.equal(parameter.detach(), last.read(f"average/{name}")), name
    raw = {name: last.read(f"model/{name}") for name, _ in task.named_parameters()}
    assert any(not torch.equal(parameter.detach(), raw[name]) for name, parameter in task.named_parameters())


def test_result_is_of_the_best_step_and_its_rates_are_logged(fitted: Path) -> None:
    best, result = record(fitted)["best_step"], record(fitted)["result"]
    table = {row["step"]: row for row in read_metrics(fitted)}
    assert best in (5, 6)
    assert max(table[step]["val/map"] for step in (5, 6)) == result["val/map"] == table[best]["val/map"]
    assert table[6]["test/map_50"] == result["test/map_50"]
    assert {"train/loss", "train/lr", "train/lr_1", "train/samples_per_s", "train/data_wait"} <= table[1].keys()
    # Warm-up over two steps: half of each group's peak at the first.
    assert sorted([table[1]["train/lr"], table[1]["train/lr_1"]]) == pytest.approx([0.5e-4, 0.5e-3])
    assert len(list((fitted / "pictures").glob("test-0*.png"))) == 2


@pytest.mark.parametrize(("stage", "split"), [("test", "test"), ("validate", "val")])
def test_stage_repeats_the_fits_numbers_and_writes_beside(runs: Runs, fitted: Path, stage: str, split: str) -> None:
    before = (fitted / "run.json").read_bytes()
    command = runs.run(f"stage={stage}", f"ckpt={fitted / 'checkpoints' / 'best.ckpt'}")
    assert command.code == 0, command.err
    written = json.loads((fitted / f"{stage}-best" / "result.json").read_text())
    of_fit = {key: value for key, value in record(fitted)["result"].items() if key.startswith(f"{split}/")}
    assert len(of_fit) > 10
    assert written["result"] == of_fit
    assert (fitted / "run.json").read_bytes() == before
    assert str(fitted / f"{stage}-best") in command.out


def test_consolidated_weights_are_those_of_the_best_checkpoint_and_can_be_tested(
    runs: Runs, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = str(ROOT / "scripts" / "consolidate_checkpoint.py")
    best, file = fitted / "checkpoints" / "best.ckpt", tmp_path / "weights.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, script, str(fitted), "--out", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    reader = CheckpointReader(best)
    found = load_file(file)
    assert done.stdout.startswith(f"{len(found)} tensors, ")
    assert f"of step {record(fitted)['best_step']}: {file}" in done.stdout
    assert {f"model/net.{name}" for name in found} == set(reader.names())
    for name, tensor in found.items():
        assert torch.equal(tensor, reader.read(f"model/net.{name}")), name
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    assert json.loads(header["class_names"]) == ["ellipse", "rectangle", "triangle", "cross"]
    assert json.loads(header["hyper_parameters"]) == DetectionTask.load_from_checkpoint(best).hparams
    assert (header["weights_kind"], header["format"]) == ("averaged", "pt")
    net = dict(json.loads(header["hyper_parameters"])["net"])
    model = create_model(net.pop("_target_"), pretrained=file, num_classes=4, **net)
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())

    command = runs.run("stage=test", f"ckpt={file}", *DETECTOR, folder=tmp_path)
    assert command.code == 0, command.err
    (written,) = (tmp_path / "runs").glob("*/test-weights/result.json")
    of_fit = {key: value for key, value in record(fitted)["result"].items() if key.startswith("test/")}
    assert json.loads(written.read_text())["result"] == of_fit
    command = runs.run("stage=validate", f"ckpt={file}", *DETECTOR, folder=tmp_path)
    (written,) = (tmp_path / "runs").glob("*/validate-weights/result.json")
    assert json.loads(written.read_text())["result"]["val/loss"] == record(fitted)["result"]["val/loss"]

    for refused, problem in {
        (tmp_path / "none",): "no such checkpoint",
        (fitted, "--out", tmp_path / "weights.pth"): "name it so",
        (file,): "this is a file; a checkpoint is a folder",
    }.items():
        monkeypatch.setattr(sys, "argv", [script, *map(str, refused)])  # refused the same in this process
        with pytest.raises(SystemExit, match="2"):
            runpy.run_path(script, run_name="__main__")
        shown = capsys.readouterr()
        assert shown.out == ""
        assert problem in one_line(shown.err)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        Image.effect_noise((40 + number, 50), 80).convert("RGB").save(folder / name)
    shutil.copy(folder / "b.jpg", folder / "bad.jpg")
    truncate(folder / "bad.jpg")
    return folder


def test_predict_writes_pictures_and_results(runs: Runs, fitted: Path, photos: Path) -> None:
    command = runs.run("stage=predict", f"ckpt={fitted / 'checkpoints' / 'best.ckpt'}", f"input={photos}")
    assert command.code == 0, command.err
    (warning,) = command.err.splitlines()
    assert warning.startswith(f"warning: {photos / 'bad.jpg'} cannot be read as an image and is left out: ")
    folder = fitted / "predict-best"
    images = json.loads((folder / "images.json").read_text())
    assert [Path(image["file_name"]).name for image in images["images"]] == ["a.png", "b.jpg", "c.png"]
    results: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())
    assert {result["image_id"] for result in results} == {image["id"] for image in images["images"]}
    assert {result["category_id"] for result in results} <= {category["id"] for category in images["categories"]}
    for result in results:
        assert result.keys() == {"image_id", "category_id", "bbox", "score"}
        assert 0 <= result["score"] <= 1
        assert len(result["bbox"]) == 4
        assert result["bbox"][2] >= 0
    assert len(list((folder / "pictures").glob("*.png"))) == 3


def test_unusable_inputs_and_checkpoints_are_one_line(runs: Runs, fitted: Path, photos: Path) -> None:
    best = fitted / "checkpoints" / "best.ckpt"
    foreign, broken = photos / "foreign.ckpt", photos / "broken.ckpt"
    torch.save({"model": {}}, foreign)
    shutil.copytree(best, broken)
    truncate(broken / "rank-00000.safetensors")
    (photos / "empty").mkdir()
    cases = {
        ("stage=predict", f"ckpt={best}", f"input={photos / 'bad.jpg'}"): "bad.jpg",
        ("stage=predict", f"ckpt={best}", f"input={photos / 'empty'}"): "no image is there",
        ("stage=test", f"ckpt={foreign}"): "foreign.ckpt",
        ("stage=test", f"ckpt={photos / 'empty'}"): "a folder, no checkpoint",
        ("stage=test", f"ckpt={broken}"): "broken.ckpt",
        ("stage=test", f"ckpt={photos / 'nowhere.ckpt'}"): "nowhere.ckpt",
        ("stage=fit", f"ckpt={foreign}", *SMALL): "foreign.ckpt",
    }
    for words, part in cases.items():
        command = runs.run(*words, folder=photos)
        assert command.code == 2, words
        assert part in one_line(command.err)
    assert not [path for path in (photos / "runs").glob("*") if "test" not in path.name] or not list(
        (photos / "runs").glob("*/run.json")
    )


def test_weights_beside_averaged_ones_are_named(runs: Runs, tmp_path: Path) -> None:
    """The last checkpoint of a training with an average: its weights are not what the training was measured by."""
    run = runs.fit("callbacks=ema", "callbacks.ema.decay=0.9", "trainer.max_steps=2", folder=tmp_path)
    for name, kind in (("last", "raw"), ("best", "averaged")):
        command = runs.run("stage=validate", f"ckpt={run / 'checkpoints' / name}.ckpt", folder=tmp_path)
        assert command.code == 0, command.err
        assert ("holds averaged weights too" in command.out) == (kind == "raw")
        (result,) = run.glob(f"validate-{name}*/result.json")
        assert json.loads(result.read_text())["weights"] == kind


def test_fit_takes_weights_alone_from_a_checkpoint(runs: Runs, fitted: Path, tmp_path: Path) -> None:
    best = fitted / "checkpoints" / "best.ckpt"
    run = runs.fit(f"ckpt={best}", "optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_steps=3", folder=tmp_path)
    assert [row["step"] for row in read_metrics(run)] == [1, 2, 3]
    taken, last = CheckpointReader(best), CheckpointReader(run / "checkpoints" / "last.ckpt")
    assert len(taken.names("model/")) == len(last.names("model/")) > 50
    for name in taken.names("model/"):
        assert torch.equal(last.read(name), taken.read(name)), name
    assert run.name != fitted.name


def test_constructors_error_names_cause_and_path_and_leaves_nothing(runs: Runs, tmp_path: Path) -> None:
    command = runs.run(*SMALL, "model.net.backbone=nosuch", folder=tmp_path)
    assert command.code == 2
    line = one_line(command.err)
    assert "model.net" in line
    assert "unknown model 'nosuch'" in line
    assert not list((tmp_path / "runs").glob("*"))


BROKEN = """
from lab.models.detr.variants import detr_tiny
from lab.registry import register

class Broken:
    steps = 0

@register
def broken(num_classes: int = 4):
    net = detr_tiny(num_classes=num_classes)
    whole = net.loss
    def loss(*arguments):
        Broken.steps += 1
        if Broken.steps > 2:
            raise RuntimeError("the third step is broken")
        return whole(*arguments)
    net.loss = loss
    return net
"""


def test_failing_run_shows_its_traceback_and_is_recorded(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "broken_package_of_tests.py").write_text(BROKEN)
    words = [word for word in SMALL if not word.startswith("model.net")]
    target = [
        "extensions=[broken_package_of_tests]",
        "~model.net",
        "+model.net._target_=broken_package_of_tests.broken",
    ]
    command = runs.run(*words, *target, folder=tmp_path)
    assert command.code == 1, command.err
    assert "Traceback" in command.err
    assert "RuntimeError: the third step is broken" in command.err
    assert (record(only_run(tmp_path))["state"], record(only_run(tmp_path))["exit_code"]) == ("failed", 1)
    assert [row["step"] for row in read_metrics(only_run(tmp_path))] == [1, 2]


def test_check_trains_and_writes_nothing(runs: Runs, tmp_path: Path) -> None:
    command = runs.run(*SMALL, "check=true", "model.net.num_queries=2", folder=tmp_path)
    assert command.code == 0, command.err
    assert "check passed" in command.out
    assert "samples   training 64, validation 8, test 8 images" in command.out
    assert "so the rest is missed; the most are 3: set model.net.num_queries=3 or more" in command.out
    assert "images (8, 3, 32, 32)" in command.out
    assert not (tmp_path / "runs").exists()
    command = runs.run(*SMALL, "check=true", "model.net.num_heads=3", folder=tmp_path)
    assert command.code == 2
    assert "num_heads" in one_line(command.err)
    command = runs.run(*SMALL, "check=true", "data.max_side=32", folder=tmp_path)
    assert command.code == 2
    assert "cannot place 3 shapes of up to max_side=32 px in every image of image_size=32 px" in one_line(command.err)
