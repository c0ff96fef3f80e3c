"""The HTML of a page: nothing of a run is taken for HTML or a script, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lab.report.html.page import ConfigDifference, Detail, Entry, Page, Setting, Sheet, ShownPicture, Span
from lab.report.html.rendering import render, render_update

EVIL = "</script><script>alert('&1')</script><img src=x onerror=alert(2)>\"'--><b>"


class Reader(HTMLParser):
    """Collects elements and what is in script elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        self.texts.append(data)


def hostile(kind: str) -> Page:
    entry = Entry(
        EVIL, EVIL, Path(EVIL), "failed", 1, EVIL, {EVIL: EVIL}, {EVIL: 1.0, f"test/a_per_class/{EVIL}": 0.5},
        words=[EVIL], command=EVIL, monitor=EVIL, problem=EVIL, tail=EVIL, damage=[EVIL],
    )  # fmt: skip
    detail = Detail(
        [Setting(EVIL, EVIL, EVIL, True)], EVIL, {EVIL: [(EVIL, EVIL)]}, EVIL,
        [ShownPicture(EVIL, EVIL, "data:image/png;base64,AA==", 8, 8, 4), ShownPicture(EVIL, EVIL, "data:,", 8, 8)],
        [Sheet(EVIL, EVIL, [EVIL, EVIL], [[EVIL, 1.0]], True), Sheet(EVIL, EVIL, [EVIL], [[EVIL]])], [EVIL],
    )  # fmt: skip
    return Page(
        EVIL, kind, EVIL, [entry, entry], [EVIL], EVIL, [EVIL], 0, [(EVIL, EVIL), ("state", EVIL)], EVIL, [EVIL],
        [Span(0, 1, EVIL, 0.0, None, EVIL, EVIL)], {}, EVIL, [ConfigDifference(EVIL, [(EVIL, [0]), ("b", [1])])],
        detail if kind == "run" else None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["run", "runs"])
def test_hostile_names_stay_text(kind: str) -> None:
    found = Reader(render(hostile(kind)))
    assert len(found.scripts) == 3  # data, ECharts, the page's own
    assert all(attributes.get("src") != "x" for tag, attributes in found.elements if tag == "img")
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "b" not in {tag for tag, _ in found.elements}
    assert json.loads(found.scripts[0])["runs"][0]["name"] == EVIL
    assert any(EVIL in text for text in found.texts)  # it is shown, as it is


@pytest.mark.parametrize("kind", ["run", "runs"])
def test_hostile_names_stay_text_in_updates(kind: str) -> None:
    for html in render_update(hostile(kind))["parts"].values():
        found = Reader(html)
        assert found.scripts == []
        assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)


@pytest.mark.parametrize("kind", ["run", "runs"])
def test_names_that_are_no_text_can_be_written(kind: str) -> None:
    """As Python reads bytes of a file's name that are no UTF-8."""
    page = replace(hostile(kind), title="run-\udcff")
    assert "run-\\udcff" in render(page).encode().decode()
    assert "\udcff" not in "".join(render_update(page)["parts"].values())


def policy_of(found: Reader) -> str:
    return next(attributes["content"] or "" for _, attributes in found.elements if attributes.get("http-equiv"))


def test_only_its_own_scripts_may_run() -> None:
    found = Reader(render(hostile("runs")))
    policy = policy_of(found)
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    for script in found.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "connect-src 'self'" in policy_of(Reader(render(hostile("runs"), live=True)))


def test_nothing_is_loaded_from_elsewhere() -> None:
    found = Reader(render(hostile("run")))
    for tag, attributes in found.elements:
        for name in ("src", "href", "action", "srcset"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, address)


def test_the_libraries_licence_is_shipped() -> None:
    from importlib import resources

    assets = resources.files("lab.report.html") / "assets"
    assert "Apache License" in (assets / "echarts.LICENSE").read_text()
    assert "Copyright" in (assets / "echarts.NOTICE").read_text()
    assert "Mike Bostock" in (assets / "echarts.LICENSE-d3").read_text()
    assert "Licensed to the Apache Software Foundation" in (assets / "echarts.min.js").read_text()[:400]


def test_headings_labels_and_names_for_screen_readers() -> None:
    found = Reader(render(hostile("runs")))
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    names = {attributes["id"] for _, attributes in found.elements if attributes.get("id")}
    for tag, attributes in found.elements:
        for reference in ("aria-labelledby", "aria-describedby", "for"):
            assert set((attributes.get(reference) or "").split()) <= names, (tag, attributes)
        if tag == "img":
            assert attributes.get("alt")
