"""What a training computes does not depend on how its global batch is split; the debug group; W&B's wiring."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lab.loggers.metrics_file import read_metrics
from tests.runs import SMALL, Runs, last_step, only_run, record, wait_for

OPTIMIZERS = {
    "sgd": ("optimizer=sgd", "optimizer.lr=0.01"),
    "adamw": ("optimizer=adamw", "optimizer.lr=1e-3", "optimizer.weight_decay=0.05"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_accumulation_does_not_change_the_losses(runs: Runs, tmp_path: Path, optimizer: str) -> None:
    words = [*OPTIMIZERS[optimizer], "trainer.max_steps=20", "trainer.gradient_clip_val=0.1", "trainer.precision=64"]
    words += ["trainer.val_every_n_steps=20", "trainer.checkpoint_every_n_steps=100"]
    tables: list[list[dict[str, Any]]] = []
    for accumulate in (1, 2, 8):
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        tables.append(read_metrics(runs.fit(*words, f"trainer.accumulate_grad_batches={accumulate}", folder=folder)))
    losses = [name for name in tables[0][0] if name.startswith("train/loss")]
    assert len(losses) >= 7
    assert len({row["train/loss"] for row in tables[0]}) == 20
    for table in tables[1:]:
        for one, other in zip(tables[0], table, strict=True):
            for name in losses:
                assert other[name] == pytest.approx(one[name], rel=1e-5), (one["step"], name)
    assert tables[1][-1]["val/loss"] == pytest.approx(tables[0][-1]["val/loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "steps", "more"),
    [("fast", 4, ()), ("overfit", 6, ()), ("limit", 6, ("data.num_train=160",)), ("profile", 6, ())],
)
def test_debug(runs: Runs, tmp_path: Path, mode: str, steps: int, more: tuple[str, ...]) -> None:
    run = runs.fit(f"debug={mode}", "trainer.max_steps=6", *more, folder=tmp_path)
    table = read_metrics(run)
    assert [row["step"] for row in table] == list(range(1, steps + 1))
    assert record(run)["state"] == "finished"
    assert [row["epoch"] for row in table][-1] == (2 if mode == "limit" else 0)  # a tenth of 160 is two batches
    assert bool(list(run.glob("*profile*"))) == (mode == "profile")


def test_debug_fast_is_the_beginning_of_the_same_training(runs: Runs, tmp_path: Path) -> None:
    # A warm-up longer than the debugging run is no mistake, and the schedule is that of the whole.
    run = runs.fit("debug=fast", "trainer.max_steps=500", "scheduler.warmup_steps=100", folder=tmp_path)
    assert [row["train/lr"] for row in read_metrics(run)] == pytest.approx([2e-5, 4e-5, 6e-5, 8e-5])


def test_wandb_continues_one_run_inside_the_run_directory(runs: Runs, tmp_path: Path) -> None:
    words = [*SMALL, "logger=both"]
    command = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 6, command), command.err
    command.send(signal.SIGKILL)
    command.wait()
    run = only_run(tmp_path)
    first = json.loads((run / "wandb.json").read_text())["id"]
    command = runs.run(*words, folder=tmp_path)
    assert command.code == 0, command.err
    assert record(run)["resumed_at"][0] > 0
    assert json.loads((run / "wandb.json").read_text()) == {"id": first, "highest_step": 12}
    assert len(list((run / "wandb").glob(f"offline-run-*-{first}"))) == 2
    assert not (tmp_path / "wandb").exists()
    assert command.err.count("recorded offline") == 1
    assert "wandb sync" in command.err
