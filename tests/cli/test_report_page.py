"""The page of ``lab report`` in a real browser: what a person clicks, and that its scripts do not complain."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lab.cli.main import main
from lab.report.html.live import LivePage, start_server
from lab.run_progress import read_progress
from lab.sweeps.report import Gatherer
from tests.browser import browser, click, messages, until
from tests.report_page import cells, drawn_lines, opened, shown, write
from tests.reports import write_run, write_sweep
from tests.runs import SMALL, Runs, wait_for

RUNS = 200


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "sweeps" / "rates"
    write_sweep(folder, RUNS).close()
    return folder


@pytest.fixture(scope="module")
def report(sweep: Path) -> Path:
    assert main(["report", str(sweep)]) == 0
    return sweep / "report.html"


def test_a_sweep_of_200_runs_is_small_and_opens_soon(chromium: Any, report: Path) -> None:
    """The goal is 3 s: 0.8 s by the clock on a machine with nothing else to do (AMD EPYC, 2026-11-29).

    Tests share the machine, so here the seconds of the processor count that the page's process takes: 0.6 to 0.9.
    """
    assert report.stat().st_size < 15e6
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Performance.enable", {})
    before = processor_seconds(chromium)
    opened(chromium, report.as_uri())
    until(lambda: drawn_lines(chromium) == 200, "all curves are drawn")
    after = processor_seconds(chromium)
    chromium.execute_cdp_cmd("Performance.disable", {})
    assert 0 < after - (before if after > before else 0) < 3
    assert messages(chromium) == []
    assert len(cells(chromium, "job")) == RUNS


def processor_seconds(chromium: Any) -> float:
    """Return what the process of the page has taken; another page may have another process."""
    metrics = chromium.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "ProcessTime"))


def test_the_table_sorts_and_says_so(chromium: Any, report: Path) -> None:
    opened(chromium, report.as_uri())
    button = "#table th[data-column='val/loss'] button"
    click(chromium, button)
    values = [float(text) for text in cells(chromium, "val/loss") if text != "–"]
    assert values == sorted(values)  # of a loss the lowest comes first
    assert cells(chromium, "val/loss")[-1] == "–"
    head = chromium.find_element("css selector", "#table th[data-column='val/loss']")
    assert head.get_attribute("aria-sort") == "ascending"
    click(chromium, button)
    values = [float(text) for text in cells(chromium, "val/loss") if text != "–"]
    assert values == sorted(values, reverse=True)
    assert cells(chromium, "val/loss")[-1] == "–"


def test_words_and_comparisons_filter_table_and_curves(chromium: Any, report: Path) -> None:
    opened(chromium, report.as_uri())
    write(chromium, "filter", "rtdetr seed=1 lr<0.001")
    until(lambda: shown(chromium) < RUNS, "the table is filtered")
    rates = [float(text) for text in cells(chromium, "optimizer.lr")]
    assert rates
    assert max(rates) < 1e-3
    assert set(cells(chromium, "model")) == {"rtdetr_tiny"}
    assert set(cells(chromium, "seed")) == {"1"}
    until(lambda: drawn_lines(chromium) == len(rates), "the curves are filtered")
    write(chromium, "filter", "nothing like this")
    until(lambda: shown(chromium) == 0, "no run is left")
    assert messages(chromium) == []


def test_a_brush_on_an_axis_filters(chromium: Any, report: Path) -> None:
    opened(chromium, report.as_uri())
    chromium.execute_script("Lab.brushAxis(3, [[0.7, 0.8]])")  # the metric's axis
    until(lambda: 0 < shown(chromium) < RUNS, "the brush filters")
    assert min(float(text) for text in cells(chromium, "val/map")) >= 0.7
    until(lambda: drawn_lines(chromium) == shown(chromium), "the curves follow")
    click(chromium, "#unbrush")
    until(lambda: shown(chromium) == RUNS, "the brush is gone")
    assert messages(chromium) == []


def test_ranges_are_typed_too(chromium: Any, report: Path) -> None:
    """All that a brush does, by keyboard: numbers and names; chart, table and curves follow."""
    from selenium.webdriver import Keys

    opened(chromium, report.as_uri())
    chromium.execute_script("document.getElementById('parallel').scrollIntoView()")
    until(lambda: chromium.find_elements("css selector", "#ranges input"), "the fields are there")
    least = chromium.find_element("css selector", "#ranges input[aria-label='val/map, least']")
    least.send_keys("0.6")
    low = "return ranges.get('val/map')?.numbers[0][0]"
    until(lambda: chromium.execute_script(low) == 0.6, "the range is read to its last digit")
    until(lambda: 0 < shown(chromium) < RUNS, "the range filters")
    assert min(float(text) for text in cells(chromium, "val/map")) >= 0.6
    assert chromium.switch_to.active_element == least
    brushed = "return explored.axes.map((_, place) => axisModel(place).activeIntervals.length)"
    assert chromium.execute_script(brushed)[-1] == 1
    before = shown(chromium)
    least.send_keys(Keys.TAB, Keys.NULL)
    chromium.find_element("css selector", "#ranges select").send_keys(Keys.ARROW_DOWN)
    until(lambda: 0 < shown(chromium) < before, "a name filters too")
    assert len(set(cells(chromium, "model"))) == 1
    until(lambda: drawn_lines(chromium) == shown(chromium), "the curves follow")
    click(chromium, "#theme")  # all charts are drawn again
    click(chromium, "#theme")
    assert sum(chromium.execute_script(brushed)) == 2
    most = chromium.find_element("css selector", "#ranges input[aria-label='val/map, most']")
    most.send_keys("0.1")
    until(lambda: most.get_attribute("aria-invalid") == "true", "a range that has no inside is marked")
    click(chromium, "#unbrush")
    until(lambda: shown(chromium) == RUNS, "all runs are there again")
    assert least.get_attribute("value") == ""
    assert sum(chromium.execute_script(brushed)) == 0
    assert messages(chromium) == []


def test_a_range_still_being_typed_is_forgotten_too(chromium: Any, report: Path) -> None:
    """A click that comes before the pause that ends typing: the range must not come back."""
    opened(chromium, report.as_uri())
    chromium.execute_script("Lab.brushAxis(3, [[0.7, 0.8]])")
    until(lambda: 0 < shown(chromium) < RUNS, "the brush filters")
    typed = """
        const field = document.querySelector("#ranges input[aria-label='val/map, least']");
        field.focus();
        field.value = "0.6";
        field.dispatchEvent(new Event("input", {bubbles: true}));
        document.getElementById("unbrush").click();
        return field.value;
    """
    assert chromium.execute_script(typed) == ""
    time.sleep(0.5)  # the pause is 0.2 s
    assert shown(chromium) == RUNS
    assert chromium.execute_script("return ranges.size") == 0
    assert messages(chromium) == []


def test_a_live_page_follows_its_sweep(chromium: Any, tmp_path: Path) -> None:
    """A run ends while the page is open: the row changes and the curve appears; the filter stays."""
    ledger = write_sweep(tmp_path / "sweeps" / "live", 4, 20)
    run = ledger.job(4).run
    shutil.move(run, tmp_path / "aside")
    ledger.change(4, state="waiting", result={})
    live = LivePage(Gatherer([str(tmp_path / "sweeps" / "live")]).page)
    server = start_server(live)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        opened(chromium, f"http://127.0.0.1:{server.server_port}/")
        write(chromium, "filter", "tiny")
        assert cells(chromium, "state").count("waiting") == 1
        until(lambda: drawn_lines(chromium) == 3, "three curves are drawn")
        shutil.move(tmp_path / "aside", run)
        ledger.change(4, state="finished")
        live.look()
        until(lambda: cells(chromium, "state").count("finished") == 4, "the row of the run changes")
        until(lambda: drawn_lines(chromium) == 4, "its curve is drawn")
        assert chromium.find_element("id", "filter").get_attribute("value") == "tiny"
        assert "4 finished" in chromium.find_element("id", "overview").text
        assert messages(chromium) == []
    finally:
        chromium.get("about:blank")  # else it goes on asking the server, and complains in the tests that follow
        live.close()
        server.shutdown()
        server.server_close()
        ledger.close()


@pytest.mark.slow
def test_a_live_page_follows_a_real_master(chromium: Any, runs: Runs, tmp_path: Path) -> None:
    """Real jobs, one after the other: rows change and curves appear in a page that is never loaded again."""
    folder = tmp_path / "runs" / "sweeps" / "mine"
    words = ("trainer.max_steps=30", "trainer.val_every_n_steps=10", "trainer.log_every_n_steps=1", "seed=0,1,2")
    quiet = ("callbacks.pictures=0", "callbacks.progress=false", "launcher.workers=1", "sweep=mine")
    master = runs.start("-m", *SMALL, *words, *quiet, folder=tmp_path)
    assert wait_for(lambda: (folder / "ledger.sqlite").exists() and running(folder), master), master.err
    live = runs.start("report", "mine", "--live", folder=tmp_path)
    assert wait_for(lambda: "http://" in live.out, live), live.err
    opened(chromium, re.findall(r"http://[\w.:]+/", live.out)[0])
    chromium.execute_script("window.mark = 'not loaded again'")
    seen = []

    def look() -> bool:
        seen.append((tuple(sorted(cells(chromium, "state"))), drawn_lines(chromium)))
        return seen[-1] == (("finished",) * 3, 3)

    assert wait_for(look, live, 240), (seen[-5:], live.err)
    assert master.wait() == 0, master.err
    assert any("running" in states for states, _ in seen)
    assert len({lines for _, lines in seen}) >= 2, seen
    until(lambda: chromium.find_element("id", "live").text == "nothing runs", "the page says that all is done")
    assert chromium.execute_script("return window.mark") == "not loaded again"
    assert messages(chromium) == []
    chromium.get("about:blank")  # it would go on asking the server that ends now, and log that nobody answers
    live.send(signal.SIGINT)
    assert live.wait() == 0, live.err
    messages(chromium)


def running(folder: Path) -> int:
    """Return how many jobs of a sweep have logged something."""
    return sum((progress := read_progress(path)) is not None and progress.step > 0 for path in folder.glob("jobs/*"))


def test_runs_are_grouped_with_mean_and_deviation_over_seeds(chromium: Any, report: Path) -> None:
    opened(chromium, report.as_uri())
    first = {row["run"]: row["test/map"] for row in table_of(chromium) if row["optimizer.lr"] == "0.00126"}
    assert len(first) == 2  # two seeds
    write(chromium, "group", "*")
    groups = table_of(chromium)
    assert len(groups) == RUNS // 2
    group = next(row for row in groups if row["optimizer.lr"] == "0.00126")
    one, other = map(float, first.values())
    mean, deviation = (float(text) for text in group["test/map"].split(" ± "))
    assert mean == pytest.approx((one + other) / 2, abs=1e-4)
    assert deviation == pytest.approx(abs(one - other) / 2**0.5, rel=0.05, abs=1e-4)
    assert group["run"] == "2 runs"
    assert "seed" not in group
    write(chromium, "group", "model")
    assert [row["run"] for row in table_of(chromium)] == ["100 runs", "100 runs"]
    until(lambda: drawn_lines(chromium) == 2, "a line for each group")
    assert "model=rtdetr_tiny" in chromium.find_element("id", "legend").text
    ends = """
        const drawn = panels[0].chart.drawn;
        const [low, high] = drawn.getModel().getComponent("yAxis").axis.scale.getExtent();
        const bands = drawn.getOption().series.filter((one) => one.type === "custom").flatMap((one) => one.data);
        return [low, high, Math.min(...bands.map((at) => at[1])), Math.max(...bands.map((at) => at[1]))]"""
    low, high, least, most = chromium.execute_script(ends)
    assert low <= least < most <= high  # the axis spans the bands, not only their means
    empty = """
        const box = document.querySelector("#runs .table-box");
        return box.offsetHeight - box.querySelector("table").offsetHeight"""
    assert chromium.execute_script(empty) < 30  # a table of two rows leaves no empty place
    assert messages(chromium) == []


def table_of(chromium: Any) -> list[dict[str, str]]:
    script = """
        const table = document.getElementById("table");
        const names = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.column ?? "");
        return [...table.tBodies[0].rows].map((row) =>
            Object.fromEntries([...row.cells].map((cell, place) => [names[place], cell.textContent])));"""
    return list(chromium.execute_script(script))


def test_a_row_highlights_its_curve_and_back(chromium: Any, report: Path) -> None:
    opened(chromium, report.as_uri())
    until(lambda: drawn_lines(chromium) == RUNS, "all curves are drawn")
    run = chromium.execute_script("return Number(document.querySelector('#table tbody tr').dataset.run)")
    click(chromium, "#table tbody tr .swatch")
    assert chromium.execute_script("return panels[0].lit") == str(run)
    pressed = "return document.querySelector('#table tbody tr .swatch').getAttribute('aria-pressed')"
    assert chromium.execute_script(pressed) == "true"
    chromium.execute_script("Lab.setHover(3)")  # as the mouse over a curve does
    assert chromium.execute_script("return document.querySelector('tr.hover').dataset.run") == "3"
    click(chromium, "#unpin")
    assert chromium.execute_script(pressed) == "false"


def test_axes_smoothing_columns_and_theme(chromium: Any, report: Path) -> None:
    opened(chromium, report.as_uri())
    until(lambda: drawn_lines(chromium, 1) == RUNS, "the loss is drawn")
    option = "return JSON.stringify(panels[1].chart.drawn.getOption().{})"
    spread = "const y = panels[1].chart.drawn.getOption().series[0].data.map((at) => at[1]); let sum = 0;"
    spread += "for (let i = 1; i < y.length; i++) sum += Math.abs(y[i] - y[i - 1]); return sum"
    rough = chromium.execute_script(spread)
    write(chromium, "smoothing", "0.9")
    until(lambda: chromium.execute_script(spread) < rough / 2, "the curve is smoother")
    write(chromium, "x-axis", "samples")
    until(lambda: "samples" in chromium.execute_script(option.format("xAxis[0].name")), "samples are the axis")
    assert chromium.execute_script("return panels[1].chart.drawn.getOption().series[0].data.at(-1)[0]") == 2_000 * 32
    write(chromium, "x-axis", "time")
    seconds = "return panels[1].chart.drawn.getOption().series[0].data.at(-1)[0]"
    until(lambda: chromium.execute_script(seconds) == pytest.approx(160, rel=0.05), "2,000 steps of 32 at 400 a second")
    assert "estimated" in chromium.find_element("id", "curve-note").text
    click(chromium, "#log-y")
    until(lambda: "log" in chromium.execute_script(option.format("yAxis[0].type")), "the axis is logarithmic")
    chromium.execute_script("document.querySelector('details.menu').open = true")
    click(chromium, "#columns label:first-child input")
    assert "job" not in table_of(chromium)[0]
    before = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
    click(chromium, "#theme")
    assert chromium.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    click(chromium, "#theme")
    assert messages(chromium) == []


def test_a_mouse_brushes_an_axis(chromium: Any, report: Path) -> None:
    """A drag along the upper part of the metric's axis, as a person does it."""
    from selenium.webdriver import ActionChains

    opened(chromium, report.as_uri())
    element = chromium.find_element("id", "parallel")
    chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    until(lambda: chromium.execute_script("return Boolean(explored.parallel.drawn)"), "the chart is drawn")
    width, height = element.size["width"], element.size["height"]
    right, top = width / 2 - 70, -height / 2 + 44  # from the middle of the chart
    actions = ActionChains(chromium).move_to_element_with_offset(element, int(right), int(top + 2))
    actions.click_and_hold().move_by_offset(0, 40).move_by_offset(0, 40).release().perform()
    until(lambda: min(float(text) for text in cells(chromium, "val/map")) > 0.5, "the brush filters")
    assert 0 < shown(chromium) < RUNS
    field = chromium.find_element("css selector", "#ranges input[aria-label='val/map, least']")
    assert float(field.get_attribute("value")) > 0.4  # what the mouse has chosen stands in the fields
    assert messages(chromium) == []


