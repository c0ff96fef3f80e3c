"""A grid in this process: it goes on whatever happens to one job; the summary and the last lines name all."""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cli.main import main
from lab.errors import ConfigError, RunError
from lab.launch.prepare import Prepared
from lab.sweeps import run as sweeping
from lab.sweeps.grid import expand
from lab.sweeps.grid_proposer import GridProposer
from lab.sweeps.setup import read_setup
from lab.sweeps.sweepers import make_proposer
from lab.system import provenance
from lab.system.signals import Interrupted

FAILURES: dict[str, tuple[BaseException, str, str]] = {
    "refused": (RunError("in use"), "in use", "refused"),
    "disk": (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "No space left on device", "failed"),
    "permission": (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "PermissionError", "failed"),
    "processes": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "BlockingIOError", "failed"),
    "key": (KeyError("sources"), "KeyError: 'sources'", "failed"),
    "type": (TypeError("two\nlines"), "TypeError: two lines", "failed"),
    "memory": (MemoryError(), "MemoryError", "failed"),
    "recursion": (RecursionError("too deep"), "RecursionError", "failed"),
    "exit": (SystemExit(3), "SystemExit: 3", "failed"),
    "exit with a text": (SystemExit("no"), "SystemExit: no", "failed"),
}
RECORD = {"state": "finished", "sources": "", "overrides": [], "exit_code": 0, "resumed_at": [], "changes": []}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "_frozen", {})  # a master's process ends; this one goes on


def sweep(*words: str) -> int:
    return main(["-m", "launcher=here", *words])


def finish(job: Prepared, **result: float) -> None:
    job.path.mkdir(parents=True, exist_ok=True)
    (job.path / "run.json").write_text(json.dumps({**RECORD, "result": result or {"test/map": 0.5}}))


def failing(error: BaseException, at: int, started: list[int]) -> Callable[..., None]:
    def run(self: Prepared, **_: object) -> None:
        started.append(self.config["seed"])
        if self.config["seed"] == at:
            raise error
        finish(self)

    return run


def rows() -> list[dict[str, str]]:
    (file,) = Path("runs/sweeps").glob("*/summary.csv")
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_failure_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each job fails in another way; then the same command tries all of them again, and nothing else."""
    failures, started = list(FAILURES.values()), list[int]()

    def run(self: Prepared, **_: object) -> None:
        started.append(self.config["seed"])
        if self.config["seed"] < len(failures):
            raise failures[self.config["seed"]][0]
        finish(self)

    monkeypatch.setattr(Prepared, "run", run)
    seeds = list(range(len(failures) + 1))
    words = f"seed=range(0,{len(seeds)})"
    assert sweep(words) == 1
    assert started == seeds
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("job ")]
    for seed, (line, (_, said, state)) in enumerate(zip(lines, failures, strict=True)):
        assert line.startswith(f"job {seed + 1} (seed={seed}) {state}: ")
        assert said in line
    found = {int(row["seed"]): row["state"] for row in rows()}
    assert [found[seed] for seed in seeds] == [*(state for _, _, state in failures), "finished"]

    started.clear()
    monkeypatch.setattr(Prepared, "run", failing(RuntimeError(), -1, started))
    assert sweep(words) == 0
    assert started[: len(failures)] == seeds[:-1]
    assert {row["state"] for row in rows()} == {"finished"}


@pytest.mark.parametrize(("error", "code"), [(Interrupted(2), 130), (Interrupted(15), 143), (KeyboardInterrupt(), 130)])
def test_an_interrupt_stops_a_sweep(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(Prepared, "run", failing(error, 1, started))
    assert sweep("seed=0,1,2") == code
    assert started == [0, 1]


def test_a_summary_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Prepared, "run", failing(SystemExit(1), 9, []))
    Path("runs/sweeps/mine/summary.csv").mkdir(parents=True)
    assert sweep("seed=0,1", "sweep=mine") == 1
    captured = capsys.readouterr()
    assert "the summary cannot be written" in captured.err
    assert captured.err.count("\n") == 1
    assert "seed" in captured.out  # the table is shown all the same


@pytest.mark.parametrize("damage", ["[]", "{", '{"state": 3}', '{"result": []}'])
def test_a_damaged_record_does_not_end_the_sweep(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose record is damaged is not known to be finished."""

    def run(self: Prepared, **_: object) -> None:
        finish(self)
        if self.config["seed"] == 0:
            (self.path / "run.json").write_text(damage)

    monkeypatch.setattr(Prepared, "run", run)
    assert sweep("seed=0,1") == 1
    assert {row["seed"]: row["state"] for row in rows()} == {"0": "failed", "1": "finished"}


def test_a_file_that_cannot_be_read_while_checking_is_that_job_s_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(words: list[str], user_dirs: list[str], **_: object) -> Prepared:
        raise PermissionError(errno.EACCES, "Permission denied", "secret")

    monkeypatch.setattr(sweeping, "prepare_job", prepare)
    with pytest.raises(ConfigError, match=r"job 1 of 2 \(seed=0\) and 1 more: .*secret.*no job was started"):
        sweeping.run_sweep(["seed=0,1"], [])


def test_the_best_job_is_marked_by_what_its_runs_monitor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In that metric's direction, which run.json says: here a lower one is better."""

    def run(self: Prepared, **_: object) -> None:
        result = {"val/rmse": abs(self.config["seed"] - 1.25), "test/rmse": 7.0}
        record = {**RECORD, "result": result, "monitor": "val/rmse", "lower_is_better": ["val/rmse", "test/rmse"]}
        self.path.mkdir(parents=True)
        (self.path / "run.json").write_text(json.dumps(record))

    monkeypatch.setattr(Prepared, "run", run)
    assert sweep("seed=0,1,2") == 0
    printed = capsys.readouterr().out
    assert "\nbest      seed=1: val/rmse 0.2500 (lower is better)\n" in printed
    assert [row["seed"] for row in rows()] == ["1", "2", "0"]


