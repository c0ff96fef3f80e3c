"""Texts in git that say what users may rely on: keys, names, files. A test compares, ``LAB_RECORD=1`` writes them anew.

A name that is gone stays in ``vanished.txt``, and UPGRADING.md must say what took its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "snapshots"
VANISHED = FOLDER / "vanished.txt"
_OPTION = re.compile(r"# \w+=\w+")
HOW = (
    "{name} is not what it was. If that is meant, record it by `LAB_RECORD=1 python -m pytest {tests}` "
    "and add a line to UPGRADING.md that says what users have to change."
)


def compare(name: str, lines: Sequence[str], tests: str) -> None:
    """Compare lines with those recorded, or record them.

    A line that begins with ``#`` is a heading. In any other the name comes first, then ``" = "`` and its default, if
    it has one.

    Args:
        name: file in ``tests/snapshots/``.
        lines: what is found now.
        tests: the test file to repeat for recording, for the message.
    """
    file = FOLDER / name
    recorded = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if os.environ.get("LAB_RECORD"):
        _remember(sorted(names(recorded) - names(lines)), names(lines))
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    difference = list(unified_diff(recorded, lines, f"recorded {name}", "now", lineterm="", n=2))
    assert not difference, "\n".join([HOW.format(name=name, tests=tests), *difference[:80]])


def names(lines: Sequence[str]) -> set[str]:
    """Return the names in lines, each once wherever it stands; a heading such as ``# model=detr`` is one too."""
    options = {line[2:] for line in lines if _OPTION.fullmatch(line)}
    return options | {line.partition(" = ")[0] for line in lines if line and not line.startswith("#")}


def vanished() -> list[str]:
    """Return the names that were recorded once and are gone."""
    return VANISHED.read_text(encoding="utf-8").splitlines() if VANISHED.exists() else []


def _remember(gone: Sequence[str], present: set[str]) -> None:
    kept = sorted({*vanished(), *gone} - present)
    VANISHED.write_text("".join(f"{name}\n" for name in kept), encoding="utf-8")
