"""The signals of a master on real jobs: what tests/unit/sweeps/test_master.py decides with a launcher of its own."""

from __future__ import annotations

import signal
from pathlib import Path

from lab.run_progress import read_progress
from lab.sweeps.ledger import Ledger
from tests.runs import SMALL, Runs, record, wait_for

WORDS = (
    *SMALL,
    "trainer.max_steps=200",
    "trainer.val_every_n_steps=100",
    "trainer.checkpoint_every_n_steps=50",
    "trainer.log_every_n_steps=10",
    "callbacks.pictures=0",
    "callbacks.progress=false",
    "seed=0,1,2",
    "sweep=mine",
    "launcher.workers=2",
    "launcher.threads_per_job=1",
)


def test_signals_to_a_master_with_running_jobs(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sweeps" / "mine"
    command = runs.start("-m", *WORDS, folder=tmp_path)

    def step(job: int) -> int:
        progress = read_progress(folder / "jobs" / str(job))
        return progress.step if progress else 0

    def said(words: str) -> bool:
        return words in (folder / "master.log").read_text()

    assert wait_for(lambda: step(1) >= 3 and step(2) >= 3, command), command.err
    ledger = Ledger(folder)
    run = tmp_path / ledger.job(1).run
    (run / "output.log").rename(run / "output.log.1")
    command.send(signal.SIGUSR1)
    assert wait_for((run / "output.log").exists, command)
    settings = (folder / "launcher.yaml").read_text()
    (folder / "launcher.yaml").write_text(settings.replace("workers: 2", "workers: two"))
    command.send(signal.SIGHUP)
    assert wait_for(lambda: said("the settings stay as they were"), command)
    (folder / "launcher.yaml").write_text(settings.replace("retries: 2", "retries: 7"))
    command.send(signal.SIGHUP)
    assert wait_for(lambda: said("2 job(s) at a time, 7 retries"), command)
    command.send(signal.SIGTTOU)
    assert wait_for(lambda: said("SIGTTOU: 1 job(s) at a time"), command)

    second = runs.run("-m", *WORDS, folder=tmp_path)
    assert second.code == 2
    assert f"is in use by pid {command.pid} on" in second.err
    assert second.err.count("\n") == 1

    command.send(signal.SIGTERM)
    assert command.wait() == 143, command.out + command.err
    assert [row.state for row in ledger.jobs()] == ["interrupted", "interrupted", "waiting"]
    stopped = [record(tmp_path / row.run) for row in ledger.jobs("interrupted")]
    assert [found["state"] for found in stopped] == ["interrupted", "interrupted"]
    assert [attempt.exit_code for attempt in ledger.attempts()] == [143, 143]

    again = runs.run("-m", *WORDS, folder=tmp_path)
    assert again.code == 0, again.out + again.err
    assert [row.state for row in ledger.jobs()] == ["finished"] * 3
    assert [attempt.outcome for attempt in ledger.attempts(1)] == ["interrupted", "finished"]
    assert all(record(tmp_path / row.run)["resumed_at"][0] >= 3 for row in ledger.jobs()[:2])
    ledger.close()
