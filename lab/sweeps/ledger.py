"""The ledger of a sweep: one SQLite file with its jobs, attempts, reported values, events and requests. No torch.

Only the master changes jobs. Other processes read it, and add requests (``lab sweep pause DIR``). Everything in it but
the attempts can be found again in the run directories, so a damaged ledger loses no result.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import RunError
from lab.sweeps.ledger_errors import DamagedLedger, is_damage
from lab.sweeps.states import JobState

FILE = "ledger.sqlite"
VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sweep (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, words TEXT NOT NULL, run TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    turn REAL NOT NULL, exit_code INTEGER, problem TEXT NOT NULL DEFAULT '', tail TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT '{}', point TEXT NOT NULL DEFAULT '{}', ended REAL);
CREATE TABLE IF NOT EXISTS attempts (
    job INTEGER NOT NULL, attempt INTEGER NOT NULL, holder TEXT NOT NULL, slot INTEGER NOT NULL,
    place TEXT NOT NULL DEFAULT '', started REAL NOT NULL, ended REAL, outcome TEXT NOT NULL DEFAULT '',
    exit_code INTEGER, first_step INTEGER, last_step INTEGER, problem TEXT NOT NULL DEFAULT '',
    tail TEXT NOT NULL DEFAULT '', PRIMARY KEY (job, attempt));
CREATE TABLE IF NOT EXISTS reports (job INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY (job, step));
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, verb TEXT NOT NULL, jobs TEXT NOT NULL, taken REAL);
"""
_JSON = ("words", "result", "point", "jobs")


@dataclass(frozen=True)
class JobRow:
    """A job as the ledger has it.

    Attributes:
        number: from 1 on, in the order of the command; a job added later has the next number.
        words: its overrides.
        run: its run directory.
        state: see ``lab.sweeps.states``.
        attempts: how often it was started.
        crashes: how often it has died since it last trained a step.
        not_before: the time (seconds since the epoch) before which it is not tried again.
        turn: jobs are started by rising turn.
        exit_code: that of its last attempt.
        problem: why it has no result, in one line.
        tail: the last lines of its output, if it failed.
        result: its metrics.
        point: the values of the search space, by key.
        ended: the time of its end.
    """

    number: int
    words: list[str]
    run: str
    state: JobState = "waiting"
    attempts: int = 0
    crashes: int = 0
    not_before: float = 0.0
    turn: float = 0.0
    exit_code: int | None = None
    problem: str = ""
    tail: str = ""
    result: dict[str, float | None] = field(default_factory=dict)
    point: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None


@dataclass(frozen=True)
class AttemptRow:
    """One start of a job.

    Attributes:
        job: its number.
        attempt: from 1 on.
        holder: the master that started it.
        slot: the slot, from 0 on.
        place: where it runs, such as ``pid 123 on host``.
        started: the time.
        ended: the time; None while it runs, or if its master was killed.
        outcome: the job's state after it, or ``crashed``.
        exit_code: as in a shell: 128 + n for signal n.
        first_step: the first optimizer step that it trained; None if none.
        last_step: the last one.
        problem: what ended it, in one line.
        tail: the last lines of its output, if it failed.
    """

    job: int
    attempt: int
    holder: str
    slot: int
    place: str
    started: float
    ended: float | None
    outcome: str
    exit_code: int | None
    first_step: int | None
    last_step: int | None
    problem: str
    tail: str


@dataclass(frozen=True)
class Request:
    """What another process asks of the master: ``pause``, ``resume``, ``retry``, ``drop`` or ``reload``."""

    id: int
    verb: str
    jobs: list[int]


