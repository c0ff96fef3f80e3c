"""Kill the workers and the master of a sweep at random moments, and compare its end with that of a sweep left alone.

    python scripts/chaos_sweep.py --seed 1
    python scripts/chaos_sweep.py --jobs 6 --kills 4 --master-kills 1 --keep /tmp/chaos data.num_workers=1

The same sweep runs twice: undisturbed, then with ``--kills`` SIGKILLs of workers and ``--master-kills`` of the master,
after each of which the command is repeated. ``--others`` further ends are dealt out in turn: SIGKILL while a job
starts, validates and is tested, SIGSEGV, SIGABRT, SIGTERM from outside, ``os._exit(0)`` and ``os._exit(3)`` in the
middle. Further words are those of ``run.py``, after the ones below. The exit code is 1 if a check of the table fails:

- each job has finished once: by the ledger, whose attempts do not overlap, and by its run.json;
- results, metrics.csv (but speeds and memory) and the weights of best.ckpt are those of the undisturbed sweep;
- no process, lock, file in /dev/shm, semaphore or temporary folder is left, and the ledger is sound.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from lab.loggers.metrics_file import read_metrics
from lab.run_lock import is_locked
from lab.run_progress import read_progress
from lab.system.provenance import cpu_name

ROOT = Path(__file__).resolve().parent.parent
WORDS = (
    "model=detr_tiny",
    "data=shapes",
    "data.image_size=64",
    "data.num_train=64",
    "data.num_val=16",
    "data.num_test=16",
    "data.batch_size=8",
    "trainer=cpu",
    "trainer.deterministic=true",
    "trainer.max_steps=40",
    "trainer.val_every_n_steps=20",
    "trainer.log_every_n_steps=1",
    "trainer.checkpoint_every_n_steps=5",
    "logger=csv",
    "launcher.workers=2",
    "launcher.threads_per_job=1",
    "launcher.retries=1000",
    "launcher.backoff=0.01",
)
EXIT_0, EXIT_3 = signal.SIGRTMIN + 5, signal.SIGRTMIN + 6
"""Signals at which a job calls ``os._exit(0)`` and ``os._exit(3)``: see ``EXTENSION``."""
EXTENSION = f"""
import os, signal
signal.signal({EXIT_0}, lambda *_: os._exit(0))
signal.signal({EXIT_3}, lambda *_: os._exit(3))
"""
NAMES = {EXIT_0: "os._exit(0)", EXIT_3: "os._exit(3)"}
VARYING = ("train/samples_per_s", "train/data_wait", "train/peak_memory_gib")
"""Columns of metrics.csv that no two runs share."""
FURTHER = (
    (signal.SIGKILL, "start"),
    (signal.SIGKILL, "validate"),
    (signal.SIGKILL, "test"),
    (signal.SIGSEGV, ""),
    (signal.SIGTERM, ""),
    (EXIT_0, ""),
    (EXIT_3, ""),
    (signal.SIGABRT, ""),
)
"""Other ends: a signal, and the phase in which it comes; empty for any."""


class Master(Protocol):
    """A running command."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""


Start = Callable[[Path], Master]
"""Starts the command of the sweep in a folder, where it makes ``runs``; temporary files go to its folder ``tmp``."""


@dataclass(frozen=True)
class Blow:
    """One end to deal out: to the master, or to a worker in a phase (any, if it is empty)."""

    signum: int
    phase: str = ""
    to_master: bool = False


@dataclass
class Course:
    """How a sweep went.

    Attributes:
        seconds: from the first command to the end of the last one.
        commands: how often the command was given.
        codes: their exit codes.
        struck: how often a blow met a master, or a worker in each phase.
        problems: what is wrong.
    """

    seconds: float = 0.0
    commands: int = 0
    codes: list[int] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def sweep_of(folder: Path) -> Path | None:
    """Return the directory of the one sweep in a folder; None if it is not there yet."""
    return next((file.parent for file in (folder / "runs" / "sweeps").glob("*/ledger.sqlite")), None)


