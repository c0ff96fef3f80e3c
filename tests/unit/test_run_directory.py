"""Names, locks and records of runs."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.run_directory import RunDirectory
from lab.run_name import NOT_IN_HASH, run_name
from lab.system.files import write_text
from lab.system.provenance import sources_fingerprint

CONFIG: dict[str, Any] = {
    "seed": 0,
    "stage": "fit",
    "ckpt": None,
    "resume": "auto",
    "paths": {"runs_dir": "runs"},
    "model": {"name": "net", "net": {"width": 8}},
    "data": {"name": "scenes", "batch_size": 8, "num_workers": 0},
    "debug": {"profile": False, "max_steps": None},
    "trainer": {"max_steps": 10, "checkpoint_every_n_steps": None},
}


def changed(key: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, leaf = key.split(".")
    node = config
    for part in parents:
        node = node[part]
    node[leaf] = value
    return config


def test_name_is_stable_and_short() -> None:
    assert run_name(CONFIG) == run_name(dict(reversed(CONFIG.items())))
    assert run_name(CONFIG).startswith("net-scenes-")
    assert len(run_name(CONFIG)) == len("net-scenes-") + 8
    assert "resume" in CONFIG  # the config itself is left alone


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resume", "never"),
        ("paths.runs_dir", "x"),
        ("data.num_workers", 4),
        ("trainer.threads", 2),
        ("data.tasks", ["boxes"]),
    ],
)
def test_what_does_not_change_the_training_does_not_change_the_name(key: str, value: Any) -> None:
    assert key in NOT_IN_HASH or key.split(".")[0] in NOT_IN_HASH
    assert run_name(changed(key, value)) == run_name(CONFIG)


def test_a_key_that_came_later_leaves_names_as_they_were() -> None:
    assert run_name(changed("trainer.on_nonfinite", "stop")) == run_name(CONFIG)
    assert run_name(changed("trainer.max_skips", 3)) == run_name(CONFIG)
    assert run_name(changed("trainer.on_nonfinite", "skip")) != run_name(CONFIG)
    names = {
        kind: [run_name({**CONFIG, "eval": {"name": kind, **more}}) for more in ({}, {"also": None}, {"also": "other"})]
        for kind in ("detection", "recommendation")
    }
    assert names["detection"][0] == names["detection"][1] != names["detection"][2]
    assert len(set(names["recommendation"])) == 3  # it always had the key


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 1), ("model.net.width", 9), ("data.batch_size", 4), ("ckpt", "w.ckpt"), ("debug.max_steps", 2)],
)
def test_what_changes_the_training_changes_the_name(key: str, value: Any) -> None:
    assert run_name(changed(key, value)) != run_name(CONFIG)


def begun(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.lock()
    run.begin(CONFIG, ["seed=0"], "abc")
    return run


def other_process(path: Path, code: str) -> str:
    script = f"""from pathlib import Path
from lab.system.files import write_text
from lab.run_directory import RunDirectory
run = RunDirectory(Path({str(path)!r}))
{code}"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_lock_is_seen_by_other_processes_and_ends_with_its_own(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = begun(path)
    assert run.state == "running"
    try_it = "try:\n    run.lock()\nexcept Exception as error:\n    print(type(error).__name__, error)"
    assert other_process(path, "print(run.state)") == "running"
    assert f"pid {os.getpid()} on " in other_process(path, try_it)
    assert other_process(path, try_it).startswith("RunError")
    run.release()
    assert other_process(path, try_it) == ""
    # A process that dies without a word leaves `running` in run.json, which is read as interrupted.
    other_process(path, "run.lock(); run.update(state='running')")
    assert RunDirectory(path).record["state"] == "running"
    assert RunDirectory(path).state == "interrupted"


def test_lock_survives_a_fork(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    child = os.fork()
    if not child:
        os._exit(0)  # as a loader's worker ends: its copy of the file closes
    os.waitpid(child, 0)
    assert other_process(run.path, "print(run.state)") == "running"


def test_begin_keeps_history_and_removes_what_a_kill_left(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    run.update(resumed_at=[3], result={"test/map": 0.5})
    started = run.record["started"]
    for name in (".last.ckpt.writing", ".last.ckpt.old", "last.ckpt", ".best.ckpt.old"):
        (run.checkpoints / name).mkdir()
        (run.checkpoints / name / "file").write_text(name)
    (run.path / ".run.json.1").write_text("half")
    run.end("interrupted", 130)
    run.release()
    run = begun(tmp_path / "run")
    assert run.before == "interrupted"
    assert not run.is_new
    assert (run.record["resumed_at"], run.record["started"]) == ([3], started)
    assert (run.record["ended"], run.record["exit_code"]) == (None, None)
    assert not list(run.path.rglob(".*"))
    left = {path.name: (path / "file").read_text() for path in run.checkpoints.iterdir()}
    assert left == {"last.ckpt": "last.ckpt", "best.ckpt": ".best.ckpt.old"}  # what stood between two renames is back
    for key in ("command", "versions", "machine", "seed", "sources"):
        assert run.record[key] is not None
    assert json.loads(run.file.read_text()) == run.record


def test_set_aside_takes_the_next_free_name(tmp_path: Path) -> None:
    for number in (1, 2):
        run = begun(tmp_path / "run")
        run.update(marker=number)
        assert run.set_aside() == tmp_path / f"run~{number}"
        assert not run.path.exists()
    assert RunDirectory(tmp_path / "run~1").record["marker"] == 1


def test_damaged_record_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    run = RunDirectory(tmp_path)
    assert (run.record, run.state) == ({}, "interrupted")
    assert run.damage.startswith("no JSON")


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_fingerprint_follows_the_sources_of_extensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "my_package_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("WIDTH = 1\n")
    alone, before = sources_fingerprint(), sources_fingerprint(["my_package_of_tests"])
    (package / "net.py").write_text("WIDTH = 2\n")
    assert sources_fingerprint() == alone
    assert len({alone, before, sources_fingerprint(["my_package_of_tests"])}) == 3
