"""Gathers what the page of ``lab report`` shows: sweeps from their ledgers, runs from their directories. No torch."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.config.flattening import flat
from lab.errors import RunError
from lab.report.dates import duration
from lab.report.html.details import detail_of
from lab.report.html.page import ConfigDifference, Detail, Entry, Influence, Page, Span
from lab.report.html.reading import RunReader, scalar
from lab.report.runs import Run
from lab.sweeps.best import rank
from lab.sweeps.influence import find_influences
from lab.sweeps.report_sources import Gathered, ReportSource

_MOST_KEYS = 12
"""Parameters of runs that no sweep has varied: the first ones that differ, the others stand in the comparison."""
_MOST_NOTES = 20
_MOST_METRICS = 6
_NOT_COMPARED = ("paths.", "extensions", "hydra.", "logger.wandb.name")


class Gatherer:
    """Gathers a page again and again, as a live page asks for it.

    Args:
        words: directories of runs, of sweeps or of folders with runs, and names of sweeps below ``runs/sweeps``.

    Raises:
        RunError: one of them is none of these.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._reader = RunReader()
        self._sources = [ReportSource(word, len(words) > 1) for word in dict.fromkeys(words)]
        self._detail: tuple[Run, Detail] | None = None
        self._influences: dict[Any, tuple[dict[str, list[Influence]], str]] = {}

    @property
    def folder(self) -> Path | None:
        """Where the page belongs; None for several arguments."""
        return self._sources[0].path if len(self._sources) == 1 else None

    def page(self) -> Page:
        """Read everything as it is now.

        Raises:
            RunError: a ledger is damaged, or there is no run left.
        """
        gathered = Gathered()
        for source in self._sources:
            source.read(self._reader, gathered)
        if not gathered.entries and not gathered.is_sweep:
            raise RunError(f"{self._sources[0].path}: there is no run in it")
        if len(gathered.entries) == 1 and not gathered.is_sweep:
            return self._page_of_a_run(gathered)
        return self._page_of_runs(gathered)

    def _page_of_a_run(self, gathered: Gathered) -> Page:
        (entry,) = gathered.entries
        run = gathered.runs[entry.path]
        if self._detail is None or self._detail[0] is not run:  # the reader reads a run again when its files change
            self._detail = run, detail_of(run)
        return Page(
            title=entry.name,
            kind="run",
            made=_now(),
            entries=[entry],
            monitor=entry.monitor,
            lower=entry.lower,
            facts=_facts_of(entry),
            command=entry.command,
            notes=list(entry.damage),
            detail=self._detail[1],
            runs_on=entry.state == "running",
        )

    def _page_of_runs(self, gathered: Gathered) -> Page:
        monitor = gathered.objective or _most_common(entry.monitor for entry in gathered.entries)
        lower = sorted({name for entry in gathered.entries for name in entry.lower} | set(gathered.lower))
        lower = [name for name in lower if name not in gathered.higher]
        records = [_record(entry, monitor, lower) for entry in gathered.entries]
        ranked = [found.index for found in rank(records)]
        order = [*ranked, *(index for index in range(len(records)) if index not in set(ranked))]
        entries, keys = _with_values([gathered.entries[index] for index in order], gathered)
        places = {index: place for place, index in enumerate(order)}
        influences, note = self._find_influences(entries, keys, monitor, lower)
        return Page(
            title=gathered.title,
            kind="runs",
            made=_now(),
            entries=entries,
            keys=keys,
            monitor=monitor,
            lower=lower,
            best=0 if len(ranked) > 1 else None,
            facts=[*gathered.facts, *_facts(entries)],
            command="\n".join(gathered.commands),
            notes=[*gathered.notes, *_notes(entries)],
            spans=[replace(span, run=places[span.run]) for span in gathered.spans] or _spans(entries),
            influences=influences,
            influence_note=note,
            differences=_differences(entries, gathered.runs),
            runs_on=gathered.runs_on or any(entry.state == "running" for entry in entries),
        )

    def _find_influences(
        self, entries: Sequence[Entry], keys: Sequence[str], monitor: str, lower: Sequence[str]
    ) -> tuple[dict[str, list[Influence]], str]:
        """Return the influences by metric; computed again only when a run has ended since."""
        done = [entry for entry in entries if entry.state == "finished"]
        mark = tuple((entry.path, tuple(entry.result.items())) for entry in done), tuple(keys)
        if mark not in self._influences:
            found: dict[str, list[Influence]] = {}
            notes: dict[str, str] = {}
            counted = Counter(name for entry in done for name, value in entry.result.items() if value is not None)
            measured = [
                name for name, _ in counted.most_common() if "per_class" not in name and "_measured" not in name
            ]
            names = dict.fromkeys([monitor, *(name for name in measured if "per_class" not in name)])
            for name in [name for name in names if name][:_MOST_METRICS]:
                values = [entry.result.get(name) for entry in done]
                influences, notes[name] = find_influences([one.values for one in done], values, keys, name in lower)
                found |= {name: influences} if influences else {}
            note = next((notes[name] for name in found), next(iter(notes.values()), "no run has finished yet"))
            self._influences = {mark: (found, note)}
        return self._influences[mark]


