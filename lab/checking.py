"""Checks of single arguments and files, so that every module reports the same mistake with the same message."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from lab.errors import ConfigError, DataError, closest


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Refuse a value that is not one of the known ones.

    Args:
        name: the argument's name for the user.
        value: the given value.
        known: the allowed values.

    Raises:
        ConfigError: the value is none of them.
    """
    words = list(known)
    if value not in words:
        listed = [str(word) for word in words]
        raise ConfigError(f"{name}={value!r}: should be one of {', '.join(listed)}{closest(str(value), listed)}")


def check_some(name: str, values: Collection[int], known: Iterable[int], meaning: str = "") -> None:
    """Refuse a list of numbers that is empty or holds another number than some known ones.

    Args:
        name: the argument's name as the user knows it.
        values: the list as given.
        known: the right numbers.
        meaning: what they stand for.

    Raises:
        ConfigError: the list is empty, or a number is unknown.
    """
    numbers = list(known)
    if not values or any(value not in numbers for value in values):
        listed = ", ".join(map(str, numbers)) + (f" ({meaning})" if meaning else "")
        raise ConfigError(f"{name}={tuple(values)}: expected some of {listed}")


def check_range(
    name: str,
    value: float,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse a number that is out of its range; a bound of None does not apply.

    Args:
        name: the argument's name for the user.
        value: the given number.
        least: the smallest allowed number.
        most: the largest allowed number.
        above: an exclusive lower bound.
        below: an exclusive upper bound.

    Raises:
        ConfigError: the number is out of its range, or NaN.
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
    """Refuse a number that is not a multiple of another one.

    Args:
        name: the argument's name for the user.
        value: the given number.
        of: the divisor.
        whose: the divisor's name for the user; ``""`` for a constant.

    Raises:
        ConfigError: the number is not a multiple.
    """
    if value % of:
        raise ConfigError(f"{name}={value}: should be a multiple of {f'{whose}={of}' if whose else of}")


def check_file(path: Path, may_be_empty: bool = True) -> None:
    """Refuse a path that is no file.

    Args:
        path: the given path.
        may_be_empty: whether the file may have no bytes.

    Raises:
        DataError: the path is a folder or does not exist, or the file is empty and ``may_be_empty`` is False.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, no file' if path.is_dir() else 'no such file'}")
    if not may_be_empty and not path.stat().st_size:
        raise DataError(f"{path}: is empty")
