"""docs/compared.md: what lab has is shown by a page or a test, and the counts at its end are those of the table."""

from __future__ import annotations

import re

from tests.documents import ROOT

TEXT = (ROOT / "docs" / "compared.md").read_text(encoding="utf-8")
PEERS = 10
MARKS = {"Y", "P", ".", "-"}
SHOWN = re.compile(r"\[([YP])\]\(([^)\s#]+)(?:#[\w-]+)?\)")


def rows() -> list[list[str]]:
    """Return the cells of each row: a feature, a mark of each peer, and lab's."""
    lines = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if len(cells) == PEERS + 2 and cells[0] not in ("feature", "---")]


def test_each_mark_of_lab_s_is_shown() -> None:
    """``test_links.py`` looks whether the headings are there too."""
    assert len(rows()) > 70
    for feature, *peers, own in rows():
        assert {*peers} <= MARKS, feature
        shown = SHOWN.fullmatch(own)
        assert shown or own == ".", f"{feature}: {own} says nothing, or has no link"
        assert shown is None or (ROOT / "docs" / shown[2]).is_file(), own


def test_the_counts_are_those_of_the_table() -> None:
    own = [cells[-1].strip("[")[0] for cells in rows()]
    yes, part, no = (own.count(mark) for mark in "YP.")
    assert TEXT.rstrip().endswith(f"Of {len(own)} features lab has {yes} (`Y`), {part} in part (`P`), and {no} not.")
