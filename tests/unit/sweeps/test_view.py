"""The live table and the plain lines of a running sweep."""

from __future__ import annotations

import io
import statistics
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from lab.sweeps.ledger import Ledger
from lab.sweeps.snapshot import Observer
from lab.sweeps.view import SweepView, picture, progress_line
from tests.sweeps import middle_of_a_sweep, write_progress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drawn(ledger: Ledger, width: int = 110, height: int = 30) -> list[str]:
    """Return the rows of the table as a terminal of this size shows them."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, record=True)
    console.print(picture(Observer(ledger).look(), 80.0, width, height))
    return console.export_text().splitlines()


def terminal(width: int = 110, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"})


def test_the_table_of_a_running_sweep(tmp_path: Path) -> None:
    ledger = middle_of_a_sweep(tmp_path / "sweeps" / "rates")
    ledger.note("crashed", "[2/6] failed optimizer.lr=1e-2: killed by SIGKILL")
    title, head, first, second, counts, event = (row.split() for row in drawn(ledger))
    assert title[:6] == ["sweep", "rates", "1", "of", "6", "done,"]
    assert "1:20" in title
    assert head == ["slot", "job", "overrides", "step", "val/map", "left", "phase", "memory", "try"]
    assert first == ["0", "4/6", "optimizer.lr=3e-4", "12/40", "0.125", "14", "s", "train", "1.2", "GiB", "1"]
    assert second == ["1", "5/6", "optimizer.lr=1e-4", "-", "-", "start", "1"]
    assert " ".join(counts) == "1 finished, 2 running, 1 waiting, 1 failed, 1 poison"
    assert " ".join(event) == "[2/6] failed optimizer.lr=1e-2: killed by SIGKILL"
    ledger.set(paused=True, total=None)
    (title, *_) = drawn(ledger)
    assert title.startswith("sweep rates 1 of ? done, 1:20 gone, about ")
    assert title.endswith(" left (paused: starts no further job)")


@pytest.mark.parametrize("height", [4, 5, 8, 12, 40])
@pytest.mark.parametrize("width", [45, 80, 200])
def test_it_has_at_most_the_rows_of_the_terminal(height: int, width: int, tmp_path: Path) -> None:
    ledger = many_jobs(tmp_path / "sweep", jobs=30, running=20)
    for number in range(9):
        ledger.note("x", f"event {number} {'long ' * 60}")
    rows = drawn(ledger, width, height)
    assert len(rows) <= height
    assert all(len(row) <= width for row in rows)
    if height == 12:
        jobs = sum("/30" in row for row in rows)
        assert sum(f"... and {20 - jobs} more" in row for row in rows) == 1


def many_jobs(folder: Path, jobs: int, running: int) -> Ledger:
    folder.mkdir()
    ledger = Ledger(folder, create=True)
    ledger.add([(["model=detr_tiny", f"optimizer.lr={n}e-3"], str(folder / f"run-{n}"), {}) for n in range(jobs)])
    for number in range(1, running + 1):
        ledger.claim(number, "master", number - 1)
        write_progress(folder, number, phase="train", step=number, max_steps=40, metrics={"val/map": 0.1})
    return ledger


def test_a_live_view_starts_no_thread_and_leaves_the_streams_alone(tmp_path: Path) -> None:
    import sys

    before, streams = threading.active_count(), (sys.stdout, sys.stderr)
    console, clock = terminal(), Clock()
    view = SweepView(middle_of_a_sweep(tmp_path / "sweeps" / "rates"), console, live=True, clock=clock)
    view.start()
    for _ in range(10):
        clock.now += 0.2
        view.update()
        assert threading.active_count() == before
        assert (sys.stdout, sys.stderr) == streams
    view.say("[4/6] finished optimizer.lr=3e-4: val/map 0.3, 12 s")
    view.stop()
    assert threading.active_count() == before
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert 4 <= text.count("overrides") <= 6  # the first, the last, and one for each half second
    assert text.count("[4/6] finished") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is visible
    assert "\x1b[?25h" in text[: text.index("overrides")]  # already while it runs: the master may be killed


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    console, clock = Console(file=io.StringIO(), width=80), Clock()
    view = SweepView(middle_of_a_sweep(tmp_path / "sweeps" / "rates"), console, clock=clock)
    assert not view.is_live
    view.start()
    view.say("[4/6] started optimizer.lr=3e-4 (slot 0, attempt 1)")
    for _ in range(100):
        clock.now += 0.2
        view.update()
    view.say("[4/6] \x1b[2J [bold]")
    view.stop()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b" not in text
    first, progress, last = text.splitlines()
    assert first == "[4/6] started optimizer.lr=3e-4 (slot 0, attempt 1)"
    assert progress == (
        "sweep rates 1 of 6 done, 15 s gone, about 14 s left: 1 finished, 2 running, 1 waiting, 1 failed, 1 poison; "
        "[4/6] 12/40 val/map 0.125, [5/6] -"
    )
    assert last == r"[4/6] \x1b[2J [bold]"


def test_names_from_outside_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "swe\x1b[2Jep"
    folder.mkdir()
    ledger = Ledger(folder, create=True)
    ledger.add([(["data.root=\x1b]0;x\x07[red]\n\u202ex", f"seed={seed}"], "run", {}) for seed in range(2)])
    ledger.add([(["seed=3", "x=[bold]a[/]\x1b[1m"], "run", {})])
    for number in (1, 2, 3):
        ledger.claim(number, "m", number)
    write_progress(folder, 3, phase="\x1b[5m[link=x]", step=1, max_steps=2, metrics={"val/\x1b[31m[b]": 1.0})
    ledger.note("x", "[blink]\x1b[2J\nsecond line")
    console = terminal(200)
    view = SweepView(ledger, console, live=True)
    view.start()
    view.say("[blink]\x1b[2J\nsecond line")
    view.stop()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for evil in ("\x1b]0", "\x1b[5m", "\u202e", "\x07"):
        assert evil not in text
    assert text.count("\x1b[2J") == 0
    assert "[red]" in text
    assert "[bold]a[/]" in text
    assert "[blink]" in text
    assert "\x1b" not in progress_line(Observer(ledger).look(), 1.0)


def test_the_time_left(tmp_path: Path) -> None:
    """By hand: 2 waiting of a mean of 10 s and one with 14 s left, by 2 workers: (20 + 14) / 2 = 17 s."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    ledger = Ledger(folder, create=True)
    observer = Observer(ledger)
    ledger.set(workers=2)
    ledger.add([([f"seed={seed}"], "run", {}) for seed in range(4)])
    assert observer.look().seconds_left is None
    ledger.claim(1, "m", 0)
    assert observer.look().seconds_left is None
    write_progress(folder, 1, step=12, max_steps=40, steps_per_s=2.0)
    assert observer.look().seconds_left == pytest.approx((3 * 14 + 14) / 2, abs=1)  # the others as long as this one
    ledger.end(1, 1, "finished", {"state": "finished"}, ended=ledger.attempts(1)[0].started + 10)
    ledger.claim(2, "m", 0)
    write_progress(folder, 2, step=12, max_steps=40, steps_per_s=2.0)
    assert observer.look().seconds_left == pytest.approx(17)
    ledger.set(total=6)  # two that the search has not made yet
    assert observer.look().seconds_left == pytest.approx(27)
    for number in (3, 4):
        ledger.change(number, state="withdrawn")
    ledger.set(total=4)
    assert observer.look().seconds_left == pytest.approx(14)


