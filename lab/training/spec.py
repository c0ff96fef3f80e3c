"""Kinds of problem by name. No torch: a kind is described by the names of its parts, which are imported when used.

The kinds in ``lab/tasks`` are found by their files ``spec.py``; a user's package calls ``register_task``. The list of
kinds is known nowhere else.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lab.errors import ConfigError, ExportError, closest
from lab.system.registrations import make_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from lab.config.kinds import TaskSettings
    from lab.loggers.media import MediaSample
    from lab.report.sounds import SoundPanel
    from lab.structures import DataSpec

Panels = Callable[[Any, Any, Any, int], "Iterator[Image | SoundPanel]"]
"""A function that draws a batch. Its arguments: task, outputs, batch, the largest number of pictures."""
Media = Callable[[Any, Any, Any, int], "Iterator[MediaSample]"]
"""A function that makes samples of a batch for trackers; it does not run the network. Arguments as of ``Panels``."""
_ROOMS = Path(__file__).resolve().parent.parent / "tasks"
_registered: dict[str, TaskSpec] = make_table(lambda _, spec: str(spec.task).partition(":")[0])


@dataclass(frozen=True)
class TaskSpec:
    """A kind of problem. Each part is given as a string ``"package.module:name"``.

    Attributes:
        name: the value of ``task`` in the YAMLs of models and data.
        task: the subclass of ``Task``.
        data: the subclass of ``DataSpec``.
        settings: the ``TaskSettings``: the schemas of the evaluation's settings and of what models ask of their data.
            Its module must not import torch, since configs are checked with it.
        predictor: the ``Predictor``; "" where ``stage=predict`` is not offered.
        pictures: a function that draws batches (``Panels``); "" where there is nothing to draw.
        export: the ``KindOfExport`` by which networks are written for other engines; "" where they are not.
        media: a function that makes samples of batches for trackers (``Media``); "" where there are none.
        browse: the ``Browser`` that draws and counts its data (``scripts/browse_data.py``); "" where there is none.
    """

    name: str
    task: str
    data: str
    settings: str
    predictor: str = ""
    pictures: str = ""
    export: str = ""
    media: str = ""
    browse: str = ""

    def load_task(self) -> type[Any]:
        """Import and return the task's class, a ``lab.training.task.Task`` (which this module must not import)."""
        return cast("type[Any]", self._load(self.task))

    def load_data(self) -> type[DataSpec]:
        """Import and return the subclass of ``DataSpec``."""
        return cast("type[DataSpec]", self._load(self.data))

    def load_settings(self) -> TaskSettings:
        """Import and return the settings; this does not import torch."""
        return cast("TaskSettings", self._load(self.settings))

    def load_predictor(self) -> type[Any]:
        """Import and return the predictor's class, a ``lab.training.predictor.Predictor``.

        Raises:
            ConfigError: the kind has no predictor.
        """
        if not self.predictor:
            raise ConfigError(f"stage=predict: models for {self.name} have no predictor that reads files")
        return cast("type[Any]", self._load(self.predictor))

    def load_pictures(self) -> Panels | None:
        """Import and return the function that draws batches; None where there is nothing to draw."""
        return cast(Panels, self._load(self.pictures)) if self.pictures else None

    def load_media(self) -> Media | None:
        """Import and return the function that makes samples for trackers; None where there are none."""
        return cast(Media, self._load(self.media)) if self.media else None

    def load_export(self) -> type[Any]:
        """Import and return the ``lab.export.network.KindOfExport``.

        Raises:
            ExportError: networks of this kind are not exported.
        """
        if not self.export:
            others = [name for name in task_names() if task_spec(name).export]
            raise ExportError(
                f"a network for {self.name} is not exported: it does not take images alone, or lab does not say what a "
                f"file of it should give; networks for {', '.join(others)} are"
            )
        return cast("type[Any]", self._load(self.export))

    def load_browser(self) -> type[Any]:
        """Import and return the ``lab.training.browsing.Browser`` of the kind's data.

        Raises:
            ConfigError: it has none.
        """
        if not self.browse:
            raise ConfigError(
                f"data for {self.name} cannot be browsed: its TaskSpec names no Browser; add browse="
                '"MODULE:CLASS", a subclass of lab.training.browsing.Browser'
            )
        return cast("type[Any]", self._load(self.browse))

    @staticmethod
    def _load(place: str) -> Any:
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)


def register_task(spec: TaskSpec) -> TaskSpec:
    """Register a kind of problem under its name; a package calls this when it is imported.

    Raises:
        ConfigError: another kind has this name.
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
    """Return the kind of problem with this name.

    Raises:
        ConfigError: no kind has this name.
    """
    found = _registered.get(name) or _ours().get(name)
    if found is None:
        raise ConfigError(f"there is no kind of problem {name!r}{closest(name, task_names())}")
    return found