def ledger_rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Return rows of the ledger of a folder's sweep."""
    sweep = sweep_of(folder)
    if sweep is None:
        return []
    with closing(sqlite3.connect(f"file:{sweep / 'ledger.sqlite'}?mode=ro", uri=True, timeout=30)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # it is being made
            return []


def workers_of(master: int) -> list[int]:
    """Return the leaders of the process groups that a master has forked."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == master and fields[2] == stat.parent.name and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def phase_of(folder: Path, pid: int) -> str:
    """Return what the worker with that pid is at, by its own word."""
    rows = ledger_rows(folder, "SELECT job, place FROM attempts WHERE ended IS NULL")
    job = next((job for job, place in rows if place.startswith(f"pid {pid} on ")), None)
    sweep = sweep_of(folder)
    progress = read_progress(sweep / "jobs" / str(job)) if sweep is not None else None
    return "start" if progress is None else progress.phase


def plan(kills: int, master_kills: int, others: int, chance: random.Random) -> list[Blow]:
    """Return the blows in a random order."""
    blows = [Blow(signal.SIGKILL)] * kills + [Blow(signal.SIGKILL, to_master=True)] * master_kills
    blows += [Blow(*FURTHER[number % len(FURTHER)]) for number in range(others)]
    chance.shuffle(blows)
    return blows


def run_through(start: Start, folder: Path, blows: Sequence[Blow], pause: float, chance: random.Random) -> Course:
    """Run a sweep to its end; deal out the blows on the way, and repeat the command after each end of the master.

    Args:
        start: starts the command.
        folder: where it makes its runs.
        blows: what to deal out.
        pause: the mean time between two blows in seconds.
        chance: the randomness.
    """
    course, began, left = Course(), time.monotonic(), list(blows)
    while True:
        master = start(folder)
        course.commands += 1
        while left and master.poll() is None:
            blow = left[0]
            end = time.monotonic() + chance.uniform(0, 2 * pause)
            while time.monotonic() < end and master.poll() is None and not _is_late(folder, len(left) / len(blows)):
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.5))
            victim = master.pid if blow.to_master else _victim(master, folder, blow, chance)
            if victim is not None and master.poll() is None:
                what = "the master" if blow.to_master else f"a job at {phase_of(folder, victim)}"
                try:
                    os.kill(victim, blow.signum)
                except ProcessLookupError:
                    continue
                name = NAMES.get(blow.signum) or signal.Signals(blow.signum).name
                course.struck[f"{name} to {what}"] += 1
                left.pop(0)
                if blow.to_master:
                    break
        code = _end_of(master)
        course.codes.append(code)
        open_jobs = ledger_rows(folder, "SELECT 1 FROM jobs WHERE state != 'finished'")
        if (code == 0 and not open_jobs) or course.commands > len(blows) + 3:
            break
    course.seconds = time.monotonic() - began
    if left:
        course.problems.append(f"{len(left)} of {len(blows)} blows found no worker before the end")
    return course


def _is_late(folder: Path, left: float) -> bool:
    """Whether the jobs come to their end before the blows do, of which a share is left."""
    jobs = ledger_rows(folder, "SELECT state = 'finished' FROM jobs")
    return sum(done for (done,) in jobs) > (1 - left) * len(jobs)


def _victim(master: Master, folder: Path, blow: Blow, chance: random.Random) -> int | None:
    """Return a worker in the phase that is asked for, as soon as there is one; None if the master ends before."""
    while master.poll() is None:
        workers = workers_of(master.pid)
        fitting = [pid for pid in workers if not blow.phase or phase_of(folder, pid) == blow.phase]
        if fitting:
            return chance.choice(fitting)
        time.sleep(0.005)
    return None


def _end_of(master: Master) -> int:
    while (code := master.poll()) is None:
        time.sleep(0.02)
    return code


def differences(folder: Path, quiet: Path) -> Iterator[str]:
    """Yield how the runs in a folder differ from those of the undisturbed sweep."""
    runs = {run.name: run for run in _runs(folder)}
    undisturbed = {run.name: run for run in _runs(quiet)}
    if runs.keys() != undisturbed.keys():
        yield f"runs that only one sweep has: {sorted(runs.keys() ^ undisturbed.keys())}"
    for name in sorted(runs.keys() & undisturbed.keys()):
        one, other = runs[name], undisturbed[name]
        records = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in (one, other)]
        if [record["state"] for record in records] != ["finished"] * 2:
            yield f"{name}: {records[0]['state']}, undisturbed {records[1]['state']}"
        elif records[0]["result"] != records[1]["result"]:
            yield f"{name}: other results"
        rows = [[_lasting(row) for row in read_metrics(run)] for run in (one, other)]
        if rows[0] != rows[1]:
            yield f"{name}: other rows in metrics.csv ({len(rows[0])}, undisturbed {len(rows[1])})"
        for checkpoint in ("best.ckpt", "last.ckpt"):
            weights = [(run / "checkpoints" / checkpoint / "rank-00000.safetensors") for run in (one, other)]
            if not all(map(Path.is_file, weights)) or len({file.read_bytes() for file in weights}) != 1:
                yield f"{name}: other weights in {checkpoint}"


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in VARYING}


def _runs(folder: Path) -> list[Path]:
    return [path.parent for path in (folder / "runs").glob("*/run.json")]


def ledger_problems(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the ledger: jobs not finished exactly once, attempts that are open or overlap.

    A repeated command may ask a finished run for its result: such an attempt finishes too, but the run's end, which its
    run.json has, stays that of the first one.
    """
    for (found,) in ledger_rows(folder, "PRAGMA integrity_check"):
        if found != "ok":
            yield f"ledger: {found}"
    jobs = dict(ledger_rows(folder, "SELECT number, state FROM jobs"))
    runs = dict(ledger_rows(folder, "SELECT number, run FROM jobs"))
    if not jobs:
        yield "ledger: no job"
    rows = ledger_rows(folder, "SELECT job, attempt, started, ended, outcome FROM attempts ORDER BY job, attempt")
    for number, state in jobs.items():
        mine = [row[1:] for row in rows if row[0] == number]
        ends = [row[2] for row in mine if row[3] == "finished" and row[2] is not None]
        if state != "finished" or not ends or not _ended(folder / runs[number]) < ends[0] + 1:
            yield f"job {number}: {state}, run ended at {_ended(folder / runs[number])}, attempts that finished: {ends}"
        if [row[0] for row in mine] != list(range(1, len(mine) + 1)) or any(row[2] is None for row in mine):
            yield f"job {number}: attempts missing or open"
        elif any(then[2] > now[1] for then, now in itertools.pairwise(mine)):
            yield f"job {number}: two attempts at a time"


def _ended(run: Path) -> float:
    """Return when a run has ended, by its own record."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return datetime.fromisoformat(record["ended"]).timestamp() if record.get("ended") else math.inf


def left_behind(folder: Path, shared_before: set[str]) -> Iterator[str]:
    """Yield what a sweep has left: processes, locks, temporary folders, shared memory and semaphores."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            at_home = (directory / "cwd").resolve(strict=True) == folder.resolve()
            if at_home and int(directory.name) != os.getpid():
                yield f"a process: pid {directory.name} {(directory / 'comm').read_text(encoding='utf-8').strip()}"
        except OSError:
            continue
    for file in (folder / "runs").rglob("run.lock"):
        if is_locked(file.parent):
            yield f"a lock: {file.parent}"
    yield from (f"a temporary file: {path}" for path in (folder / "tmp").iterdir() if "inductor" not in path.name)
    yield from (f"a file being written: {path}" for path in (folder / "runs").rglob(".*"))
    in_use = shared_files_in_use()
    yield from (f"shared: {name}" for name in sorted(shared_memory() - shared_before - in_use))


def shared_memory() -> set[str]:
    """Return the names in /dev/shm, where named semaphores are too, and the identifiers of System V."""
    names = {f"/dev/shm/{path.name}" for path in Path("/dev/shm").iterdir()} if Path("/dev/shm").is_dir() else set()
    for kind in ("shm", "sem", "msg"):
        file = Path("/proc/sysvipc") / kind
        lines = file.read_text(encoding="utf-8").splitlines()[1:] if file.is_file() else []
        names |= {f"System V {kind} {line.split()[1]}" for line in lines}
    return names


def shared_files_in_use() -> set[str]:
    """Return files of /dev/shm that a living process of this machine has open or mapped."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
            opened = [os.readlink(link) for link in (maps.parent / "fd").iterdir()]  # noqa: PTH115 - no path of its own
        except OSError:
            continue
        found |= {line[line.index("/dev/shm/") :] for line in lines if "/dev/shm/" in line}
        found |= {name for name in opened if name.startswith("/dev/shm/")}
    return found


class Command:
    """``python run.py -m WORDS`` in a process of its own; what it prints is appended to ``printed.txt``."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        with (folder / "printed.txt").open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "run.py"), "-m", *words],
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": f"{folder}:{ROOT}"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return its exit code."""
        return self._process.poll()


def prepare_folder(folder: Path) -> Path:
    """Make the folder of a sweep, with the extension by which a job ends itself."""
    (folder / "tmp").mkdir(parents=True)
    (folder / "chaos_exits.py").write_text(EXTENSION, encoding="utf-8")
    return folder


def main() -> int:
    """Run both sweeps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--master-kills", type=int, default=3)
    parser.add_argument("--others", type=int, default=len(FURTHER))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder for both sweeps, which is not removed")
    arguments, words = parser.parse_known_args()
    if arguments.keep is not None:
        return compare(arguments, words, arguments.keep)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return compare(arguments, words, Path(folder))


def compare(arguments: argparse.Namespace, further: Sequence[str], folder: Path) -> int:
    """Run both sweeps in a folder, print the table and return the exit code."""
    seeds = ",".join(map(str, range(arguments.jobs)))
    words = [*WORDS, "extensions=[chaos_exits]", f"seed={seeds}", *further]
    shared = shared_memory()
    quiet, loud = prepare_folder(folder / "quiet"), prepare_folder(folder / "loud")
    chance = random.Random(arguments.seed)
    blows = plan(arguments.kills, arguments.master_kills, arguments.others, chance)

    def start(place: Path) -> Command:
        return Command(place, words)

    print(f"undisturbed: {arguments.jobs} jobs: {shlex.join(words)}", flush=True)
    calm = run_through(start, quiet, (), 1.0, chance)
    print(f"undisturbed: {calm.seconds:.0f} s; now {len(blows)} blows, seed {arguments.seed}", flush=True)
    storm = run_through(start, loud, blows, 0.8 * calm.seconds / max(1, len(blows)), chance)
    return report(calm, storm, quiet, loud, shared)


def report(calm: Course, storm: Course, quiet: Path, loud: Path, shared: set[str]) -> int:
    """Print the table; return 1 if anything is wrong."""
    checks = {
        "blows dealt": storm.problems,
        "exit codes of undisturbed": [f"exit codes {calm.codes}"] if calm.codes != [0] else [],
        "ledger: each job finished once": [*ledger_problems(quiet), *ledger_problems(loud)],
        "results, metrics.csv, weights: bit for bit": list(differences(loud, quiet)),
        "nothing left behind": [*left_behind(quiet, shared), *left_behind(loud, shared)],
    }
    print(f"\nprocessor {cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {time.ctime()}\n")
    print("| | undisturbed | disturbed |\n| --- | --- | --- |")
    print(f"| seconds | {calm.seconds:.0f} | {storm.seconds:.0f} |")
    print(f"| commands given (exit codes) | {_codes(calm)} | {_codes(storm)} |")
    for query in (
        "SELECT 'jobs', state, count(*) FROM jobs GROUP BY state",
        "SELECT 'attempts', outcome, count(*) FROM attempts GROUP BY outcome",
    ):
        of = [{row[:2]: row[2] for row in ledger_rows(folder, query)} for folder in (quiet, loud)]
        for key in sorted(of[0] | of[1]):
            print(f"| {key[0]}: {key[1] or 'open'} | {of[0].get(key, 0)} | {of[1].get(key, 0)} |")
    for what, number in sorted(storm.struck.items()):
        print(f"| {what} | | {number} |")
    for name, problems in checks.items():
        print(f"| {name} | | {'yes' if not problems else f'NO: {len(problems)}'} |")
    for problem in (problem for problems in checks.values() for problem in problems):
        print(f"wrong: {problem}")
    return int(any(checks.values()))


def _codes(course: Course) -> str:
    return f"{course.commands} ({', '.join(map(str, course.codes))})"


if __name__ == "__main__":
    sys.exit(main())
