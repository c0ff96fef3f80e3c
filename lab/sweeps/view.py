"""What a person sees of a running sweep: a live table on a terminal, plain lines elsewhere. No torch.

The master forks, so there is no thread here, and no lock is held between two calls: the master calls ``update`` once a
tick.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.report.dates import duration
from lab.report.tables import as_text, one_row
from lab.run_progress import Progress
from lab.sweeps import lines
from lab.sweeps.ledger import Ledger
from lab.sweeps.snapshot import Observer, RunningJob, Snapshot
from lab.text import printable

_LIVE = 0.5
"""Seconds between two drawings of the table."""
_PLAIN = 15.0
"""Seconds between two lines with the progress, where there is no table."""
_NARROW = 72
"""Columns of a terminal below which the table has fewer columns."""
_EVENTS = 5
_LEAST_EVENTS = 1


class SweepView:
    """Shows a running sweep.

    Args:
        ledger: the ledger; ``lab.sweeps.snapshot.Observer`` says which entries are read.
        console: where to print; stdout by default.
        live: draw a table; by default where the console is a terminal.
        clock: the time in seconds; tests give another one.
    """

    def __init__(
        self,
        ledger: Ledger,
        console: Console | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(highlight=False)
        is_terminal = self.console.is_terminal and not self.console.is_dumb_terminal
        self.is_live = (is_terminal and self.console.file.isatty()) if live is None else live
        self._observer = Observer(ledger)
        self._clock = clock
        self._begun: float | None = None
        self._drawn = clock()
        self._lines: deque[str] = deque(maxlen=_EVENTS)
        self._live: Live | None = None

    def start(self) -> None:
        """Begin, or go on after ``stop``; the time counts from the first start."""
        self._drawn = self._clock()
        self._begun = self._drawn if self._begun is None else self._begun
        if self.is_live and self._live is None:
            # Without automatic refreshing there is no thread. Streams are not replaced: forked jobs would inherit it.
            self._live = Live(
                console=self.console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
            self.console.show_cursor(True)  # a master that is killed could not show it again
            self._draw(None)

    def stop(self) -> None:
        """End; the last table stays on the terminal, and further lines are printed below it."""
        if self._live is not None:
            self._draw(None, refresh=False)
            self._live.stop()  # draws it
            self._live = None

    def say(self, line: str) -> None:
        """Show a line of ``lab.sweeps.lines``: as one of the last lines below the table, or printed at once."""
        self._lines.append(line)
        if self._live is None:
            self._print(printable(line))

    def update(self, progress: Mapping[int, Progress] | None = None) -> None:
        """Show the progress, if it is time: twice a second in the table, every 15 seconds in a line.

        Args:
            progress: that of the running jobs by number, if the caller has read it already.
        """
        if self._clock() - self._drawn >= (_LIVE if self._live else _PLAIN):
            self.refresh(progress)

    def refresh(self, progress: Mapping[int, Progress] | None = None) -> None:
        """Show the progress now."""
        self._drawn = self._clock()
        if self._live is not None:
            self._draw(progress)
        else:
            self._print(progress_line(self._observer.look(progress, 0), self._elapsed()))

    def _draw(self, progress: Mapping[int, Progress] | None, refresh: bool = True) -> None:
        assert self._live is not None
        snapshot = replace(self._observer.look(progress, 0), events=list(self._lines))
        width, height = self.console.size
        shown = picture(snapshot, self._elapsed(), width, height - 1)
        self._live.update(shown, refresh=refresh)

    def _elapsed(self) -> float:
        return self._clock() - (self._begun or 0.0)

    def _print(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)
        self.console.file.flush()


def picture(snapshot: Snapshot, elapsed: float, width: int, height: int) -> RenderableType:
    """Return the table of the running jobs with the counts and the last lines, in at most ``height`` rows."""
    room = max(1, height - 3 - _LEAST_EVENTS)  # the title, the table's head and the counts
    jobs = snapshot.running
    left_out = len(jobs) - room if len(jobs) > room else 0
    if left_out:
        left_out += 1
        jobs = jobs[: room - 1]
    parts: list[RenderableType] = [_title(snapshot, elapsed), _table(jobs, width < _NARROW)]
    if left_out:
        parts.append(one_row(f"... and {left_out} more", "dim"))
    colour = "red" if lines.is_bad(snapshot.counts) else "green"
    parts.append(one_row(lines.counted(snapshot.counts, snapshot.total), colour))
    events = max(0, min(_EVENTS, height - 3 - len(jobs) - bool(left_out)))
    parts += [one_row(line, "dim") for line in snapshot.events[len(snapshot.events) - events :] if events]
    return Group(*parts[:height])


def progress_line(snapshot: Snapshot, elapsed: float) -> str:
    """Return the progress as one line, for where there is no table."""
    running = [f"[{job.label.place}] {_step(job)}{_measured(job)}" for job in snapshot.running[:4]]
    if len(snapshot.running) > 4:
        running.append(f"and {len(snapshot.running) - 4} more")
    now = f"; {', '.join(running)}" if running else ""
    return printable(f"{_title(snapshot, elapsed).plain}: {lines.counted(snapshot.counts, snapshot.total)}{now}")


def _title(snapshot: Snapshot, elapsed: float) -> Text:
    total = snapshot.total if snapshot.total is not None else "?"
    text = Text.assemble("sweep ", (printable(snapshot.name), "bold"), f" {snapshot.done} of {total} done")
    text.no_wrap, text.overflow = True, "ellipsis"
    text.append(f", {duration(elapsed)} gone")
    if snapshot.seconds_left is not None:
        text.append(f", about {duration(snapshot.seconds_left)} left")
    if snapshot.paused:
        text.append(" (paused: starts no further job)", "yellow")
    return text


def _table(jobs: list[RunningJob], narrow: bool) -> Table:
    metrics = {job.metric for job in jobs if job.metric}
    single = metrics.pop() if len(metrics) == 1 else ""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("slot", "job"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("overrides")  # the only column that becomes narrower where there is no room
    for name in ("step", single or "metric", "left") + (() if narrow else ("phase", "memory", "try")):
        table.add_column(as_text(name), justify="right", no_wrap=True, overflow="ellipsis")
    for job in jobs:
        progress = job.progress
        measured = lines.number(job.value) if single and job.metric == single else _measured(job).strip()
        memory = f"{progress.memory_gib:.1f} GiB" if progress and progress.memory_gib is not None else ""
        cells = [str(job.attempt.slot) if job.attempt else "", job.label.place, job.label.words, _step(job)]
        cells += [measured if job.metric else "", duration(job.seconds_left)]
        cells += [] if narrow else [progress.phase if progress else "start", memory, str(job.job.attempts)]
        table.add_row(*map(one_row, cells))
    return table


def _step(job: RunningJob) -> str:
    if job.progress is None:
        return "-"
    return f"{job.progress.step}/{job.progress.max_steps}" if job.progress.max_steps else str(job.progress.step)


def _measured(job: RunningJob) -> str:
    return f" {job.metric} {lines.number(job.value)}" if job.metric else ""
