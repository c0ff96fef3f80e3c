"""A fit as an object: data of the caller's own, in a thread, twice in one process; what it raises and records."""

from __future__ import annotations

import gc
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from lab.data.datamodule import LoadPlan
from lab.errors import ConfigError, Diverged
from lab.experiment.assembly import build_data, give_plan, load_plan, load_task, make_plan
from lab.experiment.evaluation import evaluate
from lab.experiment.fit import Fit
from lab.launch.prepare import prepare_job
from lab.run_directory import RunDirectory
from lab.system.ranks import Place
from lab.tasks.detection.data.shapes import ShapesDataModule
from lab.training.task import Task
from tests.dist.harness import SMALL

WORDS = (*(word for word in SMALL if not word.startswith("trainer.")), "trainer=cpu", "trainer.max_steps=2")


class OwnData(ShapesDataModule):
    """A DataModule that no config names."""

    def __init__(self, **options: Any) -> None:
        options = {"batch_size": 4, "num_train": 16, "num_val": 3, "num_test": 3, **options}
        super().__init__(image_size=32, max_side=20, **options)


@contextmanager
def begun(folder: Path, *words: str) -> Iterator[tuple[dict[str, Any], RunDirectory]]:
    """Compose, and take the run's directory, as a launcher does."""
    prepared = prepare_job([*WORDS, *words, f"paths.runs_dir={folder}"], [])
    _, run = prepared.begin()
    assert run is not None
    try:
        yield prepared.config, run
    finally:
        run.release()


def tasks() -> set[int]:
    """Return the ids of the tasks that something holds."""
    return {id(item) for item in gc.get_objects() if issubclass(type(item), Task)}


def record(run: RunDirectory) -> dict[str, Any]:
    """Return what ``run.json`` says."""
    content: dict[str, Any] = json.loads(run.file.read_text())
    return content


def test_own_data_twice_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics are those of the record; the data keeps no task, and none is held while the next one is built."""
    results = []
    held: list[int] = []
    others = tasks()

    def load(*args: Any) -> Any:
        held.append(len(tasks() - others))
        return load_task(*args)

    monkeypatch.setattr("lab.experiment.testing.load_task", load)
    for seed in (0, 1):
        data = OwnData()
        with begun(tmp_path, f"seed={seed}") as (config, run):
            results.append(Fit(config, run, data=data).run())
        assert record(run)["result"] == results[-1]
        assert record(run)["state"] == "finished"
        assert data.trainer is None
        assert data.plan.totals is None
    assert held == [0, 0]
    assert {key.partition("/")[0] for key in results[0]} == {"val", "test"}
    assert results[0] != results[1]
    config = {**config, "stage": "test", "ckpt": str(run.checkpoints / "best.ckpt")}
    evaluate(config, run.path, data=OwnData())
    again = json.loads((run.path / "test-best" / "result.json").read_text())["result"]
    assert again == {key: value for key, value in results[1].items() if key.startswith("test/")}


def test_in_a_thread(tmp_path: Path) -> None:
    """No handler is asked for where Python has none."""
    found: list[Any] = []

    def work() -> None:
        with begun(tmp_path) as (config, run):
            found.append(Fit(config, run).run())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found
    assert "test/map_50" in found[0]
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_left_alone_and_ctrl_c_is_a_keyboard_interrupt(tmp_path: Path) -> None:
    """Lightning would end the process; the run says that it was interrupted."""
    seen = []

    class Stops(OwnData):
        def collate(self, samples: Any) -> Any:
            """Press Ctrl-C at the second batch."""
            if len(seen) == 1:
                raise KeyboardInterrupt
            seen.append(signal.getsignal(signal.SIGINT))
            return super().collate(samples)

    before = signal.getsignal(signal.SIGINT)
    with begun(tmp_path) as (config, run), pytest.raises(KeyboardInterrupt):
        Fit(config, run, data=Stops(), handle_signals=False).run()
    assert seen == [before]
    assert signal.getsignal(signal.SIGINT) is before
    assert (record(run)["state"], record(run)["exit_code"]) == ("interrupted", 130)


def test_what_is_wrong_is_raised(tmp_path: Path) -> None:
    """Of the data, of the config, of the numbers: each as its own class, and recorded."""
    nothing: Any = object()
    with begun(tmp_path) as (config, run), pytest.raises(ConfigError, match="data is a object, no DataModule"):
        Fit(config, run, data=nothing).run()
    assert (record(run)["state"], record(run)["exit_code"]) == ("failed", 2)
    words = ("data.batch_size=8", "trainer.accumulate_grad_batches=2")
    with begun(tmp_path, *words) as (config, run), pytest.raises(ConfigError, match="batch_size=3 is not divisible"):
        Fit(config, run, data=OwnData(batch_size=3)).run()
    words = ("optimizer.lr=1e30", "trainer.max_steps=9")
    with begun(tmp_path, *words) as (config, run), pytest.raises(Diverged, match="there is no checkpoint yet") as error:
        Fit(config, run).run()
    assert record(run)["state"] == "diverged"
    assert record(run)["diverged"] == [{"step": error.value.step, "term": error.value.term}]


def test_counting_changes_nothing(tmp_path: Path) -> None:
    """``make_plan`` leaves the data as it is, whose plan is frozen; ``give_plan`` is what sets it."""
    config = prepare_job([*WORDS, "trainer.max_steps=null", "trainer.max_epochs=3", "debug.limit_train_batches=2"], [])
    data = build_data(config.config)
    before = data.plan
    plan = make_plan(config.config, data, Place(1, 1, 2, 2))
    assert data.plan is before
    assert (plan.max_steps, plan.steps_per_epoch) == (6, 2)
    assert (plan.load.rank, plan.load.world_size, plan.load.max_steps) == (1, 2, 6)
    assert plan.load.reduce.keywords == {"copies": 1}  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        before.max_steps = 3  # type: ignore[misc]
    give_plan(data, plan.load, start=4)
    assert (data.plan.start_step, data.plan.max_steps, data.plan.totals) == (4, 6, None)
    give_plan(data, load_plan(config.config, Place()))
    assert data.plan.world_size == 1
    assert data.plan.start_step == LoadPlan().start_step
