"""What a master knows, and what the parts of its work share. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.launch.prepare import Prepared
from lab.run_progress import Progress
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.lines import Label
from lab.sweeps.placing import Assignment, Placement, Placer
from lab.sweeps.proposing import Proposer
from lab.sweeps.settings import LauncherFile
from lab.sweeps.snapshot import Observer
from lab.text import printable

LOG = "master.log"


@dataclass
class Running:
    """An attempt that this master has started."""

    assignment: Assignment
    placement: Placement
    started: float
    place: str = ""
    progress: Progress | None = None
    beat: float = 0.0
    reports_read: int = 0
    stopped: str = ""

    @property
    def number(self) -> int:
        """The job."""
        return self.assignment.number


class Show(Protocol):
    """What shows a sweep: ``lab.sweeps.view``."""

    def start(self) -> None:
        """Begin to show the sweep, or go on."""

    def stop(self) -> None:
        """Show only lines from here on."""

    def say(self, line: str) -> None:
        """Show a line about an event."""

    def update(self, progress: Mapping[int, Progress]) -> None:
        """Show the progress of the running jobs."""


@dataclass
class SweepState:
    """A sweep in the hands of its master.

    Attributes:
        folder: the sweep's directory, which this process has locked.
        ledger: its ledger.
        proposer: says which jobs there are.
        placer: starts them.
        settings: those of ``launcher.yaml``.
        prepare: composes and checks a job by its words.
        prepared: the jobs that were prepared already, by number.
        show: shows what happens.
        holder: the name of this process in the ledger.
        running: the attempts that this process has started, by job.
        paused: whether nothing is started.
    """

    folder: Path
    ledger: Ledger
    proposer: Proposer
    placer: Placer
    settings: LauncherFile
    prepare: Callable[[list[str]], Prepared]
    prepared: dict[int, Prepared]
    show: Show
    holder: str
    running: dict[int, Running] = field(default_factory=dict)
    paused: bool = False

    def __post_init__(self) -> None:
        """Make what names jobs in lines."""
        self._observer = Observer(self.ledger)

    def say(self, text: str) -> None:
        """Show a line about an event, and record it in the ledger and in master.log."""
        text = printable(text)
        self.ledger.note("said", text)
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self.show.say(text)

    def label(self, row: JobRow) -> Label:
        """Return what lines call a job."""
        return self._observer.label(row, self.proposer.total)
