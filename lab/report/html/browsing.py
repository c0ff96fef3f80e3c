"""The page of a data set: what a network is fed, and what the data holds. It has no script and loads nothing. No torch.

All text of the data is escaped by jinja2; the content security policy allows pictures and sounds of the page alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lab.report.html.rendering import asset, environment
from lab.report.pieces import FILLS, MarkedPiece, shown
from lab.report.sanity import SanityReport, SplitLook
from lab.report.sanity_tables import example_rows, finding_rows, number_rows
from lab.text import printable

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)
LONGEST_SIDE = 1400
"""Of a picture on a page, in pixels; a larger one is made smaller."""
MOST_PNG = 200_000
"""Pixels up to which a picture is stored without loss."""
WIDE = 480
"""Pixels from which on a picture gets a wide place."""
MOST_BARS = 40


@dataclass(frozen=True)
class ShownCard:
    """A sample on the page.

    Attributes:
        caption: a line on it.
        source: its picture as a data URI; empty where there are pieces.
        width: of the picture, in pixels.
        height: likewise.
        pieces: in place of the picture.
        sound: a WAVE file in base64; empty where there is none.
    """

    caption: str
    source: str = ""
    width: int = 0
    height: int = 0
    pieces: tuple[tuple[str, str, str, bool], ...] = ()
    sound: str = ""


@dataclass
class BrowsePage:
    """What the page shows.

    Attributes:
        title: its name.
        command: what it was made by.
        made: when.
        facts: pairs of name and value.
        cards: the samples.
        shown: a line on which samples these are.
        legend: what the marks of pieces mean, by mark.
        report: what the data holds; None: it was not looked at.
    """

    title: str
    command: str
    made: str
    facts: list[tuple[str, str]]
    cards: list[ShownCard]
    shown: str
    legend: Mapping[str, str] = field(default_factory=dict)
    report: SanityReport | None = None

    @property
    def is_wide(self) -> bool:
        """Whether pictures need wide places."""
        return any(card.width >= WIDE or card.pieces for card in self.cards)


def card_of(picture: Image.Image, caption: str, pieces: Sequence[MarkedPiece] = (), wave: bytes = b"") -> ShownCard:
    """Return a sample for the page; of pieces no picture is stored, since they are written as text."""
    sound = base64.b64encode(wave).decode()
    if pieces:
        written = tuple((shown(one.text), one.mark, shown(one.below), one.breaks) for one in pieces)
        return ShownCard(printable(caption), pieces=written, sound=sound)
    source, size = data_uri(picture)
    return ShownCard(printable(caption), source, *size, sound=sound)


def data_uri(picture: Image.Image) -> tuple[str, tuple[int, int]]:
    """Return a picture as a data URI, and its (width, height): small ones as PNG, large ones as JPEG."""
    if max(picture.size) > LONGEST_SIDE:
        picture = picture.copy()
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    stored, kind = io.BytesIO(), "png" if picture.width * picture.height <= MOST_PNG else "jpeg"
    picture.save(stored, kind, **({"optimize": True} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(stored.getvalue()).decode()}", picture.size


def render_browse(page: BrowsePage) -> str:
    """Return the page as HTML."""
    marks = "\n".join(
        f".piece.{mark} > b {{ background: rgb{fill}; }} .key.{mark} {{ background: rgb{fill}; }}"
        for mark, fill in FILLS.items()
    )
    report = page.report
    return (
        environment()
        .get_template("browse.html.jinja")
        .render(
            page=page,
            policy=POLICY,
            style=f"{asset('report.css')}\n{asset('browse.css')}\n{marks}",
            looks=[] if report is None else [_look_view(look) for look in report.looks],
            findings=[] if report is None else finding_rows(report),
            examples=[] if report is None else example_rows(report),
            numbers=[] if report is None else number_rows(report),
            report=report,
        )
    )


def _look_view(look: SplitLook) -> dict[str, Any]:
    """Return what the page shows of a split as bars and grids."""
    classes = sorted((look.classes or {}).items(), key=lambda item: -item[1])
    charts = [(name, numbers.bars()) for name, numbers in look.numbers.items()]
    charts += [(name, counts.most_common(MOST_BARS // 2)) for name, counts in look.tallies.items()]
    return {
        "split": look.split,
        "classes": _bars(classes[:MOST_BARS]),
        "more_classes": max(0, len(classes) - MOST_BARS),
        "charts": [(name, _bars(rows)) for name, rows in charts if rows],
        "grids": [(name, _cells(grid)) for name, grid in look.grids().items()],
        "facts": [(name, printable(value)) for name, value in look.facts.items()],
    }


def _bars(rows: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    most = max((count for _, count in rows), default=1) or 1
    return [
        {"name": printable(name), "count": f"{count:,}", "share": f"{100 * count / most:.2f}"} for name, count in rows
    ]


def _cells(grid: Any) -> dict[str, Any]:
    """Return a grid as rows of cells from the largest second number down, each with the strength of its colour."""
    most = max(max(row) for row in grid.counts) or 1
    rows = []
    for number in range(len(grid.counts) - 1, -1, -1):
        low, high = grid.rows[number : number + 2]
        cells = [
            {
                "share": f"{100 * (count / most) ** 0.5:.1f}" if count else "0",
                "title": f"{left:.4g} to {right:.4g} x {low:.4g} to {high:.4g}: {count}",
            }
            for left, right, count in zip(grid.columns, grid.columns[1:], grid.counts[number], strict=False)
        ]
        rows.append({"name": f"{low:.4g}", "cells": cells})
    return {"rows": rows, "ends": (f"{grid.columns[0]:.4g}", f"{grid.columns[-1]:.4g}")}
