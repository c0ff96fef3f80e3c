"""What a heartbeat says and how often, with a clock and a Trainer that the test moves."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lab
from lab.callbacks import heartbeat
from lab.callbacks.heartbeat import Heartbeat, Speed
from lab.callbacks.steps import StepLog
from lab.run_progress import Progress, read_progress, read_reports, write_progress
from tests.runs import SESSIONS

MODULE: Any = SimpleNamespace(results={"val/map": math.nan})


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock


def trainer_at(step: int, fn: str = "fit") -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(state=SimpleNamespace(fn=fn), global_step=step, strategy=strategy)


def test_it_beats_twice_a_second_and_when_the_phase_changes(tmp_path: Path, clock: Clock) -> None:
    def seen() -> tuple[Any, ...]:
        found = read_progress(tmp_path)
        assert found is not None
        return found.phase, found.step, found.first_step, found.time, found.steps_per_s

    beat = Heartbeat(tmp_path, StepLog(1, 1, 1), 100)
    beat.on_train_start(trainer_at(40), MODULE)
    assert seen() == ("train", 40, None, 100.0, None)
    clock.now = 100.1
    beat.on_train_batch_end(trainer_at(40), MODULE)  # a batch of an optimizer step that is not complete
    assert seen() == ("train", 40, None, 100.0, None)
    beat.on_train_batch_end(trainer_at(41), MODULE)
    assert seen() == ("train", 41, 41, 100.1, None)
    for step in range(42, 62):  # 10 steps a second: every fifth is written
        clock.now = 100.1 + (step - 41) / 10
        beat.on_train_batch_end(trainer_at(step), MODULE)
        assert seen()[1] == 41 + (step - 41) // 5 * 5
    assert seen()[4] == pytest.approx(10)
    clock.now += 0.1
    beat.on_validation_start(trainer_at(62), MODULE)
    assert seen()[:2] == ("validate", 62)
    clock.now += 50
    beat.on_validation_end(trainer_at(62), MODULE)
    assert seen()[:2] == ("train", 62)
    assert seen()[4] == pytest.approx(10)  # the time of a validation is no step's


def test_a_test_leaves_the_step_of_the_training(tmp_path: Path, clock: Clock) -> None:
    before = Progress(1.0, "train", 12, 12, 11, {"val/map": 0.5}, 3.0, 0.1)
    write_progress(tmp_path, before)
    Heartbeat(tmp_path).on_test_start(trainer_at(0, "test"), MODULE)
    found = read_progress(tmp_path)
    assert found is not None
    changed = {"time": 100.0, "phase": "test", "memory_gib": found.memory_gib}
    assert vars(found) == {**vars(before), **changed}


def test_a_network_that_is_not_trained_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_JOB_FOLDER", str(tmp_path))
    run = lab.fit(*SESSIONS, "model=popularity", paths={"runs_dir": tmp_path / "runs"})
    ((step, values),) = read_reports(tmp_path, 0)[0]
    assert step == 0
    assert values == {name: value for name, value in run.result.items() if name.startswith("val/")}
    found = read_progress(tmp_path)
    assert found is not None
    assert found.phase == "test"


def test_speed_follows_a_change(clock: Clock) -> None:
    speed = Speed(seconds=10)
    step = 0
    for rate in (4, 8):
        for _ in range(40 // rate * rate):
            step, clock.now = step + 1, clock.now + 1 / rate
            speed.advance(step)
        # after t seconds at the new rate the old one counts exp(-t / 10)
        waited = 40 / rate
        expected = 4 if rate == 4 else 8 - 4 * math.exp(-waited / 10)
        assert speed.per_second == pytest.approx(expected)