def test_a_diverged_job_stands_in_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no result, or that of an earlier validation; the others run."""

    def run(self: Prepared, **_: object) -> None:
        finish(self)
        if self.config["optimizer"]["lr"] > 1:
            (self.path / "run.json").write_text(json.dumps({**RECORD, "state": "diverged", "result": {}}))
            raise RuntimeError("the loss is not finite")

    monkeypatch.setattr(Prepared, "run", run)
    assert sweep("optimizer.lr=1e6,1e-3") == 1
    assert [(row["state"], row["test/map"]) for row in rows()] == [("diverged", ""), ("finished", "0.5")]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    numbers: list[int] = []
    monkeypatch.setattr(Prepared, "run", failing(SystemExit(1), -1, numbers))
    return numbers


def test_one_wrong_job_starts_nothing(started: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("optimizer=adamw,sdg") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: job 2 of 2 (optimizer=sdg): optimizer=sdg: no such optimizer; did you mean 'sgd'")
    assert err.count("\n") == 1
    assert started == []
    assert not Path("runs").exists()


def test_every_wrong_job_is_named(started: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("optimizer=adamw,sdg,sgdd") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == [" job 2 of 3 (optimizer=sdg)", " job 3 of 3 (optimizer=sgdd)"]
    assert lines[-1].endswith("no job was started")
    assert started == []


def test_a_mistake_of_all_jobs_is_said_once(started: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("optimizer.lr=-1", "seed=0,1,2") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: job 1 of 3 (optimizer.lr=-1 seed=0) and 2 more: optimizer.lr=-1: ")
    assert err.count("\n") == 1
    assert started == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=1e-3,0.001"], "ask for the same run"),
        (["seed=range(0,1001)"], "the sweep has 1001 jobs, more than 1000; add launcher.yes=true to start them"),
        (["seed=0,1", "launcher=local", "launcher.workers=0"], "launcher.workers=0: should be greater than 0"),
        (["seed=0,1", "launcher=local", "launcher.workerss=2"], "unknown key 'workerss' in launcher"),
        (["seed=0,1", "launcher=locale"], "no such launcher; did you mean 'local'?"),
        (["seed=0,1", "sweep=a/b"], "sweep=a/b: a name of letters, digits"),
        (["seed=0,1", "launcher=local", "launcher.devices_per_job=2"], "launcher.devices_per_job=2: this machine has"),
    ],
)
def test_what_is_refused_before_a_job_starts(
    words: list[str], said: str, started: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert sweep(*words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert started == []
    assert not list(Path().glob("runs/*/run.json"))


def test_words_of_a_sweep_need_m(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launcher.workers=2"]) == 2
    assert capsys.readouterr().err == "error: launcher.workers=2: this is of a sweep; add -m\n"


def test_a_run_that_another_process_holds_is_named(started: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    from lab.run_lock import RunLock

    assert sweep("seed=0") == 0
    (run,) = [path.parent for path in Path("runs").glob("*/run.json")]
    lock = RunLock(run)
    try:
        assert sweep("seed=0,1") == 2
    finally:
        lock.release()
    assert f"{run} is in use by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["seed=0,1", "data=shapes,coco"], 4),
        (["optimizer.lr=choice(1,2,3)"], 3),
        (["seed=range(0,4)"], 4),
        (["model=glob(detr_resnet101*)"], 2),
        (["optimizer.betas=[0.9,0.99],[0.8,0.9]"], 2),
        (["seed=1"], 1),
    ],
)
def test_expand(words: list[str], jobs: int) -> None:
    expanded = expand(words)
    assert len(expanded) == len({tuple(job) for job in expanded}) == jobs


def test_expand_keeps_the_order() -> None:
    assert expand(["model=glob(detr_resnet101*)", "seed=1"]) == [
        ["model=detr_resnet101", "seed=1"],
        ["model=detr_resnet101_dc5", "seed=1"],
    ]
    assert expand(["seed=0,1", "optimizer.lr=3e-4"]) == [
        ["seed=0", "optimizer.lr=3e-4"],
        ["seed=1", "optimizer.lr=3e-4"],
    ]


@pytest.mark.parametrize("word", ["model=glob(nothing*)", "optimizer.lr=interval(0,1)", "optimizer.lr=choice(1"])
def test_what_cannot_be_expanded(word: str) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr=|model="):
        expand([word])


def test_jobs_that_are_added_later_get_what_all_jobs_share() -> None:
    grid = GridProposer([["data=shapes", "seed=0"], ["data=shapes", "seed=1"]])
    assert sweeping._shared(grid) == ["data=shapes"]
    search, _ = make_proposer(
        read_setup(["sweeper=random"], []).sweeper, ["seed=3", "optimizer.lr=interval(1e-4,1e-2)"]
    )
    assert sweeping._shared(search) == ["seed=3"]  # and no interval


def test_a_list_takes_the_place_of_a_value_given_before() -> None:
    """As typed by who adds it to the last command; a value behind a list counts for all jobs, as Hydra has it."""
    assert expand(["seed=0", "optimizer.lr=1", "seed=0,1"]) == [
        ["optimizer.lr=1", "seed=0"],
        ["optimizer.lr=1", "seed=1"],
    ]
    assert expand(["seed=0,1", "seed=7"]) == [["seed=0", "seed=7"], ["seed=1", "seed=7"]]
