"""The files by which a job of a sweep and its master talk, in a folder of the job. No torch.

A job writes ``progress.json`` (its heartbeat, at most about twice a second), appends to ``reports.jsonl`` after each
validation, and leaves ``word.json`` if it fails. The master writes ``verdict.json``. Each but the reports is replaced
as a whole, so a reader sees the old or the new one. They work on a file system that several machines share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "LAB_JOB_FOLDER"
"""The environment variable that names the folder; without it a job sends no progress."""
WAITS = "LAB_JOB_WAITS"
"""Set to ``1`` if the job waits for a verdict after each validation."""


@dataclass(frozen=True)
class Progress:
    """The progress of a running attempt.

    Attributes:
        time: when it was written, in seconds since the epoch.
        phase: ``start``, ``train``, ``validate``, ``test``.
        step: the last optimizer step; at the start that of the checkpoint.
        max_steps: the last step of the training.
        first_step: the first step that this attempt has trained; None before it.
        metrics: the latest values, ``train/loss`` and ``val/...``.
        steps_per_s: optimizer steps a second, recently.
        memory_gib: the peak memory of the process or the device.
    """

    time: float
    phase: str = "start"
    step: int = 0
    max_steps: int = 0
    first_step: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    steps_per_s: float | None = None
    memory_gib: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """The estimated time to the last step."""
        if not self.steps_per_s or not self.max_steps:
            return None
        return max(0, self.max_steps - self.step) / self.steps_per_s


def read_progress(folder: Path) -> Progress | None:
    """Return the progress of a job; None if it has written none yet, or something else wrote the file."""
    found = _read(folder / "progress.json")
    try:
        return Progress(**found) if found else None
    except TypeError:
        return None


def read_reports(folder: Path, after: int) -> tuple[list[tuple[int, dict[str, float | None]]], int]:
    """Return the reports (step and metrics of a validation) from byte ``after`` on, and where the next ones begin."""
    try:
        with (folder / "reports.jsonl").open("rb") as file:
            file.seek(after)
            text = file.read()
    except OSError:
        return [], after
    whole = text[: text.rfind(b"\n") + 1]
    found = [json.loads(line) for line in whole.splitlines()]
    return [(entry["step"], entry["values"]) for entry in found], after + len(whole)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_verdict(folder: Path, step: int, prune: bool) -> None:
    """Tell a job whether to stop."""
    (folder / "verdict.json").write_text(json.dumps({"step": step, "prune": prune}), encoding="utf-8")


def last_word(folder: Path) -> dict[str, Any] | None:
    """Return the last word of a process; None if it has left none."""
    return _read(folder / "word.json") or None
