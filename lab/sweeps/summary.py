"""The table at the end of a sweep, the best job first: printed, and as ``summary.csv`` and ``summary.json``. No torch.

It is made from the ledger and the runs' ``run.json``.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.config.words import parse_word
from lab.report.plain import plain
from lab.report.shown import shared_words, varied
from lab.report.tables import as_text
from lab.run_record import read_record
from lab.sweeps.best import Best, find_best, rank
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.over_seeds import best_over_seeds, seeds_as_json, seeds_as_table
from lab.sweeps.seeds import SeedRow, seed_table
from lab.sweeps.states import BAD, DONE, JobState
from lab.system.files import replacing, write_text
from lab.text import one_line, printable

_LEADING = ("run", "state", "attempts")
_MOST_ROWS = 200
_MOST_LISTED = 100
_MOST_TAILS = 10
_TAIL = 5
"""Lines of a failed job's output that are printed; summary.json has all that were kept."""
_WIDE = 120


@dataclass(frozen=True)
class Summary:
    """The results of a sweep.

    Attributes:
        folder: the sweep's directory.
        varied: the keys whose values differ between jobs.
        jobs: the jobs, the best first; those that cannot be compared follow by number.
        rows: a row for each of them: number, values of the varied keys, run, state, attempts, metrics.
        best: the best of them, its index that of its row; None if fewer than two can be compared.
        seeds: the points over their seeds, if the sweep has several (``sweeper.seeds``) and they can be compared.
    """

    folder: Path
    varied: list[str]
    jobs: list[JobRow]
    rows: list[dict[str, Any]]
    best: Best | None
    seeds: list[SeedRow] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The columns of all rows."""
        return list(dict.fromkeys(key for row in self.rows for key in row))


def summarise(ledger: Ledger) -> Summary:
    """Return the results of a sweep as far as it has come."""
    jobs = sorted(ledger.jobs(), key=lambda job: job.number)
    objectives = ledger.get("objectives") or []
    records = [_record(job, objectives) for job in jobs]
    comparable = [record if job.state == "finished" else {} for job, record in zip(jobs, records, strict=True)]
    ranked = [found.index for found in rank(comparable)]
    order = ranked + [index for index in range(len(jobs)) if index not in set(ranked)]
    shared = shared_words(job.words for job in jobs)
    values = [_values(job, shared) if len(jobs) > 1 else {} for job in jobs]
    keys = list(dict.fromkeys(key for row in values for key in row))
    rows = []
    for index in order:
        job = jobs[index]
        row: dict[str, Any] = {"job": job.number, **{key: values[index].get(key, "") for key in keys}}
        row |= {"run": Path(job.run).name, "state": job.state, "attempts": job.attempts}
        result = records[index].get("result", {})
        rows.append(row | {key: value for key, value in result.items() if "per_class" not in key})
    best = find_best([comparable[index] for index in order])
    seeds = seed_table(jobs, best.metric, best.lower) if best is not None and ledger.get("seeds") else []
    return Summary(ledger.file.parent, keys, [jobs[index] for index in order], rows, best, seeds)


def exit_code(counts: Mapping[JobState, int], total: int | None = None) -> int:
    """Return 0 if all jobs are finished, pruned or withdrawn, else 1.

    Args:
        counts: the number of jobs in each state.
        total: how many jobs there should be; None if that is open.
    """
    done = sum(count for state, count in counts.items() if state in DONE)
    return int(done < max(total or 0, sum(counts.values())))


def write_summary(summary: Summary) -> None:
    """Write ``summary.csv`` and ``summary.json`` into the sweep's directory.

    Raises:
        OSError: the disk refuses one.
    """
    with replacing(summary.folder / "summary.csv") as file:
        writer = csv.DictWriter(file, summary.columns)
        writer.writeheader()
        writer.writerows(summary.rows)
    write_text(summary.folder / "summary.json", json.dumps(as_json(summary), indent=2, allow_nan=False) + "\n")


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the content of ``summary.json``: plain values, null where a number is not defined."""
    best = summary.best
    found: dict[str, Any] = {"sweep": str(summary.folder), "varied": summary.varied, "best": None, "jobs": []}
    if best is not None:
        better = "min" if best.lower else "max"
        found["best"] = {"job": summary.jobs[best.index].number, "metric": best.metric, "value": best.value}
        found["best"]["direction"] = better
    if summary.seeds:
        found["seeds"] = seeds_as_json(summary.seeds)
    leading = {"job", *_LEADING, *summary.varied}
    for job, row in zip(summary.jobs, summary.rows, strict=True):
        entry = {"job": job.number, "words": job.words, "values": {key: row[key] for key in summary.varied}}
        entry |= {"run": job.run, "state": job.state, "attempts": job.attempts, "exit_code": job.exit_code}
        entry |= {"problem": job.problem, "tail": job.tail}
        found["jobs"].append(entry | {"result": {key: value for key, value in row.items() if key not in leading}})
    return {key: plain(value) for key, value in found.items()}


