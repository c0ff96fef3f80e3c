"""What everyone types first: the default model for a few steps, fewer than its warm-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.loggers.metrics_file import read_metrics
from tests.runs import SMALL, Runs, only_run, record


@pytest.mark.parametrize("steps", [1, 4])
def test_a_training_shorter_than_its_warm_up_runs_and_says_what_it_reaches(
    runs: Runs, tmp_path: Path, steps: int
) -> None:
    command = runs.run(*SMALL, "scheduler.warmup_steps=100", f"trainer.max_steps={steps}", folder=tmp_path)
    assert command.code == 0, command.err
    run = only_run(tmp_path)
    assert record(run)["state"] == "finished"
    rates = [row["train/lr"] for row in read_metrics(run) if row["train/lr"] is not None]
    assert rates == pytest.approx([2e-5 * step for step in range(1, steps + 1)])  # the peak is 2e-3
    (note,) = [line for line in command.out.splitlines() if line.startswith("note: scheduler.warmup_steps=100")]
    assert f"it reaches {2e-5 * steps:.3g} ({steps}%)" in note
