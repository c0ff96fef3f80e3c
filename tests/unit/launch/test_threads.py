"""How many threads a job computes with and how they wait: who decides, what is recorded, what a continued run keeps."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.errors import ConfigError
from lab.launch import jobs, threads, workers
from lab.launch.jobs import Job
from lab.launch.prepare import prepare_job
from lab.run_record import read_record
from lab.sweeps import here
from lab.sweeps.placing import Assignment
from lab.system.ranks import Place

NUMBER, POLICY = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"


class Machine:
    """A machine of which some cores are free; it counts how often they are measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cores, self.free, self.measured = 4, 4, 0
        monkeypatch.setattr(threads.cores, "full_cores", lambda: self.cores)
        monkeypatch.setattr(threads.cores, "usable_cores", lambda: self.cores)
        monkeypatch.setattr(threads.os, "cpu_count", lambda: self.cores)
        monkeypatch.setattr(threads.cores, "free_cores", self._measure)
        monkeypatch.setattr(threads, "num_gpus", lambda: 0)

    def _measure(self, cores: int) -> int:
        assert cores == self.cores
        self.measured += 1
        return self.free


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Four free cores; torch is not loaded, and the environment says nothing."""
    monkeypatch.delenv(NUMBER, raising=False)
    monkeypatch.delenv(POLICY, raising=False)
    monkeypatch.delitem(sys.modules, "torch")
    return Machine(monkeypatch)


def config(threads: Any = "auto", devices: int = 1, workers: int = 0, **trainer: Any) -> dict[str, Any]:
    settings = {"threads": threads, "devices": devices, "accelerator": "cpu", "deterministic": False, **trainer}
    return {"trainer": settings, "strategy": {"name": "ddp"}, "check": False, "data": {"num_workers": workers}}


@pytest.mark.parametrize(
    ("free", "devices", "workers", "number", "waiting"),
    [
        (4, 1, 0, 4, "spin"),
        (3, 1, 0, 3, "spin"),
        (1, 1, 0, 1, "sleep"),
        (0, 1, 0, 1, "sleep"),  # never none
        (4, 2, 0, 2, "spin"),  # two ranks
        (3, 2, 0, 1, "sleep"),
        (4, 1, 1, 4, "sleep"),  # a worker that loads data would share a core with a thread that spins
        (4, 8, 0, 1, "sleep"),
    ],
)
def test_as_many_threads_as_free_cores(
    machine: Machine, free: int, devices: int, workers: int, number: int, waiting: str
) -> None:
    machine.free = free
    found = threads.decide(config(devices=devices, workers=workers))
    assert (found.number, found.waiting) == (number, waiting)
    assert found.origin == ("cores" if devices > 4 else "free cores")
    assert machine.measured == (devices < 8)
    assert bool(found.notes) == (number < max(1, 4 // devices))


def test_a_typed_number_is_taken_and_spins_where_cores_are_free(machine: Machine) -> None:
    machine.free = 2
    assert threads.decide(config(2)) == threads.Threads(2, "trainer.threads", "spin", 4, 2)
    assert threads.decide(config(3)) == threads.Threads(3, "trainer.threads", "sleep", 4, 2)
    assert threads.decide(config(1)) == threads.Threads(1, "trainer.threads", "sleep", 4, None)


def test_the_environment_wins_over_auto_and_not_over_a_typed_number(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NUMBER, "3,1")
    found = threads.decide(config())
    assert (found.number, found.origin, found.waiting, found.notes) == (3, NUMBER, "spin", [])
    monkeypatch.setenv(POLICY, "passive")
    found, before = threads.decide(config()), machine.measured
    assert (found.waiting, found.free_cores) == ("sleep", None)
    monkeypatch.setenv(POLICY, "ACTIVE")
    machine.free = 0
    assert threads.decide(config()).waiting == "spin"
    found = threads.decide(config(2))
    assert (found.number, found.origin) == (2, "trainer.threads")
    assert found.notes == ["note: trainer.threads=2 counts, not OMP_NUM_THREADS=3 of the environment"]
    assert threads.decide(config(3)).notes == []
    assert machine.measured == before  # there was nothing to measure


@pytest.mark.parametrize(("name", "text"), [(NUMBER, "0"), (NUMBER, "many"), (NUMBER, "-2"), (POLICY, "spin")])
def test_a_variable_without_meaning_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=rf"^{name}={text} \(environment\): .*, or leave it unset$"):
        threads.decide(config())


def test_a_continued_run_keeps_its_number(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.free = 2
    found = threads.decide(config(), before=4)
    assert (found.number, found.origin, found.waiting, found.notes) == (4, "run.json", "sleep", [])
    machine.cores = 2
    found = threads.decide(config(), before=4)
    assert (found.number, found.waiting) == (4, "sleep")
    (note,) = found.notes
    assert "keeps its 4 threads" in note
    assert "has 2 core(s) for each rank; trainer.threads=2 would be faster" in note
    for given in (config(1), config()):
        monkeypatch.setenv(NUMBER, "1")
        found = threads.decide(given, before=4)
        assert found.number == 1
        assert f"{found.origin} says 1 thread(s), 4 were used before" in found.notes[-1]


def test_nothing_is_measured_where_all_cores_are_shared_out(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.free = 0
    assert threads.decide(config(deterministic=True)).number == 4
    machine.measured = 0
    placed = Place(0, 0, 2, 2, launcher="slurm")
    found = threads.decide(config(devices=2), place=placed)
    assert (found.number, found.origin, found.waiting) == (2, "cores", "sleep")
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 64)  # each rank is bound to four of its own
    assert threads.decide(config(devices=2), place=placed).number == 4
    assert threads.decide(config(accelerator="gpu")).number == 4
    monkeypatch.setattr(threads, "num_gpus", lambda: 1)
    assert threads.decide(config(accelerator="auto")).waiting == "sleep"
    assert machine.measured == 0


def test_how_to_wait_is_told_before_torch_is_loaded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    threads.make_wait(threads.decide(config()))
    assert POLICY not in os.environ
    machine.free = 1
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert threads.decide(config(3)).waiting == "spin"  # as this process has begun
    assert threads.decide(config(2, devices=2)).waiting == "sleep"  # its ranks begin afresh
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv(POLICY, "")
    monkeypatch.delenv(POLICY)
    threads.make_wait(threads.decide(config(3)))
    assert os.environ[POLICY] == "PASSIVE"


def test_each_rank_is_told_the_number_of_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NUMBER, "7")
    told = [
        workers._environment(Place(rank, rank, 2, 2), tmp_path / "error", 3)["OMP_NUM_THREADS"] for rank in range(2)
    ]
    assert told == ["3", "3"]
    assert Job.from_json(Job("fit", {}, threads=3).to_json()).threads == 3


def test_torch_computes_with_the_number_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(jobs, "_run_job", lambda *_: seen.append((torch.get_num_threads(), os.environ.get(NUMBER))))
    monkeypatch.setenv(NUMBER, "5")
    before = torch.get_num_threads()
    jobs.run_job(Job("fit", {}, threads=before + 1), Place())
    jobs.run_job(Job("fit", {}, threads=before + 2), Place(1, 1, 2, 2))
    jobs.run_job(Job("report", {}), Place())
    assert seen == [(before + 1, "5"), (before + 2, str(before + 2)), (before, str(before + 2))]
    assert torch.get_num_threads() == before


def begun(folder: Path, *words: str) -> tuple[Job, dict[str, Any]]:
    prepared = prepare_job(["logger=csv", "trainer=cpu", f"paths.runs_dir={folder}", *words], [])
    job, run = prepared.begin()
    assert run is not None
    run.end("interrupted", 130)
    run.release()
    return job, read_record(run.file)[0]["threads"]


def test_a_run_records_them_and_a_continued_one_takes_them(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, recorded = begun(tmp_path)
    assert job.threads == 4
    assert recorded == {"number": 4, "origin": "free cores", "waiting": "spin", "cores": 4, "free_cores": 4}
    machine.free = 1
    job, recorded = begun(tmp_path)
    assert job.threads == 4
    assert (recorded["origin"], recorded["waiting"], recorded["free_cores"]) == ("run.json", "sleep", 1)
    assert "threads" not in capsys.readouterr().out
    job, recorded = begun(tmp_path, "resume=never")
    assert job.threads == 1
    assert "threads   1: 1 of 4 cores are free (trainer.threads=N sets it)" in capsys.readouterr().out
    job, _ = begun(tmp_path, "trainer.threads=2")  # the same run: the number is no part of the name
    assert job.threads == 2
    assert "trainer.threads says 2 thread(s), 1 were used before" in capsys.readouterr().out
    file = Path(job.path) / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"threads": {"number": "two"}}))
    assert begun(tmp_path)[0].threads == 1  # a damaged entry is none


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "true", "many", "null", "9999"])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.threads={word}.*auto"):
        prepare_job([f"trainer.threads={word}"], [], machine=False)


def test_jobs_of_a_sweep_have_equal_shares(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they run one after another; whatever else the machine does."""
    found = []
    for free in (4, 1):
        machine.free = free
        prepared = prepare_job(["trainer=cpu", f"paths.runs_dir={tmp_path / str(free)}"], [])

        def run(here: bool, config: dict[str, Any] = prepared.config) -> None:
            found.append(threads.decide(config))

        monkeypatch.setattr(prepared, "run", run)
        assert here.HerePlacer().start(Assignment(1, 1, 0, prepared, tmp_path, tmp_path, False)).poll().exit_code == 0
    assert [(each.number, each.waiting) for each in found] == [(4, "sleep"), (4, "sleep")]
    assert machine.measured == 0
    assert NUMBER not in os.environ
