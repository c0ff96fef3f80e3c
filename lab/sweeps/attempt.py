"""One attempt of a job, in a process of its own: its output goes to a file, its run knows its sweep."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.launch.outcomes import exit_code, say
from lab.run_directory import RunDirectory
from lab.run_progress import FOLDER, WAITS, word_of, write_word
from lab.sweeps.placing import Assignment
from lab.system.signals import SignalWatch, run_watched

LOG = "output.log"
IMPORTED = "imported.json"
"""The modules that an attempt has imported, for the master to import them before it forks the next one."""


class OutputFile:
    """Standard output and error of this process, in a file that can be changed and opened again.

    Args:
        path: the file; what is written is appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reopen()

    def change(self, path: Path) -> None:
        """Go on in another file."""
        self.path = path
        self.reopen()

    def reopen(self, *_: Any) -> None:
        """Open the file again, which may have been renamed; SIGUSR1 asks for it."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.close(descriptor)


def environment_of(assignment: Assignment) -> dict[str, str]:
    """Return the variables by which a job finds its folder."""
    waits = {WAITS: "1"} if assignment.waits else {}
    return {FOLDER: str(assignment.folder.resolve()), **waits}


def run_attempt(assignment: Assignment, fork: bool = False) -> int:
    """Run an attempt in this process, its ranks in others if there are several; return its exit code.

    Args:
        assignment: the attempt.
        fork: fork the ranks from this process.
    """
    output = OutputFile(assignment.folder / LOG)
    signal.signal(signal.SIGUSR1, output.reopen)
    faulthandler.enable()  # the traceback of a segmentation fault
    before = set(sys.modules)

    def begun(run: RunDirectory | None) -> None:
        if run is not None:
            output.change(run.path / LOG)
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        print(f"-- job {assignment.number}, attempt {assignment.attempt}, pid {os.getpid()}, {began}", flush=True)
        if run is not None:
            run.update(sweep={"directory": str(assignment.sweep.resolve()), "number": assignment.number})

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # run_watched has set the handlers
        try:
            with SignalWatch():
                assignment.prepared.run(here=True, fork=fork, begun=begun)
        except Exception as error:
            say(error)
            with suppress(OSError):  # the sweep's disk is full: exit code and output.log remain
                write_word(assignment.folder, word_of(error))
            return exit_code(error)
        with suppress(OSError):  # the next fork imports it again
            _tell_imported(assignment.folder, before)
        return 0

    return run_watched(work)


def _tell_imported(folder: Path, before: set[str]) -> None:
    if new := sorted(set(sys.modules) - before):
        (folder / IMPORTED).write_text(json.dumps(new), encoding="utf-8")
