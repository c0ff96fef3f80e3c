"""The files by which a job of a sweep and its master talk, in a folder of the job. No torch.

A job writes ``progress.json`` (its heartbeat, at most about twice a second), appends to ``reports.jsonl`` after each
validation, and leaves ``word.json`` if it fails. The master writes ``verdict.json``. Each but the reports is replaced
as a whole, so a reader sees the old or the new one. They work on a file system that several machines share. Nothing is
synced to the disk: a power cut may lose the latest ones, a kill does not.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import Diverged, LabError, Pruned
from lab.system.files import replacing
from lab.system.signals import Interrupted
from lab.system.storage import StorageError

FOLDER = "LAB_JOB_FOLDER"
"""The environment variable that names the folder; without it a job sends no progress."""
WAITS = "LAB_JOB_WAITS"
"""Set to ``1`` if the job waits for a verdict after each validation."""


@dataclass(frozen=True)
class Progress:
    """The progress of a running attempt.

    Attributes:
        time: when it was written, in seconds since the epoch.
        phase: ``start``, ``train``, ``validate``, ``test``, ``predict``.
        step: the last optimizer step; at the start that of the checkpoint.
        max_steps: the last step of the training.
        first_step: the first step that this attempt has trained; None before it.
        metrics: the latest values, ``train/...`` and ``val/...``; None for one that is not defined.
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


def job_folder() -> Path | None:
    """Return the folder of the job that this process is; None if it is no job of a sweep."""
    return Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None


def waits_for_verdicts() -> bool:
    """Whether this process waits for a verdict after each validation."""
    return job_folder() is not None and os.environ.get(WAITS) == "1"


def write_progress(folder: Path, progress: Progress) -> None:
    """Replace the progress of a job. If the disk is full or gone, this is said once, and the training goes on."""
    values = {**vars(progress), "metrics": _defined(progress.metrics)}
    try:
        _write(folder / "progress.json", values)
    except OSError as error:
        _say_once(folder, error)


def beat_at_start(step: int = 0, max_steps: int = 0) -> None:
    """Write that this attempt prepares its training, which is to go on from ``step``; nothing outside of a sweep."""
    if (folder := job_folder()) is not None:
        write_progress(folder, Progress(time.time(), "start", step, max_steps))


def read_progress(folder: Path) -> Progress | None:
    """Return the progress of a job; None if it has written none yet, or something else wrote the file."""
    found = _read(folder / "progress.json")
    numbers = all(isinstance(found.get(key), int | float) for key in ("time", "step", "max_steps"))
    try:
        return Progress(**found) if numbers and isinstance(found.get("metrics"), dict) else None
    except TypeError:
        return None


def append_report(folder: Path, step: int, values: Mapping[str, float]) -> None:
    """Append the metrics of a validation; a resumed attempt may repeat a step, and the later report counts.

    If the disk is full or gone, this is said once, and the training goes on.
    """
    line = json.dumps({"step": step, "values": _defined(values)}, allow_nan=False) + "\n"
    try:
        with (folder / "reports.jsonl").open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else "\n" + line  # an earlier attempt was killed within a line
            file.write(line.encode())
    except OSError as error:
        _say_once(folder, error)


def read_reports(folder: Path, after: int) -> tuple[list[tuple[int, dict[str, float | None]]], int]:
    """Return the reports (step and metrics of a validation) from byte ``after`` on, and where the next ones begin.

    A last line that is not complete yet is left for the next call. A line that a kill cut short is no report.
    """
    try:
        with (folder / "reports.jsonl").open("rb") as file:
            file.seek(after)
            text = file.read()
    except OSError:
        return [], after
    whole = text[: text.rfind(b"\n") + 1]
    found = [report for line in whole.splitlines() if (report := _report(line)) is not None]
    return found, after + len(whole)


def write_verdict(folder: Path, step: int, prune: bool) -> None:
    """Tell a job whether to stop, now that its report of ``step`` is known.

    Raises:
        OSError: the disk is full or gone; the job goes on after a while without a verdict.
    """
    _write(folder / "verdict.json", {"step": step, "prune": prune})


def read_verdict(folder: Path) -> tuple[int, bool] | None:
    """Return the latest verdict, its step and whether to stop; None if there is none."""
    found = _read(folder / "verdict.json")
    step, prune = found.get("step"), found.get("prune")
    return (step, prune) if isinstance(step, int) and isinstance(prune, bool) else None


def word_of(error: BaseException) -> dict[str, Any]:
    """Return what another process needs to raise an error again, or to report it.

    ``time``; ``kind``: refused, diverged, pruned, interrupted or failed; ``text``; for some kinds ``class``, ``step``,
    ``term``; for failed ``details``, the traceback.
    """
    word: dict[str, Any] = {"time": time.time(), "kind": "failed", "text": f"{type(error).__name__}: {error}"}
    if isinstance(error, LabError | StorageError):
        return {**word, "kind": "refused", "class": type(error).__name__, "text": str(error)}
    if isinstance(error, Diverged):
        return {**word, "kind": "diverged", "text": str(error), "step": error.step, "term": error.term}
    if isinstance(error, Pruned):
        return {**word, "kind": "pruned", "text": str(error), "step": error.step}
    if isinstance(error, Interrupted):
        return {**word, "kind": "interrupted", "text": error.where}
    return {**word, "details": "".join(traceback.format_exception(error))}


def write_word(folder: Path, word: Mapping[str, Any], name: str = "word.json") -> None:
    """Leave the last word of a process: see ``word_of``.

    Raises:
        OSError: the disk is full or gone.
    """
    _write(folder / name, word)


def last_word(folder: Path, name: str = "word.json") -> dict[str, Any] | None:
    """Return the last word of a process; None if it has left none, or the file is damaged."""
    found = _read(folder / name)
    return found if all(isinstance(found.get(key), str) for key in ("kind", "text")) else None


def _write(file: Path, values: Mapping[str, Any]) -> None:
    with replacing(file, synced=False) as opened:
        opened.write(json.dumps(values, allow_nan=False))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _report(line: bytes) -> tuple[int, dict[str, float | None]] | None:
    try:
        found = json.loads(line)
        return int(found["step"]), dict(found["values"])
    except (ValueError, TypeError, KeyError):
        return None


def _defined(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return values that JSON knows: None for those that are not finite."""
    return {key: float(x) if x is not None and math.isfinite(x) else None for key, x in values.items()}


_said: set[Path] = set()


def _say_once(folder: Path, error: OSError) -> None:
    if folder not in _said:
        _said.add(folder)
        print(f"warning: {folder}: the sweep does not see this job's progress ({error.strerror})", file=sys.stderr)
