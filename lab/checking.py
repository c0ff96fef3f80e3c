"""Checks of single arguments and files that many places need, each in its one form and with its one message."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab.errors import ConfigError, DataError, closest


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Refuse what is none of a few words or numbers.

    Args:
        name: what a user calls the argument.
        value: what was given.
        known: the right ones.

    Raises:
        ConfigError: it is none of them.
    """
    words = list(known)
    if value not in words:
        listed = [str(word) for word in words]
        raise ConfigError(f"{name}={value!r}: should be one of {', '.join(listed)}{closest(str(value), listed)}")


def check_range(
    name: str,
    value: float,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse a number that is out of its range; an end that is None is open.

    Args:
        name: what a user calls the argument.
        value: what was given.
        least: the smallest right one.
        most: the largest right one.
        above: what it has to be larger than.
        below: what it has to be smaller than.

    Raises:
        ConfigError: it is not in its range, or no number (NaN).
    """
    ends = (
        (least, "at least", lambda end: value >= end),
        (above, "above", lambda end: value > end),
        (most, "at most", lambda end: value <= end),
        (below, "below", lambda end: value < end),
    )
    asked = [(f"{words} {end}", holds(end)) for end, words, holds in ends if end is not None]
    if not all(holds for _, holds in asked):
        raise ConfigError(f"{name}={value}: should be {' and '.join(words for words, _ in asked)}")


def check_multiple(name: str, value: int, of: int, whose: str = "") -> None:
    """Refuse a number that another one does not divide.

    Args:
        name: what a user calls the argument.
        value: what was given.
        of: what has to divide it.
        whose: what the user calls that; ``""`` for a constant.

    Raises:
        ConfigError: it does not.
    """
    if value % of:
        raise ConfigError(f"{name}={value}: should be a multiple of {f'{whose}={of}' if whose else of}")


def check_file(path: Path, may_be_empty: bool = True) -> None:
    """Refuse a path that is no file.

    Args:
        path: what was given.
        may_be_empty: whether a file of no bytes will do.

    Raises:
        DataError: it is a folder, or not there, or empty where it may not be.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, no file' if path.is_dir() else 'no such file'}")
    if not may_be_empty and not path.stat().st_size:
        raise DataError(f"{path}: is empty")
