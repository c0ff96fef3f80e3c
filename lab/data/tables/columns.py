"""The arguments and results of the readers of tables: columns by name, and what became of the rows."""

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
    """The format of a text table.

    Attributes:
        separator: the separator between columns.
        names: the columns' names, if the file has no header.
        encoding: Python's name of the encoding; None detects it from the file.
        quotes: whether values may be quoted with ``"``; otherwise ``"`` is an ordinary character.
        lines: whether a quoted value may hold line ends, as texts do; otherwise it is refused: a quote is not closed.
    """

    separator: str = ","
    names: Sequence[str] | None = None
    encoding: str | None = None
    quotes: bool = True
    lines: bool = False


@dataclass
class ReadColumns:
    """The columns read from a file, and what became of its rows.

    Attributes:
        table: a pyarrow table of the rows that could be parsed; its columns have the keys of ``wanted`` as names.
        rows: the number of rows in the file.
        left_out: the number of rows that are not in ``table``, by reason.
        noted: remarks on rows that were kept, each with a count.
    """

    table: Any
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)


def places(path: Path, wanted: Mapping[str, str], found: Sequence[str], where: str, hint: str = "") -> list[int]:
    """Return the indices of the wanted columns among those of a file.

    Args:
        path: the file, for messages.
        wanted: the columns' names by their role, ``{"item": "ItemId"}``.
        found: the columns of the file.
        where: the config group that names the columns, for messages.
        hint: another possible cause, for messages.

    Raises:
        DataError: a column is missing, or occurs more than once.
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
    """Return some names for a message: not too many, none too long, control characters escaped."""
    short = [name if len(name) <= 60 else f"{name[:60]}..." for name in names[:_SHOWN]]
    plain = [name if name.isprintable() else repr(name) for name in short]
    return ", ".join(plain) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
