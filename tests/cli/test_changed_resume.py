"""``resume=DIR`` with other settings: they hold from the next step on, and what is refused leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from tests.runs import SMALL, Runs, only_run, record

WORDS = (
    *(word for word in SMALL if not word.startswith(("trainer.max_steps", "callbacks.pictures"))),
    "callbacks.pictures=0",
    "callbacks.progress=false",
    "trainer.max_steps=4",
    "scheduler=step",
    "scheduler.step_size=3",
    "scheduler.gamma=0.5",
    "scheduler.warmup_steps=0",
    "optimizer.lr=1e-3",
)


@pytest.fixture
def run(runs: Runs, tmp_path: Path) -> Path:
    made = runs.run(*WORDS, folder=tmp_path)
    assert made.code == 0, made.err
    return only_run(tmp_path)


def test_rates_and_decay_are_those_that_are_asked_for_now(runs: Runs, run: Path, tmp_path: Path) -> None:
    """The schedule goes on: half of the new rate after three steps, a quarter after six."""
    words = ("optimizer.lr=1e-5", "optimizer.weight_decay=0.5", "trainer.max_steps=8")
    again = runs.run(f"resume={run}", *words, folder=tmp_path)
    assert again.code == 0, again.err
    rates = [row["train/lr"] for row in read_metrics(run / "metrics.csv")]
    assert rates == pytest.approx([1e-3] * 3 + [5e-4] + [5e-6] * 2 + [2.5e-6] * 2)
    (group, *_) = CheckpointReader(run / "checkpoints" / "last.ckpt").state["optimizer_groups"]
    assert (group["initial_lr"], group["weight_decay"]) == (1e-5, 0.5)


def test_a_refused_resume_leaves_the_run_as_it_was(runs: Runs, run: Path, tmp_path: Path) -> None:
    """Another optimizer cannot go on: config and record stay, and a later resume is of the first optimizer."""
    config, before = (run / "config.yaml").read_bytes(), record(run)
    refused = runs.run(f"resume={run}", "optimizer=sgd", "trainer.max_steps=6", folder=tmp_path)
    assert refused.code == 2
    assert "the optimizer's groups of parameters are not those of the checkpoint" in refused.err
    assert (run / "config.yaml").read_bytes() == config
    assert record(run) == before | {"steps": 4}
    again = runs.run(f"resume={run}", "trainer.max_steps=6", folder=tmp_path)
    assert again.code == 0, again.err
    assert record(run)["resumed_at"] == [4]


def test_words_that_a_finished_run_does_not_follow_are_named(runs: Runs, run: Path, tmp_path: Path) -> None:
    again = runs.run(f"resume={run}", "model.net.embed_dim=32", "trainer.max_steps=3", folder=tmp_path)
    assert again.code == 0
    assert "not applied to a finished run: trainer.max_steps=3 (was 4), model.net.embed_dim=32 (was 16)" in again.err
    assert "is finished already" in again.out


def test_a_test_that_fails_is_not_taken_for_finished(runs: Runs, run: Path, tmp_path: Path) -> None:
    """The training has gone on, its best checkpoint is damaged: said each time, not answered by the old result."""
    file = max((run / "checkpoints" / "best.ckpt").glob("*.safetensors"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    words = (f"resume={run}", "trainer.max_steps=5", "trainer.val_every_n_steps=100")
    for _ in range(2):
        again = runs.run(*words, folder=tmp_path)
        assert again.code == 2
        assert "best.ckpt is damaged" in again.err
        assert record(run)["state"] == "failed"


def test_more_patience_goes_on(runs: Runs, tmp_path: Path) -> None:
    """Of a network that does not learn."""
    words = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=0", "trainer.max_steps=9")
    others = [word for word in WORDS if word.split("=")[0] not in {"optimizer.lr", "trainer.max_steps"}]
    first = runs.run(*others, *words, "trainer.val_every_n_steps=2", folder=tmp_path)
    assert "stopped early at step 4 of 9" in first.out, first.err
    run = only_run(tmp_path)
    again = runs.run(f"resume={run}", "callbacks.early_stopping.patience=3", folder=tmp_path)
    assert "at step 4 of 9" in again.out
    assert "stopped early at step 8 of 9" in again.out
    less = runs.run(f"resume={run}", "callbacks.early_stopping.patience=2", folder=tmp_path)
    assert "is finished already" in less.out
