"""The W&B run of a run directory: ``wandb.json`` (its id and the highest step sent) and W&B's own folders."""

from __future__ import annotations

import json
import os
import shlex
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.compat.wandb import EXPERIMENTAL, make_settings
from lab.loggers.wandb_agent import chosen_by_agent
from lab.loggers.wandb_close import STATE_FILE
from lab.text import printable

_DATA_DIR = "WANDB_DATA_DIR"
_KEPT = ("name", "group")
_SETTINGS: dict[str, Any] = {
    "silent": True,  # lab itself prints the few lines that matter, see below
    "console": "off",
    "save_code": False,
    "disable_job_creation": True,
    # A start waits this long for a server that does not answer; the server is asked again later.
    "init_timeout": 6.0,
    # Without a limit, a run that lost the network would wait for ever at its end.
    "finish_timeout": 120.0,
    **EXPERIMENTAL,
}


class WandbState:
    """The W&B run of a run directory, from one process to the next.

    Attributes:
        run_dir: the run directory.
        id: the id of the W&B run; empty before ``read``.
        highest: the highest step sent, by this or an earlier process; -1 for none.
        given: the name and the group that the run was given, by a sweep for instance; they stay when it is continued.
        goes_on: whether an earlier process has begun the W&B run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.id, self.highest = run_dir, "", -1
        self.given: dict[str, str] = {}
        self.goes_on = False

    def read(self) -> None:
        """Read ``wandb.json``; a run without one, or with a damaged one, is a new W&B run."""
        path = self.run_dir / STATE_FILE
        self.id, self.highest, self.given, self.goes_on = uuid.uuid4().hex[:8], -1, {}, False
        if path.exists():
            try:
                state = json.loads(path.read_text(encoding="utf-8"))
                self.id, self.highest = str(state["id"]), int(state["highest_step"])
                self.given = {key: str(state[key]) for key in _KEPT if state.get(key)}
                self.goes_on = True
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                warnings.warn(f"{path} is damaged ({error}): this run becomes a new W&B run", stacklevel=2)
        known = self.id
        self.id, self.highest = chosen_by_agent(self.id, self.highest)
        self.goes_on = self.goes_on and self.id == known

    def write(self) -> None:
        """Write ``wandb.json``."""
        # Renamed, so never half written. Not synced: data in the kernel's cache survives a killed process.
        path = self.run_dir / STATE_FILE
        temporary = path.with_name(f".{STATE_FILE}.tmp")
        content = {"id": self.id, "highest_step": self.highest, **self.given}
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        temporary.replace(path)

    def folders(self, kind: str) -> list[Path]:
        """Return W&B's folders of this run, oldest first; each process left one. ``kind``: run or offline-run."""
        return sorted((self.run_dir / "wandb").glob(f"{kind}-*-{self.id}"))

    def start(self, mode: Any, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
        """Start or continue the W&B run and return the SDK's object.

        The notes are given once, and to a server name and tags too: what the user has changed there since stays.

        Args:
            mode: ``online`` or ``offline``.
            arguments: further arguments of ``wandb.init``. A name or group is kept for the processes that continue.
            settings: further settings of W&B.
        """
        import wandb

        self.given |= {key: arguments[key] for key in _KEPT if arguments[key]}
        arguments = {**arguments, "name": self.run_dir.name, **self.given}
        if self.goes_on:
            left_out = ("notes", "name", "tags") if mode == "online" else ("notes",)
            arguments = {key: value for key, value in arguments.items() if key not in left_out}
        return wandb.init(
            **arguments,
            id=self.id,
            dir=str(self.run_dir),
            mode=mode,
            resume="allow",
            reinit="finish_previous",
            allow_val_change=True,
            settings=make_settings({**_SETTINGS, **settings}),
        )

    def announce(self, mode: str, reason: str, url: str) -> None:
        """Print where the run is, how to view it, and how to upload offline records.

        Args:
            mode: ``online`` or ``offline``.
            reason: the reason for the mode, in words.
            url: the address of the run, if it is online.
        """
        folders = [short_path(folder) for folder in self.folders("offline-run")]
        view = shlex.join(["wandb", "leet", short_path(self.run_dir / "wandb")])
        lines = []
        if mode == "online":
            lines.append(f"W&B: {reason}, so this run is online at {url} (view its files with `{view}`).")
        else:
            lines.append(f"W&B: {reason}, so this run is recorded offline. View it with `{view}`.")
        if folders:
            sync = shlex.join(["wandb", "sync", *folders])
            lines.append(f"     Upload what is offline, after `wandb login`: `{sync}`")
        print(*map(printable, lines), sep="\n", file=sys.stderr)


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Context in which W&B keeps the files of tables in ``folder`` until they are uploaded.

    By default they would be in the user's home, and a run directory that is copied to another machine would lack them.
    WANDB_DATA_DIR, if it is set, counts.
    """
    if os.environ.get(_DATA_DIR):
        yield
        return
    os.environ[_DATA_DIR] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ[_DATA_DIR]


def short_path(path: Path) -> str:
    """Return a path relative to the current folder, if it is below it."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