def test_an_update_of_a_thousand_jobs_is_cheap(tmp_path: Path) -> None:
    """Processor time: 3 ms with 2 running jobs, 6 with 8, 18 with 40 (AMD EPYC, 2026-11-28)."""
    ledger = many_jobs(tmp_path / "sweep", jobs=1000, running=4)
    view = SweepView(ledger, terminal(), live=True)
    view.start()
    times = []
    for _ in range(10):
        begun = time.process_time()
        view.refresh()
        times.append(time.process_time() - begun)
    view.stop()
    print(f"an update takes {1e3 * statistics.median(times):.1f} ms")
    assert statistics.median(times) < 0.02  # not the mean: a collection of other tests' objects falls into one of them


def test_a_label_has_the_words_that_differ(tmp_path: Path) -> None:
    ledger = many_jobs(tmp_path / "sweep", jobs=1, running=0)
    observer = Observer(ledger)
    assert observer.label(ledger.job(1), 9).words == "model=detr_tiny optimizer.lr=0e-3"  # nothing to compare with
    ledger.set(command="python run.py -m model=detr_tiny sweeper=random 'optimizer.lr=interval(0,1)'")
    assert Observer(ledger).label(ledger.job(1), 9).words == "optimizer.lr=0e-3"  # what was typed is not chosen
    ledger.add([(["model=detr_tiny", "optimizer.lr=1"], "run", {})])
    assert observer.label(ledger.job(1), 9).words == "optimizer.lr=0e-3"
    assert observer.label(ledger.job(2), 9).place == "2/9"
