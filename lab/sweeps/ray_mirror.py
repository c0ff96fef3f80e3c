"""The master's side of ``launcher=ray launcher.shared=false``: it takes a run's files to a node and back. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from lab.errors import RunError
from lab.run_directory import RunDirectory
from lab.sweeps.placing import Assignment, NotNow
from lab.sweeps.ray_relay import TALK
from lab.sweeps.transfer import PIECE, pack, unpack
from lab.system.files import replacing, write_text

_NAMES = (*TALK, "output.log")
_MOST_TALK = 64 << 20
"""The largest size of a file of the job's folder."""


class Mirror:
    """The run's directory and the job's folder on this machine, which hold what was last received.

    The run's directory is locked meanwhile, as it would be if the job ran here.

    Args:
        assignment: the attempt.
        most: the largest size of a file.

    Raises:
        NotNow: another process holds the run's directory.
        OSError: files cannot be read or written.
    """

    def __init__(self, assignment: Assignment, most: int) -> None:
        self.assignment, self.most = assignment, most
        self.folder = assignment.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = RunDirectory(assignment.prepared.path)
        try:
            self.run.lock()
        except RunError as error:
            raise NotNow(str(error)) from None
        self._tar = self.folder / "files.tar"
        self._tar.unlink(missing_ok=True)
        pack(self.run.path, {}, self._tar, most)
        self._sent = 0
        self._verdict = b""
        self.reports_read = 0
        self.received = 0
        self._to_receive = 0

    def next_piece(self) -> bytes:
        """Return the next piece of the run's files for the node; empty after the last one."""
        if not self._tar.exists():
            return b""
        with self._tar.open("rb") as file:
            file.seek(self._sent)
            piece = file.read(PIECE)
        self._sent += len(piece)
        if not piece:
            self._tar.unlink()
        return piece

    def new_verdict(self) -> bytes | None:
        """Return the master's verdict, if it has changed since the last call."""
        try:
            verdict = (self.folder / "verdict.json").read_bytes()
        except FileNotFoundError:
            return None
        changed, self._verdict = verdict != self._verdict, verdict
        return verdict if changed else None

    def take(self, answer: Mapping[str, Any]) -> bool:
        """Take what a look has found; return whether pieces of files are to be asked for."""
        for name, content in answer["files"].items():
            if name in _NAMES and isinstance(content, bytes) and len(content) <= _MOST_TALK:
                with replacing(self.folder / name, binary=True) as file:
                    file.write(content)
        if new := bytes(answer["reports"]):
            with (self.folder / "reports.jsonl").open("ab") as file:
                file.write(new)
            self.reports_read += len(new)
        self.received, self._to_receive = 0, int(answer["packed"])
        self._tar.unlink(missing_ok=True)
        return self._to_receive > 0

    def take_piece(self, piece: bytes) -> bool:
        """Take a piece of files; return whether it was the last one, after which the run's directory is up to date."""
        with self._tar.open("ab") as file:
            file.write(piece)
        self.received += len(piece)
        if piece and self.received < self._to_receive:
            return False
        unpack(self._tar, self.run.path, self.most)
        self._tar.unlink()
        if not (self.run.path / "config.yaml").exists():
            config = self.assignment.prepared.config
            write_text(self.run.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        return True

    def close(self) -> None:
        """Release the run's directory; remove it if nothing has come of it."""
        self._tar.unlink(missing_ok=True)
        if not (self.run.path / "run.json").exists():
            self.run.discard_unused()
        self.run.release()
