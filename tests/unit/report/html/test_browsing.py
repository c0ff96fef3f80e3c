"""The page of a data set: text of the data is escaped, nothing is loaded, what was not looked at is said."""

from __future__ import annotations

import re
from html import unescape

from PIL import Image

from lab.report.html.browsing import LONGEST_SIDE, BrowsePage, card_of, render_browse
from lab.report.pieces import HIDDEN, MarkedPiece
from lab.report.sanity import OUTLIERS, SanityReport, SplitLook

EVIL = "</style><script>alert(1)</script><img src=x onerror=alert(2)>"


def page_of(*cards: object, report: SanityReport | None = None) -> str:
    page = BrowsePage(EVIL, EVIL, "2026-11-29", [("data", EVIL)], list(cards), EVIL, {HIDDEN: EVIL}, report)  # type: ignore[arg-type]
    return render_browse(page)


def evil_report() -> SanityReport:
    look = SplitLook("train", "image", 2, 1, skipped={"near duplicates": EVIL})
    look.watch(OUTLIERS, EVIL)
    look.find(EVIL, EVIL)
    look.count_class(EVIL)
    look.tally(EVIL, EVIL)
    look.number(EVIL, 1, 2, 30)
    look.pair(EVIL, 1, 2)
    look.pair(EVIL, 7, 9)
    look.facts[EVIL] = EVIL
    return SanityReport(EVIL, EVIL, [look], notes=[EVIL], rows={EVIL: {"rows": 3, "used": 2, "left_out": {EVIL: 1}}})


def harmless_report() -> SanityReport:
    look = SplitLook("train", "image", 2, 2)
    look.number("width", 1, 2)
    return SanityReport("shapes", "kind", [look])


def test_text_of_the_data_never_becomes_markup() -> None:
    picture = Image.new("RGB", (8, 8))
    cards = [card_of(picture, EVIL), card_of(picture, EVIL, [MarkedPiece(EVIL, HIDDEN, EVIL)], b"RIFF")]
    html = page_of(*cards, report=evil_report())
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("</style>") == 1
    assert html.startswith("<!doctype html>")


def test_nothing_is_loaded() -> None:
    html = unescape(page_of(card_of(Image.new("RGB", (8, 8)), "a"), report=harmless_report()))
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    assert "default-src 'none'" in html
    assert "url(" not in html


def test_what_was_not_looked_at_is_said() -> None:
    html = page_of(card_of(Image.new("RGB", (8, 8)), "a"), report=evil_report())
    assert "not looked at" in html
    assert "sanity" not in page_of(card_of(Image.new("RGB", (8, 8)), "a")).split("</style>")[1]


def test_pictures_are_kept_small() -> None:
    card = card_of(Image.effect_noise((4000, 2000), 40).convert("RGB"), "noise")
    assert (card.width, card.height) == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert card.source.startswith("data:image/jpeg;base64,")
    assert card_of(Image.new("RGB", (64, 64)), "").source.startswith("data:image/png;base64,")
