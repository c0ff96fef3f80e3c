"""What a master decides, with a launcher that starts nothing: retries, poison, timeouts, signals, requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.sweeps import ends, master
from lab.sweeps.grid_proposer import GridProposer
from lab.sweeps.ledger import Ledger
from lab.sweeps.master import Master
from lab.sweeps.notes import SignalNotes
from lab.sweeps.placing import Assignment, Ended, NotNow
from lab.sweeps.reconciling import adopt, holder_name
from lab.sweeps.settings import LauncherFile
from lab.sweeps.setup import write_settings

HERE = holder_name()
Behaviour = Callable[["Fake"], Ended | None]
RECORD = {"sources": "", "overrides": [], "exit_code": 0, "resumed_at": [], "changes": []}


class Composed:
    """What of a composed job a master reads."""

    def __init__(self, path: Path, words: list[str]) -> None:
        self.words, self.path = words, path
        self.config = {"stage": "fit", "check": False, "data": {}, "extensions": []}


class Fake:
    """An attempt that does what its job's behaviour says, each time it is asked."""

    def __init__(self, assignment: Assignment, behaviour: Behaviour) -> None:
        self.assignment, self.behaviour = assignment, behaviour
        self.place, self.signals, self.asked, self.waits = "nowhere", list[str](), 0, False

    def poll(self) -> Ended | None:
        self.asked += 1
        if "kill" in self.signals:
            return Ended(137, "killed by SIGKILL")
        return self.behaviour(self)

    def stop(self) -> None:
        self.signals.append("stop")

    def kill(self) -> None:
        self.signals.append("kill")

    def reopen(self) -> None:
        self.signals.append("reopen")


class FakePlacer:
    def __init__(self) -> None:
        self.behaviour: dict[int, list[Behaviour]] = {}
        self.started: list[tuple[int, int]] = []
        self.attempts: list[Fake] = []
        self.full, self.left = False, False

    def workers(self, jobs: object) -> tuple[int, str]:
        return 2, ""

    def has_left(self, folder: Path) -> bool:
        return self.left

    def start(self, assignment: Assignment) -> Fake:
        if self.full:
            raise NotNow("the queue is full")
        self.started.append((assignment.number, assignment.attempt))
        plans = self.behaviour.get(assignment.number, [finish])
        self.attempts.append(Fake(assignment, plans[min(assignment.attempt, len(plans)) - 1]))
        return self.attempts[-1]

    def close(self) -> None:
        pass


def finish(fake: Fake, state: str = "finished") -> Ended:
    path = fake.assignment.prepared.path
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({**RECORD, "state": state, "result": {"test/map": 0.5}}))
    return Ended(0)


def step(fake: Fake, number: int = 3) -> None:
    progress = {"time": time.time(), "phase": "train", "step": number, "max_steps": 9, "first_step": 1, "metrics": {}}
    (fake.assignment.folder / "progress.json").write_text(json.dumps(progress))


def die(fake: Fake) -> Ended:
    return Ended(139, "killed by SIGSEGV")


def die_after_a_step(fake: Fake) -> Ended:
    step(fake)
    return die(fake)


def hang(fake: Fake) -> Ended | None:
    return Ended(143) if "stop" in fake.signals else None


class Sweep:
    """A master over some jobs in a folder."""

    def __init__(self, folder: Path, jobs: int = 4, **settings: object) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.placer = FakePlacer()
        self.ledger = Ledger(folder, create=True)
        words = [[f"seed={number}"] for number in range(jobs)]
        proposer = GridProposer(words)
        proposer.begin(self.ledger)
        values: dict[str, object] = {"workers": 2, "retries": 2, "backoff": 0.0, "timeout": None, "grace": 60.0}
        file = LauncherFile.model_validate(values | settings)
        write_settings(folder, file)
        prepare = lambda words: Composed(folder / "runs" / words[0].replace("=", "-"), words)  # noqa: E731
        self.master = Master(folder, self.ledger, proposer, self.placer, file, prepare, {}, self, HERE)  # type: ignore[arg-type]
        self.master._sources_changed = lambda: False

    def say(self, line: str) -> None:
        self.lines.append(line)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def update(self, progress: object) -> None:
        pass

    def turn(self, *signals: signal.Signals) -> None:
        self.master._start_jobs()
        self.master.handle(list(signals))

    def finish(self, turns: int = 60) -> None:
        for _ in range(turns):
            self.turn()
            if self.master._is_over():
                return
        raise AssertionError(f"never over: {self.states()}")

    def states(self) -> list[str]:
        return [row.state for row in self.ledger.jobs()]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