class Ledger:
    """The ledger in a sweep's directory.

    A forked child must not use the connection of its parent, nor close it. A job's process never does: its descriptors
    are closed (``lab.launch.forking.begin``), its frames keep the object, and it ends by ``os._exit``. Closing the
    connection before each fork would cost a checkpoint of the log, some 20 ms.

    Args:
        folder: the sweep's directory.
        create: make the file if it does not exist.

    Raises:
        RunError: there is no ledger, it is damaged, or a newer version of lab has written it.
    """

    def __init__(self, folder: Path, create: bool = False) -> None:
        self.file = folder / FILE
        self._opened: sqlite3.Connection | None = None
        if not create and not self.file.is_file():
            raise RunError(f"{folder} is no sweep: it has no {FILE}")
        try:
            with self._changing() as database:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    database.execute(statement)
            (found,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
            version = self.get("version", VERSION)
            self.jobs()
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError) and not is_damage(error):
                raise
            raise DamagedLedger(self.file, str(error)) from error
        if found != "ok":
            self.close()
            raise DamagedLedger(self.file, found)
        if version > VERSION:
            raise RunError(f"{self.file} was written by a newer version of lab ({version}, here {VERSION})")
        self.set(version=VERSION)

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = sqlite3.connect(self.file, timeout=30.0, isolation_level=None)
            self._opened.row_factory = sqlite3.Row
            self._opened.execute("PRAGMA journal_mode=WAL")
            self._opened.execute("PRAGMA synchronous=NORMAL")
        return self._opened

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start: all of it happens, or nothing."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            if database.in_transaction:  # a full disk has rolled it back already
                database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the sweep."""
        row = self._database.execute("SELECT value FROM sweep WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row["value"])

    def set(self, **values: Any) -> None:
        """Record values of the sweep: its command, its space, its settings, who holds it."""
        with self._changing() as database:
            rows = [(key, json.dumps(value)) for key, value in values.items()]
            database.executemany(
                "INSERT INTO sweep VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", rows
            )

    def jobs(self, *states: str) -> list[JobRow]:
        """Return the jobs in these states, or all of them, in the order of their turns."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        rows = self._database.execute(f"SELECT * FROM jobs {where} ORDER BY turn, number", states)
        return [JobRow(**_decoded(row)) for row in rows]

    def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state that occurs."""
        rows = self._database.execute("SELECT state, count(*) AS number FROM jobs GROUP BY state")
        return {row["state"]: row["number"] for row in rows}

    def count(self, *states: str) -> int:
        """Return how many jobs are in these states."""
        found = self.counts()
        return sum(number for state, number in found.items() if state in states)

    def job(self, number: int) -> JobRow:
        """Return a job.

        Raises:
            RunError: there is no such job.
        """
        row = self._database.execute("SELECT * FROM jobs WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise RunError(f"{self.file.parent} has no job {number}")
        return JobRow(**_decoded(row))

    def add(self, jobs: Sequence[tuple[Sequence[str], str, Mapping[str, Any]]]) -> list[int]:
        """Add jobs by words, run directory and point; return their numbers."""
        with self._changing() as database:
            (last,) = database.execute("SELECT coalesce(max(number), 0) FROM jobs").fetchone()
            numbers = list(itertools.islice(itertools.count(last + 1), len(jobs)))
            database.executemany(
                "INSERT INTO jobs (number, words, run, point, turn) VALUES (?, ?, ?, ?, ?)",
                [
                    (number, json.dumps(list(words)), run, json.dumps(dict(point)), number)
                    for number, (words, run, point) in zip(numbers, jobs, strict=True)
                ],
            )
        return numbers

    def change(self, number: int, **values: Any) -> None:
        """Change entries of a job."""
        names = ", ".join(f"{key} = ?" for key in values)
        with self._changing() as database:
            database.execute(f"UPDATE jobs SET {names} WHERE number = ?", (*_encoded(values).values(), number))

    def claim(self, number: int, holder: str, slot: int) -> int | None:
        """Take a waiting job for a slot; return the number of the attempt, or None if it is not waiting any more."""
        with self._changing() as database:
            row = database.execute("SELECT state, attempts FROM jobs WHERE number = ?", (number,)).fetchone()
            if row is None or row["state"] != "waiting":
                return None
            attempt = int(row["attempts"]) + 1
            database.execute("UPDATE jobs SET state = 'running', attempts = ? WHERE number = ?", (attempt, number))
            values = (number, attempt, holder, slot, time.time())
            database.execute(
                "INSERT INTO attempts (job, attempt, holder, slot, started) VALUES (?, ?, ?, ?, ?)", values
            )
        return attempt

    def place(self, number: int, attempt: int, place: str) -> None:
        """Record where an attempt runs."""
        with self._changing() as database:
            database.execute("UPDATE attempts SET place = ? WHERE job = ? AND attempt = ?", (place, number, attempt))

    def end(self, number: int, attempt: int, outcome: str, job: Mapping[str, Any], **values: Any) -> None:
        """Record the end of an attempt, and what the job is now, in one transaction.

        Args:
            number: the job.
            attempt: the attempt.
            outcome: the attempt's outcome.
            job: entries of the job; its ``state`` among them.
            **values: entries of the attempt.
        """
        changes = {"outcome": outcome, "ended": time.time(), **values}
        with self._changing() as database:
            names = ", ".join(f"{key} = ?" for key in changes)
            database.execute(
                f"UPDATE attempts SET {names} WHERE job = ? AND attempt = ?", (*changes.values(), number, attempt)
            )
            names = ", ".join(f"{key} = ?" for key in job)
            database.execute(f"UPDATE jobs SET {names} WHERE number = ?", (*_encoded(job).values(), number))

    def attempts(self, job: int | None = None) -> list[AttemptRow]:
        """Return the attempts of a job, or of all, in the order of their starts."""
        where, values = ("WHERE job = ?", (job,)) if job is not None else ("", ())
        rows = self._database.execute(f"SELECT * FROM attempts {where} ORDER BY started, job, attempt", values)
        return [AttemptRow(**dict(row)) for row in rows]

    def slots(self) -> frozenset[int]:
        """Return the slots of the attempts that run."""
        rows = self._database.execute(
            "SELECT slot FROM attempts JOIN jobs ON number = job WHERE state = 'running' AND attempts.ended IS NULL"
        )
        return frozenset(row["slot"] for row in rows)

    def mean_seconds(self) -> float | None:
        """Return the mean time of the attempts that finished or were pruned; None if there is none."""
        query = "SELECT avg(ended - started) AS mean FROM attempts WHERE outcome IN ('finished', 'pruned')"
        mean: float | None = self._database.execute(query).fetchone()["mean"]
        return mean

    def report(self, job: int, step: int, value: float | None) -> None:
        """Record a value of the objective at a step of a job."""
        with self._changing() as database:
            database.execute("INSERT OR REPLACE INTO reports VALUES (?, ?, ?)", (job, step, value))

    def reports(self, job: int) -> list[tuple[int, float | None]]:
        """Return the recorded values of a job by step."""
        rows = self._database.execute("SELECT step, value FROM reports WHERE job = ? ORDER BY step", (job,))
        return [(row["step"], row["value"]) for row in rows]

    def all_reports(self) -> list[tuple[int, int, float | None]]:
        """Return job, step and value of all reports, in the order in which they came."""
        rows = self._database.execute("SELECT job, step, value FROM reports ORDER BY rowid")
        return [(row["job"], row["step"], row["value"]) for row in rows]

    def note(self, kind: str, text: str) -> None:
        """Record an event."""
        with self._changing() as database:
            database.execute("INSERT INTO events (time, kind, text) VALUES (?, ?, ?)", (time.time(), kind, text))

    def events(self, last: int | None = None) -> list[tuple[float, str, str]]:
        """Return time, kind and text of the last events, or of all."""
        query = "SELECT time, kind, text FROM events ORDER BY id DESC LIMIT ?"
        rows = self._database.execute(query, (-1 if last is None else last,)).fetchall()
        return [(row["time"], row["kind"], row["text"]) for row in reversed(rows)]

    def ask(self, verb: str, jobs: Sequence[int] = ()) -> None:
        """Leave a request for the master; the next one takes it if none runs."""
        with self._changing() as database:
            values = (time.time(), verb, json.dumps(list(jobs)))
            database.execute("INSERT INTO requests (time, verb, jobs) VALUES (?, ?, ?)", values)

    def requests(self) -> list[Request]:
        """Return the requests that nobody has taken yet."""
        rows = self._database.execute("SELECT id, verb, jobs FROM requests WHERE taken IS NULL ORDER BY id")
        return [Request(**_decoded(row)) for row in rows]

    def take_requests(self) -> list[Request]:
        """Return the requests that nobody has taken yet, and take them."""
        if self._database.execute("SELECT 1 FROM requests WHERE taken IS NULL LIMIT 1").fetchone() is None:
            return []
        with self._changing() as database:
            rows = database.execute("SELECT id, verb, jobs FROM requests WHERE taken IS NULL ORDER BY id").fetchall()
            database.execute("UPDATE requests SET taken = ? WHERE taken IS NULL", (time.time(),))
        return [Request(**_decoded(row)) for row in rows]


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {key: json.loads(row[key]) if key in _JSON else row[key] for key in row.keys()}  # noqa: SIM118


def _encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value) if key in _JSON else value for key, value in values.items()}
