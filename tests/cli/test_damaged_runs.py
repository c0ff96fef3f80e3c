"""Runs that have lost some of their files: one line each, nothing lost, what can be made again is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.loggers.metrics_file import read_metrics
from tests.runs import SMALL, Command, Runs, only_run, record

SHORT = (*SMALL, "trainer.max_steps=6", "trainer.val_every_n_steps=3", "trainer.checkpoint_every_n_steps=2")


@pytest.fixture(scope="module")
def whole(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    command = runs.run(*SHORT, folder=folder)
    assert command.code == 0, command.err
    return only_run(folder)


def copy_of(whole: Path, folder: Path) -> Path:
    run = folder / "runs" / whole.name
    shutil.copytree(whole, run)
    return run


def content(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def lines(command: Command) -> list[str]:
    assert "Traceback" not in command.err
    return [line for line in command.err.splitlines() if line.startswith(("error:", "warning:"))]


@pytest.mark.parametrize("how", ["missing", "without its best step"])
def test_validation_that_metrics_csv_has_lost_is_measured_again(
    runs: Runs, whole: Path, tmp_path: Path, how: str
) -> None:
    run = copy_of(whole, tmp_path)
    (run / "run.json").write_bytes(b"\xff")  # so that the finished run is settled again
    metrics = run / "metrics.csv"
    if how == "missing":
        metrics.unlink()
    else:
        step = str(record(whole)["best_step"])
        kept = [line for line in metrics.read_text().splitlines() if not line.startswith(f"{step},")]
        metrics.write_text("\n".join(kept) + "\n")
    command = runs.run(*SHORT, folder=tmp_path)
    assert command.code == 0, command.err
    said = lines(command)
    assert [line for line in said if "run.json was not UTF-8" in line]
    assert [line for line in said if "it is measured again" in line]
    assert len(said) == (3 if how == "missing" else 2)
    assert record(run)["result"] == pytest.approx(record(whole)["result"], nan_ok=True)
    assert read_metrics(run)[-1]["test/map"] == pytest.approx(read_metrics(whole)[-1]["test/map"])


def test_metrics_that_cannot_be_read_are_left_alone(runs: Runs, whole: Path, tmp_path: Path) -> None:
    run = copy_of(whole, tmp_path)
    (run / "run.json").write_text("[]")
    (run / "metrics.csv").write_bytes(b"step,epoch\n\xff\xfe\x00\x01\n")
    before = content(run)
    command = runs.run(*SHORT, folder=tmp_path)
    assert command.code == 2
    error = lines(command)[-1]
    assert "metrics.csv" in error
    assert "move it away" in error
    kept = content(run)
    assert {key: kept.get(key) for key in before if key.startswith(("metrics", "checkpoints"))} == {
        key: value for key, value in before.items() if key.startswith(("metrics", "checkpoints"))
    }


@pytest.mark.parametrize("lost", ["checkpoints", "best.ckpt"])
def test_lost_checkpoints_are_not_trained_afresh_silently(runs: Runs, whole: Path, tmp_path: Path, lost: str) -> None:
    run = copy_of(whole, tmp_path)
    (run / "run.json").write_text("{}")
    folder = run / "checkpoints"
    if lost == "checkpoints":
        shutil.rmtree(folder)
    for name in lost.split(" and "):
        shutil.rmtree(folder / name, ignore_errors=True)
    before = content(run)
    command = runs.run(*SHORT, folder=tmp_path)
    assert command.code == 2
    error = lines(command)[-1]
    assert "resume=never" in error
    assert lost.split(" ")[0] in error
    after = content(run)
    assert {key: after.get(key) for key in before if key.startswith(("metrics", "checkpoints"))} == {
        key: value for key, value in before.items() if key.startswith(("metrics", "checkpoints"))
    }
