"""Imports Optuna when it is needed, and keeps what it says about every trial to one time each."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.errors import ConfigError
from lab.text import one_line


def optuna() -> Any:
    """Return the module ``optuna``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna as library
    except ImportError as error:
        raise ConfigError(f"sweeper=optuna needs Optuna ({one_line(error)}): pip install 'lab[sweep]'") from error
    library.logging.set_verbosity(library.logging.WARNING)  # it would tell of each study and trial
    return library


@contextmanager
def collecting(said: dict[str, str]) -> Iterator[None]:
    """Collect what Optuna warns of inside: the first of several messages that differ in numbers only.

    Args:
        said: gets each message, by itself without numbers.
    """
    logger = logging.getLogger("optuna")
    handler = _Collector(said)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
        for warning in caught:
            _keep(said, str(warning.message))


class _Collector(logging.Handler):
    def __init__(self, said: dict[str, str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        _keep(self.said, record.getMessage())


def _keep(said: dict[str, str], message: str) -> None:
    said.setdefault(re.sub(r"\d+", "#", message), one_line(message))