def print_summary(summary: Summary, further: Sequence[str] = ()) -> None:
    """Print the table, the best job, what the sweeper adds, and the failures with the last lines of their output.

    Args:
        summary: the results.
        further: lines of the sweeper; if it names the best job itself, it is not named twice.
    """
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)  # for a log file it would be 80, and names would be cut
    console.print(_fitting(summary, console))
    if len(summary.rows) > _MOST_ROWS:
        print(f"{len(summary.rows) - _MOST_ROWS} more jobs are in {printable(summary.folder / 'summary.csv')}")
    if summary.seeds and summary.best is not None:
        console.print(seeds_as_table(summary.seeds, summary.best.metric))
    if not any(line.startswith("best ") for line in further) and (line := _best_line(summary)):
        print(line)
    for line in further:
        print(printable(line))
    failed = sum(job.state in BAD for job in summary.jobs)
    if failed:
        print(f"failed    {failed} of {len(summary.jobs)} jobs: lab sweep retry or the same command starts them again")
    sys.stdout.flush()
    for line in failures(summary.jobs):
        print(line, file=sys.stderr)


def _best_line(summary: Summary) -> str:
    best = summary.best
    if best is None:
        return ""
    if summary.seeds:
        return best_over_seeds(summary.seeds, best.metric, best.lower)
    row = summary.rows[best.index]
    words = " ".join(f"{key}={row[key]}" for key in summary.varied)
    return f"best      {printable(words)}: {printable(best.words())}"


def failures(jobs: Iterable[JobRow]) -> list[str]:
    """Return the lines about failed jobs: a line for each, and of the first ones the end of their output."""
    lines: list[str] = []
    jobs = list(jobs)
    shared = shared_words(job.words for job in jobs)
    failed = sorted((job for job in jobs if job.state in BAD), key=lambda job: job.number)
    for place, job in enumerate(failed):
        tries = f" after {job.attempts} attempts" if job.attempts > 1 else ""
        problem = one_line(job.problem) or f"exit code {job.exit_code}"
        if place == _MOST_LISTED:
            return [*lines, f"and {len(failed) - place} more failed jobs, which lab sweep status --json lists"]
        lines.append(f"job {job.number} ({varied(job.words, shared)}) {job.state}{tries}: {problem}")
        if place < _MOST_TAILS:
            lines += [f"    | {printable(line)}" for line in job.tail.splitlines()[-_TAIL:]]
    return lines


def _record(job: JobRow, objectives: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a job's run says of itself, with the metric to compare it by."""
    found = read_record(Path(job.run) / "run.json")[0] if job.run else {}
    record = {"state": job.state, **found, "result": found.get("result") or job.result}
    if len(objectives) == 1:
        metric = objectives[0]["metric"]
        record |= {"monitor": metric, "lower_is_better": [metric] if objectives[0].get("direction") == "min" else []}
    elif objectives:
        record["monitor"] = ""  # with several objectives none is the best
    return record


def _values(job: JobRow, shared: frozenset[str]) -> dict[str, str]:
    """Return the values of the keys that are not the same in every job."""
    words = [parse_word(word) for word in job.words if word not in shared]
    return {word.key: word.shown for word in words}


def _fitting(summary: Summary, console: Console) -> Table:
    """Return the table, on a narrow terminal without the columns that matter least; summary.csv has them."""
    tested = [key for key in summary.columns if key.startswith("test/")][:3]
    shown = ["job", *summary.varied, *_LEADING, *tested]
    table = _table(summary, shown)
    for column in ("attempts", *reversed(tested[1:]), "run"):
        if not console.is_terminal or table.__rich_measure__(console, console.options).maximum <= console.width:
            break
        shown = [key for key in shown if key != column]
        table = _table(summary, shown)
    return table


def _table(summary: Summary, shown: Sequence[str]) -> Table:
    best = summary.best
    table = Table(title=as_text(summary.folder / "summary.csv"))
    for column in ["", *shown] if best else shown:
        table.add_column(as_text(column))
    for index, row in enumerate(summary.rows[:_MOST_ROWS]):
        cells = [row.get(key, "") for key in shown]
        mark = ["->" if index == best.index else ""] if best else []
        table.add_row(*mark, *map(_cell, cells))
    return table


def _cell(value: Any) -> Any:
    if value is None:
        return as_text("-")
    return as_text(f"{value:.4f}" if isinstance(value, float) else value)
