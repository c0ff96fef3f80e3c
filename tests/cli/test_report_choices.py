"""What a reader has chosen on the page of ``lab report`` stays: under filters, other metrics and new data."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.cli.main import main
from lab.report.html.live import LivePage, start_server
from lab.sweeps.ledger import Ledger
from lab.sweeps.report import Gatherer
from tests.browser import browser, messages, until
from tests.report_page import cells, drawn_lines, opened, shown, write
from tests.reports import write_run

Jobs = Sequence[tuple[Sequence[str], Mapping[str, float] | None]]
BRUSHED = "return [...explored.axes].map((_, place) => axisModel(place).activeIntervals.length)"
CHOOSE = "Lab.brushAxis(explored.axes.findIndex((one) => one.id === arguments[0]), arguments[1])"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


def write_jobs(folder: Path, jobs: Jobs) -> Ledger:
    """Write a sweep of jobs: their words, and their result or None for one that waits."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder, create=True)
    ledger.add(
        [(list(words), str(folder.parents[1] / f"run-{place:03d}"), {}) for place, (words, _) in enumerate(jobs)]
    )
    ledger.set(command="python run.py -m x=1", total=len(jobs))
    for place, (words, result) in enumerate(jobs):
        if result is not None:
            finish(ledger, place, words, result)
    return ledger


def finish(ledger: Ledger, place: int, words: Sequence[str], result: Mapping[str, float]) -> None:
    write_run(Path(ledger.job(place + 1).run), place, 1e-3, 20, words=tuple(words), result=dict(result))
    ledger.claim(place + 1, "master", place % 4)
    ledger.end(place + 1, 1, "finished", {"state": "finished", "result": dict(result)}, first_step=1, last_step=200)


def reported(folder: Path, jobs: Jobs) -> str:
    write_jobs(folder, jobs).close()
    assert main(["report", str(folder)]) == 0
    return (folder / "report.html").as_uri()


@contextmanager
def served(chromium: Any, folder: Path) -> Iterator[Callable[[], None]]:
    """Open the live page of a folder; what is returned lets it look at the files."""
    live = LivePage(Gatherer([str(folder)]).page)
    server = start_server(live)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        opened(chromium, f"http://127.0.0.1:{server.server_port}/")
        yield live.look
    finally:
        chromium.get("about:blank")
        live.close()
        server.shutdown()
        server.server_close()


def draw_axes(chromium: Any) -> None:
    chromium.execute_script("document.getElementById('parallel').scrollIntoView({block: 'center'})")
    until(lambda: chromium.execute_script("return Boolean(explored.parallel.drawn)"), "the axes are drawn")


def of_models(names: str) -> Jobs:
    return [
        ([f"model={name}", f"seed={seed}"], {"val/map": 0.3 + 0.1 * place + 0.01 * seed, "test/map": 0.5 + 0.01 * seed})
        for place, name in enumerate(names)
        for seed in range(4)
    ]


def test_a_chosen_name_stays_that_name(chromium: Any, tmp_path: Path) -> None:
    """Under a filter that takes another name from the axis, which numbers the places anew."""
    opened(chromium, reported(tmp_path / "sweeps" / "s", of_models("abc")))
    draw_axes(chromium)
    chromium.execute_script(CHOOSE, "model", [[1.6, 2.4]])
    until(lambda: set(cells(chromium, "model")) == {"c"}, "c is chosen")
    write(chromium, "filter", "model!=a")
    until(lambda: chromium.execute_script("return Lab.words") == "model!=a", "the filter is read")
    assert set(cells(chromium, "model")) == {"c"}
    write(chromium, "filter", "model!=c")
    until(lambda: shown(chromium) == 0, "nothing is both")
    write(chromium, "filter", "")
    until(lambda: shown(chromium) == 4, "and back")
    assert set(cells(chromium, "model")) == {"c"}
    assert messages(chromium) == []


def test_a_range_goes_with_its_axis(chromium: Any, tmp_path: Path) -> None:
    opened(chromium, reported(tmp_path / "sweeps" / "s", of_models("abc")))
    draw_axes(chromium)
    chromium.execute_script(CHOOSE, "val/map", [[0.45, 0.6]])
    until(lambda: shown(chromium) == 4, "a range of the metric")
    write(chromium, "metric", "test/map")
    until(lambda: shown(chromium) == 12, "all runs: the axis is gone")
    assert sum(chromium.execute_script(BRUSHED)) == 0
    assert chromium.execute_script("return ranges.size") == 0
    assert messages(chromium) == []


