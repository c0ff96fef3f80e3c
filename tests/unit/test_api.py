"""The Python door: what is returned and raised, what a call leaves of its process, objects of the caller's own."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import lab
from lab.cli.main import main
from lab.errors import CheckpointError, ConfigError, Diverged, Pruned, RunError
from lab.launch.prepare import prepare_job
from lab.run_progress import write_verdict
from lab.tasks.detection.data.shapes import ShapesDataModule
from tests.dist.harness import SMALL

WORDS = (*(word for word in SMALL if not word.startswith("trainer.")), "trainer=cpu", "callbacks.pictures=1")
NO_DATA = tuple(word for word in WORDS if not word.startswith("data."))
SHORT: dict[str, Any] = {"trainer": {"max_steps": 3, "log_every_n_steps": 1}}


class OwnData(ShapesDataModule):
    """A DataModule that no config names; it may raise a signal when a batch of training is put together."""

    def __init__(self, num_train: int = 16, stop_at: int = 0, stop_by: int = signal.SIGINT) -> None:
        super().__init__(4, image_size=32, max_side=20, num_train=num_train, num_val=3, num_test=3)
        self._stop_at, self._stop_by, self._count = stop_at, stop_by, 0

    def collate(self, samples: Any) -> Any:
        self._count += 1
        if self._count == self._stop_at:
            signal.raise_signal(self._stop_by)
        return super().collate(samples)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def fitted(folder: Path) -> lab.Run:
    return lab.fit(*WORDS, **SHORT, paths={"runs_dir": folder / "runs"})


def state_of_process() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "levels": [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric", "")],
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "path": list(sys.path),
        "folders": (Path.cwd(), tempfile.tempdir, tempfile.gettempdir()),
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "torch": (torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled(), torch.get_default_dtype()),
        "group": torch.distributed.is_initialized(),
        "threads": torch.get_num_threads(),
    }


def test_a_config_is_the_command_line_s(folder: Path) -> None:
    config = lab.compose(*WORDS, optimizer={"lr": 2e-4}, seed=3)
    again = prepare_job([*WORDS, "optimizer.lr=2e-4", "seed=3"], [], machine=False)
    assert config == again.config
    assert config.run_path == again.path
    other = lab.compose(config, "seed=4")
    assert (config.seed, other.seed, other["optimizer.lr"]) == (3, 4, 2e-4)
    assert yaml.safe_load(str(config)) == config.to_dict()
    assert other.words.count("seed=4") == 1
    assert "seed=3" not in other.words


def test_refusals_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["model=dert"], ["optimizer.lrr=1"], ["seed"], ["data.batch_size=0"], ["model=detr", "data=rsc15"]):
        with pytest.raises(ConfigError) as caught:
            lab.compose(*words)
        assert main(words) == 2
        assert capsys.readouterr().err == f"error: {caught.value}\n"
    with pytest.raises(ConfigError, match=r"stage=test: call lab.test"):
        lab.fit(*WORDS, "stage=test", "model.pretrained=null", f"ckpt={__file__}")
    with pytest.raises(ConfigError, match=r"check=true trains nothing.*call lab.check"):
        lab.fit(*WORDS, check=True)
    with pytest.raises(ConfigError, match="give overrides such as"):
        lab.compose(3)  # type: ignore[arg-type]


def test_groups_and_recipes_of_the_caller_s_own(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("defaults:\n  - adamw\n  - _self_\n\nlr: 0.125\n")
    for folders in (tmp_path, str(tmp_path), [tmp_path]):
        config = lab.compose("optimizer=mine", "scheduler=constant", config_dir=folders)
        assert config.optimizer.lr == 0.125
    assert lab.compose(config, "seed=2").optimizer.lr == 0.125
    with pytest.raises(ConfigError, match="no such folder"):
        lab.compose(config_dir=tmp_path / "none")


def test_a_check_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = lab.compose(*WORDS, **SHORT, paths={"runs_dir": tmp_path / "runs"})
    lab.check(config)
    lab.check(*NO_DATA, data=OwnData())
    assert capsys.readouterr().out.count("check passed: nothing was trained") == 2
    assert not (tmp_path / "runs").exists()


def test_a_fit_returns_its_run_and_a_finished_one_at_once(fitted: lab.Run) -> None:
    assert (fitted.state, fitted.steps, fitted.problems) == ("finished", 3, ())
    assert set(fitted.checkpoints) >= {"best", "last"}
    assert fitted.metrics["train/loss"].notna().sum() == 3
    assert "test/map_50" in fitted.result
    assert fitted.pictures
    assert fitted.record["command"].startswith("lab.fit('trainer=cpu', ")
    before = (fitted.path / "run.json").read_bytes()
    again = lab.fit(*WORDS, **SHORT, paths={"runs_dir": fitted.path.parent})
    assert again.result == pytest.approx(fitted.result, nan_ok=True)
    assert (fitted.path / "run.json").read_bytes() == before
    assert [run.name for run in lab.runs(fitted.path.parent)] == [fitted.name]


def test_a_call_leaves_the_process_as_it_was(fitted: lab.Run, tmp_path: Path) -> None:
    before = state_of_process()
    config = lab.compose(*WORDS, **SHORT, paths={"runs_dir": tmp_path}, seed=5)
    words = ("trainer.deterministic=true", "trainer.max_steps=1", "strategy=ddp")
    assert lab.fit(config, *words).state == "finished"
    lab.load(fitted)
    assert state_of_process() == before
    with pytest.raises(ConfigError):
        lab.fit(*WORDS, "model=dert")
    assert state_of_process() == before


def test_test_validate_and_predict_write_beside_the_fit(fitted: lab.Run, tmp_path: Path) -> None:
    tested = lab.test(fitted)
    assert tested.result == pytest.approx(
        {key: value for key, value in fitted.result.items() if key.startswith("test/")}, nan_ok=True
    )
    assert lab.validate(fitted.best, eval={}).path == fitted.path / "validate-best"
    assert set(lab.read_run(fitted.path).evaluations) == {"test-best", "validate-best"}
    Image.fromarray(np.full((40, 50, 3), 99, np.uint8)).save(tmp_path / "a.png")
    written = lab.predict(fitted, tmp_path)
    assert written == fitted.path / "predict-best"
    found = json.loads((written / "results.json").read_text())
    here = lab.load(fitted).predict(tmp_path / "a.png")
    best = max(found, key=lambda row: row["score"])
    assert best["score"] == pytest.approx(float(here.scores[0]))
    left, top, width, height = best["bbox"]
    assert here.boxes[0].tolist() == pytest.approx([left, top, left + width, top + height], abs=0.02)
    with pytest.raises(ConfigError, match=r"input is a Image, not a path: lab.load\(ckpt\).predict accepts it"):
        lab.predict(fitted, Image.new("RGB", (3, 3)))  # type: ignore[arg-type]


def test_a_loaded_task_predicts_for_one_or_several(fitted: lab.Run) -> None:
    task = lab.load(fitted.path)
    assert not task.training
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    one = task.predict(image)
    assert len(one) == len(one.scores) == len(one.boxes)
    assert set(one.names) <= set(task.class_names)
    assert (one.scores.diff() <= 0).all()
    assert len(one.above(2.0)) == 0
    several = task.predict([Image.fromarray(image), torch.from_numpy(image).permute(2, 0, 1)], batch_size=1)
    assert len(several) == 2
    for found in several:
        torch.testing.assert_close(found.boxes, one.boxes)
    with pytest.raises(CheckpointError):
        lab.load(fitted.path / "nothing.ckpt")


def test_signals_leave_a_run_that_goes_on_by_repeating_the_call(tmp_path: Path) -> None:
    arguments = {**SHORT, "paths": {"runs_dir": tmp_path / "stopped"}}
    with pytest.raises(KeyboardInterrupt, match="interrupted by SIGINT at step 2; repeat the call to continue"):
        lab.fit(*NO_DATA, data=OwnData(stop_at=2), **arguments)
    (stopped,) = lab.runs(tmp_path / "stopped")
    assert (stopped.state, set(stopped.checkpoints)) == ("interrupted", {"last"})
    assert stopped.result == {}
    finished = lab.fit(*NO_DATA, data=OwnData(), **arguments)
    assert finished.path == stopped.path
    assert (finished.state, finished.record["resumed_at"]) == ("finished", [2])
    whole = lab.fit(*NO_DATA, data=OwnData(), **SHORT, paths={"runs_dir": tmp_path / "whole"})
    assert finished.metrics["train/loss"].tolist() == whole.metrics["train/loss"].tolist()
    assert finished.name == whole.name


def test_sigterm_goes_to_its_handler_once_the_checkpoint_is_written(tmp_path: Path) -> None:
    seen: list[set[str]] = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(set(lab.runs(tmp_path)[0].checkpoints)))
    try:
        with pytest.raises(KeyboardInterrupt, match="interrupted by SIGTERM at step 2"):
            lab.fit(*NO_DATA, data=OwnData(16, 2, signal.SIGTERM), **SHORT, paths={"runs_dir": tmp_path})
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [{"last"}]


def test_an_object_stands_in_the_config_and_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments: dict[str, Any] = {"trainer": {"max_steps": 1}, "paths": {"runs_dir": tmp_path}}
    run = lab.fit(*NO_DATA, data=OwnData(), **arguments)
    data = run.config.data
    assert run.name.startswith("detr_tiny-OwnData-")
    assert (data["_target_"], data.batch_size, data.tasks) == (f"{__name__}.OwnData", 4, ("detection",))
    assert data.arguments.image_size == 32
    assert data.fingerprint == OwnData().fingerprint()
    assert lab.fit(*NO_DATA, data=OwnData(), **arguments).record["ended"] == run.record["ended"]
    assert lab.fit(*NO_DATA, data=OwnData(num_train=24), **arguments).path != run.path
    tested = lab.test(run, data=OwnData())
    assert tested.result["test/map"] == pytest.approx(run.result["test/map"])
    with pytest.raises(RunError, match=r"was made from Python with a DataModule of the caller's own, .*OwnData"):
        lab.test(run)
    assert main(["stage=test", f"ckpt={run.best}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_done_with_an_object(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="worker processes cannot receive an object, data=OwnData"):
        lab.fit("trainer=cpu", "trainer.devices=2", data=OwnData())
    with pytest.raises(ConfigError, match=r"data.batch_size=3: data is an object of your own, OwnData: set this on"):
        lab.fit("data.batch_size=3", data=OwnData())
    with pytest.raises(ConfigError, match=r"data is a list: give the name of a dataset, or a"):
        lab.fit(data=[1])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="segmentation"):
        lab.fit("model=per_pixel_tiny", "trainer=cpu", data=OwnData(), paths={"runs_dir": tmp_path})


def test_divergence_is_raised(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as caught:
        lab.fit(*WORDS, **SHORT, optimizer={"lr": 1e30}, scheduler="constant", paths={"runs_dir": tmp_path})
    assert caught.value.step >= 1
    (run,) = lab.runs(tmp_path)
    assert run.state == "diverged"


def test_a_pruned_job_raises_and_the_same_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = {"max_steps": 2, "val_every_n_steps": 1}
    write_verdict(tmp_path, 1, prune=True)
    monkeypatch.setenv("LAB_JOB_FOLDER", str(tmp_path))
    monkeypatch.setenv("LAB_JOB_WAITS", "1")
    with pytest.raises(lab.Pruned, match=r"^pruned at step 1 of 2: ") as caught:
        lab.fit(*WORDS, trainer=trainer, paths={"runs_dir": tmp_path / "runs"})
    assert isinstance(caught.value, Pruned)
    (pruned,) = lab.runs(tmp_path / "runs")
    assert (pruned.state, pruned.result, pruned.problems) == ("pruned", {}, ())
    monkeypatch.delenv("LAB_JOB_FOLDER")  # a call that is no job of a sweep
    run = lab.fit(*WORDS, trainer=trainer, paths={"runs_dir": tmp_path / "runs"})
    assert (run.state, run.record["resumed_at"]) == ("finished", [1])


def test_a_call_from_another_thread(tmp_path: Path) -> None:
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(lab.fit(*WORDS, trainer={"max_steps": 1}, paths={"runs_dir": tmp_path}))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert isinstance(found[0], lab.Run), found
    assert found[0].state == "finished"


def test_several_devices_take_worker_processes(tmp_path: Path) -> None:
    words = ("trainer.devices=2", "strategy=ddp", "trainer.max_steps=1")
    run = lab.fit(*WORDS, *words, paths={"runs_dir": tmp_path})
    assert (run.state, run.record["world_size"]) == ("finished", 2)
    before = (run.path / "run.json").read_bytes()
    assert lab.fit(*WORDS, *words, paths={"runs_dir": tmp_path}).path == run.path
    assert (run.path / "run.json").read_bytes() == before


def test_under_a_launcher_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"lab.fit under torchrun: each of its processes would run the whole job"):
        lab.fit(*WORDS)


def test_names() -> None:
    assert set(lab.__all__) <= set(dir(lab))
    for name in lab.__all__:
        assert getattr(lab, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = lab.fitt
