"""``-m``: from a command to a sweep: its jobs are checked, its ledger is opened, its master runs."""

from __future__ import annotations

import gc
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.errors import ConfigError, LabError
from lab.launch.prepare import Prepared, prepare_job
from lab.run_lock import RunLock, is_locked
from lab.sweeps import lines
from lab.sweeps.display import display_name
from lab.sweeps.grid_proposer import GridProposer
from lab.sweeps.here import HerePlacer
from lab.sweeps.ledger import FILE, Ledger
from lab.sweeps.ledger_errors import DamagedLedger, LedgerError
from lab.sweeps.local import LocalPlacer
from lab.sweeps.master import ENDINGS, Master
from lab.sweeps.notes import SignalNotes
from lab.sweeps.placing import Placer
from lab.sweeps.probing import logged_metrics
from lab.sweeps.proposing import Proposer
from lab.sweeps.ray_cluster import RayPlacer
from lab.sweeps.reconciling import adopt, holder_name
from lab.sweeps.searching import SearchProposer
from lab.sweeps.settings import Elsewhere, LauncherFile, RayLauncher, SlurmLauncher
from lab.sweeps.setup import SweepSetup, read_setup, write_settings
from lab.sweeps.slurm import SlurmPlacer
from lab.sweeps.states import DONE
from lab.sweeps.summary import exit_code, failures, print_summary, summarise, write_summary
from lab.sweeps.sweepers import make_proposer
from lab.sweeps.takeover import Successor, is_successor, wait_for_the_sweep
from lab.sweeps.view import SweepView
from lab.system.provenance import freeze, sources_fingerprint
from lab.system.storage import explain
from lab.text import one_line, printable

MANY = 1000
"""Jobs above which a sweep asks for ``launcher.yes=true``."""


def run_sweep(overrides: list[str], user_dirs: list[str]) -> int:
    """Run a sweep; print a table of its results, and write it into the sweep's directory.

    Returns:
        0 when every job finished, was pruned or withdrawn, 1 when any failed, 130 or 143 when interrupted.

    Raises:
        LabError: a setting of the sweep or a job's config is wrong; no job was started.
        StorageError: the disk refuses the ledger.
    """
    setup = read_setup(overrides, user_dirs)
    proposer, notes = make_proposer(setup.sweeper, setup.words, user_dirs)
    if (proposer.total or 0) > MANY and not setup.launcher.yes:
        raise ConfigError(f"the sweep has {proposer.total} jobs, more than {MANY}; add launcher.yes=true to start them")
    jobs = _prepare_all(_known_words(proposer), setup)
    placer = _placer(setup, jobs)
    folder = setup.directory(jobs[0].config)
    if not isinstance(placer, SlurmPlacer):  # there, a job may go on without its master, and is taken over
        _refuse_held(jobs, folder)
    for note in notes:
        print(printable(note))
    return _hold(setup, folder, proposer, placer, jobs)


def _known_words(proposer: Proposer) -> list[list[str]]:
    """Return the overrides of the jobs that are known before the start: all of a grid, of a search one to check."""
    if isinstance(proposer, GridProposer):
        return proposer.jobs
    assert isinstance(proposer, SearchProposer)
    return [proposer.check_words()]


def _placer(setup: SweepSetup, prepared: Sequence[Prepared]) -> Placer:
    launcher = setup.launcher
    if isinstance(launcher, SlurmLauncher):
        return SlurmPlacer(launcher, prepared)
    if isinstance(launcher, RayLauncher):
        return RayPlacer(launcher, prepared)
    return HerePlacer() if launcher.name == "here" else LocalPlacer(launcher, prepared)


def _prepare(words: list[str], setup: SweepSetup) -> Prepared:
    """Compose and check a job; the devices of other machines are not known here."""
    job = prepare_job(words, setup.user_dirs, machine=False)
    job.require_machine(devices=not isinstance(setup.launcher, Elsewhere))
    return job


