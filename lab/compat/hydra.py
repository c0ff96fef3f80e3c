"""What Hydra does not document and is used here, for hydra-core 1.3: its parser of words and its reader of folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Sweep
from hydra.core.plugins import Plugins


def parse_override(word: str) -> Override:
    """Take a word of the command line apart, as composing would; a second grammar of ours would not be the same.

    Raises:
        HydraException: Hydra cannot read it.
    """
    return OverridesParser.create().parse_override(word)


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Take words apart, each of which then has its text as ``input_line``.

    Raises:
        OverrideParseException: Hydra cannot read one; it has the word as ``override``.
    """
    return OverridesParser.create().parse_overrides(list(words))


def is_many(override: Override, value: Any) -> bool:
    """Whether a word has several values, for a sweep."""
    return override.is_sweep_override() or isinstance(value, Sweep)


def is_glob(value: Any) -> TypeGuard[Glob]:
    """Whether a value is ``glob(...)``, whose ``filter(options)`` returns the options that it matches."""
    return isinstance(value, Glob)


def forget_composed() -> None:
    """Forget an earlier ``initialize``, a caller's too: Hydra has one for each process, and refuses a second."""
    GlobalHydra.instance().clear()


def composed_by_caller() -> Any:
    """Return what an earlier ``initialize`` has left, to be handed to ``give_back``; None for nothing."""
    return GlobalHydra.instance().hydra


def give_back(before: Any) -> None:
    """Let what ``composed_by_caller`` has returned stand again: composing has cleared it."""
    GlobalHydra.instance().hydra = before


class FolderSource(FileConfigSource):
    """How Hydra reads YAML files of a folder, to be extended: it has no public class that does.

    A subclass has a ``scheme``, by which the search path names its folders (``SCHEME://FOLDER``), and ``load_config``.
    """

    def file_of(self, config_path: str) -> str:
        """Return the path of a file that ``load_config`` is asked for, as a text."""
        return f"{self.path}/{self._normalize_file_name(config_path)}"


def register_source(kind: type[FolderSource]) -> None:
    """Make a way to read folders known; again is no harm. Hydra itself looks for installed plugins only."""
    Plugins.instance().register(kind)
