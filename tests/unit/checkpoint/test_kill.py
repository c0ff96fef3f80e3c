"""A process killed at any point of writing leaves a whole checkpoint: the old one, the new one, or the one before."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError
from lab.system import files
from lab.system.files import restore_folders

AUDITED = ("os.", "open", "shutil.", "ctypes.", "glob.")


def write(folder: Path, step: int) -> None:
    """Write best.ckpt and last.ckpt of a step as a training does; every number in them is the step."""
    pieces = {"w": Piece(torch.full((50, 40), float(step)), (50, 40), (0, 0))}
    write_checkpoint(folder / "best.ckpt", pieces, {"step": step}, step)
    write_checkpoint(folder / "last.ckpt", pieces, {"step": step}, step, keep=folder / "previous.ckpt")


def step_of(path: Path) -> int | None:
    """Return the step of a whole checkpoint, None for one that is missing or damaged."""
    try:
        reader = CheckpointReader(path)
        reader.verify()
    except CheckpointError:
        return None
    assert reader.state == {"step": reader.step}
    assert set(reader.read("w").flatten().tolist()) == {float(reader.step)}
    return reader.step


def in_child(work: Callable[[], None]) -> int:
    """Call ``work`` in a forked process and return its pid."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def check(folder: Path, known: int, exchanged: bool) -> None:
    """After steps up to ``known`` were whole, what stands now is of that step or a later one."""
    found = {name: step_of(folder / f"{name}.ckpt") for name in ("best", "last", "previous")}
    if exchanged:
        assert found["best"] is not None
        assert found["last"] is not None
    newest = max(found["last"] or 0, found["previous"] or 0)
    assert newest >= known - (0 if exchanged else 1), found
    restore_folders(folder)  # as the next run does
    found = {name: step_of(folder / f"{name}.ckpt") for name in ("best", "last", "previous")}
    assert found["best"] is not None
    assert found["best"] >= known
    assert found["last"] is not None
    assert found["last"] >= known
    assert found["previous"] is None or found["previous"] < found["last"]


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchanged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:  # as on a file system that cannot exchange two names
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    return bool(request.param)


def test_killed_before_each_call_to_the_system(tmp_path: Path, exchanged: bool) -> None:
    folder, old = tmp_path / "checkpoints", tmp_path / "old"
    old.mkdir()
    write(old, 1), write(old, 2)

    def killed_at(number: int) -> None:
        left = number

        def count(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(AUDITED):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        write(folder, 3)

    points, seen = 0, set()
    while True:
        shutil.copytree(old, folder)
        pid = in_child(lambda number=points + 1: killed_at(number))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        seen.add(step_of(folder / "last.ckpt"))
        check(folder, 2, exchanged)
        shutil.rmtree(folder)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        points += 1
    assert points > 30
    assert seen == ({2, 3} if exchanged else {2, 3, None})


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_a_random_moment(tmp_path: Path, seed: int) -> None:
    write(tmp_path, 1)
    started, written = os.pipe()

    def work() -> None:
        for step in range(2, 10_000):
            write(tmp_path, step)
            os.write(written, step.to_bytes(4, "big"))

    pid = in_child(work)
    os.close(written)
    os.read(started, 4)
    time.sleep(random.Random(seed).uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    told = b"\0\0\0\2" + b"".join(iter(lambda: os.read(started, 4096), b""))
    os.close(started)
    check(tmp_path, int.from_bytes(told[-4:], "big"), True)
    write(tmp_path, 10_000)  # what was left does not hinder the next
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