def test_jobs_finish_and_their_results_are_kept(sweep: Sweep) -> None:
    sweep.finish()
    assert sweep.states() == ["finished"] * 4
    assert sweep.ledger.job(1).result == {"test/map": 0.5}
    assert sweep.placer.started == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert any(line.startswith("[1/4] finished seed=0: ") for line in sweep.lines)


def test_a_crash_is_tried_again_and_the_others_go_on(sweep: Sweep) -> None:
    sweep.placer.behaviour[2] = [die_after_a_step, die_after_a_step, finish]
    sweep.finish()
    assert sweep.states() == ["finished"] * 4
    outcomes = [attempt.outcome for attempt in sweep.ledger.attempts(2)]
    assert outcomes == ["crashed", "crashed", "finished"]
    assert sweep.ledger.attempts(2)[0].problem == "killed by SIGSEGV"
    assert sweep.ledger.attempts(2)[0].last_step == 3


def test_retries_are_used_up(sweep: Sweep) -> None:
    sweep.placer.behaviour[1] = [die_after_a_step]
    sweep.finish()
    assert sweep.states() == ["failed", "finished", "finished", "finished"]
    assert len(sweep.ledger.attempts(1)) == 3
    assert sweep.ledger.job(1).exit_code == 139


def test_dead_twice_before_a_first_step_is_set_aside(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, retries=9)
    sweep.placer.behaviour[1] = [die]
    sweep.placer.behaviour[2] = [die, die_after_a_step, die, finish]  # never twice in a row
    sweep.finish()
    assert sweep.states() == ["poison", "finished", "finished", "finished"]
    assert len(sweep.ledger.attempts(1)) == 2


def test_back_off_doubles(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, jobs=1, backoff=40.0, retries=5)
    sweep.placer.behaviour[1] = [die_after_a_step]
    waits = []
    for _ in range(3):
        sweep.turn()
        row = sweep.ledger.job(1)
        assert row.state == "waiting"
        waits.append(round(row.not_before - time.time()))
        sweep.turn()
        assert len(sweep.ledger.attempts(1)) == len(waits)  # not started before its time
        sweep.ledger.change(1, not_before=0.0)
    assert waits == [40, 80, 160]


@pytest.mark.parametrize(("code", "record", "state"), [(2, None, "refused"), (1, "diverged", "diverged")])
def test_what_another_attempt_would_repeat_is_not_tried_again(
    sweep: Sweep, code: int, record: str | None, state: str
) -> None:
    def end(fake: Fake) -> Ended:
        if record:
            finish(fake, record)
        return Ended(code)

    sweep.placer.behaviour[3] = [end]
    sweep.finish()
    assert sweep.states() == ["finished", "finished", state, "finished"]


def test_exit_code_0_of_a_run_that_is_not_finished_is_a_crash(sweep: Sweep) -> None:
    """A library may call os._exit(0)."""
    sweep.placer.behaviour[1] = [lambda fake: Ended(0), finish]
    sweep.finish()
    assert [attempt.outcome for attempt in sweep.ledger.attempts(1)] == ["crashed", "finished"]


def test_no_progress_is_a_crash(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, jobs=2, timeout=0.05)

    def silent(fake: Fake) -> Ended | None:
        return None

    def busy(fake: Fake) -> Ended | None:
        step(fake, fake.asked)
        return finish(fake) if fake.asked > 12 else None

    sweep.placer.behaviour = {1: [silent, finish], 2: [busy]}
    for _ in range(16):
        sweep.turn()
        time.sleep(0.01)
    assert sweep.states() == ["finished", "finished"]
    assert sweep.ledger.attempts(1)[0].problem == "no progress for 0.05 s"
    assert len(sweep.ledger.attempts(2)) == 1


def test_term_lets_jobs_write_a_checkpoint_and_all_can_go_on(sweep: Sweep) -> None:
    sweep.placer.behaviour = {number: [hang] for number in range(1, 5)}
    sweep.turn()
    sweep.turn(signal.SIGTERM)
    sweep.finish()
    assert sweep.states() == ["interrupted", "interrupted", "waiting", "waiting"]
    assert sweep.master.ending == signal.SIGTERM
    assert adopt(sweep.ledger, {}) == []
    assert sweep.states() == ["waiting"] * 4


def test_a_job_that_does_not_end_is_killed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, jobs=1, grace=0.0)
    sweep.placer.behaviour[1] = [lambda fake: None]
    sweep.turn()
    sweep.turn(signal.SIGTERM)
    sweep.finish()
    assert sweep.states() == ["interrupted"]
    assert sweep.placer.attempts[0].signals == ["stop", "kill"]


def test_ctrl_c_twice_kills(sweep: Sweep) -> None:
    sweep.placer.behaviour = {number: [lambda fake: None] for number in range(1, 5)}
    sweep.turn()
    sweep.turn(signal.SIGINT)
    sweep.turn(signal.SIGINT)
    sweep.finish()
    assert sweep.states() == ["interrupted", "interrupted", "waiting", "waiting"]


