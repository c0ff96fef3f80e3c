"""launcher=slurm against programs that answer as Slurm's do: states, ends, signals, and a master that comes later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.errors import ConfigError
from lab.launch.prepare import prepare_job
from lab.sweeps import slurm
from lab.sweeps.placing import Assignment, Ended, NotNow
from lab.sweeps.settings import SlurmLauncher
from lab.sweeps.slurm import SlurmPlacement, SlurmPlacer
from tests.runs import SMALL
from tests.unit.sweeps.fake_slurm import FakeSlurm


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    found = FakeSlurm(tmp_path)
    monkeypatch.setenv("PATH", f"{found.bin}:/usr/bin:/bin")
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test moves: ``clock[0] += 5``."""
    now = [1000.0]
    monkeypatch.setattr(slurm.time, "monotonic", lambda: now[0])
    return now


def placer(**settings: Any) -> SlurmPlacer:
    return SlurmPlacer(SlurmLauncher(name="slurm", **settings), [])


def attempt(tmp_path: Path, number: int = 1, attempt: int = 1) -> Assignment:
    prepared = prepare_job([*SMALL, f"seed={number}", f"paths.runs_dir={tmp_path / 'runs'}"], [])
    folder = tmp_path / "runs" / "sweeps" / "s"
    return Assignment(number, attempt, 0, prepared, folder / "jobs" / str(number), folder)


def leave(placement: SlurmPlacement, text: str) -> None:
    placement.exit_file.write_text(text)


def test_an_attempt_waits_runs_and_ends(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    own = placer()
    one, two = own.start(attempt(tmp_path)), own.start(attempt(tmp_path, 2))
    assert (one.place, one.waits) == ("Slurm job 101", True)
    assert one.poll() is None
    assert one.place == "Slurm job 101, PENDING (Priority)"
    fake.set(101, "RUNNING", nodes="node3")
    assert one.poll() is None
    assert one.waits  # squeue is asked every five seconds only
    clock[0] += 5
    assert two.poll() is None
    assert (one.place, one.waits, two.waits) == ("Slurm job 101, RUNNING on node3", False, True)
    assert [call.split()[2] for call in fake.asked()] == ["--jobs=101,102", "--jobs=101,102"]
    leave(one, "0\n")
    assert one.poll() == Ended(0)
    leave(two, "1\n")
    assert two.poll() == Ended(1)
    clock[0] += 50
    own.look()
    assert len(fake.asked()) == 2  # nothing runs any more


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("NODE_FAIL", "Slurm job 101 its node was lost (NODE_FAIL)"),
        ("CANCELLED", "Slurm job 101 was cancelled (scancel)"),
        ("OUT_OF_MEMORY", "Slurm job 101 used more memory than it had asked for (OUT_OF_MEMORY)"),
        ("TIMEOUT", "Slurm job 101 reached its time limit (TIMEOUT)"),
        ("FAILED", "Slurm job 101 has failed"),
        (None, "Slurm job 101 has left the queue, without an exit code"),
    ],
)
def test_an_end_without_an_exit_code_is_a_crash(
    state: str | None, words: str, fake: FakeSlurm, tmp_path: Path, clock: list[float]
) -> None:
    one = placer().start(attempt(tmp_path))
    if state is None:
        fake.forget(101)
    else:
        fake.set(101, state)
    ended = None
    for _ in range(3):
        ended = ended or one.poll()
        clock[0] += 5
    assert ended == Ended(137, words)


