"""Processes that hammer one run directory, which is renamed and discarded under them: never two holders, none lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import RunError
from lab.run_directory import RunDirectory
from lab.run_lock import RunLock, is_locked

TRIES = int(os.environ.get("LAB_LOCK_TRIES", "1200"))
"""Tries to take the lock in all. 20,000 take about half a minute: LAB_LOCK_TRIES=20000."""
PROCESSES = 4

HAMMER = """
import json, os, random, sys, time
from pathlib import Path
from lab.errors import RunError
from lab.run_directory import RunDirectory

folder, seed, tries = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
path, marker = folder / "runs" / "net-scenes-0123", folder / "holder"
count = dict.fromkeys(("held", "busy", "discarded", "aside", "lost", "two holders", "errors"), 0)
for number in range(tries):
    run = RunDirectory(path)
    try:
        run.lock()
    except RunError:
        count["busy"] += 1
        continue
    except OSError as error:
        count["errors"] += 1
        print(error, file=sys.stderr)
        continue
    count["held"] += 1
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        count["two holders"] += 1
    count["lost"] += not run.is_own
    if not run.is_new and not (path / "kept").exists():
        count["errors"] += 1
        print("somebody removed what was not his", file=sys.stderr)
    (path / "kept").write_text(str(seed))
    if draw.random() < 0.3:
        time.sleep(draw.random() / 1000)
    count["lost"] += not run.is_own
    marker.unlink(missing_ok=True)
    what = draw.random()
    if what < 0.4:
        run.discard()
        count["discarded"] += 1
    elif what < 0.5:
        run.set_aside()
        count["aside"] += 1
    else:
        run.release()
print(json.dumps(count))
"""


def test_hammering(tmp_path: Path) -> None:
    share = str(TRIES // PROCESSES)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(tmp_path), str(seed), share],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    found: dict[str, int] = {}
    for worker in workers:
        out, err = worker.communicate(timeout=600)
        assert (worker.returncode, err) == (0, "")
        for key, value in json.loads(out).items():
            found[key] = found.get(key, 0) + value
    print(found)
    assert found["held"] + found["busy"] + found["errors"] == TRIES // PROCESSES * PROCESSES
    assert (found["lost"], found["two holders"], found["errors"]) == (0, 0, 0), found
    assert found["held"] > TRIES / 20
    assert found["discarded"] > 0
    left = [path.name for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")]
    assert left == []
    assert len(list((tmp_path / "runs").glob("*~*"))) == found["aside"]


def test_the_path_is_looked_at_again_after_locking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is renamed between opening the lock file and locking it, three times in a row."""
    import fcntl

    path, renames = tmp_path / "run", []
    lockf = fcntl.lockf

    def rename_first(descriptor: int, operation: int) -> None:
        if len(renames) < 3:
            renames.append(path.rename(tmp_path / f"run~{len(renames)}"))
        lockf(descriptor, operation)

    monkeypatch.setattr(fcntl, "lockf", rename_first)
    lock = RunLock(path)
    assert len(renames) == 3
    assert lock.names_path()
    assert (path / "run.lock").read_text().startswith(f"pid {os.getpid()} on ")
    lock.release()


def test_only_what_is_one_s_own_is_discarded_or_renamed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.lock()
    run.path.rename(tmp_path / "moved")
    run.path.mkdir()  # somebody else's
    (run.path / "run.lock").write_text("pid 1 on elsewhere")
    (run.path / "metrics.csv").write_text("theirs")
    assert not run.is_own
    run.discard()
    with pytest.raises(FileNotFoundError, match="moved or deleted"):
        run.set_aside()
    with pytest.raises(FileNotFoundError, match="moved or deleted"):
        run.update(state="failed")
    run.settle(1)
    assert sorted(path.name for path in run.path.iterdir()) == ["metrics.csv", "run.lock"]
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["run.lock"]
    run.release()


def test_a_process_does_not_lose_its_lock_to_itself(tmp_path: Path) -> None:
    """POSIX locks are lost when any descriptor of the file is closed: a second look must not open it."""
    path = tmp_path / "run"
    run = RunDirectory(path)
    run.lock()
    run.record["state"] = "running"
    assert RunDirectory(path).state == "new"
    assert is_locked(path)
    with pytest.raises(RunError, match="in use by this process"):
        RunDirectory(path).lock()
    script = f"from pathlib import Path; from lab.run_lock import is_locked; print(is_locked(Path({str(path)!r})))"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "True"
    run.release()
    assert not is_locked(path)


def test_somebody_who_only_looks_is_no_holder(tmp_path: Path) -> None:
    """``is_locked`` takes a shared lock for a moment; who takes the directory meanwhile tries again."""
    path = tmp_path / "run"
    RunLock(path).release()
    script = f"""
import time
from pathlib import Path
from lab.run_lock import is_locked
end = time.monotonic() + 1.5
while time.monotonic() < end:
    is_locked(Path({str(path)!r}))
print("done")
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as looking:
        taken = 0
        while looking.poll() is None:
            RunLock(path).release()
            taken += 1
    assert taken > 20


def test_a_lock_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "run"
    script = f"""
import os, time
from pathlib import Path
from lab.run_lock import RunLock
lock = RunLock(Path({str(path)!r}))
os.pwrite(lock._descriptor, b"\\xff\\xfe", 0)
print("held", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="is in use by"):
            RunLock(path)
        holder.kill()
    RunLock(path).release()
