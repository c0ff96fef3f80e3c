"""When a job waits for a verdict, and what ends the wait."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.callbacks.pruning import Pruning
from lab.errors import Pruned
from lab.run_progress import write_verdict
from lab.system.signals import SignalWatch

MODULE: Any = SimpleNamespace(monitor="val/map", results={"val/map": 0.125})


def validated(folder: Path, step: int, watch: SignalWatch | None = None, **changes: Any) -> None:
    """End the validation of a step, of 20."""
    trainer: Any = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), global_step=step, should_stop=False, is_global_zero=True
    )
    vars(trainer).update(changes)
    pruning = Pruning(folder, watch or SignalWatch(), 20)
    pruning.SECONDS = 0.05  # type: ignore[misc]
    pruning.on_validation_end(trainer, MODULE)


def test_the_verdict_on_this_step_or_a_later_one_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_verdict(tmp_path, 10, prune=False)
    validated(tmp_path, 5)
    validated(tmp_path, 10)
    assert capsys.readouterr().out == ""
    validated(tmp_path, 15)
    assert capsys.readouterr().out == "note: no verdict on step 15 in 0.05 seconds: the training goes on\n"
    write_verdict(tmp_path, 15, prune=True)
    with pytest.raises(Pruned, match=r"^pruned at step 15 of 20: val/map is 0\.125, others are better$") as error:
        validated(tmp_path, 15)
    assert error.value.step == 15


def test_a_training_that_ends_anyway_does_not_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_verdict(tmp_path, 20, prune=True)
    validated(tmp_path, 20)
    validated(tmp_path, 10, should_stop=True)  # early stopping
    validated(tmp_path, 0, state=SimpleNamespace(fn="validate"))  # a network that is not trained
    watch = SignalWatch()
    watch.received = 15
    validated(tmp_path, 10, watch)
    assert capsys.readouterr().out == ""
