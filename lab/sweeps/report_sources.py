"""Reads the arguments of ``lab report``: sweeps from their ledgers, runs from their directories. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.config.words import parse_word
from lab.errors import RunError, closest
from lab.report.html.page import Entry, Span
from lab.report.html.reading import RunReader, scalar
from lab.report.runs import Run, list_runs
from lab.report.shown import shared_words, varied
from lab.sweeps.commands import HOME, open_ledger
from lab.sweeps.holder import command_of, find_holder
from lab.sweeps.ledger import FILE, AttemptRow, JobRow, Ledger
from lab.sweeps.states import OPEN


@dataclass
class Gathered:
    """What the sources have given so far.

    Attributes:
        title: of the page.
        entries: the runs, those of a sweep by their numbers.
        runs: the runs whose directory could be read, by path.
        spans: the attempts.
        facts: of the sweeps.
        commands: of the sweeps.
        notes: what a reader should know.
        objective: the metric that a search compares by; empty if there is none.
        lower: metrics that a search minimises.
        higher: metrics that a search maximises.
        is_sweep: whether one of them is a sweep.
        runs_on: whether a sweep still runs.
    """

    title: str = ""
    entries: list[Entry] = field(default_factory=list)
    runs: dict[Path, Run] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    objective: str = ""
    lower: set[str] = field(default_factory=set)
    higher: set[str] = field(default_factory=set)
    is_sweep: bool = False
    runs_on: bool = False
    _places: set[tuple[str, Path]] = field(default_factory=set)

    def add(self, entry: Entry, run: Run | None) -> bool:
        """Add a run unless another source has brought it."""
        place = entry.path.resolve()
        if (entry.name, place) in self._places:
            return False
        self._places.add((entry.name, place))
        self.entries.append(entry)
        if run is not None:
            self.runs[entry.path] = run
        return True


class ReportSource:
    """One argument: a run, a folder of runs, or a sweep.

    Args:
        word: its directory, or the name of a sweep below ``runs/sweeps``.
        among_others: whether there are further arguments, so that its runs must say where they come from.

    Raises:
        RunError: it is none of these.
    """

    def __init__(self, word: str, among_others: bool) -> None:
        path = Path(word)
        self.is_sweep = (path / FILE).is_file()
        if not path.exists() and (HOME / word / FILE).is_file():
            path, self.is_sweep = HOME / word, True
        self.path = path
        self.name = path.resolve().name if among_others else ""
        self.is_run = not self.is_sweep and _is_run(path)
        if not self.is_sweep and not self.is_run:
            if not path.is_dir():
                raise RunError(f"{word}: there is no such run or sweep{_closest(path)}")
            if not len(list_runs(path)):
                raise RunError(f"{path} is no run, no sweep (no {FILE}), and no folder with runs")

    def read(self, reader: RunReader, gathered: Gathered) -> None:
        """Add what it has now.

        Raises:
            RunError: the ledger is damaged or cannot be read.
        """
        title = self.path.resolve().name
        gathered.title = f"{gathered.title}, {title}" if gathered.title else title
        if self.is_sweep:
            self._read_sweep(reader, gathered)
            return
        for path in [self.path] if self.is_run else [run.path for run in list_runs(self.path)]:
            found = reader.read(path)
            if found is None:
                gathered.notes.append(f"{path} is no run any more")
            else:
                gathered.add(replace(found[1], source=self.name), found[0])

    def _read_sweep(self, reader: RunReader, gathered: Gathered) -> None:
        ledger = open_ledger(self.path)
        try:
            self._read_ledger(ledger, reader, gathered)
        finally:
            ledger.close()

    def _read_ledger(self, ledger: Ledger, reader: RunReader, gathered: Gathered) -> None:
        gathered.is_sweep = True
        jobs = sorted((_in_place(job, ledger) for job in ledger.jobs()), key=lambda job: job.number)
        shared = shared_words(job.words for job in jobs)
        attempts = ledger.attempts()
        of_job: dict[int, list[AttemptRow]] = {}
        for attempt in attempts:
            of_job.setdefault(attempt.job, []).append(attempt)
        places: dict[int, int] = {}
        for job in jobs:
            times = of_job.get(job.number)
            found = reader.read(Path(job.run)) if job.run else None
            entry = _of_job(job, found[1] if found else None, shared, self.name)
            if times:
                entry = replace(entry, started=times[0].started, ended=times[-1].ended)
            if gathered.add(entry, found[0] if found else None):
                places[job.number] = len(gathered.entries) - 1
        lane = f"{self.name} slot" if self.name else "slot"
        gathered.spans += [
            Span(places[one.job], one.attempt, f"{lane} {one.slot}", one.started, one.ended, one.outcome, one.place)
            for one in attempts
            if one.job in places
        ]
        objectives = ledger.get("objectives") or []
        if len(objectives) == 1:
            gathered.objective = objectives[0]["metric"]
        for objective in objectives:
            side = gathered.lower if objective.get("direction") == "min" else gathered.higher
            side.add(objective["metric"])
        self._read_state(ledger, gathered)

    def _read_state(self, ledger: Ledger, gathered: Gathered) -> None:
        master = find_holder(ledger)
        gathered.runs_on = gathered.runs_on or master.lives
        command = command_of(ledger)
        gathered.commands += [command] if command else []
        label = f"sweep {self.name}" if self.name else "sweep"
        total, known = ledger.get("total"), sum(ledger.counts().values())
        planned = f", {max(total, known)} planned" if isinstance(total, int) and total > known else ""
        state = "runs" if master.lives else "complete" if not ledger.count(*OPEN) and not planned else "stopped"
        gathered.facts.append((label, f"{state}{planned}"))
        if not master.lives and ledger.count("running"):
            gathered.notes.append(f"{ledger.count('running')} jobs were running when the sweep's master ended")


def _in_place(job: JobRow, ledger: Ledger) -> JobRow:
    """Return the job with its run beside the sweep; the ledger names it as seen from where the sweep was started."""
    beside = ledger.file.parent.parent.parent / Path(job.run).name
    return replace(job, run=str(beside)) if job.run and beside.is_dir() else job


def _of_job(job: JobRow, found: Entry | None, shared: frozenset[str], source: str) -> Entry:
    """Return the row of a job; its run's directory may not exist yet."""
    words = [parse_word(word) for word in job.words if word not in shared]
    run = Path(job.run)
    entry = found or Entry(run.name or f"job {job.number}", "", run, job.state, words=job.words)
    return replace(
        entry,
        label=f"{job.number}: {varied(job.words, shared)}",
        state=job.state,
        number=job.number,
        source=source,
        values={word.key: scalar(word.shown) for word in words},
        result=entry.result or dict(job.result),
        attempts=job.attempts,
        problem=job.problem or entry.problem,
        tail=job.tail,
    )


def _is_run(path: Path) -> bool:
    try:
        Run(path)
    except RunError:
        return False
    return True


def _closest(path: Path) -> str:
    names = [file.parent.name for file in HOME.glob(f"*/{FILE}")]
    names += [item.name for item in path.parent.iterdir() if item.is_dir()] if path.parent.is_dir() else []
    return closest(path.name, names)