def test_an_exit_code_may_come_late(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    one = placer().start(attempt(tmp_path))
    fake.set(101, "COMPLETED")
    assert one.poll() is None  # the file system of the master lags behind
    leave(one, "0\n")
    assert one.poll() == Ended(0)


def test_somebody_else_cancels_a_job(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    one = placer().start(attempt(tmp_path))
    leave(one, "143\n")  # it wrote a checkpoint, and this master has not asked for it
    fake.set(101, "COMPLETING", nodes="node3")
    assert one.poll() is None
    fake.set(101, "CANCELLED")
    clock[0] += 5
    assert one.poll() == Ended(137, "Slurm job 101 was cancelled (scancel)")


def test_without_requeue_the_time_limit_is_an_end(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    one = placer(requeue=False).start(attempt(tmp_path))
    leave(one, "143 its time limit was near\n")
    fake.set(101, "FAILED")
    assert one.poll() == Ended(137, "Slurm job 101 wrote a checkpoint: its time limit was near")


def test_a_job_that_is_queued_again_starts_at_once(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    one = placer().start(attempt(tmp_path))
    for state, reason in (("RUNNING", ""), ("PENDING", "BeginTime"), ("PENDING", "BeginTime"), ("RUNNING", "")):
        fake.set(101, state, reason)
        assert one.poll() is None
        clock[0] += 5
    assert fake.calls() == ["scontrol update JobId=101 StartTime=now+3"]


def test_stop_kill_and_reopen(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    one = placer().start(attempt(tmp_path))
    one.reopen()
    one.stop()
    assert fake.calls() == [
        "scancel --signal=USR2 --batch 101",
        "scancel --state=PENDING 101",
        "scancel --signal=TERM --batch 101",
    ]
    leave(one, "143\n")
    assert one.poll() == Ended(143)
    two = placer().start(attempt(tmp_path, 2))
    two.stop()  # in the queue: nothing has begun, so there is no exit code
    fake.set(102, "CANCELLED")
    assert two.poll() == Ended(143)
    three = placer().start(attempt(tmp_path, 3))
    three.kill()
    assert fake.calls()[-2:] == ["scancel --state=PENDING 103", "scancel --signal=KILL --full 103"]
    fake.set(103, "FAILED")
    assert three.poll() == Ended(137)


def test_a_controller_that_does_not_answer_ends_nothing(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    own = placer()
    one = own.start(attempt(tmp_path))
    fake.down(True)
    for _ in range(5):
        clock[0] += 5
        assert one.poll() is None
    with pytest.raises(NotNow, match="sbatch: error: Batch job submission failed: Socket timed out"):
        own.start(attempt(tmp_path, 2))
    fake.down(False)
    fake.set(101, "RUNNING", nodes="node3")
    clock[0] += 5
    assert one.poll() is None
    assert one.place.endswith("RUNNING on node3")


def test_a_later_master_takes_over_a_running_job(fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    first = attempt(tmp_path)
    placer().start(first)
    fake.set(101, "RUNNING", nodes="node3")
    later = placer()
    assert later.has_left(first.folder)
    assert not later.has_left(tmp_path)
    second = later.start(attempt(tmp_path, attempt=2))
    assert second.place == "Slurm job 101, RUNNING on node3"
    leave(second, "0\n")
    assert second.exit_file == first.folder / "exit-1"
    assert second.poll() == Ended(0)
    third = placer()
    assert not third.has_left(first.folder)  # it has ended
    assert third.start(attempt(tmp_path, attempt=3)).job == 102


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING"])
def test_an_ended_job_is_not_taken_over(state: str, fake: FakeSlurm, tmp_path: Path, clock: list[float]) -> None:
    first = attempt(tmp_path)
    placer().start(first)
    fake.set(101, state)
    assert placer().start(attempt(tmp_path, attempt=2)).job == 102


def test_workers(fake: FakeSlurm, tmp_path: Path) -> None:
    jobs = [attempt(tmp_path).prepared] * 100
    assert placer().workers(jobs[:3])[0] == 3
    assert placer().workers(jobs)[0] == 64
    assert placer(workers=80).workers(jobs)[0] == 80


def test_what_sbatch_refuses_is_said_before_a_job_starts(fake: FakeSlurm, tmp_path: Path) -> None:
    jobs = [attempt(tmp_path).prepared]
    with pytest.raises(ConfigError, match="Slurm refuses the jobs: sbatch: error: invalid partition specified: nix"):
        SlurmPlacer(SlurmLauncher(name="slurm", partition="nix"), jobs)
    assert not (fake.queue / "last").exists()


def test_without_slurm_the_launcher_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no sbatch, no squeue, no scancel, no scontrol on this machine"):
        placer()
