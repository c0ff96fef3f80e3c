"""The description of a task in a checkpoint; all of it is checked before anything is built from it."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lab.checkpoint.format import CheckpointReader
from lab.checkpoint.plain import check_plain
from lab.config.aliases import KEYS
from lab.config.arguments import Given, check_arguments
from lab.config.fields import Signature
from lab.config.signatures import find_signature
from lab.errors import CheckpointError, LabError, closest
from lab.registry import models as registry
from lab.registry.allowed import allowed_packages
from lab.structures import DataSpec
from lab.text import one_line
from lab.training.spec import task_names, task_spec

ARGUMENTS: Mapping[str, type] = {
    "net": dict,
    "spec": dict,
    "optimizer": dict,
    "scheduler": dict,
    "max_steps": int,
    "eval": dict,
    "learning": dict,
}
"""The arguments of every task; a checkpoint holds them as its hyper-parameters."""
_WEIGHTS = ("raw", "averaged")
_FLAT: Mapping[str, Any] = {
    "class_names": [],
    "thing_labels": [],
    "item_names": [],
    "item_counts": [],
    "num_sequences": 0,
    "num_events": 0,
}
"""Fields of other kinds that a spec also holds in checkpoints up to November 2026."""
SpecT = TypeVar("SpecT", bound=DataSpec)


def kind_of(task: str) -> str:
    """Return the kind of problem that a checkpoint's ``task`` names; up to November 2026 it was a class name."""
    classes = {task_spec(name).task.rpartition(":")[2]: name for name in task_names()}
    return classes.get(task, task)


@dataclass(frozen=True)
class Stored:
    """A task as a checkpoint describes it: its kind, its arguments, and whether its weights are raw or averaged."""

    task: str
    arguments: dict[str, Any]
    weights_kind: str


def read_stored(reader: CheckpointReader) -> Stored:
    """Return a checkpoint's description of its task; the names of targets are not checked yet.

    Raises:
        CheckpointError: something is missing, unknown or of another type.
    """
    stored = read_description(reader)
    arguments = stored.arguments
    for name in [*ARGUMENTS, *arguments]:
        if name not in arguments:
            raise damaged(reader, f"its hyper_parameters lack {name!r}")
        if name not in ARGUMENTS:
            raise damaged(reader, f"its hyper_parameters have {str(name)[:80]!r}, which no task takes")
        if not _is(arguments[name], ARGUMENTS[name]):
            kind = ARGUMENTS[name].__name__
            raise damaged(reader, f"its hyper_parameters have {_shown(arguments[name])} as {name}, which is a {kind}")
    target = arguments["net"].get("_target_")
    if not isinstance(target, str) or not target:
        raise damaged(reader, f"its hyper_parameters name {_shown(target)} as the network (net._target_)")
    try:
        _check_types("net", arguments["net"])
    except LabError as error:
        raise CheckpointError(f"{reader.path}: {in_short(error)}") from None
    return stored


def read_description(reader: CheckpointReader) -> Stored:
    """Return the names and the plain hyper-parameters of a checkpoint, not compared with the task's arguments yet.

    Raises:
        CheckpointError: something is missing or is not plain data.
    """
    state = reader.state
    task, arguments, weights = (_entry(reader, name) for name in ("task", "hyper_parameters", "weights_kind"))
    if not isinstance(task, str):
        raise damaged(reader, f"its task is {_shown(task)}, not a name")
    if not isinstance(arguments, dict):
        raise damaged(reader, f"its hyper_parameters are {_shown(arguments)}, not a dictionary")
    if weights not in _WEIGHTS:
        raise damaged(reader, f"its weights_kind is {_shown(weights)}, neither {' nor '.join(_WEIGHTS)}")
    if type(state.get("step", reader.step)) is not int or state.get("step", reader.step) != reader.step:
        raise damaged(reader, f"its index is of step {reader.step}, its state of {_shown(state['step'])}")
    try:
        check_plain(arguments, "its hyper_parameters", tensors=False)
    except CheckpointError as error:
        raise damaged(reader, str(error)) from None
    kind = kind_of(task)
    return Stored(kind, _with_learning(kind, arguments), weights)


