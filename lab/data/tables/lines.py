"""Lines of text and their ends."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_LINE = 1 << 27
"""The longest line in characters: a million columns of a hundred characters fit."""

_RUN = re.compile(r"[ \t]+")


class Blanks:
    """Records of lines split at runs of blanks and tabs, counted as ``csv.reader`` does."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.line_num = lines, 0

    def __iter__(self) -> Blanks:
        """Return itself."""
        return self

    def __next__(self) -> list[str]:
        """Return the values of the next line."""
        line = next(self._lines)
        self.line_num += 1
        return _RUN.split(line.strip(" \t\r\n"))


def line_end(text: bytes) -> int:
    """Return where the next line begins, 0 if the line has no end yet."""
    found = [place for place in (text.find(b"\n"), text.find(b"\r")) if place >= 0]
    if not found:
        return 0
    end = min(found)
    if text[end : end + 1] == b"\r" and end + 1 == len(text):
        return 0  # a line feed may follow
    return end + 2 if text[end : end + 2] == b"\r\n" else end + 1
