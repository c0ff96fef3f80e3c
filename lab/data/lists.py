"""Reads lists of images: text files with one name per line, in any Unicode encoding; names may contain spaces.

Only the standard library is used.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from lab.data.folders import IMAGE_SUFFIXES
from lab.data.text_files import read_text

_FLAGS = re.compile(r"(.*?\S)(?:\s+(?:-1|0|1))+")


def read_names(path: str | Path, known: Collection[str] = ()) -> list[str]:
    """Return the names in a list, one for each line that is not empty.

    A line is a name, which may contain spaces. Two things may follow it: VOC's columns of -1, 0 and 1, if every line of
    the list has them; and further file names, if the first one has an image's suffix (``a.png labels/a.png``). A line
    that is a name in ``known`` is never split.

    Args:
        path: the list.
        known: names of existing files, in any spelling that a list may use.

    Raises:
        DataError: the list is not text.
    """
    lines = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    names = [_known_form(line, known) for line in lines]
    flagged = [_FLAGS.fullmatch(line) for line in lines]
    if all(flagged) and not any(name in known for name in names):
        return [_known_form(found[1], known) for found in flagged if found]
    return [name if name in known else _known_form(_first_file(name), known) for name in names]


def _first_file(line: str) -> str:
    """Return the first of several names of image files in a line, or the whole line."""
    parts = line.split()
    files = len(parts) > 1 and all(PurePosixPath(part).suffix.lower() in IMAGE_SUFFIXES for part in parts)
    return parts[0] if files else line


def _known_form(name: str, known: Collection[str]) -> str:
    """Return a name with composed or decomposed accents, whichever ``known`` has."""
    if name in known or name.isascii():
        return name
    forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((form for form in forms if form in known), name)
