"""The part of ``launcher=ray`` that runs on a node: it starts the worker of an attempt and tells the master of it.

Ray makes an actor of it (``lab.sweeps.ray_cluster``). Its methods take and return only text, bytes, numbers and dicts.
The worker is a process of its own, because a job needs a main thread for its signals. It dies with the actor. No torch.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lab.launch.scratch import use_own_folder
from lab.run_name import run_name
from lab.sweeps.transfer import PIECE, FileMark, pack, unpack

EVERY = 5.0
"""Seconds between two looks at the files of a run that are sent to the master."""
TALK = ("progress.json", "word.json")
"""Files of the job's folder that are sent whole (``lab.run_progress``)."""


class Relay:
    """An attempt on a node.

    Args:
        text: the attempt's file (``lab.sweeps.worker.Written``).
        shared: whether the node sees the master's file system; otherwise everything is in a folder of the node.
        most: the largest size of a file that is sent.
    """

    def __init__(self, text: str, shared: bool, most: int) -> None:
        self.shared, self.most = shared, most
        self.content: dict[str, Any] = json.loads(text)
        use_own_folder()  # a killed actor's folder is removed by the next one
        self.scratch = Path(tempfile.mkdtemp(prefix="lab-ray-"))
        self.config: dict[str, Any] = self.content["config"]
        if not shared:
            self.config["paths"]["runs_dir"] = str(self.scratch / "runs")
            self.content |= {"folder": str(self.scratch / "job"), "directory": str(self.scratch)}
        self.folder = Path(self.content["folder"])
        self.run = self.scratch / "runs" / run_name(self.config)
        self.known: dict[str, FileMark] = {}
        self.packed_at = float("-inf")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def _tar(self) -> Path:
        return self.scratch / "files.tar"

    def receive(self, piece: bytes) -> None:
        """Take the next piece of the run's files, before the start."""
        with self._tar.open("ab") as file:
            file.write(piece)

    def start(self) -> dict[str, Any]:
        """Start the worker; return where it runs."""
        if self._tar.exists():
            unpack(self._tar, self.run, self.most)
            self._tar.unlink()
        if not self.shared:
            self.folder.mkdir()
            self.known = pack(self.run, {}, self._tar, self.most)  # the master has these
            self._tar.unlink(missing_ok=True)
        file = self.scratch / "attempt.json"
        file.write_text(json.dumps(self.content), encoding="utf-8")
        with (self.folder / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lab.sweeps.worker", "--with-parent", str(file)],
                stdin=subprocess.PIPE,  # when it closes, this process is gone, and the worker ends
                stdout=log,
                stderr=log,
                env=self._environment(),
            )
        return {"pid": self.process.pid, "host": socket.gethostname()}

    def _environment(self) -> dict[str, str]:
        path = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONUNBUFFERED": "1"}

    def look(self, reports_read: int = 0, verdict: bytes | None = None) -> dict[str, Any]:
        """Return how the attempt is.

        Args:
            reports_read: the bytes of its reports that the master has.
            verdict: the master's verdict, for a job that waits for it.

        Returns:
            ``code``: the exit code as in a shell, None while it runs. Without a shared file system also ``files``: the
            new content of files of the job's folder by name, ``reports``: new bytes of the reports, and ``packed``: the
            size of the tar file with what has changed in the run's directory, for ``piece``.
        """
        assert self.process is not None
        code = self.process.poll()
        found: dict[str, Any] = {"code": code if code is None or code >= 0 else 128 - code}
        if self.shared:
            return found
        if verdict is not None:
            fresh = self.folder / ".verdict"
            fresh.write_bytes(verdict)
            fresh.replace(self.folder / "verdict.json")
        names = (*TALK, "output.log") if code is not None else TALK
        contents = {name: _read(self.folder / name) for name in names}
        found |= {"files": {name: content for name, content in contents.items() if content}, "packed": 0}
        found["reports"] = _read(self.folder / "reports.jsonl", reports_read)
        if code is not None or time.monotonic() > self.packed_at + EVERY:
            self._tar.unlink(missing_ok=True)
            self.known = pack(self.run, self.known, self._tar, self.most)
            self.packed_at = time.monotonic()
            found["packed"] = self._tar.stat().st_size if self._tar.exists() else 0
        return found

    def piece(self, start: int) -> bytes:
        """Return a piece of the packed files."""
        return _read(self._tar, start, PIECE)

    def send(self, signum: int) -> None:
        """Send the worker a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signum)

    def clean(self) -> None:
        """End the worker if it still runs, and remove what it leaves on the node."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
        shutil.rmtree(self.scratch, ignore_errors=True)  # a loader process may still write there


def _read(file: Path, start: int = 0, size: int = -1) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            return opened.read(size)
    except FileNotFoundError:
        return b""
