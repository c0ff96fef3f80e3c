"""What a page shows, as plain values: runs with their curves, and what was found out about them together. No torch.

``lab.report.html.reading`` fills it from a run's directory, ``lab.sweeps.report`` from a sweep's ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ShownValue = str | int | float | bool | None


@dataclass(frozen=True)
class Series:
    """The values of a metric.

    Attributes:
        steps: (N,) float64, the optimizer steps, ascending.
        values: (N,) float64; NaN where the metric was not defined.
    """

    steps: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Entry:
    """A run as a row of the page.

    Attributes:
        name: its directory's name.
        label: what it is called in charts: its number and what differs, or its name.
        path: its directory.
        state: as a sweep or ``run.json`` has it.
        number: the job's number; None outside of a sweep.
        source: the argument that it came with, where there are several.
        values: the parameters in which the runs differ, by key.
        result: the metrics at the end.
        series: the logged metrics, by name.
        clock: seconds of training by step, estimated from ``train/samples_per_s``; None if that was not logged.
        batch_size: the global batch; None if it is not known.
        words: the words of its command line.
        command: the command that repeats it.
        monitor: the metric that it monitors; empty if it is not known.
        lower: the metrics of which a lower value is better.
        started: when it began, in seconds since the epoch; None if it is not known.
        ended: when it ended.
        attempts: how often it was started.
        problem: what ended it, in one line; empty if nothing did.
        tail: the last lines of its output, if it failed.
        damage: what is missing or cannot be read, one line each.
    """

    name: str
    label: str
    path: Path
    state: str
    number: int | None = None
    source: str = ""
    values: Mapping[str, ShownValue] = field(default_factory=dict)
    result: Mapping[str, float | None] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    clock: Series | None = None
    batch_size: int | None = None
    words: Sequence[str] = ()
    command: str = ""
    monitor: str = ""
    lower: Sequence[str] = ()
    started: float | None = None
    ended: float | None = None
    attempts: int = 1
    problem: str = ""
    tail: str = ""
    damage: Sequence[str] = ()

    @property
    def steps(self) -> int:
        """The last optimizer step that was logged."""
        return int(max((one.steps[-1] for one in self.series.values() if len(one)), default=0))


@dataclass(frozen=True)
class Span:
    """An attempt: from when to when a run occupied a slot.

    Attributes:
        run: the index of the run.
        attempt: from 1 on.
        lane: the slot, in words.
        started: seconds since the epoch.
        ended: the same; None while it runs.
        outcome: the state after it.
        place: where it ran.
    """

    run: int
    attempt: int
    lane: str
    started: float
    ended: float | None
    outcome: str
    place: str = ""


@dataclass(frozen=True)
class Influence:
    """How much a parameter matters for a metric.

    Attributes:
        key: the parameter.
        importance: its share, all shares adding up to 1; None if it was not computed.
        correlation: Spearman's rank correlation of its values with the metric; None if it has no order.
    """

    key: str
    importance: float | None
    correlation: float | None


@dataclass(frozen=True)
class ConfigDifference:
    """A key of the config that is not the same in all runs that have a readable config.

    Attributes:
        key: the dotted key.
        values: each value as text, with the indices of its runs.
    """

    key: str
    values: Sequence[tuple[str, Sequence[int]]]


@dataclass(frozen=True)
class Setting:
    """A key of a run's config.

    Attributes:
        key: the dotted key.
        value: its value as text.
        origin: where it was set, in words; empty if this is not known.
        typed: whether a word of the command line set it.
    """

    key: str
    value: str
    origin: str = ""
    typed: bool = False


@dataclass(frozen=True)
class ShownPicture:
    """A picture of a run.

    Attributes:
        name: the file's name without its ending.
        group: the folder of the evaluation that drew it.
        source: its content as a ``data:`` address.
        width: in pixels.
        height: in pixels.
        parts: the width of each half in pixels, if it is two pictures side by side (truth and prediction); else 0.
    """

    name: str
    group: str
    source: str
    width: int
    height: int
    parts: int = 0


@dataclass(frozen=True)
class Sheet:
    """A table of an evaluation.

    Attributes:
        name: its file's name without the ending.
        group: the folder of the evaluation.
        columns: their names.
        rows: the cells; None where a value is not defined.
        is_matrix: whether it is a confusion matrix: names in the first column, counts in the others.
        left_out: how many further rows the file has.
    """

    name: str
    group: str
    columns: Sequence[str]
    rows: Sequence[Sequence[ShownValue]]
    is_matrix: bool = False
    left_out: int = 0


@dataclass(frozen=True)
class Detail:
    """What only the page of a single run has.

    Attributes:
        settings: its config.
        origins: how much is known of where each value was set, in one line.
        facts: groups of names and values: provenance, machine, versions, data, strategy.
        diff: the uncommitted changes; empty if there were none.
        pictures: those that fit.
        sheets: the tables.
        notes: what was left out.
    """

    settings: Sequence[Setting] = ()
    origins: str = ""
    facts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    diff: str = ""
    pictures: Sequence[ShownPicture] = ()
    sheets: Sequence[Sheet] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: of the page.
        kind: ``run`` or ``runs``.
        made: when it was made, in words.
        entries: the runs, the best first.
        keys: the parameters in which they differ.
        monitor: the metric by which they are compared; empty if there is none.
        lower: the metrics of which a lower value is better.
        best: the index of the best run; None if there is none.
        facts: names and values below the title.
        command: the command that makes or continues all this; empty if there is none.
        notes: what a reader should know: what is missing, damaged or left out.
        spans: the attempts.
        influences: by metric, the most important parameter first.
        influence_note: how they were computed, or why not.
        differences: of the configs.
        detail: of a single run.
        runs_on: whether something of it still runs.
    """

    title: str
    kind: str
    made: str
    entries: Sequence[Entry]
    keys: Sequence[str] = ()
    monitor: str = ""
    lower: Sequence[str] = ()
    best: int | None = None
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""
    notes: Sequence[str] = ()
    spans: Sequence[Span] = ()
    influences: Mapping[str, Sequence[Influence]] = field(default_factory=dict)
    influence_note: str = ""
    differences: Sequence[ConfigDifference] = ()
    detail: Detail | None = None
    runs_on: bool = False