def test_quit_lets_running_jobs_finish(sweep: Sweep) -> None:
    sweep.placer.behaviour = {number: [lambda fake: finish(fake) if fake.asked > 4 else None] for number in (1, 2)}
    sweep.turn()
    sweep.turn(signal.SIGQUIT)
    sweep.finish()
    assert sweep.states() == ["finished", "finished", "waiting", "waiting"]


def test_winch_pauses_and_hup_goes_on(sweep: Sweep) -> None:
    sweep.turn(signal.SIGWINCH)
    for _ in range(3):
        sweep.turn()
    assert sweep.states() == ["finished", "finished", "waiting", "waiting"]
    assert not sweep.master._is_over()
    sweep.turn(signal.SIGHUP)
    sweep.finish()
    assert sweep.states() == ["finished"] * 4


def test_hup_reads_the_settings_again(sweep: Sweep) -> None:
    sweep.placer.behaviour = {number: [hang] for number in range(1, 6)}
    sweep.turn()
    text = (sweep.folder / "launcher.yaml").read_text()
    text = (
        text.replace("workers: 2", "workers: 3")
        .replace("order: []", "order: [4]")
        .replace("withdraw: []", "withdraw: [3]")
    )
    (sweep.folder / "launcher.yaml").write_text(text.replace("add: []", "add: ['seed=77']"))
    sweep.turn(signal.SIGHUP)
    sweep.turn()
    assert sweep.placer.started == [(1, 1), (2, 1), (4, 1)]
    assert sweep.ledger.job(3).state == "withdrawn"
    assert sweep.ledger.job(5).words == ["seed=77"]
    sweep.turn(signal.SIGHUP)
    assert len(sweep.ledger.jobs()) == 5  # a job is added once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers: 0\nretries: 1\nbackoff: 1\ntimeout: 1\ngrace: 1\n", "workers: Input should be greater than 0"),
        ("workers: [", "no valid YAML"),
        ("workerss: 3\n", "workers: Field required"),
        ("workers: 1\nretries: 1\nbackoff: 1\ntimeout: 1\ngrace: 1\nwithdraw: [99]\n", "has no job 99"),
    ],
)
def test_a_wrong_file_keeps_the_old_settings(sweep: Sweep, text: str, said: str) -> None:
    before = sweep.master.settings
    (sweep.folder / "launcher.yaml").write_text(text)
    sweep.turn(signal.SIGHUP)
    assert sweep.master.settings == before
    assert any("the settings stay as they were" in line and said in line for line in sweep.lines)
    sweep.finish()


def test_slots_come_and_go(sweep: Sweep) -> None:
    sweep.placer.behaviour = {number: [hang] for number in range(1, 5)}
    sweep.turn()
    sweep.turn(signal.SIGTTIN)
    sweep.turn(signal.SIGTTOU, signal.SIGTTOU, signal.SIGTTOU)
    assert len(sweep.placer.started) == 3
    assert sweep.master.settings.workers == 1
    assert "workers: 1" in (sweep.folder / "launcher.yaml").read_text()


def test_usr1_is_passed_on(sweep: Sweep) -> None:
    sweep.placer.behaviour = {number: [hang] for number in range(1, 5)}
    sweep.turn()
    sweep.turn(signal.SIGUSR1)
    assert [attempt.signals for attempt in sweep.placer.attempts] == [["reopen"], ["reopen"]]


def test_requests_of_other_processes(sweep: Sweep) -> None:
    sweep.placer.behaviour = {1: [die_after_a_step] * 3 + [finish], 2: [hang], 4: [hang]}
    other = Ledger(sweep.folder)
    for _ in range(4):
        sweep.turn()
    assert sweep.states()[0] == "failed"
    other.ask("retry")
    other.ask("drop", [2])
    other.ask("pause")
    other.close()
    for _ in range(3):
        sweep.turn()
    assert sweep.states() == ["waiting", "withdrawn", "finished", "waiting"] or sweep.master.running
    Ledger(sweep.folder).ask("resume")
    for _ in range(4):
        sweep.turn()
    assert sweep.ledger.job(1).state == "finished"
    assert sweep.ledger.job(2).state == "withdrawn"


