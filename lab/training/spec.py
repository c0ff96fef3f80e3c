"""Kinds of problem by name. No torch: a kind is described by names alone; what they name is imported when it is used.

The rooms in ``lab/tasks`` are found by looking for their ``spec.py``; a user's package calls ``register_task``. Nothing
else knows the list of kinds.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lab.errors import ConfigError, closest
from lab.system.registrations import make_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from lab.config.kinds import TaskSettings
    from lab.structures import DataSpec

Panels = Callable[[Any, Any, Any, int], "Iterator[Image]"]
"""What draws a batch: task, outputs, batch, the most pictures wanted."""
_ROOMS = Path(__file__).resolve().parent.parent / "tasks"
_registered: dict[str, TaskSpec] = make_table(lambda _, spec: str(spec.task).partition(":")[0])


@dataclass(frozen=True)
class TaskSpec:
    """A kind of problem. Parts are named as ``"package.module:name"``.

    Attributes:
        name: as the ``task`` of models and data says it.
        task: the ``Task``.
        data: the subclass of ``DataSpec``: what its data tells.
        settings: the ``TaskSettings``: how it is measured, what its models ask of their data. Its module imports no
            torch, as configs are checked with it.
        predictor: the ``Predictor``; "" where ``stage=predict`` is not offered.
        pictures: a function that draws batches (``Panels``); "" where there is nothing to draw.
    """

    name: str
    task: str
    data: str
    settings: str
    predictor: str = ""
    pictures: str = ""

    def load_task(self) -> type[Any]:
        """Import and return the task's class, a ``lab.training.task.Task``: tasks know kinds, not kinds tasks."""
        return cast("type[Any]", self._load(self.task))

    def load_data(self) -> type[DataSpec]:
        """Import and return the class of what its data tells."""
        return cast("type[DataSpec]", self._load(self.data))

    def load_settings(self) -> TaskSettings:
        """Import and return its settings; no torch comes with them."""
        return cast("TaskSettings", self._load(self.settings))

    def load_predictor(self) -> type[Any]:
        """Import and return the predictor's class, a ``lab.training.predictor.Predictor``.

        Raises:
            ConfigError: there is none.
        """
        if not self.predictor:
            raise ConfigError(f"stage=predict: a model for {self.name} has nothing that predicts from files")
        return cast("type[Any]", self._load(self.predictor))

    def load_pictures(self) -> Panels | None:
        """Import and return what draws batches; None where there is nothing to draw."""
        return cast(Panels, self._load(self.pictures)) if self.pictures else None

    @staticmethod
    def _load(place: str) -> Any:
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)


def register_task(spec: TaskSpec) -> TaskSpec:
    """Make a kind of problem known under its name, when the package that has it is imported.

    Raises:
        ConfigError: the name is taken by another one.
    """
    known = _registered.get(spec.name) or _ours().get(spec.name)
    if known is not None and known != spec:
        raise ConfigError(f"the kind of problem {spec.name!r} is registered twice: {known.task} and {spec.task}")
    _registered[spec.name] = spec
    return spec


@functools.cache
def _ours() -> dict[str, TaskSpec]:
    modules = [f"lab.tasks.{path.parent.name}.spec" for path in sorted(_ROOMS.glob("*/spec.py"))]
    specs = [importlib.import_module(module).TASK for module in modules]
    return {spec.name: spec for spec in specs}


def task_names() -> list[str]:
    """Return the names of all kinds."""
    return sorted({**_ours(), **_registered})


def task_spec(name: str) -> TaskSpec:
    """Return a kind by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    found = _registered.get(name) or _ours().get(name)
    if found is None:
        raise ConfigError(f"there is no kind of problem {name!r}{closest(name, task_names())}")
    return found
