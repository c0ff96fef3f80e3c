"""``lab report RUN_OR_SWEEP...``: one HTML file of runs and sweeps, or a page that follows them (``--live``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.cli.arguments import Arguments
from lab.errors import ConfigError
from lab.text import printable

_USAGE = """lab report RUN_OR_SWEEP... [--out FILE] [--live]   (or: python -m lab.report ...)

Writes one HTML file that needs no network: learning curves, a table to sort and filter, parallel coordinates,
importance of parameters, what differs between the configs, failures, a timeline; of a single run its pictures,
classes, config and provenance.

  RUN_OR_SWEEP  the directory of a run, of a sweep, or of a folder with runs; or the name of a sweep in runs/sweeps
  --out FILE    where to write it (default: report.html in the directory; with several, in this one)
  --live        serve it on 127.0.0.1 instead, and keep it up to date while a sweep runs; Ctrl-C ends it"""


def run_report(words: Sequence[str]) -> int:
    """Carry out ``lab report ...`` and return its exit code.

    Args:
        words: what comes after ``report``.

    Raises:
        LabError: a word is no run and no sweep, or a flag does not exist.
        OSError: the file cannot be written.
    """
    arguments = Arguments("report", _USAGE)
    arguments.flag("--out", type=Path)
    arguments.flag("--live", action="store_true")
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    if not rest:
        raise ConfigError("lab report needs the directory of a run or a sweep (lab report --help)")
    if options.live and options.out:
        raise ConfigError("--live serves the page and writes no file: give either --live or --out")
    from lab.sweeps.report import Gatherer

    gatherer = Gatherer(rest)
    if options.live:
        from lab.report.html.live import serve

        return serve(gatherer.page)
    from lab.report.html.rendering import render
    from lab.system.files import write_text

    page = gatherer.page()
    text = render(page)
    file = options.out or (gatherer.folder or Path()) / "report.html"
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; give --out the name of a file")
    write_text(file, text)
    runs = f"{len(page.entries)} runs" if len(page.entries) != 1 else "1 run"
    print(f"report    {printable(file)} ({runs}, {len(text.encode()) / 1e6:.1f} MB)")
    return 0
