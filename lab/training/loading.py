"""From a checkpoint to its task: what it says is checked before anything is built, and nothing is fetched or called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lab.checkpoint.access import compare
from lab.checkpoint.format import CheckpointReader, understood
from lab.errors import CheckpointError, LabError
from lab.registry.allowed import sealed
from lab.registry.migrated import migrated
from lab.training.spec import task_spec
from lab.training.stored import Stored, damaged, in_short, read_spec, read_stored

TaskT = TypeVar("TaskT", bound=nn.Module)


def read_task(path: str | Path, kind: str) -> tuple[CheckpointReader, Stored]:
    """Open a checkpoint and return what it says of its task, checked.

    Args:
        path: the checkpoint's folder.
        kind: the kind of problem that it should be of.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or of another task.
    """
    reader = CheckpointReader(path)
    reader.verify()
    stored = read_stored(reader)
    if stored.task != kind:
        raise CheckpointError(f"{path} is of a model for {stored.task[:80]}, not for {kind}")
    of_data = stored.arguments["spec"].get("task")
    if isinstance(of_data, str) and of_data not in ("", kind):
        raise damaged(reader, f"its data is for {of_data[:80]}, not for {kind}")
    with understood(reader.path, "description of a dataset stands in its hyper_parameters"):
        found = read_spec(stored.arguments["spec"], task_spec(kind).load_data())
    stored.arguments["spec"] = found.to_plain()
    return reader, stored


def build_stored(task: type[TaskT], reader: CheckpointReader, stored: Stored, eval: Mapping[str, Any] | None) -> TaskT:
    """Build the task of a checkpoint, which may name fewer targets than a config may; its weights are not read.

    The task is first built on the meta device, so that sizes which contradict the stored tensors take no memory.

    Args:
        task: its class.
        reader: the checkpoint.
        stored: what it says of its task.
        eval: settings of the evaluation that replace those of the training.

    Raises:
        LabError: the task cannot be built, or its tensors are not those of the checkpoint.
    """
    path, arguments = reader.path, {**stored.arguments, **({} if eval is None else {"eval": eval})}
    try:
        with sealed(), understood(path, f"{task.__name__} can be made of its hyper_parameters"):
            outline: TaskT | None = None
            try:
                with torch.device("meta"):
                    outline = task(**arguments)
            except Exception:  # also raised by a network that reads its own values, which meta tensors lack
                outline = None  # a real mistake is raised again below
            if outline is not None:
                compare(migrated(reader, outline), outline)
            return task(**arguments)
    except LabError as error:
        if str(path) in str(error) or (eval is not None and str(error).startswith("eval")):
            raise
        raise CheckpointError(f"{path}: {in_short(error)}") from error
