"""Make the moving picture of README.md: a sweep in a terminal, then the page that ``lab report`` makes of it.

    python scripts/make_demo.py --folder demo --out docs/demo.gif            # trains the sweep (minutes), then films it
    python scripts/make_demo.py --folder demo --out docs/demo.gif --words -m optimizer.lr=1e-3,3e-3 seed=0,1

The sweep is run for real, in a terminal of its own; ``demo/sweep.cast`` is its recording (asciicast 2) and is taken
again if it is there. Nothing is shown that a person would not see, only sooner. It needs Chromium with its driver.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from demo.pictures import animate, browser, taken, terminal, until
from demo.terminal import read, record, screen
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 800, 540
COLUMNS, ROWS = 120, 26
WORDS = [
    "-m",
    "optimizer.lr=1e-3,3e-3",
    "seed=0,1",
    "trainer.max_steps=900",
    "trainer.val_every_n_steps=100",
    "trainer.log_every_n_steps=5",
    "data.num_val=128",
    "data.num_test=128",
    "logger=csv",
]
"""Steps enough that boxes sit on their shapes: two minutes of the processor for each training."""
TITLE = "four trainings, two at a time"
METRIC = "val/map"
"""The best run by it is shown at the end."""
SHOTS = 8
"""Pictures of the terminal while the sweep runs."""
Shot = tuple[Image.Image, float]


def film_terminal(opened: Any, folder: Path) -> Iterator[Shot]:
    """Yield pictures of the terminal from the first table to the last line, and how long each is shown."""
    header = json.loads((folder / "sweep.cast").open(encoding="utf-8").readline())
    events = read(folder / "sweep.cast")
    prompt = f"\x1b[32m$\x1b[0m {header['command']}"
    last = len(events)
    tables = [number for number in range(1, last + 1) if "slot" in events[number - 1][1]]
    chosen = [tables[round(place * (len(tables) - 1) / (SHOTS - 1))] for place in range(SHOTS)]
    yield terminal(opened, [prompt], TITLE, folder), 1.0
    for number in [*chosen, last]:
        lines = screen(text for _, text in events[:number])
        shown = [prompt, *lines][-ROWS:]
        yield terminal(opened, shown, TITLE, folder), 1.6 if number == last else 0.35


def film_page(opened: Any, page: Path) -> Iterator[Shot]:
    """Yield pictures of a sweep's page, and how long each is shown: what a person would click, one after the other."""
    yield from _film(
        opened,
        page,
        [
            ("", "#main", 1.0),
            ("", "#curves", 1.0),
            ("document.querySelector('#table tbody tr .swatch').click()", "#curves", 0.8),
            ("document.getElementById('unpin').click()", "#runs", 1.0),
            (_choose("group", "*"), "#runs", 0.8),
            ("", "#curves", 1.0),
            (_choose("group", ""), "#explore", 0.8),
            ("", "#timeline", 0.8),
        ],
    )


def film_run(opened: Any, page: Path) -> Iterator[Shot]:
    """Yield pictures of a run's page: the slider between truth and prediction."""
    slide = "const at = document.querySelector('.pair input'); at.value = {}; at.dispatchEvent(new Event('input'))"
    places = [(slide.format(place), "#pictures", 0.35) for place in (85, 65, 45, 25)]
    yield from _film(opened, page, [("", "#main", 0.8), *places])


def _choose(select: str, value: str) -> str:
    return (
        f"const chosen = document.getElementById('{select}'); chosen.value = '{value}';"
        "chosen.dispatchEvent(new Event('change'))"
    )


def _film(opened: Any, page: Path, steps: Sequence[tuple[str, str, float]]) -> Iterator[Shot]:
    """Run each step's script, bring its element to the top, and take a picture once all charts in view are drawn."""
    opened.get(page.as_uri())
    until(lambda: opened.execute_script("return document.body.dataset.ready"), "the page is ready")
    draw = "for (const chart of charts) if (chart.element.getBoundingClientRect().top < innerHeight) chart.open()"
    for script, selector, seconds in steps:
        opened.execute_script(f"{script}; document.querySelector('{selector}').scrollIntoView({{behavior: 'instant'}})")
        opened.execute_script(draw)  # a browser without a screen may be slow to say what is in view
        time.sleep(0.5)
        yield taken(opened), seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the sweep runs and its recording stands")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "demo.gif")
    parser.add_argument("--words", nargs=argparse.REMAINDER, default=WORDS, help="of run.py, all that follow")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sweep.cast").is_file():
        code = train(folder, given.words)
        if code:
            print(f"error: the sweep ended with {code}: see {folder / 'sweep.cast'}", file=sys.stderr)
            return code
    from lab.api import runs as lab_runs
    from lab.cli.main import main as lab

    given.out = given.out.resolve()
    os.chdir(folder)  # a ledger names its runs from where the sweep was started
    sweep = sorted((folder / "runs" / "sweeps").iterdir())[-1]
    run = max(lab_runs(folder / "runs"), key=lambda each: each.result.get(METRIC, 0.0))
    if lab(["report", str(sweep)]) or lab(["report", str(run.path)]):
        return 1
    with browser(WIDTH, HEIGHT) as opened:
        shots = [
            *film_terminal(opened, folder),
            *film_page(opened, sweep / "report.html"),
            *film_run(opened, run.path / "report.html"),
        ]
    animate(shots, given.out)
    seconds = sum(shown for _, shown in shots)
    print(f"{given.out}: {len(shots)} pictures, {seconds:.1f} s, {given.out.stat().st_size / 1e6:.2f} MB")
    return 0


def train(folder: Path, words: Sequence[str]) -> int:
    """Run the sweep in a terminal, record it, and return its exit code; a recording of a failure is put aside."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        file = folder / "sweep.part"
        command = [sys.executable, os.path.relpath(ROOT / "run.py"), *words]  # as it is recorded and shown
        code = record(command, file, COLUMNS, ROWS, shlex.join(["python", "run.py", *words]))
        file.rename(folder / ("sweep.failed" if code else "sweep.cast"))
    finally:
        os.chdir(before)
    return code


if __name__ == "__main__":
    sys.exit(main())
