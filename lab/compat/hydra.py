"""Undocumented parts of Hydra that are used, for hydra-core 1.3: its parser of overrides and its reader of folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

from hydra._internal import defaults_list as _defaults_list
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep, Sweep
from hydra.core.plugins import Plugins


def parse_override(word: str) -> Override:
    """Parse an override as composing does; a parser of lab's own would differ in details.

    Raises:
        HydraException: Hydra cannot read it.
    """
    return OverridesParser.create().parse_override(word)


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Parse overrides; each result has its text as ``input_line``.

    Raises:
        OverrideParseException: Hydra cannot read one; the exception has it as ``override``.
    """
    return OverridesParser.create().parse_overrides(list(words))


def is_many(override: Override, value: Any) -> bool:
    """Whether an override has several values, for a sweep."""
    return override.is_sweep_override() or isinstance(value, Sweep)


def is_glob(value: Any) -> TypeGuard[Glob]:
    """Whether a value is ``glob(...)``, whose ``filter(options)`` returns the options that it matches."""
    return isinstance(value, Glob)


def is_interval(value: Any) -> TypeGuard[IntervalSweep]:
    """Whether a value is ``interval(...)``; its ``start`` and ``end`` are integers in ``int(interval(...))``."""
    return isinstance(value, IntervalSweep)


def is_range(value: Any) -> TypeGuard[RangeSweep]:
    """Whether a value is ``range(...)``, which has a ``step``."""
    return isinstance(value, RangeSweep)


def forget_composed() -> None:
    """Clear an earlier ``initialize``, also one of the caller: Hydra allows only one in a process."""
    GlobalHydra.instance().clear()


@contextmanager
def choices_when_asked() -> Iterator[None]:
    """Context in which composing makes the map of choices for a defaults list only where an entry interpolates one.

    Hydra makes it for every file that it reads, a fifth of the time of composing, and looks into it for nothing else.
    """
    module: Any = _defaults_list
    original = module._create_interpolation_map

    def create(overrides: Any, defaults: Sequence[Any], self_added: bool) -> Any:
        asked = any(not default.is_self() and default.is_interpolation() for default in defaults)
        return original(overrides, defaults, self_added) if asked else None

    module._create_interpolation_map = create
    try:
        yield
    finally:
        module._create_interpolation_map = original


def composed_by_caller() -> Any:
    """Return the state of an earlier ``initialize``, to be passed to ``give_back``; None if there was none."""
    return GlobalHydra.instance().hydra


def give_back(before: Any) -> None:
    """Restore the state that ``composed_by_caller`` has returned, because composing clears it."""
    GlobalHydra.instance().hydra = before


class FolderSource(FileConfigSource):
    """Base class of readers of YAML folders; Hydra has no public one.

    A subclass has a ``scheme``, by which the search path names its folders (``SCHEME://FOLDER``), and ``load_config``.
    """

    def file_of(self, config_path: str) -> str:
        """Return the path, as a string, of the file that ``load_config`` should read."""
        return f"{self.path}/{self._normalize_file_name(config_path)}"


def register_source(kind: type[FolderSource]) -> None:
    """Register a reader of folders with Hydra, which itself finds only installed plugins; may be called again."""
    Plugins.instance().register(kind)