def test_values_that_look_alike_are_told_apart(chromium: Any, tmp_path: Path) -> None:
    """Rates that four digits do not tell apart are two groups, and seeds of eight digits are written whole."""
    jobs = [
        ([f"optimizer.lr={rate}", f"seed={seed}"], {"val/map": score})
        for rate, score in (("3.141e-4", 0.9), ("3.139e-4", 0.1))
        for seed in (20240101, 20240102)
    ]
    opened(chromium, reported(tmp_path / "sweeps" / "s", jobs))
    assert set(cells(chromium, "seed")) == {"20240101", "20240102"}
    assert len(set(cells(chromium, "optimizer.lr"))) == 2
    write(chromium, "group", "optimizer.lr")
    assert cells(chromium, "val/map") == ["0.9 ± 0", "0.1 ± 0"]
    assert messages(chromium) == []


def test_a_mean_says_of_how_many_it_is(chromium: Any, tmp_path: Path) -> None:
    jobs = [([f"lr={0.1}", f"seed={seed}"], {"val/map": 0.5} if seed < 2 else {"val/loss": 1.0}) for seed in range(5)]
    jobs += [(["lr=0.2", "seed=0"], {"val/map": 0.4, "val/loss": 2.0})]
    opened(chromium, reported(tmp_path / "sweeps" / "s", jobs))
    write(chromium, "group", "lr")
    assert cells(chromium, "val/map") == ["0.5 ± 0 (2 of 5)", "0.4"]
    chromium.execute_script("window.copied = asCsv()")
    lines = chromium.execute_script("return window.copied").splitlines()
    assert lines[0].startswith("lr,runs,val/map,val/map deviation,val/map runs,")
    assert lines[1].startswith("0.1,5,0.5,0,2,")


def test_bands_are_of_all_runs_of_a_group(chromium: Any, tmp_path: Path) -> None:
    """Of ungrouped runs the first 300 are drawn; a band is not of the best 300 alone."""
    jobs = [([f"lr={lr}", f"seed={seed}"], {"val/map": seed / 400}) for lr in (0.1, 0.2) for seed in range(160)]
    opened(chromium, reported(tmp_path / "sweeps" / "s", jobs))
    until(lambda: drawn_lines(chromium) == 300, "300 lines")
    assert "The 300 first of 320" in chromium.find_element("id", "curve-note").text
    write(chromium, "group", "lr")
    until(lambda: drawn_lines(chromium) == 2, "two bands")
    assert chromium.execute_script("return panels[0].lines.length") == 320
    assert "The 300 first" not in chromium.find_element("id", "curve-note").text


def test_an_open_end_stays_open(chromium: Any, tmp_path: Path) -> None:
    """A better run that comes later lies in a range of which only the least value was typed; the focus stays."""
    folder = tmp_path / "sweeps" / "s"
    jobs = [([f"model={name}", "seed=0"], {"val/map": score}) for name, score in (("a", 0.4), ("b", 0.7))]
    ledger = write_jobs(folder, [*jobs, (["model=c", "seed=0"], None)])
    with served(chromium, folder) as look:
        draw_axes(chromium)
        least = "#ranges input[aria-label='val/map, least']"
        chromium.find_element("css selector", least).send_keys("0.5")
        until(lambda: cells(chromium, "model") == ["b"], "a typed range filters")
        head = chromium.find_element("css selector", "#table th[data-column='model'] button")
        chromium.execute_script("arguments[0].focus()", head)
        finish(ledger, 2, ["model=c", "seed=0"], {"val/map": 0.9})
        look()
        until(lambda: cells(chromium, "model") == ["c", "b"], "the better run is in it")
        assert chromium.execute_script("return document.activeElement.textContent") == "model"
        assert messages(chromium) == []
    ledger.close()


def test_a_run_gets_the_curves_that_it_logs_later(chromium: Any, tmp_path: Path) -> None:
    """The live page of one run; a second run in its folder makes another page of it."""
    write_run(tmp_path / "one", points=20)
    file = tmp_path / "one" / "metrics.csv"
    whole = file.read_text().splitlines()
    file.write_text("\n".join([",".join(line.split(",")[:4]) for line in whole[:10]]) + "\n")
    titles = "return [...document.querySelectorAll('.panel h3')].map((one) => one.textContent)"
    with served(chromium, tmp_path) as look:
        assert chromium.execute_script(titles) == ["train/loss", "train/lr"]
        file.write_text("\n".join(whole) + "\n")
        (tmp_path / "one" / "test-best").mkdir()
        look()
        until(lambda: "val/map" in chromium.execute_script(titles), "its panel is there")
        assert chromium.execute_script(titles)[0] == "val/map"  # what it monitors comes first
        (tmp_path / "one" / "test-best" / "result.json").write_text(json.dumps({"val/map": 0.5}))
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        look()
        until(lambda: chromium.execute_script("return Lab.data.kind") == "runs", "it is a page of two runs")
        assert messages(chromium) == []
