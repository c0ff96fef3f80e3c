"""``-m``: one job for each combination of comma-separated values, each in a fresh process, one after the other.

All jobs are composed and checked before the first one starts. A job that fails does not stop the others. Repeating a
sweep runs only the jobs that are not finished.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.config.words import parse_word, word_key
from lab.errors import ConfigError, Diverged, LabError
from lab.launch.outcomes import RanksFailed, exit_code, say
from lab.launch.prepare import Prepared, prepare_job
from lab.run_record import read_record
from lab.sweeps.best import find_best
from lab.system.files import replacing
from lab.system.signals import SignalWatch
from lab.system.storage import explain
from lab.text import one_line, printable


@dataclass
class Entry:
    """One combination of the sweep: its overrides and the prepared job."""

    words: list[str]
    job: Prepared
    exit_code: int | None = None
    problem: str = ""

    def record(self) -> dict[str, Any]:
        """Return the content of ``run.json``, as far as it can be read; empty before the run has begun."""
        return read_record(self.job.path / "run.json")[0]

    def state(self) -> str:
        """Return the state of its run, or ``refused`` or ``failed`` if the job ended before it changed the state."""
        found = str(self.record().get("state", "refused"))
        if self.exit_code == 2:
            return "refused"
        return "failed" if self.exit_code and found in ("finished", "running", "refused") else found


def run_all(overrides: list[str], user_dirs: list[str]) -> int:
    """Run every combination; print a table of the varied keys and results and write ``summary.csv``.

    Returns:
        0 when every job finished, 1 when any failed, 130 or 143 when interrupted.

    Raises:
        ConfigError: a job's config is wrong; no job was started.
    """
    entries = _prepare_all(expand(overrides, user_dirs), user_dirs)
    for number, entry in enumerate(entries, 1):
        # A finished job reports its result, or is refused if lab's sources or its data have changed.
        print(f"[{number}/{len(entries)}] {printable(' '.join(entry.words))}", flush=True)
        entry.exit_code = _run(entry)
        if entry.exit_code in (130, 143):
            print(f"interrupted at job {number} of {len(entries)}; repeat the command to continue")
            return entry.exit_code
    config = entries[0].job.config
    code = int(any(entry.exit_code for entry in entries))
    if config["stage"] == "fit" and not config["check"]:
        try:
            _summarise(entries, overrides)
        except OSError as error:
            print(f"error: the summary cannot be written: {explain(error) or error}", file=sys.stderr)
            code = 1
    for number, entry in enumerate(entries, 1):
        if entry.exit_code:
            problem = f": {entry.problem}" if entry.problem else f", exit code {entry.exit_code}"
            print(f"job {number} of {len(entries)} ({' '.join(entry.words)}) failed{problem}", file=sys.stderr)
    return code


def expand(overrides: list[str], user_dirs: Sequence[str] = ()) -> list[list[str]]:
    """Return the override lists of all jobs of a sweep.

    Args:
        overrides: their values may be ``a,b``, ``choice(a,b)``, ``range(0,4)`` or, for a group, ``glob(detr*)``.
        user_dirs: further folders with groups.

    Raises:
        ConfigError: an override cannot be parsed, or has no list of values.
    """
    from hydra.errors import HydraException, OverrideParseException

    from lab.compat.hydra import is_glob, parse_overrides
    from lab.config.compose import config_dir, options
    from lab.config.refusals import unreadable
    from lab.config.spelling import spelled

    choices: list[list[str]] = []
    try:
        for override in parse_overrides(spelled(overrides)):
            key, value = override.get_key_element(), override.value()
            values: list[str] | None = None
            if is_glob(value):
                values = value.filter(options(key, [config_dir(), *map(Path, user_dirs)]))
            elif override.is_discrete_sweep():
                values = list(override.sweep_string_iterator())
            elif override.is_sweep_override():
                raise ConfigError(f"{override.input_line}: an interval has no list of values; give one: a,b,c")
            if values == []:
                raise ConfigError(f"{override.input_line}: no value at all")
            choices.append([override.input_line or ""] if values is None else [f"{key}={value}" for value in values])
    except OverrideParseException as error:
        raise ConfigError(unreadable(error)) from None
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    return [list(words) for words in itertools.product(*choices)]


def _prepare_all(combinations: list[list[str]], user_dirs: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    problems: list[str] = []
    for number, words in enumerate(combinations, 1):
        try:
            entries.append(Entry(words, prepare_job(words, user_dirs)))
        except LabError as error:
            problems.append(f"job {number} of {len(combinations)} ({printable(' '.join(words))}): {error}")
        except OSError as error:  # from a file that the check reads
            problem = explain(error) or one_line(error)
            problems.append(f"job {number} of {len(combinations)} ({printable(' '.join(words))}): {problem}")
    if problems:
        for problem in problems[:-1]:
            print(f"error: {problem}", file=sys.stderr)
        raise ConfigError(f"{problems[-1]}; no job was started")
    paths = [entry.job.path for entry in entries]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None and entries[0].job.config["stage"] == "fit":
        raise ConfigError(f"several jobs of the sweep ask for the same run {twice}; no job was started")
    return entries


def _run(entry: Entry) -> int:
    """Run a job in its own processes and return its exit code; no error of it stops the sweep."""
    try:
        with SignalWatch():
            entry.job.run(log=True)
    except BaseException as error:
        code = exit_code(error)
        say(error)
        if isinstance(error, SystemExit):
            entry.problem = f"SystemExit({error.code!r})" if code else ""
        elif code not in (130, 143):
            known = isinstance(error, LabError | Diverged | RanksFailed)
            entry.problem = str(error if known else explain(error) or f"{type(error).__name__}: {one_line(error)}")
        return code
    return 0


def _summarise(entries: Sequence[Entry], overrides: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from lab.report.tables import as_text

    values = [{word.key: word.shown for word in map(parse_word, entry.words)} for entry in entries]
    keys = dict.fromkeys(map(word_key, overrides))
    varied = [key for key in keys if len({row.get(key) for row in values}) > 1]
    rows: list[dict[str, Any]] = []
    records = [entry.record() for entry in entries]
    for entry, given, record in zip(entries, values, records, strict=True):
        row = {key: given.get(key, "") for key in varied}
        row |= {"run": entry.job.path.name, "state": entry.state()}
        rows.append(row | {key: value for key, value in record.get("result", {}).items() if "per_class" not in key})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    target = entries[0].job.path.parent / "summary.csv"
    shown = [*varied, "run", "state", *[key for key in columns if key.startswith("test/")][:3]]
    best = find_best([record if row["state"] == "finished" else {} for row, record in zip(rows, records, strict=True)])
    table = Table(title=as_text(target))
    for column in ["", *shown] if best else shown:
        table.add_column(as_text(column))
    for index, row in enumerate(rows):
        cells = [row.get(key, "") for key in shown]
        mark = ["->" if index == best.index else ""] if best else []
        table.add_row(*mark, *(as_text(f"{cell:.4f}" if isinstance(cell, float) else cell) for cell in cells))
    console = Console()
    console.width = max(console.width, 120)  # for a log file it would be 80, and names would be cut
    console.print(table)
    if best:
        words = " ".join(f"{key}={rows[best.index][key]}" for key in varied)
        print(f"best      {printable(words)}: {printable(best.words())}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
