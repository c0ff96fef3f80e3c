"""The W&B run of a run directory: ``wandb.json`` (its id and the highest step sent) and W&B's own folders."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.compat.wandb import EXPERIMENTAL, make_settings
from lab.text import printable

STATE_FILE = "wandb.json"
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
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.id, self.highest = run_dir, "", -1

    def read(self) -> None:
        """Read ``wandb.json``; a run without one, or with a damaged one, is a new W&B run."""
        path = self.run_dir / STATE_FILE
        self.id, self.highest = uuid.uuid4().hex[:8], -1
        if path.exists():
            try:
                state = json.loads(path.read_text(encoding="utf-8"))
                self.id, self.highest = str(state["id"]), int(state["highest_step"])
            except (ValueError, KeyError, TypeError) as error:
                warnings.warn(f"{path} is damaged ({error}): this run becomes a new W&B run", stacklevel=2)

    def write(self) -> None:
        """Write ``wandb.json``."""
        # Renamed, so never half written. Not synced: data in the kernel's cache survives a killed process.
        path = self.run_dir / STATE_FILE
        temporary = path.with_name(f".{STATE_FILE}.tmp")
        temporary.write_text(json.dumps({"id": self.id, "highest_step": self.highest}) + "\n", encoding="utf-8")
        temporary.replace(path)

    def folders(self, kind: str) -> list[Path]:
        """Return W&B's folders of this run, oldest first; each process left one. ``kind``: run or offline-run."""
        return sorted((self.run_dir / "wandb").glob(f"{kind}-*-{self.id}"))

    def start(self, mode: Any, arguments: Mapping[str, Any], git_commit: str | None) -> Any:
        """Start or continue the W&B run and return the SDK's object.

        Args:
            mode: ``online`` or ``offline``.
            arguments: further arguments of ``wandb.init``.
            git_commit: the commit that the run was started from.
        """
        import wandb

        return wandb.init(
            **arguments,
            id=self.id,
            dir=str(self.run_dir),
            mode=mode,
            resume="allow",
            reinit="finish_previous",
            allow_val_change=True,
            settings=make_settings({**_SETTINGS, "git_commit": git_commit}),
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


def short_path(path: Path) -> str:
    """Return a path relative to the current folder, if it is below it."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