def _with_values(entries: list[Entry], gathered: Gathered) -> tuple[list[Entry], list[str]]:
    """Return the entries with the values of all parameters in which they differ, and these parameters."""
    keys = list(dict.fromkeys(key for entry in entries for key in entry.values))
    configs = {entry.path: _flat(gathered.runs.get(entry.path)) for entry in entries}
    sources = {entry.source for entry in entries}
    # Of a sweep's runs its ledger has the parameters that it varies; several sweeps differ in others too.
    if (any(not entry.values for entry in entries) or len(sources) > 1) and len(entries) > 1:
        differing = _distinct(_differences(entries, gathered.runs))
        keys += [key for key in differing if key.removesuffix(".name") not in keys][: max(0, _MOST_KEYS - len(keys))]
    filled = []
    for entry in entries:
        config = configs[entry.path]
        values = {key: entry.values.get(key, _from_config(config, key)) for key in keys}
        values = {key: value for key, value in values.items() if value is not ...}
        filled.append(replace(entry, values=values))
    return filled, keys


def _flat(run: Run | None) -> dict[str, Any]:
    return dict(flat(run.config.to_dict())) if run is not None else {}


def _from_config(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key, the name of a chosen group, or ``...`` if the config has neither."""
    value = config.get(key, config.get(f"{key}.name", ...))
    return value if value is ... else scalar(value)


def _differences(entries: Sequence[Entry], runs: Mapping[Path, Run]) -> list[ConfigDifference]:
    """Return the keys whose values are not the same in all configs; a key that a config lacks has the value ``-``."""
    configs = [(index, _flat(runs[entry.path])) for index, entry in enumerate(entries) if entry.path in runs]
    configs = [(index, config) for index, config in configs if config]
    keys = dict.fromkeys(key for _, config in configs for key in config)
    found = []
    for key in keys:
        if key.startswith(_NOT_COMPARED):
            continue
        by_text: dict[str, list[int]] = {}
        for index, config in configs:
            by_text.setdefault(str(config[key]) if key in config else "-", []).append(index)
        if len(by_text) > 1:
            found.append(ConfigDifference(key, sorted(by_text.items(), key=lambda item: _natural(item[0]))))
    return found


def _distinct(differences: Sequence[ConfigDifference]) -> list[str]:
    """Return the keys without those that only follow another one, as ``data.seed`` does ``seed``."""
    known: dict[frozenset[tuple[int, ...]], str] = {}
    for difference in differences:
        known.setdefault(frozenset(tuple(runs) for _, runs in difference.values), difference.key)
    return list(known.values())


def _natural(text: str) -> tuple[bool, float, str]:
    value = scalar(text)
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, text  # type: ignore[arg-type]


def _record(entry: Entry, monitor: str, lower: Sequence[str]) -> dict[str, Any]:
    return {"state": entry.state, "result": entry.result, "monitor": monitor, "lower_is_better": lower}


def _most_common(names: Iterable[str]) -> str:
    found = Counter(name for name in names if name).most_common(1)
    return found[0][0] if found else ""


def _notes(entries: Sequence[Entry]) -> list[str]:
    """Return what is missing or damaged, a problem that several runs have once."""
    by_problem: dict[str, list[str]] = {}
    for entry in entries:
        for problem in entry.damage:
            by_problem.setdefault(problem, []).append(entry.name)
    found = [
        f"{names[0]}: {problem}" if len(names) == 1 else f"{len(names)} runs: {problem} (the first is {names[0]})"
        for problem, names in by_problem.items()
    ]
    bare = sum(not entry.series for entry in entries if entry.state != "waiting")
    found += [f"{bare} {'run has' if bare == 1 else 'runs have'} logged no metrics, so no curves"] if bare else []
    more = len(found) - _MOST_NOTES
    return found if more <= 0 else [*found[:_MOST_NOTES], f"and {more} more notes like these"]


def _facts(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    started = [entry.started for entry in entries if entry.started is not None]
    ended = [entry.ended for entry in entries if entry.ended is not None]
    found = [("started", _when(min(started)))] if started else []
    if started and ended and max(ended) > min(started):
        found.append(("took", duration(max(ended) - min(started))))
    return found


def _facts_of(entry: Entry) -> list[tuple[str, str]]:
    found = [("state", entry.state), ("steps", f"{entry.steps:,}")]
    found += [("started", _when(entry.started))] if entry.started is not None else []
    if entry.started is not None and entry.ended is not None:
        found.append(("took", duration(entry.ended - entry.started)))
    value = entry.result.get(entry.monitor)
    if value is not None and math.isfinite(value):
        found.append((entry.monitor, f"{value:.4f}"))
    return found


def _spans(entries: Sequence[Entry]) -> list[Span]:
    """Return when runs without a ledger ran: each in the first lane that is free."""
    times = [(one.started, one.ended, index) for index, one in enumerate(entries) if one.started is not None]
    free: list[float] = []
    found = []
    for started, ended, index in sorted(times, key=lambda time: time[0] or 0.0):
        assert started is not None
        lane = next((lane for lane, until in enumerate(free) if until <= started), len(free))
        free[lane : lane + 1] = [ended if ended is not None else math.inf]
        found.append(Span(index, 1, f"lane {lane}", started, ended, entries[index].state))
    return found


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
