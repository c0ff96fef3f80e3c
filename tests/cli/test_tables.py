"""Tables as commands: one run however a tab is typed, what was read in run.json, an edited log of an old time."""

from __future__ import annotations

import os
from pathlib import Path

from tests.runs import Runs, only_run, record

T = 1396310400


def write(path: Path, prefix: str) -> None:
    """Write a log of tabs, as old as rsync -t would leave it; two of its rows cannot be used."""
    rows = [(f"u{user}", f"{prefix}{(user + k) % 9}", T + user * 1800 + k) for user in range(40) for k in range(4)]
    lines = ["user\titem\ttime", *("\t".join(map(str, row)) for row in rows), f"u1\tNULL\t{T}", "u2\tx"]
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, (T, T))


def test_a_log_is_one_dataset_for_as_long_as_it_holds_the_same(runs: Runs, tmp_path: Path) -> None:
    path, folder = tmp_path / "events.csv", tmp_path / "place"
    folder.mkdir()
    write(path, "old")
    words = ("model=popularity", "data=interactions", f"data.root={tmp_path}", "logger=csv", "trainer=cpu")
    words = (*words, "data.batch_size=8", "eval.ks=[1]")
    first = runs.run(*words, "data.separator=\\t", folder=folder)
    assert first.code == 0, first.out[-2000:] + first.err
    assert "162 rows, 160 used" in " ".join(first.out.replace("│", " ").split())
    assert record(only_run(folder))["rows_read"] == {
        "events.csv": {
            "rows": 162,
            "used": 160,
            "left_out": {"whose item reads NULL": 1, "with fewer than 3 columns": 1},
            "noted": {},
        }
    }
    again = runs.run(*words, "data.separator='\t'", folder=folder)
    assert again.code == 0, again.err
    assert "is finished already" in again.out
    size = path.stat().st_size
    write(path, "new")
    assert path.stat().st_size == size
    edited = runs.run(*words, "data.separator=\\t", folder=folder)
    assert edited.code == 2
    assert "has changed since this run was made" in edited.err
    as_commas = runs.run(*words, folder=folder)
    assert as_commas.code == 2
    assert "its columns are separated by '\\t': set data.separator='\\t'" in as_commas.err
    assert "Traceback" not in edited.err + as_commas.err
