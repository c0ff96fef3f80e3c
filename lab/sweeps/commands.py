"""``lab sweep status|pause|resume|retry|drop|reload``: what is said to a sweep from another terminal. No torch.

Each but ``status`` leaves a request in the ledger. The master takes it within about a second; if none runs, the next
one does.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import ConfigError, RunError, closest
from lab.run_name import SWEEPS
from lab.sweeps.holder import command_of, find_holder
from lab.sweeps.ledger import FILE, JobRow, Ledger
from lab.sweeps.ledger_errors import DamagedLedger
from lab.sweeps.states import BAD, DONE
from lab.sweeps.status import print_status, status_of
from lab.text import printable

VERBS = {
    "status": "print the table of its jobs, whether it runs, waits or has ended (--json: for programs)",
    "pause": "start no further job; what runs goes on",
    "resume": "start jobs again",
    "retry": "start failed jobs again: those of the given numbers, or all",
    "drop": "take jobs out; one that runs is stopped",
    "reload": "read launcher.yaml of the sweep again: slots, retries, order, jobs added or withdrawn",
}
HOME = Path("runs") / SWEEPS
"""Where sweeps are named without their folder."""


def run_command(words: Sequence[str]) -> int:
    """Carry out ``lab sweep ...`` and return its exit code.

    Args:
        words: what comes after ``sweep``.

    Raises:
        LabError: the verb, the sweep or a job does not exist, or the job's state does not fit.
    """
    verb, rest, as_json = _read(words)
    if not verb:
        print(usage())
        return 0
    folder, numbers = _find(rest)
    ledger = open_ledger(folder)
    try:
        if verb == "status":
            if numbers:
                raise ConfigError("status shows all jobs; give no numbers")
            master = find_holder(ledger)
            if as_json:
                print(json.dumps(status_of(ledger, master), indent=2, allow_nan=False))
            else:
                print_status(ledger, master)
            sys.stdout.flush()
        else:
            _ask(ledger, verb, numbers)
    except BrokenPipeError:  # lab sweep status | head: what is left to be written goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        ledger.close()
    return 0


def open_ledger(folder: Path) -> Ledger:
    """Open the ledger of a sweep that exists.

    Raises:
        RunError: it cannot be read; what to do about it.
    """
    try:
        return Ledger(folder)
    except DamagedLedger as error:
        again = "repeat the sweep's command: it makes the ledger again from the run directories"
        raise RunError(f"{error}; {again}") from error
    except sqlite3.Error as error:
        raise RunError(f"{folder / FILE}: {error}") from error


def usage() -> str:
    """Return the help of ``lab sweep``."""
    verbs = "\n".join(f"  {verb:<8}{text}" for verb, text in VERBS.items())
    return (
        "lab sweep VERB [SWEEP] [JOB ...]   (or: python run.py sweep ...)\n\n"
        f"{verbs}\n\n"
        f"SWEEP is the directory of a sweep or its name below {HOME}; without it the latest one there.\n"
        "JOB is a job's number. The running sweep takes a request within about a second; if none runs, the same\n"
        "command takes it at its next start."
    )


def _read(words: Sequence[str]) -> tuple[str, list[str], bool]:
    as_json, rest = False, []
    for word in words:
        if word in ("-h", "--help"):
            return "", [], False
        if word == "--json":
            as_json = True
        elif word.startswith("-"):
            raise ConfigError(f"{word}: lab sweep has no such flag{closest(word, ['--json', '--help'])}")
        else:
            rest.append(word)
    if not rest:
        return "", [], False
    verb = rest.pop(0)
    if verb not in VERBS:
        raise ConfigError(f"{verb}: lab sweep has no such verb{closest(verb, VERBS)}; there are {', '.join(VERBS)}")
    if as_json and verb != "status":
        raise ConfigError(f"--json belongs to status, not to {verb}")
    return verb, rest, as_json


def _find(rest: Sequence[str]) -> tuple[Path, list[int]]:
    """Return the sweep's directory and the job numbers that words name."""
    given = rest[0] if rest and not _is_number(rest[0]) else None
    numbers: list[int] = []
    for word in rest[given is not None :]:
        if not _is_number(word):
            raise ConfigError(f"{word}: not understood; after the sweep come the numbers of jobs")
        numbers.append(int(word))
    return (_latest() if given is None else _named(given)), numbers


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _named(word: str) -> Path:
    """Return the directory of the sweep that a word names."""
    places = [Path(word), HOME / word]
    for place in places:
        if (place / FILE).is_file():
            return place
    if places[0].is_dir():
        raise RunError(f"{word} is no sweep: it has no {FILE}{closest(Path(word).name, _sweeps())}")
    raise RunError(f"{word}: there is no such sweep, here or in {HOME}{closest(word, _sweeps())}")


