"""A killed run, repeated, ends as one that was never killed, to the last bit; and what else a repeated command does."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.checkpoint.io import load_checkpoint
from lab.report.metrics_csv import read_metrics
from tests.runs import SMALL, Runs, last_step, only_run, record, wait_for

HARD = ("callbacks=ema", "callbacks.ema.decay=0.9", "trainer.accumulate_grad_batches=2", "model.net.dropout=0.1")
OF_THE_MACHINE = ("train/samples_per_s", "train/data_wait", "train/peak_memory_gib")


def assert_equal(one: Any, other: Any, path: str = "") -> None:
    """Compare nested containers of tensors and plain values, to the last bit."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{path}/{number}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, path
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def rows(run: Path) -> list[dict[str, Any]]:
    """Return metrics.csv without what depends on the machine's speed."""
    return [{k: v for k, v in row.items() if k not in OF_THE_MACHINE} for row in read_metrics(run)]


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.fit(*HARD, folder=tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(("seed", "every"), [(1, 1), (2, 3)])
def test_killed_runs_end_as_undisturbed_ones(
    runs: Runs, undisturbed: Path, tmp_path: Path, seed: int, every: int
) -> None:
    words = [*SMALL, *HARD, f"trainer.checkpoint_every_n_steps={every}"]
    # Three kills, one of them in the second epoch: each once a row of this step or a later one stands in metrics.csv.
    drawn = random.Random(seed)
    kills = 0
    for target in (drawn.randint(every + 1, 5), drawn.randint(6, 8), drawn.randint(9, 11)):
        command = runs.start(*words, folder=tmp_path)
        reached = wait_for(
            lambda target=target: (tmp_path / "runs").exists() and last_step(only_run(tmp_path)) >= target, command
        )
        assert reached, command.err
        command.send(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
        kills += 1
    run = runs.fit(*words, folder=tmp_path)

    assert run.name == undisturbed.name
    resumed_at = record(run)["resumed_at"]
    assert len(resumed_at) == kills == 3
    assert min(resumed_at) > 0
    assert resumed_at == sorted(resumed_at)
    assert any(step % 8 for step in resumed_at)  # in the middle of an epoch
    # The losses of every step are those of the undisturbed run, so its samples are too; no step stands twice.
    assert [row["step"] for row in rows(run)] == list(range(1, 13))
    assert [row["epoch"] for row in rows(run)] == [0] * 8 + [1] * 4
    assert rows(run) == rows(undisturbed)
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (load_checkpoint(folder / "checkpoints" / name) for folder in (run, undisturbed))
        if name == "best.ckpt":
            one.pop("loops"), other.pop("loops")  # batches of a process
        assert_equal(one, other, name)
    assert load_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"]["EMA"]["updates"] == 12
    assert record(run)["result"] == record(undisturbed)["result"]
    assert record(run)["weights"] == "averaged"
    assert not list(run.rglob(".*"))  # nothing half-written is left