def _prepare_all(combinations: list[list[str]], setup: SweepSetup) -> list[Prepared]:
    """Compose and check all jobs.

    Raises:
        ConfigError: something is wrong with one; each mistake is printed once, with the first job that has it.
    """
    jobs: list[Prepared] = []
    mistakes: dict[str, list[int]] = {}
    for number, words in enumerate(combinations):
        try:
            jobs.append(_prepare(words, setup))
        except LabError as error:
            mistakes.setdefault(str(error), []).append(number)
        except OSError as error:  # from a file that the check reads
            mistakes.setdefault(str(explain(error) or one_line(error)), []).append(number)
    if mistakes:
        problems = [
            f"job {first + 1} of {len(combinations)} ({printable(' '.join(combinations[first]))})"
            f"{f' and {len(others)} more' if others else ''}: {mistake}"
            for mistake, (first, *others) in mistakes.items()
        ]
        for problem in problems[:-1]:
            print(f"error: {problem}", file=sys.stderr)
        raise ConfigError(f"{problems[-1]}; no job was started")
    paths: set[Path] = set()
    for job in jobs:
        if job.path in paths and job.config["stage"] == "fit":
            raise ConfigError(f"several jobs of the sweep ask for the same run {job.path}; no job was started")
        paths.add(job.path)
    return jobs


def _refuse_held(jobs: Sequence[Prepared], folder: Path) -> None:
    """Refuse jobs whose run directory another process holds, if that is not a master of this sweep.

    Raises:
        RunError: the first one.
    """
    if is_locked(folder):
        return  # the sweep's own lock says who has it
    for seconds in (0.2, 0.5, 1.0, 2.0, 0.0):  # jobs of a master that was killed die at this moment
        held = [job.path for job in jobs if job.config["stage"] == "fit" and is_locked(job.path)]
        if not held:
            return
        time.sleep(seconds)
    RunLock(held[0]).release()  # says who holds it


def _hold(setup: SweepSetup, folder: Path, proposer: Proposer, placer: Placer, jobs: list[Prepared]) -> int:
    """Lock the sweep's directory and run its master."""
    extensions = jobs[0].config["extensions"]
    with SignalNotes() as notes:
        freeze(extensions)
        takes_over = is_successor()
        if takes_over:
            _warm_up(placer, extensions)
            wait_for_the_sweep()
        hold = _Hold(folder, RunLock(folder))
        try:
            if not takes_over:
                _warm_up(placer, extensions)
            with closing(_open_ledger(folder)) as ledger:
                return _run(setup, folder, proposer, placer, jobs, notes, ledger, hold, takes_over)
        except sqlite3.DatabaseError as error:
            raise LedgerError(folder / FILE, error) from error
        except OSError as error:
            found = explain(error, folder)
            if found is None:
                raise
            raise found from error
        finally:
            placer.close()
            hold.release()


def _warm_up(placer: Placer, extensions: Sequence[str]) -> None:
    if isinstance(placer, LocalPlacer):
        placer.warm_up(extensions)


class _Hold:
    """The lock of a sweep's directory, which can be given up and taken again."""

    def __init__(self, folder: Path, lock: RunLock) -> None:
        self.folder, self.lock = folder, lock
        self.held = True

    def release(self) -> None:
        if self.held:
            self.lock.release()
            self.held = False

    def take_again(self) -> None:
        self.lock, self.held = RunLock(self.folder), True


def _open_ledger(folder: Path) -> Ledger:
    """Open the ledger; if it is damaged, keep it aside and begin a new one, which the run directories fill."""
    try:
        return Ledger(folder, create=True)
    except DamagedLedger as error:
        kept = error.set_aside()
        print(f"warning: {error}; it is kept as {kept.name}, and made again from the run directories", file=sys.stderr)
        return Ledger(folder, create=True)


