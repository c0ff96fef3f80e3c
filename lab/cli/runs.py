"""``lab runs [DIR] [WORD ...]``: a table of the runs in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.cli.arguments import Arguments
from lab.cli.output import unless_reader_left
from lab.errors import ConfigError

_HOME = Path("runs")
_USAGE = """lab runs [DIR] [WORD ...] [--sort KEY] [--state STATE,...] [--limit N] [--json | --csv]

A table of the runs in a folder and in the folders below it: the last step, the metric by which each run selects its
best checkpoint, and the overrides in which the runs differ. Folders without a run and damaged runs are counted.

  DIR            paths.runs_dir, or a folder of such (default: runs)
  WORD           show only the runs that have it in name, model, data, state, sweep or overrides; with several, all
  --sort KEY     age (the youngest first; default), name, state, step, or a metric, the best first: map, test/map
  --state STATE  only these, separated by commas: running, finished, interrupted, failed, diverged, pruned,
                 stopped (run.json says running, and no process holds the run), damaged (run.json cannot be read)
  --limit N      only the first N
  --json, --csv  for programs, with all metrics"""


def run_runs(words: Sequence[str]) -> int:
    """Carry out ``lab runs ...`` and return its exit code.

    Args:
        words: what comes after ``runs``.

    Raises:
        LabError: there is no such folder, flag, state or metric.
    """
    arguments = Arguments("runs", _USAGE)
    arguments.flag("--sort", default="age", metavar="KEY")
    arguments.flag("--state", default="", metavar="STATE")
    arguments.flag("--limit", type=int, metavar="N")
    arguments.flag("--json", action="store_true")
    arguments.flag("--csv", action="store_true")
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    if options.json and options.csv:
        raise ConfigError("give either --json or --csv")
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit {options.limit}: the smallest is 1")
    from lab.report.records.listing import as_csv, as_json, chosen, in_order, print_listing, write_out
    from lab.report.records.reading import read_listing, with_differences
    from lab.sweeps.membership import sweeps_of_runs

    folder, asked = _folder_of(rest)
    sweeps, unread = sweeps_of_runs(folder)
    listing = read_listing(folder, sweeps)
    states = [state.strip() for state in options.state.split(",") if state.strip()]
    rows = in_order(with_differences(chosen(listing.rows, asked, states)), options.sort)
    shown = rows[: options.limit]
    with unless_reader_left():
        if options.json:
            write_out(as_json(listing, shown))
        elif options.csv:
            write_out(as_csv(shown))
        else:
            print_listing(listing, rows, shown, unread)
    return 0


def _folder_of(words: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the folder to read, and the words to look for: the first word is a folder if there is one of its name."""
    if not words:
        return _HOME, []
    first = words[0]
    if "=" not in first and (Path(first).is_dir() or "/" in first):
        return Path(first), list(words[1:])
    return _HOME, list(words)
