"""A command that is a job of a sweep: its heartbeat and reports, the verdict that ends it, and how it goes on."""

from __future__ import annotations

from pathlib import Path

from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from lab.run_progress import read_progress, read_reports, write_verdict
from tests.runs import SMALL, Runs, only_run, record, wait_for


def test_a_pruned_job_goes_on_when_it_is_repeated(runs: Runs, tmp_path: Path) -> None:
    env = {"LAB_JOB_FOLDER": str(tmp_path), "LAB_JOB_WAITS": "1"}
    write_verdict(tmp_path, 5, prune=False)
    command = runs.start(*SMALL, folder=tmp_path, **env)
    assert wait_for(lambda: len(read_reports(tmp_path, 0)[0]) == 2, command), command.err
    write_verdict(tmp_path, 10, prune=True)
    assert command.wait() == 0, command.err
    run = only_run(tmp_path)
    (said,) = [line for line in command.err.splitlines() if "prune" in line]
    assert said.startswith("pruned at step 10 of 12: val/map is ")
    assert said.endswith(", others are better; repeat the command to train on")
    assert (record(run)["state"], record(run)["exit_code"], record(run)["result"]) == ("pruned", 0, {})
    assert CheckpointReader(run / "checkpoints" / "last.ckpt").step == 10
    reports = read_reports(tmp_path, 0)[0]
    rows = {row["step"]: row for row in read_metrics(run / "metrics.csv")}
    assert [step for step, _ in reports] == [5, 10]
    for step, values in reports:
        assert values == {key: rows[step][key] for key in values}
    assert record(run)["pruned"] == {"step": 10, "values": reports[-1][1]}
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress.phase, progress.step, progress.max_steps, progress.first_step) == ("train", 10, 12, 1)
    assert progress.metrics["train/loss"] == rows[10]["train/loss"]
    assert progress.memory_gib is not None
    assert progress.steps_per_s is not None
    assert 0 < progress.steps_per_s < 1000

    assert runs.run(*SMALL, folder=tmp_path, **env).code == 0  # at the last step it waits for no verdict
    assert (record(run)["state"], record(run)["resumed_at"], record(run)["pruned"]) == ("finished", [10], None)
    assert [step for step, _ in read_reports(tmp_path, 0)[0]] == [5, 10, 12]
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress.phase, progress.step, progress.first_step) == ("test", 12, 11)


def test_two_ranks_are_pruned_at_the_same_step(runs: Runs, tmp_path: Path) -> None:
    write_verdict(tmp_path, 100, prune=True)
    words = [*SMALL, "strategy=ddp", "trainer.devices=2"]
    command = runs.run(*words, folder=tmp_path, LAB_JOB_FOLDER=str(tmp_path), LAB_JOB_WAITS="1")
    assert command.code == 0, command.err
    assert command.err.count("pruned at step 5 of 12: val/map is ") == 1
    run = only_run(tmp_path)
    assert (record(run)["state"], record(run)["exit_code"]) == ("pruned", 0)
    assert read_metrics(run / "metrics.csv")[-1]["step"] == 5
    assert CheckpointReader(run / "checkpoints" / "last.ckpt").step == 5
    assert [step for step, _ in read_reports(tmp_path, 0)[0]] == [5]
