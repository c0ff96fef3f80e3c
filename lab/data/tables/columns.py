"""What a reader of tables is asked for and gives back: columns by their names, and an account of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import DataError, closest

_SHOWN = 12
_USUAL = (",", "\t", ";", "|", "::", " ")


@dataclass
class TextLayout:
    """How a table of text is written.

    Attributes:
        separator: between columns.
        names: the columns' names, where the file has no header.
        encoding: as Python names it; None reads it from the file.
        quotes: whether ``"`` puts a value into quotes; otherwise it is a sign like any other.
    """

    separator: str = ","
    names: Sequence[str] | None = None
    encoding: str | None = None
    quotes: bool = True


@dataclass
class ReadColumns:
    """ReadColumns of a file and what became of its rows.

    Attributes:
        table: pyarrow's, of the rows that could be told apart; its columns are named by what they are for.
        rows: how many there were.
        left_out: how many of them are not in ``table``, by reason.
        noted: what else there is to say, with a count each; nothing was left out for it.
    """

    table: Any
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)


def places(path: Path, wanted: Mapping[str, str], found: Sequence[str], where: str, hint: str = "") -> list[int]:
    """Return where the wanted columns stand among those that a file has.

    Args:
        path: the file, for messages.
        wanted: the columns' names by what they are for.
        found: the names that the file has.
        where: what the columns are named by in messages.
        hint: what else may be wrong.

    Raises:
        DataError: one is not there, or more than once.
    """
    for key, name in wanted.items():
        count = found.count(name)
        if count == 1:
            continue
        if count:
            raise DataError(
                f"{path}: {count} of its columns are named {name!r}, so {where}.{key}_column={name} does not say which"
            )
        if len(found) == 1:
            usual = (sign for sign in _USUAL if name in [part.strip(' "') for part in found[0].split(sign)])
            if (sign := next(usual, None)) is not None:
                raise DataError(f"{path}: its columns are separated by {sign!r}: set {where}.separator={sign!r}")
        raise DataError(
            f"{path}: there is no column {name!r}{closest(name, found[:1000])}; it has {shown(found)}; "
            f"name yours by {where}.{key}_column{hint}"
        )
    return [list(found).index(name) for name in wanted.values()]


def shown(names: Sequence[str]) -> str:
    """Return some names for a message: not too many, none too long, control signs escaped."""
    short = [name if len(name) <= 60 else f"{name[:60]}..." for name in names[:_SHOWN]]
    plain = [name if name.isprintable() else repr(name) for name in short]
    return ", ".join(plain) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
