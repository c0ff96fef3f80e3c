"""Which run is a job of which sweep."""

from __future__ import annotations

import os
from pathlib import Path

from lab.sweeps.ledger import FILE, Ledger
from lab.sweeps.membership import sweeps_of_runs


def test_names_by_run(tmp_path: Path) -> None:
    for name, runs in (("one", ["runs/a", "/elsewhere/b"]), ("two", ["c"])):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        ledger = Ledger(tmp_path / "sweeps" / name, create=True)
        ledger.add([([], run, {}) for run in runs])
        ledger.close()
    (tmp_path / "sweeps" / "bad").mkdir()
    (tmp_path / "sweeps" / "bad" / FILE).write_text("no database")
    (tmp_path / "sweeps" / "pipe").mkdir()
    os.mkfifo(tmp_path / "sweeps" / "pipe" / FILE)
    found, unread = sweeps_of_runs(tmp_path)
    assert found == {"a": "one", "b": "one", "c": "two"}
    assert [line.partition(" ")[0] for line in unread] == ["bad", "pipe"]
    assert sweeps_of_runs(tmp_path / "nothing") == ({}, [])


def test_a_ledger_that_a_master_holds_is_read(tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "one").mkdir(parents=True)
    ledger = Ledger(tmp_path / "sweeps" / "one", create=True)
    ledger.add([([], "runs/a", {})])
    with ledger._changing():
        assert sweeps_of_runs(tmp_path)[0] == {"a": "one"}
    ledger.close()
