"""A run is a directory: its stable name, its lock, its ``run.json``. No torch.

The name is ``<model>-<data>-<hash>``; the hash covers the resolved config except ``NOT_IN_HASH``, so that the same
question finds the same directory. An OS lock, which the kernel releases when the process dies, guards it.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import IO, Any, Self

from lab.errors import RunError
from lab.files import remove, restore_folders, write_text

NOT_IN_HASH = (
    "paths",
    "logger",
    "resume",
    "check",
    "stage",
    "input",
    "expected",
    "debug.profile",
    "data.num_workers",
    "data.requires",
    "data.how_to_get",
    "data.cache_images",
    "callbacks.progress",
    "callbacks.pictures",
    "trainer.checkpoint_every_n_steps",
)
"""Keys that do not change the training; ``ckpt`` counts only where a fit takes its weights from it."""

ADDED_LATER = {"data.images": None, "data.annotations": None, "data.val_share": None, "data.test_share": None}
"""Keys that came after runs had been named, and the value of each at which it is left out of a name."""

_VERSIONS = ("torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "datasets", "wandb", "numpy")


def run_name(config: Mapping[str, Any]) -> str:
    """Return ``<model>-<data>-<hash>`` for a resolved config."""
    content = copy.deepcopy(dict(config))
    ignored = NOT_IN_HASH if content.get("stage") == "fit" else (*NOT_IN_HASH, "ckpt")
    for key in ignored:
        node: Any = content
        *parents, leaf = key.split(".")
        for part in parents:
            node = node.get(part) or {}
        node.pop(leaf, None)
    for key, usual in ADDED_LATER.items():
        group, leaf = key.split(".")
        if leaf in content.get(group, {}) and content[group][leaf] == usual:
            del content[group][leaf]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return f"{config['model']['name']}-{config['data']['name']}-{digest}"


def sources_fingerprint(extensions: Iterable[str] = ()) -> str:
    """Return the SHA-256 of lab's and the extensions' Python sources."""
    digest = hashlib.sha256()
    folders = [("lab", Path(__file__).resolve().parent)]
    for name in sorted(extensions):
        spec = util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            folders.append((name, origin.parent if origin.name == "__init__.py" else origin))
    for name, folder in folders:
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
        for path in files:
            relative = path.relative_to(folder) if folder.is_dir() else path.name
            digest.update(f"{name}/{relative}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parent.parent
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: the platform module's word has to do
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, Any]:
    """Return host, processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"host": socket.gethostname(), "cpu": _cpu_name(), "cores": os.cpu_count(), "memory_gib": round(memory, 1)}


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunDirectory:
    """The directory of one run; hold it with ``lock`` before anything is written.

    Attributes:
        path: the directory.
        record: the content of ``run.json``; change it through ``update``.
        is_new: whether there was no ``run.json`` yet.
        before: the state before ``begin``.
        writes: whether this process may change the directory; ranks other than 0 may not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = {}
        self.is_new = not self.file.is_file()
        self._lock: IO[str] | None = None
        self._begun = False
        self.writes = True
        self.before = "new"
        if not self.is_new:
            try:
                self.record = json.loads(self.file.read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
                raise RunError(f"{self.file} is damaged ({error}); resume=never starts afresh and keeps it") from None

    @classmethod
    def joined(cls, path: Path, is_new: bool, before: str, writes: bool) -> Self:
        """Return the directory of a run that the parent has begun and holds, for one of its ranks.

        Args:
            path: the directory; ranks that do not write need not see it.
            is_new: whether it was made for this job.
            before: the state before.
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
        """The folder of ``best.ckpt``, ``last.ckpt`` and the one before it."""
        return self.path / "checkpoints"

    @property
    def state(self) -> str:
        """``new``, ``finished``, ``failed``, ``interrupted`` or, while somebody holds the lock, ``running``."""
        state = str(self.record.get("state", "new"))
        return "interrupted" if state == "running" and not self._is_running() else state

    def _is_running(self) -> bool:
        if self._lock is not None or self._begun:  # probing a lock of this process would release it
            return self._begun
        try:
            with (self.path / "run.lock").open("r", encoding="utf-8") as file:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @property
    def has_trained(self) -> bool:
        """Whether there is anything in the directory that a training has made."""
        return (self.path / "metrics.csv").exists()

    def lock(self) -> None:
        """Take the directory for this process.

        Raises:
            RunError: another process holds it; the message names its pid and host.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "run.lock"
        # A POSIX record lock: not inherited by forked workers, released by the kernel at death.
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "an unknown process"
            file.close()
            raise RunError(
                f"{self.path} is in use by {owner}; wait for it, or end it to continue from its checkpoint"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._lock = file

    def release(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def set_aside(self) -> Path:
        """Rename the directory to ``NAME~1`` (or the next free number) and return its new place."""
        number = 1
        while (target := self.path.with_name(f"{self.path.name}~{number}")).exists():
            number += 1
        self.path.rename(target)
        self.release()
        self.record = {}
        return target

    def discard(self) -> None:
        """Remove a directory in which nothing has been trained, so that a refused command leaves nothing behind."""
        self.release()
        if self.writes:
            shutil.rmtree(self.path)

    def update(self, **changes: Any) -> None:
        """Change entries of ``run.json`` and write it atomically."""
        self.record.update(changes)
        if self.writes:
            write_text(self.file, json.dumps(self.record, indent=2) + "\n")

    def begin(self, config: Mapping[str, Any], overrides: list[str], sources: str) -> None:
        """Record what is about to run: config, command, code, versions, machine."""
        import yaml

        self.checkpoints.mkdir(exist_ok=True)
        restore_folders(self.checkpoints)
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(".*"):  # what a killed process was writing
                remove(path)
        self.before, self._begun = self.state, True
        write_text(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        commit, diff = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
        if diff:
            write_text(self.path / "uncommitted.diff", diff)
        self.update(
            name=self.path.name,
            command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
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
            changes=self.record.get("changes", []),
            result=self.record.get("result", {}),
        )

    def end(self, state: str, exit_code: int, **changes: Any) -> None:
        """Record how it ended."""
        self.update(state=state, exit_code=exit_code, ended=now(), **changes)

    def settle(self, exit_code: int) -> None:
        """Record the end of a job whose ranks have died before they could."""
        if not self.file.is_file():
            return
        self.record = json.loads(self.file.read_text(encoding="utf-8"))
        if self.record["state"] == "running" or exit_code not in (self.record["exit_code"], 2):
            self.end("interrupted" if exit_code in (130, 143) else "failed", exit_code)