def test_requests_that_waited_for_a_master_come_before_its_first_start(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.master._ask_for_jobs()
    sweep.ledger.ask("drop", [1, 3])
    with SignalNotes() as notes:
        assert sweep.master.run(notes, lambda: False) == 0
    assert sweep.states() == ["withdrawn", "finished", "withdrawn", "finished"]
    assert [number for number, _ in sweep.placer.started] == [2, 4]


def test_a_killed_master_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    first.placer.behaviour = {1: [hang], 2: [hang]}
    first.turn()
    finish(first.placer.attempts[0])  # its run was finished when the master died
    first.ledger.close()
    with Ledger(tmp_path)._changing() as database:
        database.execute("UPDATE attempts SET holder = '1@elsewhen#0'")
        database.execute(
            "UPDATE attempts SET holder = replace(holder, 'elsewhen', ?)", (HERE.split("@")[1].split("#")[0],)
        )
    second = Sweep(tmp_path)
    said = adopt(second.ledger, {})
    assert said == ["2 job(s) were cut off with an earlier master: 1, 2"]
    assert second.states() == ["finished", "waiting", "waiting", "waiting"]
    second.finish()
    assert second.states() == ["finished"] * 4
    assert second.placer.started == [(2, 2), (3, 1), (4, 1)]


def test_failed_jobs_are_tried_again_by_the_same_command_if_the_sweep_had_ended(sweep: Sweep) -> None:
    sweep.placer.behaviour[1] = [die]
    sweep.finish()
    assert adopt(sweep.ledger, {}) == []
    assert sweep.states()[0] == "poison"  # a killed master: the same one goes on
    sweep.ledger.set(exit_code=1)
    adopt(sweep.ledger, {})
    assert sweep.states()[0] == "waiting"


def test_an_ended_sweep_asks_one_finished_job_of_each_dataset_whether_it_still_stands(sweep: Sweep) -> None:
    sweep.finish()
    sweep.ledger.set(exit_code=0)
    prepared = {row.number: Composed(Path(row.run), row.words) for row in sweep.ledger.jobs()}
    adopt(sweep.ledger, prepared)  # type: ignore[arg-type]
    assert sweep.states() == ["waiting", "finished", "finished", "finished"]


def test_a_grid_may_grow_but_not_change(tmp_path: Path) -> None:
    Sweep(tmp_path, jobs=2).finish()
    larger = Sweep(tmp_path, jobs=3)
    larger.finish()
    assert larger.placer.started == [(3, 1)]
    with pytest.raises(
        ConfigError, match=r"1 jobs of the sweep are none of this command's, the first seed=2; sweep=NEWNAME"
    ):
        Sweep(tmp_path, jobs=2)


def test_a_damaged_ledger_is_said(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, jobs=2)
    sweep.finish()
    sweep.ledger.close()
    for log in tmp_path.glob("ledger.sqlite-*"):  # with its log, SQLite would find all pages there
        log.unlink()
    (tmp_path / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(Exception, match="is damaged"):
        Ledger(tmp_path)


def test_a_launcher_that_cannot_start_now_is_asked_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "NOT_NOW", 0.0)
    sweep = Sweep(tmp_path, jobs=1)
    sweep.placer.full = True
    for _ in range(5):
        sweep.turn()
    assert (sweep.ledger.job(1).state, sweep.ledger.job(1).crashes) == ("waiting", 0)
    assert "[1/1] cannot be started now seed=0: the queue is full; tried again in 0 s" in sweep.lines
    sweep.placer.full = False
    sweep.finish()
    assert sweep.ledger.job(1).state == "finished"


def test_time_in_a_queue_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(master.time, "monotonic", lambda: now[0])
    sweep = Sweep(tmp_path, jobs=1, timeout=100.0)
    sweep.placer.behaviour[1] = [hang]
    sweep.turn()
    (fake,) = sweep.placer.attempts
    fake.waits, fake.place = True, "Slurm job 7, PENDING (Priority)"
    now[0] += 5000
    sweep.turn()
    assert fake.signals == []
    assert sweep.ledger.attempts(1)[0].place == "Slurm job 7, PENDING (Priority)"
    fake.waits = False
    now[0] += 99
    sweep.turn()
    assert fake.signals == []
    now[0] += 2
    sweep.turn()
    assert fake.signals == ["kill"]


def test_a_locked_run_that_goes_on_elsewhere_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master, "is_locked", lambda path: True)
    sweep = Sweep(tmp_path, jobs=1)
    sweep.placer.left = True
    sweep.finish()
    assert sweep.ledger.job(1).state == "finished"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", "False"),  # no terminal at all
        ("fcntl.ioctl(0, termios.TIOCSCTTY, 0)", "True"),
        ("fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.fork() and (os.wait(), os._exit(0)); os.setpgid(0, 0)", "False"),
    ],
)
def test_only_in_the_foreground_of_a_terminal_a_new_size_of_its_window_pauses_nothing(
    before: str, expected: str
) -> None:
    ours, theirs = os.openpty()
    code = f"import fcntl, os, termios\n{before}\nfrom lab.sweeps.master import _in_foreground\nprint(_in_foreground())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=theirs,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.strip() == expected
