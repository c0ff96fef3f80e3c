"""Jobs of two ranks in a sweep, two at a time: the results of lone commands, also after a rank was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lab.sweeps.ledger import Ledger
from tests.runs import SMALL, Runs, record, wait_for

WORDS = (
    *SMALL,
    "trainer.devices=2",
    "trainer.max_steps=6",
    "trainer.val_every_n_steps=6",
    "callbacks.pictures=0",
    "callbacks.progress=false",
)
SWEEP = ("-m", "strategy=ddp,fsdp", "launcher.workers=2", "launcher.threads_per_job=1", "launcher.backoff=0.01")


def test_a_killed_rank_is_the_crash_of_its_job_alone(runs: Runs, tmp_path: Path) -> None:
    command = runs.start(*WORDS, *SWEEP, folder=tmp_path)
    folder = tmp_path / "runs"
    checkpoint = lambda: next(folder.glob("*/checkpoints/last.ckpt"), None)  # noqa: E731
    assert wait_for(lambda: checkpoint() is not None, command), command.err
    run = checkpoint().parents[1]
    struck = record(run)["sweep"]["number"]
    ledger = Ledger(next(folder.glob("sweeps/*")))
    (attempt,) = ledger.attempts(struck)
    rank = _children(int(attempt.place.split()[1]))[-1]
    os.kill(rank, signal.SIGKILL)
    assert command.wait() == 0, command.out + command.err
    other = 3 - struck
    assert [row.outcome for row in ledger.attempts(struck)] == ["crashed", "finished"]
    assert " of 2 " in ledger.attempts(struck)[0].problem  # a rank: the killed one, or the other, which has lost it
    assert [row.outcome for row in ledger.attempts(other)] == ["finished"]
    assert record(run)["resumed_at"] != []
    assert record(run)["world_size"] == 2
    (tmp_path / "lone").mkdir()
    lone = runs.run(*WORDS, "strategy=ddp", folder=tmp_path / "lone")
    assert lone.code == 0, lone.out[-2000:] + lone.err
    results = {row.number: record(Path(tmp_path / row.run))["result"] for row in ledger.jobs()}
    (alone,) = (record(path.parent)["result"] for path in (tmp_path / "lone" / "runs").glob("*/run.json"))
    assert results[1] == alone
    ledger.close()


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)
