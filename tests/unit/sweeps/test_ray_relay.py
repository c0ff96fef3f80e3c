"""A relay and the master's mirror, without Ray: the files of a run go to a node and back, and a retry gets them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from lab.launch.prepare import prepare_job
from lab.run_lock import RunLock, is_locked
from lab.run_progress import read_progress, read_reports, write_verdict
from lab.sweeps import ray_mirror, ray_relay
from lab.sweeps.placing import Assignment, NotNow
from lab.sweeps.ray_mirror import Mirror
from lab.sweeps.ray_relay import Relay
from lab.sweeps.worker import written
from tests.runs import SMALL

MOST = 1 << 26
WORKER = """
import json, os, pathlib, signal, sys, time
content = json.loads(pathlib.Path(sys.argv[-1]).read_text())
from lab.run_name import run_name
run = pathlib.Path(content["config"]["paths"]["runs_dir"]) / run_name(content["config"])
folder = pathlib.Path(content["folder"])
before = int((run / "metrics.csv").read_text()) if (run / "metrics.csv").exists() else 0
checkpoint = run / "checkpoints" / "last.ckpt"
checkpoint.mkdir(parents=True, exist_ok=True)
(checkpoint / "index.json").write_text(str(before + 1))
(run / "metrics.csv").write_text(str(before + 1))
(run / "run.json").write_text("{}")
progress = {"time": time.time(), "phase": "train", "step": before + 1, "max_steps": 9, "metrics": {}}
(folder / "progress.json").write_text(json.dumps(progress))
with (folder / "reports.jsonl").open("a") as file:
    file.write(json.dumps({"step": before + 1, "values": {"val/map": 0.5}}) + "\\n")
print("worked in", os.getcwd(), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
while True:
    time.sleep(0.02)
    if (folder / "verdict.json").exists():
        sys.exit(0)
"""
"""Trains one step more than the files say, reports it, and ends with a verdict or SIGTERM."""


@pytest.fixture(autouse=True)
def _worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in place of lab.sweeps.worker; the relay's temporary files in the test's folder."""
    package = tmp_path / "stub"
    package.mkdir()
    (package / "worker.py").write_text(WORKER)
    popen = ray_relay.subprocess.Popen

    def start(words: list[str], **options: Any) -> Any:
        assert words[1:4] == ["-P", "-m", "lab.sweeps.worker"]
        return popen([words[0], str(package / "worker.py"), words[-1]], **options)

    monkeypatch.setattr(ray_relay.subprocess, "Popen", start)
    monkeypatch.setattr(ray_relay, "use_own_folder", lambda: None)
    monkeypatch.setattr(ray_relay.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray_relay, "EVERY", 0.0)
    monkeypatch.setattr(ray_relay, "PIECE", 1000)
    monkeypatch.setattr(ray_mirror, "PIECE", 1000)


def attempt(tmp_path: Path, number: int = 1) -> Assignment:
    prepared = prepare_job([*SMALL, f"paths.runs_dir={tmp_path / 'runs'}"], [])
    folder = tmp_path / "runs" / "sweeps" / "s"
    return Assignment(1, number, 0, prepared, folder / "jobs" / "1", folder)


def begin(given: Assignment) -> tuple[Relay, Mirror]:
    mirror = Mirror(given, MOST)
    relay = Relay(written(given).model_dump_json(), False, MOST)
    while piece := mirror.next_piece():
        relay.receive(piece)
    assert relay.start()["pid"] > 0
    return relay, mirror


def look(relay: Relay, mirror: Mirror) -> int | None:
    """As the launcher does: a look, and the pieces of what it has packed."""
    answer = relay.look(mirror.reports_read, mirror.new_verdict())
    if mirror.take(answer):
        while not mirror.take_piece(relay.piece(mirror.received)):
            pass
    return answer["code"]  # type: ignore[no-any-return]


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_files_go_to_the_node_and_back(tmp_path: Path) -> None:
    given = attempt(tmp_path)
    run = given.prepared.path
    relay, mirror = begin(given)
    wait_for(lambda: look(relay, mirror) is None and (run / "run.json").exists() and read_reports(given.folder, 0)[0])
    assert is_locked(run)
    assert (run / "checkpoints/last.ckpt/index.json").read_text() == "1"
    assert str(tmp_path / "runs") in (run / "config.yaml").read_text()  # not the node's folder
    found = read_progress(given.folder)
    assert found is not None
    assert found.step == 1
    assert read_reports(given.folder, 0)[0] == [(1, {"val/map": 0.5})]
    write_verdict(given.folder, 1, prune=True)
    wait_for(lambda: look(relay, mirror) == 0)
    mirror.close()
    relay.clean()
    assert "worked in" in (given.folder / "output.log").read_text()
    assert not is_locked(run)
    assert not relay.scratch.exists()
    (given.folder / "verdict.json").unlink()

    relay, mirror = begin(attempt(tmp_path, 2))  # on another node: it gets the last checkpoint
    wait_for(lambda: look(relay, mirror) is None and len(read_reports(given.folder, 0)[0]) == 2)
    wait_for(lambda: look(relay, mirror) is None and (run / "metrics.csv").read_text() == "2")
    assert (run / "checkpoints/last.ckpt/index.json").read_text() == "2"
    assert read_reports(given.folder, 0)[0] == [(1, {"val/map": 0.5}), (2, {"val/map": 0.5})]
    relay.send(signal.SIGTERM)
    wait_for(lambda: look(relay, mirror) == 143)
    mirror.close()
    relay.clean()


def test_a_worker_ends_with_its_relay(tmp_path: Path) -> None:
    relay, mirror = begin(attempt(tmp_path))
    wait_for(lambda: look(relay, mirror) is None and relay.known)
    relay.clean()
    assert relay.process is not None
    assert relay.process.returncode == -signal.SIGKILL
    mirror.close()


def test_a_run_that_another_process_holds_is_put_off(tmp_path: Path) -> None:
    given = attempt(tmp_path)
    lock = RunLock(given.prepared.path)
    with pytest.raises(NotNow, match="is in use by this process"):
        Mirror(given, MOST)
    lock.release()


def test_nothing_is_left_of_a_run_that_never_began(tmp_path: Path) -> None:
    given = attempt(tmp_path)
    Mirror(given, MOST).close()
    assert not given.prepared.path.exists()


def test_with_a_shared_file_system_the_worker_gets_its_own_folders(tmp_path: Path) -> None:
    given = attempt(tmp_path)
    given.folder.mkdir(parents=True)
    given.prepared.path.mkdir(parents=True)
    relay = Relay(written(given).model_dump_json(), True, MOST)
    relay.start()
    assert relay.look()["code"] is None
    wait_for(lambda: (given.folder / "progress.json").exists())
    content = json.loads((relay.scratch / "attempt.json").read_text())
    assert (content["folder"], content["config"]) == (str(given.folder), given.prepared.config)
    wait_for(lambda: "worked" in (given.folder / "output.log").read_text())
    relay.send(signal.SIGTERM)
    wait_for(lambda: relay.look() == {"code": 143})
    relay.clean()
