"""Reads the words after a command's name with argparse, and refuses what it cannot read in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from lab.errors import ConfigError, closest


class Arguments:
    """The flags and words of one command.

    Args:
        command: its name, ``report`` for ``lab report``.
        usage: what ``--help`` prints.
    """

    def __init__(self, command: str, usage: str) -> None:
        self._command, self._usage = command, usage
        self._flags: list[str] = []
        self._parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        self.flag("-h", "--help", action="store_true")

    def flag(self, *names: str, **settings: Any) -> None:
        """Add a flag, with the settings of ``argparse.ArgumentParser.add_argument``."""
        self._flags += [name for name in names if name.startswith("--")]
        self._parser.add_argument(*names, **settings)

    def read(self, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]] | None:
        """Return the flags and the other words, in their order; None if the help was asked for and printed.

        Raises:
            ConfigError: there is no such flag, or its value does not fit.
        """
        try:
            options, rest = self._parser.parse_known_args(list(words))
        except argparse.ArgumentError as error:
            raise ConfigError(f"lab {self._command}: {error}") from None
        for word in rest:
            if word.startswith("-"):
                raise ConfigError(f"{word}: lab {self._command} has no such flag{closest(word, self._flags)}")
        if options.help:
            print(self._usage)
            return None
        return options, rest
