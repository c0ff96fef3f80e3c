"""``launcher=here``: jobs run one after another in this process, where a debugger can follow them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lab.launch.outcomes import exit_code, say
from lab.launch.prepare import Prepared
from lab.launch.threads import share_of_cores
from lab.launch.untouched import untouched
from lab.run_progress import word_of, write_word
from lab.sweeps.attempt import environment_of
from lab.sweeps.placing import Assignment, Ended
from lab.system.cores import NUM_THREADS, WAIT_POLICY
from lab.system.signals import SignalWatch


class HerePlacer:
    """Runs an attempt when it is started; when ``start`` returns, it has ended. Ranks of a job have own processes."""

    def workers(self, jobs: Sequence[Prepared]) -> tuple[int, str]:
        """Return that there is one place."""
        return 1, "launcher=here, in this process"

    def has_left(self, folder: Path) -> bool:
        """An attempt ends with its process."""
        return False

    def start(self, assignment: Assignment) -> DoneAttempt:
        """Run an attempt to its end; nobody could give it a verdict meanwhile, so it does not wait for one."""
        if assignment.waits:
            print("note: launcher=here stops no job early: its master is this process, which runs the job")
        code, problem = 0, ""
        try:
            with untouched(), SignalWatch():
                os.environ.update(environment_of(replace(assignment, waits=False)))
                threads = share_of_cores(assignment.prepared.config)  # the same for all jobs: nothing is measured
                os.environ.setdefault(WAIT_POLICY, "PASSIVE")
                os.environ.setdefault(NUM_THREADS, str(threads))
                assignment.prepared.run(here=True)
        except BaseException as error:
            code = exit_code(error)
            say(error)
            problem = f"{type(error).__name__}: {error}"
            if isinstance(error, Exception):
                write_word(assignment.folder, word_of(error))
        stopped = code in (130, 143)
        if stopped:
            signal.raise_signal(signal.Signals(code - 128))  # for the master's notes
        return DoneAttempt(Ended(code, problem, stopped))

    def close(self) -> None:
        """Nothing is held."""


class DoneAttempt:
    """An attempt that has ended before anybody could ask."""

    place = "this process"
    waits = False

    def __init__(self, ended: Ended) -> None:
        self.ended = ended

    def poll(self) -> Ended:
        """Return how it has ended."""
        return self.ended

    def stop(self) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It has ended."""

    def reopen(self) -> None:
        """It has no log file."""