def _with_learning(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a task with ``learning``: up to November 2026 those settings stood in ``eval``."""
    measured = arguments.get("eval")
    if "learning" in arguments or not isinstance(measured, dict):
        return arguments
    learning = task_spec(kind).load_settings().learning if kind in task_names() else None
    moved = {old.partition(".")[2]: new.rpartition(".")[2] for old, new in KEYS.items() if old.startswith("eval.")}
    fields = {} if learning is None else learning.model_fields
    found = {new: measured[old] for old, new in moved.items() if old in measured and new in fields}
    rest = {key: value for key, value in measured.items() if moved.get(key) not in found}
    return {**arguments, "eval": rest, "learning": found}


def read_spec(plain: Mapping[str, Any], kind: type[SpecT]) -> SpecT:
    """Return the ``DataSpec`` that a checkpoint holds as a dict.

    Args:
        plain: the dict.
        kind: the subclass of ``DataSpec`` that the kind of problem uses.

    Raises:
        ValueError: an entry is missing, unknown or of another type.
    """
    types = typing.get_type_hints(kind)
    plain = {name: value for name, value in plain.items() if name in types or _FLAT.get(name) != value}
    for name, value in plain.items():
        if name not in types:
            raise ValueError(f"spec has no {str(name)[:80]!r}{closest(str(name), types)}")
        _check_entry(name, value, types[name])
    if not plain.get("task"):
        raise ValueError("spec has no task")
    return kind.from_plain(plain)


def _check_entry(name: str, value: Any, annotation: Any) -> None:
    """Check the type of an entry: a string, a number, a boolean, or a list of one of these; or None, if it may be."""
    several = typing.get_args(annotation)
    if type(None) in several:
        if value is None:
            return
        (annotation,) = (kind for kind in several if kind is not type(None))
        several = typing.get_args(annotation)
    kind = several[0] if several else annotation
    if several and not isinstance(value, list | tuple):
        raise ValueError(f"spec.{name} is {_shown(value)}, and no list")
    for item in value if several else (value,):
        if not _is(item, kind) and not (kind is float and _is(item, int)):
            raise ValueError(f"spec.{name} holds {_shown(item)}, which is no {kind.__name__}")
        if kind is int and item < 0:
            raise ValueError(f"spec.{name} holds {item}, which is no count")


def _check_types(path: str, value: Any) -> None:
    """Check the arguments of the nodes in a value against the type annotations of their targets.

    Raises:
        LabError: an argument has another type, or a target is unknown. Other mistakes are reported by the build.
    """
    if isinstance(value, Mapping):
        target = value.get("_target_")
        signature = _signature_of(target) if isinstance(target, str) else None
        if signature is not None:
            known = {key: item for key, item in value.items() if key in signature.arguments}
            check_arguments(Given(path, known, lambda _: "in the checkpoint"), signature)
    if isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_types(f"{path}.{key}", item)


def _signature_of(target: str) -> Signature | None:
    if registry.is_model(target):
        entry = registry.model_entry(target)
        target = f"{entry.module}.{entry.name}"
    if "." not in target or target.partition(".")[0] not in allowed_packages():
        return None
    if not all(part.isidentifier() for part in target.split(".")):
        return None
    try:
        return find_signature(target)
    except LookupError:  # it is refused where it is resolved, with what would be right
        return None


def in_short(error: Exception) -> str:
    """Return an error's message as one short line; it may quote long contents of the checkpoint."""
    return one_line(error)[:500]


def damaged(reader: CheckpointReader, problem: str) -> CheckpointError:
    """Return the error for a checkpoint whose content is wrong."""
    return CheckpointError(f"{reader.path} is damaged: {problem}")


def _entry(reader: CheckpointReader, name: str) -> Any:
    if name not in reader.state:
        raise damaged(reader, f"its state has no {name}")
    return reader.state[name]


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _shown(value: Any) -> str:
    """Return a value or its type in a few characters, on one line."""
    if value is None or isinstance(value, int | float | str):
        return repr(value)[:80]
    return f"a {type(value).__name__}"
