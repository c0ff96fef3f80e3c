"""Finds the checkpoint from which a run continues: last.ckpt, previous.ckpt, or none."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from lab.callbacks.resumable import read_training
from lab.checkpoint.finite import check_finite
from lab.checkpoint.format import CheckpointReader
from lab.errors import CheckpointError, RunError
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.metrics_file import read_metrics
from lab.run_directory import RunDirectory
from lab.system.files import replace_folder


def where_to_start(run: RunDirectory, metrics: MetricsCSV) -> tuple[int, Path | None]:
    """Return the step and checkpoint to continue from: last.ckpt, or previous.ckpt if last.ckpt is damaged.

    Raises:
        RunError: no checkpoint can be read, or the run has lost its checkpoints.
    """
    damaged = []
    for path in (run.checkpoints / "last.ckpt", run.checkpoints / "previous.ckpt"):
        if not os.path.lexists(path):  # a broken link counts as a damaged checkpoint
            continue
        try:
            reader = CheckpointReader(path)
            reader.verify()
            read_training(reader)
            check_finite(reader)
        except CheckpointError as error:
            damaged.append(path)
            print(f"warning: {error}", file=sys.stderr)
            continue
        for other in damaged:
            aside = _free_name(other.with_name("damaged.ckpt"))
            replace_folder(other, aside)  # it must not become previous.ckpt
            said = f"using {path} instead, which is of step {reader.step}; kept as {aside}"
            print(f"warning: {said}", file=sys.stderr)
        return reader.step, path
    if damaged:
        raise RunError(
            f"{run.path}: {' and '.join(path.name for path in damaged)} cannot be read, there is nothing to continue "
            "from; resume=never starts afresh and keeps the directory"
        )
    if (reached := _had_checkpoint(run, metrics)) is not None:
        raise RunError(
            f"{run.path} was trained to step {reached}, but {run.checkpoints} holds neither last.ckpt nor "
            "previous.ckpt: there is nothing to continue from; put them back, or resume=never starts afresh and keeps "
            "the directory"
        )
    return 0, None


def _free_name(path: Path) -> Path:
    """Return ``damaged.ckpt``, or ``damaged-1.ckpt`` and so on if it exists already."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
    return next(name for name in itertools.chain([path], numbered) if not os.path.lexists(name))


def _had_checkpoint(run: RunDirectory, metrics: MetricsCSV) -> int | None:
    """Return the step that a run is known to have reached after its first checkpoint; None if it may have had none.

    A run had a checkpoint if it was resumed, or if it trained past its first validation, which writes one.
    """
    rows = read_metrics(metrics.path) if metrics.path.exists() else []
    validated = [row for row in rows if any(key.startswith("val/") and row[key] is not None for key in row)]
    steps = [int(row["step"] or 0) for row in rows]
    beyond = [step for step in steps if validated and step > int(validated[0]["step"] or 0)]
    return max([*beyond, *run.record["resumed_at"]], default=None)
