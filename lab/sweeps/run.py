"""``-m``: from a command to a sweep: its jobs are checked, its ledger is opened, its master runs."""

from __future__ import annotations

import gc
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.config.words import word_key
from lab.errors import ConfigError, LabError, RunError
from lab.launch.prepare import Prepared, prepare_job
from lab.run_lock import RunLock, is_locked
from lab.sweeps.grid import GridProposer, expand
from lab.sweeps.here import HerePlacer
from lab.sweeps.ledger import DamagedLedger, Ledger
from lab.sweeps.local import LocalPlacer
from lab.sweeps.master import Master, Show
from lab.sweeps.notes import SignalNotes
from lab.sweeps.placing import Placer
from lab.sweeps.proposing import Proposer
from lab.sweeps.reconciling import adopt, holder_name
from lab.sweeps.settings import LauncherFile, SlurmLauncher
from lab.sweeps.setup import SweepSetup, read_setup, write_settings
from lab.sweeps.slurm import SlurmPlacer
from lab.sweeps.states import BAD
from lab.sweeps.takeover import Successor, wait_for_the_sweep
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
    combinations = expand(setup.words, user_dirs)
    if len(combinations) > MANY and not setup.launcher.yes:
        raise ConfigError(f"{len(combinations)} jobs: if you want as many as that, add launcher.yes=true")
    prepared = _prepare_all(combinations, user_dirs)
    proposer = GridProposer(combinations)
    placer = _placer(setup, prepared)
    folder = setup.directory(prepared[0].config)
    if not isinstance(placer, SlurmPlacer):  # there, a job may go on without its master, and is taken over
        _refuse_held(prepared, folder)
    return _hold(setup, folder, proposer, placer, prepared)


def _placer(setup: SweepSetup, prepared: Sequence[Prepared]) -> Placer:
    launcher = setup.launcher
    if isinstance(launcher, SlurmLauncher):
        return SlurmPlacer(launcher, prepared)
    return HerePlacer() if launcher.name == "here" else LocalPlacer(launcher, prepared)


def _prepare_all(combinations: list[list[str]], user_dirs: list[str]) -> list[Prepared]:
    """Compose and check all jobs.

    Raises:
        ConfigError: something is wrong with one; all wrong ones are printed.
    """
    jobs: list[Prepared] = []
    problems: list[str] = []
    for number, words in enumerate(combinations, 1):
        try:
            jobs.append(prepare_job(words, user_dirs))
        except LabError as error:
            problems.append(f"job {number} of {len(combinations)} ({printable(' '.join(words))}): {error}")
        except OSError as error:  # from a file that the check reads
            problem = explain(error) or one_line(error)
            problems.append(f"job {number} of {len(combinations)} ({printable(' '.join(words))}): {problem}")
    if problems:
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
        if isinstance(placer, LocalPlacer):
            placer.warm_up(extensions)
        takes_over = wait_for_the_sweep()
        lock = RunLock(folder)
        holder = _Hold(folder, lock)
        try:
            ledger = _open_ledger(folder)
            return _run(setup, folder, proposer, placer, jobs, notes, ledger, holder, takes_over)
        except (sqlite3.OperationalError, OSError) as error:
            found = explain(error, where=folder) if isinstance(error, OSError) else None
            if found is None and isinstance(error, OSError):
                raise
            raise found or RunError(
                f"{folder}: the ledger cannot be written ({error}); the runs keep their results and checkpoints: "
                "repeat the command to continue"
            ) from error
        finally:
            placer.close()
            holder.release()


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
        return known.get(tuple(words)) or prepare_job(words, setup.user_dirs)

    proposer.begin(ledger)
    extensions = jobs[0].config["extensions"]
    prepared = {row.number: known[tuple(row.words)] for row in ledger.jobs() if tuple(row.words) in known}
    for line in adopt(ledger, prepared):
        print(line)
    workers, why = placer.workers(jobs)
    settings = _launcher_file(setup, workers)
    write_settings(folder, settings)
    name = holder_name()
    varied = _varied(setup.words, [job.words for job in jobs])
    ledger.set(
        command=setup.command,
        words=setup.words,
        shared=[word for word in setup.words if word_key(word) not in varied],
        varied=varied,
        sources=sources_fingerprint(extensions),
        holder=name,
        exit_code=None,
        paused=False,
    )
    successor = Successor(hold.release, lambda: _take_again(hold, ledger, name), lambda: _has_ended(ledger))
    show = _show(folder)
    print(f"sweep     {printable(folder)}: {proposer.total or 'open'} jobs, {workers} at a time ({why})")
    master = Master(folder, ledger, proposer, placer, settings, prepare, prepared, show, name, successor)
    frozen = sources_fingerprint(extensions)
    del jobs
    gc.collect()
    try:
        code = master.run(notes, lambda: sources_fingerprint(extensions, now=True) != frozen)
    finally:
        show.close()
    if master.handed_over:
        return successor.exit_code
    return _end(ledger, proposer, code)


def _has_ended(ledger: Ledger) -> bool:
    return ledger.get("exit_code") is not None


def _take_again(hold: _Hold, ledger: Ledger, name: str) -> None:
    hold.take_again()
    ledger.set(holder=name)
    adopt(ledger, {})


def _end(ledger: Ledger, proposer: Proposer, code: int) -> int:
    """Print the summary; return the exit code of the sweep."""
    counts = ledger.counts()
    if not code and any(counts[state] for state in BAD):
        code = 1
    if code in (130, 143):
        done = sum(counts[state] for state in ("finished", "pruned", "withdrawn"))
        print(f"interrupted with {done} of {sum(counts.values())} jobs done; repeat the command to continue")
    ledger.set(exit_code=code, holder=None)
    for row in ledger.jobs(*BAD):
        print(f"job {row.number} ({' '.join(row.words)}) {row.state}: {row.problem}", file=sys.stderr)
    return code


def _launcher_file(setup: SweepSetup, workers: int) -> LauncherFile:
    given: dict[str, Any] = setup.launcher.model_dump()
    fields = {key: given[key] for key in LauncherFile.model_fields if key in given and key != "workers"}
    if setup.launcher.name == "here":
        fields = {"retries": 0, "backoff": 0.0, "timeout": None, "grace": 120.0}
    return LauncherFile(workers=workers, **fields)


def _varied(words: Sequence[str], jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys that differ between jobs."""
    keys = dict.fromkeys(map(word_key, words))
    found = [{word_key(word): word for word in job} for job in jobs]
    return [key for key in keys if len({job.get(key) for job in found}) > 1]


def _show(folder: Path) -> Show:
    log = (folder / "master.log").open("a", encoding="utf-8", buffering=1)

    def line(text: str) -> None:
        print(text, flush=True)
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    return Show(line, lambda master: None, log.close)
