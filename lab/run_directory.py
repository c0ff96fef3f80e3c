"""The directory of a run (named by ``lab.run_name``), its lock and its ``run.json``. No torch.

The lock is an OS lock, which the kernel releases when the process dies.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from lab.errors import RunError
from lab.run_lock import RunLock, is_locked
from lab.run_record import read_record
from lab.system.files import remove, restore_folders, write_text
from lab.system.provenance import describe_machine, describe_versions, git_output, now


def stage_folder(config: Mapping[str, Any], home: Path) -> Path:
    """Return the folder of a stage that trains nothing, for instance ``test-best`` in the run's directory ``home``."""
    name = Path(config["ckpt"]).stem if config["ckpt"] else "pretrained"
    return home / f"{config['stage']}-{name}"


class RunDirectory:
    """The directory of one run; call ``lock`` before writing anything.

    Attributes:
        path: the directory.
        record: the content of ``run.json``, as far as it can be read; change it through ``update``.
        damage: what is wrong with ``run.json``; ``""`` if nothing is.
        is_new: whether the directory was empty.
        before: the state before ``begin``.
        writes: whether this process may change the directory; ranks other than 0 may not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: RunLock | None = None
        self._begun = False
        self._former: tuple[str, dict[str, Any]] = "", {}
        self.writes = True
        self.before = "new"
        self._read()

    def _read(self) -> None:
        self.record, self.damage = read_record(self.file)
        self.is_new = not any(name != "run.lock" for name in _names(self.path))
        self._identity = _identity(self.path)

    @classmethod
    def joined(cls, path: Path, is_new: bool, before: str, writes: bool) -> Self:
        """Return, for one rank, the directory of a run that the parent has begun and locked.

        Args:
            path: the directory; ranks that do not write need no access to it.
            is_new: whether it was made for this job.
            before: the state before ``begin``.
            writes: whether this rank writes.
        """
        run = cls(path)
        run.is_new, run.before, run.writes, run._begun = is_new, before, writes, True
        return run

    @property
    def file(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of ``best.ckpt``, ``last.ckpt`` and ``previous.ckpt``."""
        return self.path / "checkpoints"

    @property
    def state(self) -> str:
        """``new``, ``running`` (while it is locked), or a state of ``lab.run_record.STATES``."""
        state = str(self.record.get("state", "new" if self.is_new else "interrupted"))
        return "interrupted" if state == "running" and not self._is_running() else state

    def _is_running(self) -> bool:
        return self._begun if self._lock is not None or self._begun else is_locked(self.path)

    @property
    def threads(self) -> int | None:
        """The number of threads with which each rank was trained; None if the record has none."""
        known = self.record.get("threads")
        return None if known is None else int(known["number"])

    @property
    def has_trained(self) -> bool:
        """Whether a step was taken, or the directory has any file of a training."""
        if os.path.lexists(self.path / "metrics.csv") or self.record.get("steps") or self.damage:
            return True
        return bool(_names(self.checkpoints)) or (os.path.lexists(self.checkpoints) and not self.checkpoints.is_dir())

    def lock(self) -> None:
        """Lock the directory for this process, and read the record again, which another process may have changed.

        Raises:
            RunError: another process holds the lock; the message names its pid and host.
            OSError: the directory cannot be made or locked.
        """
        self._lock = RunLock(self.path)
        self._read()

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def is_own(self) -> bool:
        """Whether the directory is still at its path, and was not moved, renamed or deleted meanwhile."""
        return _identity(self.path) == self._identity and (self._lock is None or self._lock.names_path())

    def check_own(self) -> None:
        """Check that the directory is still at its path.

        Raises:
            FileNotFoundError: it was moved, renamed or deleted while this process worked in it.
        """
        if not self.is_own:
            raise FileNotFoundError(errno.ENOENT, "moved or deleted while it was in use", str(self.path))

    def set_aside(self) -> Path:
        """Rename the directory to ``NAME~1`` (or the next free number) and return its new place."""
        self.check_own()
        number = 1
        while os.path.lexists(target := self.path.with_name(f"{self.path.name}~{number}")):
            number += 1
        self.path.rename(target)
        self.release()
        self.record, self.damage = {}, ""
        return target

    def discard(self) -> None:
        """Remove a directory in which nothing has been trained, so that a refused command leaves nothing behind.

        It is renamed first, so that another process finds no run rather than one that is half removed.
        """
        if self._lock is None or not self.is_own:
            return  # moved, or replaced by another process's directory
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.discarded")
        remove(aside)
        self.path.rename(aside)
        while aside.is_dir():
            try:
                remove(aside)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # another process opened the lock file during the rename
                    raise
        self.release()

    def discard_unused(self) -> None:
        """Discard the directory if it was made for this job and no step was taken: never one with a checkpoint."""
        if self.is_new and not self.has_trained:
            self.discard()

    def _keep_damaged(self, path: Path) -> Path:
        """Rename a damaged file or folder of the directory to ``NAME.damaged`` (or with the next free number)."""
        number = 0
        while os.path.lexists(target := path.with_name(f"{path.name}.damaged{number or ''}")):
            number += 1
        path.rename(target)
        return target

    def update(self, **changes: Any) -> None:
        """Change entries of ``run.json`` and write it atomically."""
        self.record.update(changes)
        if self.writes:
            self.check_own()
            write_text(self.file, json.dumps(self.record, indent=2) + "\n")

    def begin(
        self, config: Mapping[str, Any], overrides: list[str], sources: str, command: str = "", **further: Any
    ) -> None:
        """Record the start: config, command (empty: this process's command line), code, versions, machine.

        Args:
            config: the resolved config.
            overrides: its overrides.
            sources: the fingerprint of the sources.
            command: the command to record.
            **further: more entries of ``run.json``.
        """
        import yaml

        if os.path.lexists(self.checkpoints) and not self.checkpoints.is_dir():
            raise RunError(
                f"{self.checkpoints} is not a folder: there is nothing to continue from; resume=never starts "
                "afresh and keeps the directory"
            )
        self.checkpoints.mkdir(exist_ok=True)
        restore_folders(self.checkpoints)
        left = [path for folder in (self.path, self.checkpoints) for path in folder.iterdir()]
        left += self.path.parent.glob(f".{glob.escape(self.path.name)}.*.discarded")
        for path in left:
            if LEFT.fullmatch(path.name):
                remove(path)
        config_file = self.path / "config.yaml"
        if config_file.is_dir():
            self._say_damaged(config_file, "a folder")
        if self.damage:
            self._say_damaged(self.file, self.damage)
        self.before, self._begun = self.state, True
        config_before = config_file.read_text("utf-8", "replace") if config_file.is_file() else ""
        self.record.pop(REFUSED, None)  # of a job whose parent was killed
        self._former = config_before, dict(self.record)
        write_text(config_file, yaml.safe_dump(dict(config), sort_keys=False))
        commit, diff = git_output("rev-parse", "HEAD"), git_output("diff", "HEAD")
        if diff:
            write_text(self.path / "uncommitted.diff", diff)
        self.update(
            name=self.path.name,
            command=command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            overrides=overrides,
            commit=commit.strip() if commit else None,
            diff="uncommitted.diff" if diff else None,
            sources=sources,
            versions=describe_versions(),
            machine=describe_machine(),
            seed=config["seed"],
            started=self.record.get("started") or now(),
            ended=None,
            state="running",
            exit_code=None,
            resumed_at=self.record.get("resumed_at", []),
            result=self.record.get("result", {}),
            **{"changes": self.record.get("changes", []), **further},
        )

    def end(self, state: str, exit_code: int, **changes: Any) -> None:
        """Record how the run ended."""
        self.update(state=state, exit_code=exit_code, ended=now(), **changes)

    def _withdraw(self) -> None:
        """Put back the config and what was asked before, so that the run is not continued with what was refused."""
        config, record = self._former
        if config:
            write_text(self.path / "config.yaml", config)
            self.record.update({key: record[key] for key in _OF_A_START if key in record})
        self.update()

    def _say_damaged(self, path: Path, damage: str) -> None:
        kept = self._keep_damaged(path)
        if path == self.file:
            self.damage = ""
        print(f"warning: {path} was {damage}: it is written again; the old one is kept as {kept.name}", file=sys.stderr)

    def settle(self, exit_code: int) -> None:
        """Record the end of a job whose ranks died before they could record it."""
        if not self.is_own or not os.path.lexists(self.file):
            return
        record, self.damage = read_record(self.file)
        if self.damage:  # it was damaged while the job ran: the record from the start replaces it
            self._say_damaged(self.file, self.damage)
        self.record.update(record)
        if self.record.pop(REFUSED, False):
            self._withdraw()
        if self.record["state"] == "running" or exit_code not in (self.record["exit_code"], 2):
            self.end("interrupted" if exit_code in (130, 143) else "failed", exit_code)


REFUSED = "refused"
"""In ``run.json`` until the job's end is settled: an earlier run could not be continued as asked, no step was taken."""
_OF_A_START = (
    *("command", "overrides", "changes", "config_dirs", "commit", "diff", "sources", "versions", "machine", "seed"),
    *("resumed_at", "strategy", "exit_code", "ended"),
)
"""Entries of ``run.json`` about what was asked."""
LEFT = re.compile(r"\..+\.(\d+|writing|old|tmp|discarded)")
"""Files that a killed process was writing or removing; other hidden files are the user's."""


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; none if it is no folder."""
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode, which a rename does not change; None if the path does not exist."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
