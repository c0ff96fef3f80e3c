"""The page of ``lab report`` in Firefox: it draws, filters, brushes and prints there too."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lab.cli.main import main
from tests.browser import until
from tests.firefox import Firefox, firefox
from tests.reports import write_run, write_sweep

RUNS = 60
SHOWN = "return Number(document.getElementById('count').textContent.split(' ')[0])"
TYPED = "return ranges.get('val/map')?.numbers[0][0]"
LINES = "return panels[0].chart.drawn?.getOption().series.filter((one) => one.type === 'line').length ?? 0"


def opened(browser: Firefox, page: Path) -> None:
    browser.get(page.as_uri())
    until(lambda: browser.execute_script("return document.body.dataset.ready"), "the page is ready")


@pytest.mark.slow
def test_the_page_in_firefox(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "rates"
    write_sweep(folder, RUNS).close()
    write_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    profile = tmp_path / "profile"
    profile.mkdir()
    with firefox(profile) as browser:
        opened(browser, folder / "report.html")
        until(lambda: browser.execute_script(LINES) == RUNS, "all curves are drawn")
        browser.execute_script("document.getElementById('parallel').scrollIntoView({block: 'center'})")
        until(lambda: browser.execute_script("return Boolean(explored.parallel.drawn)"), "the axes are drawn")
        browser.type("#ranges input[aria-label='val/map, least']", "0.5")
        until(lambda: browser.execute_script(TYPED) == 0.5, "the range is read to its last digit")
        until(lambda: 0 < browser.execute_script(SHOWN) < RUNS, "a typed range filters")
        until(lambda: browser.execute_script(LINES) == browser.execute_script(SHOWN), "the curves follow")
        browser.execute_script("document.getElementById('unbrush').click()")
        until(lambda: browser.execute_script(SHOWN) == RUNS, "all are back")
        box = browser.execute_script("return document.getElementById('parallel').getBoundingClientRect()")
        right, top = int(box["right"] - 70), int(box["top"] + 46)
        browser.drag([(right, top), (right, top + 40), (right, top + 80)])
        until(lambda: 0 < browser.execute_script(SHOWN) < RUNS, "the mouse brushes")
        browser.execute_script("document.getElementById('theme').click()")
        printed = browser.ask("browsingContext.print", context=browser.context)["data"]
        assert base64.b64decode(printed).startswith(b"%PDF")
        opened(browser, tmp_path / "run" / "report.html")
        assert browser.execute_script("return document.querySelectorAll('.panel').length") == 7
        assert browser.messages == []