def test_the_page_of_a_run(chromium: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "run", words=("optimizer.lr=0.001",))
    (tmp_path / "run" / "tables").mkdir()
    (tmp_path / "run" / "tables" / "confusion.csv").write_text("true / predicted,a,b\na,3,1\nb,0,2\n")
    (tmp_path / "run" / "tables" / "classes.csv").write_text("class,accuracy\na,0.5\nb,0.25\nc,\nd,0.3\n")
    (tmp_path / "run" / "pictures").mkdir()
    picture = Image.new("RGB", (132, 80), "white")
    picture.paste((200, 0, 0), (0, 16, 64, 80))
    picture.paste((0, 0, 200), (68, 16, 132, 80))
    picture.save(tmp_path / "run" / "pictures" / "test-000.png")
    assert main(["report", str(tmp_path / "run")]) == 0
    opened(chromium, (tmp_path / "run" / "report.html").as_uri())
    assert len(chromium.find_elements("css selector", ".panel")) == 7
    assert len(chromium.find_elements("css selector", "#system .panel")) == 4
    assert chromium.find_element("css selector", "#system .last").text.startswith("last ")
    chromium.execute_script("document.querySelector('.matrix').scrollIntoView()")
    until(lambda: chromium.execute_script("return Boolean(document.querySelector('.matrix').chart.drawn)"), "drawn")
    slider = "const at = document.querySelector('.pair input'); at.value = 20; at.dispatchEvent(new Event('input'));"
    clip = "return document.querySelector('.wipe div:nth-of-type(2)').style.clipPath"
    assert "20%" in chromium.execute_script(slider + clip)
    button = "#tables > .table-box th:nth-child(2) button"
    click(chromium, button)
    rows = "[...document.querySelector('#tables > .table-box table').tBodies[0].rows]"
    column = f"return {rows}.map((row) => row.cells[1].textContent)"
    assert chromium.execute_script(column) == ["–", "0.25", "0.3", "0.5"]  # by value, not by their digits
    click(chromium, "#config-typed")
    visible = "return [...document.querySelectorAll('#config-table tbody tr')].filter((row) => !row.hidden).length"
    assert chromium.execute_script(visible) == 1
    assert messages(chromium) == []


def test_hostile_names_run_no_script(chromium: Any, tmp_path: Path) -> None:
    """A name with HTML stays text in the table, the legend, the tooltip, the failures and the charts."""
    evil = "<img src=x onerror=document.title='hacked'>"
    ledger = write_sweep(tmp_path / "sweeps" / evil, 4, 20)
    ledger.change(1, words=[f"model={evil}"], state="failed", problem=evil, tail=evil)
    ledger.close()
    out = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "sweeps" / evil), "--out", str(out)]) == 0
    opened(chromium, out.as_uri())
    write(chromium, "colour", "model")
    write(chromium, "group", "model")
    chromium.execute_script(
        "for (const chart of charts) chart.open();"
        "Lab.tip({clientX: 9, clientY: 9}, Lab.data.runs[3].label, Lab.linesOf(3))"
    )
    assert evil in chromium.find_element("css selector", "h1").text
    assert evil in chromium.find_element("id", "tip").text
    assert evil in chromium.find_element("id", "table").text
    assert "hacked" not in chromium.title.replace(evil, "")
    assert not chromium.find_elements("css selector", "img[src='x']")
    assert messages(chromium) == []
