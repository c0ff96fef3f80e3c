"""A job in the master's own process."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import ConfigError, Pruned
from lab.run_progress import FOLDER, last_word, waits_for_verdicts
from lab.sweeps.here import HerePlacer
from lab.sweeps.placing import Assignment


def assignment(folder: Path, error: Exception | None, waits: bool = False) -> Assignment:
    """Return an attempt that tells its variables and ends with an error."""

    def run(here: bool) -> None:
        assert here
        print(f"{os.environ[FOLDER]} {waits_for_verdicts()}")
        if error is not None:
            raise error

    config = {"trainer": {"devices": 1}, "strategy": {"name": "single"}, "check": False}
    prepared: Any = SimpleNamespace(run=run, config=config)
    return Assignment(1, 1, 0, prepared, folder, folder, waits)


def test_a_job_that_nobody_can_give_a_verdict_does_not_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = HerePlacer().start(assignment(tmp_path, None, waits=True)).poll()
    assert (ended.exit_code, ended.problem) == (0, "")
    note = "note: launcher=here stops no job early: its master is this process, which runs the job"
    assert capsys.readouterr().out.splitlines() == [note, f"{tmp_path.resolve()} False"]
    assert FOLDER not in os.environ


@pytest.mark.parametrize(("error", "code"), [(ConfigError("no"), 2), (ZeroDivisionError("x"), 1), (Pruned("p", 5), 0)])
def test_what_ends_it_is_known(tmp_path: Path, error: Exception, code: int) -> None:
    ended = HerePlacer().start(assignment(tmp_path, error)).poll()
    assert (ended.exit_code, ended.problem) == (code, f"{type(error).__name__}: {error}")
    word = last_word(tmp_path)
    assert word is not None
    assert word["text"].endswith(str(error))
