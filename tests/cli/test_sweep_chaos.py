"""Workers and the master of a sweep are killed at random moments: each job finishes once, with the same results."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from scripts.chaos_sweep import (
    EXIT_0,
    Blow,
    differences,
    ledger_problems,
    left_behind,
    prepare_folder,
    run_through,
    shared_memory,
    sweep_of,
)
from tests.runs import SMALL, Command, Runs, is_alive

WORDS = (
    "-m",
    *SMALL,
    "callbacks.pictures=0",
    "callbacks.progress=false",
    "launcher.workers=2",
    "launcher.threads_per_job=1",
    "launcher.retries=1000",
    "launcher.backoff=0.01",
    "extensions=[chaos_exits]",
    "seed=0,1,2,3,4,5",
)
BLOWS = (
    Blow(signal.SIGKILL),
    Blow(signal.SIGKILL, "start"),
    Blow(signal.SIGKILL, to_master=True),
    Blow(EXIT_0, "train"),
    Blow(signal.SIGSEGV),
)


class Driven:
    """A command of the driver, as ``scripts/chaos_sweep.py`` asks after it."""

    def __init__(self, command: Command) -> None:
        self.command, self.pid = command, command.pid

    def poll(self) -> int | None:
        return None if is_alive(self.pid) else self.command.wait()


def test_kills_at_random_moments_change_nothing(runs: Runs, tmp_path: Path) -> None:
    def start(folder: Path) -> Driven:
        return Driven(runs.start(*WORDS, folder=folder, TMPDIR=str(folder / "tmp")))

    shared = shared_memory()
    quiet, loud = prepare_folder(tmp_path / "quiet"), prepare_folder(tmp_path / "loud")
    chance = random.Random(0)
    calm = run_through(start, quiet, (), 1.0, chance)
    assert calm.codes == [0]
    storm = run_through(start, loud, BLOWS, 0.3, chance)
    assert storm.problems == []
    assert storm.struck.total() == len(BLOWS)
    assert -signal.SIGKILL in storm.codes
    assert [*ledger_problems(quiet), *ledger_problems(loud)] == []
    assert list(differences(loud, quiet)) == []
    assert [*left_behind(quiet, shared), *left_behind(loud, shared)] == []
    assert_the_checks_see(loud, quiet)


def assert_the_checks_see(loud: Path, quiet: Path) -> None:
    """Results, rows, weights and ledgers that are changed by hand are each named."""
    runs = sorted(file.parent for file in (loud / "runs").glob("*/run.json"))
    record = json.loads((runs[0] / "run.json").read_text())
    record["result"]["test/map"] = 0.123
    (runs[0] / "run.json").write_text(json.dumps(record))
    rows = (runs[1] / "metrics.csv").read_text().splitlines(keepends=True)
    (runs[1] / "metrics.csv").write_text("".join(rows[:3] + rows[4:]))
    weights = bytearray((shard := runs[2] / "checkpoints" / "best.ckpt" / "rank-00000.safetensors").read_bytes())
    weights[-1] ^= 1
    shard.write_bytes(weights)
    found = [problem.partition(":")[2].partition(" (")[0] for problem in differences(loud, quiet)]
    assert found == [" other results", " other rows in metrics.csv", " other weights in best.ckpt"]
    with closing(sqlite3.connect(sweep_of(loud) / "ledger.sqlite")) as database:
        database.execute("UPDATE attempts SET ended = NULL WHERE job = 2 AND attempt = 1")
        database.execute("UPDATE attempts SET ended = ended - 100 WHERE job = 3 AND outcome = 'finished'")
        database.commit()
    assert {problem.partition(":")[0] for problem in ledger_problems(loud)} == {"job 2", "job 3"}
    (loud / "tmp" / "lab-tmp-1-abcdefgh").mkdir()
    assert len(list(left_behind(loud, shared_memory()))) == 1