def _run(
    setup: SweepSetup,
    folder: Path,
    proposer: Proposer,
    placer: Placer,
    jobs: list[Prepared],
    notes: SignalNotes,
    ledger: Ledger,
    hold: _Hold,
    takes_over: bool,
) -> int:
    known: dict[tuple[str, ...], Prepared] = {tuple(job.words): job for job in jobs}

    def prepare(words: list[str]) -> Prepared:
        job = known.get(tuple(words)) or _prepare(words, setup)
        job.any_sources = takes_over
        if (wandb := job.config["logger"].get("wandb")) is not None:
            wandb["group"] = wandb["group"] or folder.name
            wandb["name"] = wandb["name"] or display_name(words, shared)
        if (mlflow := job.config["logger"].get("mlflow")) is not None:
            mlflow["tags"].setdefault("sweep", folder.name)
        return job

    shared = _shared(proposer)
    proposer.begin(ledger)
    if isinstance(proposer, SearchProposer) and isinstance(placer, LocalPlacer) and not ledger.counts():
        proposer.check_metrics(logged_metrics(jobs[0]) if proposer.names_metrics else [])
    extensions = jobs[0].config["extensions"]
    prepared = {row.number: prepare(row.words) for row in ledger.jobs() if tuple(row.words) in known}
    for line in adopt(ledger, prepared):
        print(line)
    workers, why = placer.workers(jobs)
    settings = _launcher_file(setup, workers)
    write_settings(folder, settings)
    name = holder_name()
    frozen = sources_fingerprint(extensions)
    ledger.set(
        command=setup.command,
        shared=shared,
        sources=frozen,
        holder=_holder(),
        total=proposer.total,
        seeds=setup.sweeper.seeds,
        workers=workers,
        exit_code=None,
        paused=False,
    )
    successor = Successor(hold.release, lambda: _take_again(hold, ledger), lambda: _has_ended(ledger))
    show = SweepView(ledger, live=False if isinstance(placer, HerePlacer) else None)  # there jobs print too
    print(lines.opened(str(folder), ledger.counts(), proposer.total, workers, why), flush=True)
    show.start()
    master = Master(folder, ledger, proposer, placer, settings, prepare, prepared, show, name, successor=successor)
    trains = any(job.config["stage"] == "fit" and not job.config["check"] for job in jobs)
    del jobs
    gc.collect()
    try:
        code = master.run(notes, lambda: sources_fingerprint(extensions, now=True) != frozen)
    finally:
        show.stop()
    if master.handed_over:
        return successor.exit_code
    return _end(ledger, proposer, code, trains)


def _has_ended(ledger: Ledger) -> bool:
    return ledger.get("exit_code") is not None


def _take_again(hold: _Hold, ledger: Ledger) -> None:
    hold.take_again()
    ledger.set(holder=_holder())
    adopt(ledger, {})


def _end(ledger: Ledger, proposer: Proposer, code: int, trains: bool) -> int:
    """Print and write the summary, if jobs train; return the exit code of the sweep."""
    counts = ledger.counts()
    code = code or exit_code(counts, proposer.total)
    if code in ENDINGS.values():
        done = sum(number for state, number in counts.items() if state in DONE)
        print(f"interrupted with {done} of {sum(counts.values())} jobs done; repeat the command to continue")
    elif trains:
        code = _summarise(ledger, proposer) or code
    if code in ENDINGS.values() or not trains:
        for line in failures(ledger.jobs()):
            print(line, file=sys.stderr)
    ledger.set(exit_code=code, holder=None)
    return code


def _summarise(ledger: Ledger, proposer: Proposer) -> int:
    """Print the summary and write it; return 1 if the disk refuses it."""
    summary = summarise(ledger)
    print_summary(summary, proposer.summary(ledger))
    try:
        write_summary(summary)
    except OSError as error:
        print(f"error: the summary cannot be written: {explain(error) or error}", file=sys.stderr)
        return 1
    return 0


def _launcher_file(setup: SweepSetup, workers: int) -> LauncherFile:
    given: dict[str, Any] = setup.launcher.model_dump()
    fields = {key: given[key] for key in LauncherFile.model_fields if key in given and key != "workers"}
    if setup.launcher.name == "here":
        fields = {"retries": 0, "backoff": 0.0, "timeout": None, "grace": 120.0}
    return LauncherFile(workers=workers, **fields)


def _shared(proposer: Proposer) -> list[str]:
    """Return the overrides that all jobs of the command have, which jobs that are added later get too."""
    if isinstance(proposer, SearchProposer):
        return proposer.plan.shared
    first, *others = _known_words(proposer)
    return [word for word in first if all(word in words for words in others)]


def _holder() -> dict[str, Any]:
    """Return this process as the ledger names it."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