def _latest() -> Path:
    """Return the sweep that was changed last, and say which it is."""
    found = _sweeps()
    if not found:
        raise RunError(f"there is no sweep in {HOME}; name its directory")
    name = max(found, key=lambda name: _changed(HOME / name))
    which = f" (the latest of {len(found)})" if len(found) > 1 else ""
    print(f"sweep     {printable(HOME / name)}{which}", file=sys.stderr)  # stdout is for --json
    return HOME / name


def _sweeps() -> list[str]:
    return sorted(file.parent.name for file in HOME.glob(f"*/{FILE}"))


def _changed(folder: Path) -> float:
    return max(file.stat().st_mtime for file in folder.glob(f"{FILE}*"))


def _ask(ledger: Ledger, verb: str, numbers: list[int]) -> None:
    """Leave a request, and say who will take it."""
    jobs = {job.number: job for job in ledger.jobs()}
    folder = ledger.file.parent
    for number in numbers:
        if number not in jobs:
            last = f"; its jobs are 1 to {max(jobs)}" if jobs else "; it has no job yet"
            raise RunError(f"{folder} has no job {number}{closest(str(number), map(str, jobs))}{last}")
    if verb == "retry":
        numbers = _to_retry(jobs, numbers)
        if not numbers:
            print("no job has failed: there is nothing to try again")
            return
    elif verb == "drop":
        _check_drop(jobs, numbers)
    elif numbers:
        raise ConfigError(f"{verb} is for the whole sweep; give no numbers of jobs")
    ledger.ask(verb, numbers)
    which = f" of job{'s' if len(numbers) > 1 else ''} {_listed(numbers)}" if numbers else ""
    master = find_holder(ledger)
    if master.lives:
        print(f"{verb}{which}: asked for; the sweep's master ({master.words}) takes it within about a second")
        return
    command = command_of(ledger)
    repeat = f":\n  {command}" if command else ""
    also = (
        ", and tries all other failed jobs again too" if verb == "retry" and ledger.get("exit_code") is not None else ""
    )
    print(f"{verb}{which}: noted; no master runs, so the next start of the same command takes it{also}{repeat}")


def _to_retry(jobs: dict[int, JobRow], numbers: list[int]) -> list[int]:
    failed = [number for number, job in jobs.items() if job.state in BAD]
    for number in numbers:
        if number not in failed:
            others = f"; failed are {_listed(failed)}" if failed else "; no job has failed"
            raise RunError(f"job {number} is {jobs[number].state}, so there is nothing to try again{others}")
    return numbers or failed


def _check_drop(jobs: dict[int, JobRow], numbers: list[int]) -> None:
    if not numbers:
        raise ConfigError("drop needs the numbers of the jobs to take out")
    for number in numbers:
        if jobs[number].state in DONE:
            raise RunError(f"job {number} is {jobs[number].state} already, so there is nothing to drop")


def _listed(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers[:20]]
    return ", ".join(shown) + (f" and {len(numbers) - 20} more" if len(numbers) > 20 else "")
