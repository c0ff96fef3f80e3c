"""A killed run, repeated, ends as one that was never killed, to the last bit; and what else a repeated command does."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
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


def content(path: Path) -> dict[str, Any]:
    """Return all that a checkpoint holds."""
    reader = CheckpointReader(path)
    reader.verify()
    return {"step": reader.step, "state": reader.state, **{name: reader.read(name) for name in reader.names()}}


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
        assert wait_for(lambda target=target: last_step(tmp_path) >= target, command), command.err
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
        one, other = (content(folder / "checkpoints" / name) for folder in (run, undisturbed))
        assert_equal(one, other, name)
        kinds = {key.split("/")[0] for key in one if "/" in key}
        assert kinds == ({"model", "optimizer", "average"} if name == "last.ckpt" else {"model"})
    assert content(run / "checkpoints" / "last.ckpt")["state"]["ema"]["updates"] == 12
    assert record(run)["result"] == record(undisturbed)["result"]
    assert record(run)["weights"] == "averaged"
    assert not list(run.rglob(".*"))  # nothing half-written is left


def copy_of(run: Path, folder: Path) -> Path:
    """Return a copy of a finished run as one that was killed after its last checkpoint, in ``folder/runs``."""
    target = folder / "runs" / run.name
    shutil.copytree(run, target)
    edit(target, state="running", result={})
    return target


def edit(run: Path, **changes: Any) -> None:
    (run / "run.json").write_text(json.dumps({**record(run), **changes}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    path.write_bytes(content)


def truncate_weights(checkpoint: Path) -> None:
    truncate(checkpoint / "rank-00000.safetensors")


def flip_weights(checkpoint: Path) -> None:
    flip(checkpoint / "rank-00000.safetensors")


def flip_index(checkpoint: Path) -> None:
    flip(checkpoint / "index.json")


def truncate_state(checkpoint: Path) -> None:
    truncate(checkpoint / "state.pt")


def leave_out_index(checkpoint: Path) -> None:
    (checkpoint / "index.json").unlink()


@pytest.mark.parametrize("damage", [truncate_weights, flip_weights, flip_index, truncate_state, leave_out_index])
def test_damaged_checkpoint_is_named_and_the_one_before_taken(
    runs: Runs, undisturbed: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    run = copy_of(undisturbed, tmp_path)
    damage(run / "checkpoints" / "last.ckpt")
    command = runs.run(*SMALL, *HARD, folder=tmp_path)
    assert command.code == 0, command.err
    assert "last.ckpt is damaged" in command.err
    assert "previous.ckpt" in command.err
    assert record(run)["resumed_at"] == [11]
    assert rows(run) == rows(undisturbed)
    assert (run / "checkpoints" / "damaged.ckpt").exists()
    assert CheckpointReader(run / "checkpoints" / "last.ckpt").step == 12


def test_nothing_is_trained_afresh_silently_when_all_checkpoints_are_damaged(
    runs: Runs, undisturbed: Path, tmp_path: Path
) -> None:
    run = copy_of(undisturbed, tmp_path)
    truncate_weights(run / "checkpoints" / "last.ckpt")
    flip_weights(run / "checkpoints" / "previous.ckpt")
    before = (run / "metrics.csv").read_bytes()
    command = runs.run(*SMALL, *HARD, folder=tmp_path)
    assert command.code == 2
    error = command.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "last.ckpt and previous.ckpt cannot be read" in error
    assert "resume=never" in error
    assert (run / "metrics.csv").read_bytes() == before


def test_finished_run_is_reported_not_trained(runs: Runs, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / undisturbed.name
    shutil.copytree(undisturbed, run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != "run.lock"}
    command = runs.run(*SMALL, *HARD, folder=tmp_path)
    assert command.code == 0, command.err
    assert "is finished" in command.out
    assert "map_50" in command.out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != "run.lock"} == before


@pytest.mark.parametrize("changed", ["sources", "dataset"])
@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_changed_fingerprint_is_refused(
    runs: Runs, undisturbed: Path, tmp_path: Path, changed: str, state: str
) -> None:
    run = copy_of(undisturbed, tmp_path)
    result = record(undisturbed)["result"] if state == "finished" else {}
    edit(run, state=state, result=result, **{changed: "0" * 64})
    command = runs.run(*SMALL, *HARD, folder=tmp_path)
    assert command.code == 2
    (error,) = command.err.splitlines()
    for part in (changed, "changed", "resume=never", f"resume=runs/{run.name}"):
        assert part in error
    assert record(run)["state"] == state


def test_changed_run_goes_on_when_named_and_further(runs: Runs, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / undisturbed.name
    shutil.copytree(undisturbed, run)
    edit(run, sources="0" * 64, dataset="1" * 64)
    command = runs.run(f"resume={run}", "trainer.max_steps=14", folder=tmp_path)
    assert command.code == 0, command.out[-2000:] + command.err
    assert only_run(tmp_path) == run
    assert record(run)["resumed_at"] == [12]
    changes = {key: value for change in record(run)["changes"] for key, value in change.items()}
    assert changes["trainer.max_steps"] == [12, 14]
    assert changes["sources"][0] == "0" * 12
    assert changes["dataset"][0] == "1" * 64
    assert [row["step"] for row in rows(run)] == list(range(1, 15))
    first = [{k: v for k, v in row.items() if not k.startswith("test/")} for row in rows(run)[:12]]
    assert first == [{k: v for k, v in row.items() if not k.startswith("test/")} for row in rows(undisturbed)]
    assert (rows(run)[13]["val/map"], rows(run)[13]["test/map"]) != (None, None)


def test_resume_never_keeps_the_old_run_aside(runs: Runs, undisturbed: Path, tmp_path: Path) -> None:
    run = copy_of(undisturbed, tmp_path)
    edit(run, marker="old")
    command = runs.run(*SMALL, *HARD, "resume=never", "trainer.checkpoint_every_n_steps=100", folder=tmp_path)
    assert command.code == 0, command.err
    assert record(run)["resumed_at"] == []
    assert "marker" not in record(run)
    assert record(run.with_name(f"{run.name}~1"))["marker"] == "old"
    assert rows(run) == rows(undisturbed)
