"""Runs one attempt that was written to a file: ``python -m lab.sweeps.worker FILE``. No torch at module level.

A launcher that starts jobs on other machines writes an attempt as JSON, with the job's resolved config: the worker
composes nothing. It then does what a forked job does (``lab.sweeps.attempt``), with the same files and exit codes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from lab.config.compose import Composed
from lab.config.sources import find_in_working_directory
from lab.config.value_types import Strict, Text, WholeAbove0, WholeFrom0
from lab.errors import LabError, RunError
from lab.launch.outcomes import say
from lab.launch.prepare import Prepared
from lab.launch.threads import share_of_cores
from lab.run_progress import word_of, write_word
from lab.sweeps.attempt import environment_of, run_attempt
from lab.sweeps.placing import Assignment
from lab.system.collector import collect_as_usual, collect_seldom
from lab.system.cores import NUM_THREADS, WAIT_POLICY
from lab.system.files import write_text
from lab.system.provenance import sources_fingerprint
from lab.text import guard_streams, one_line

FORMAT = "lab attempt 1"
_HANDED = ("LAB_", "OMP_", "MKL_", "TORCH", "NCCL_", "GLOO_", "WANDB_", "HF_", "PYTORCH_")
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_OWN = ("LAB_JOB_", "LAB_STORE_FD", "LAB_ERROR_FILE")
_OF_RANKS = ("SLURM_PROCID", "SLURM_STEP_ID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS")
"""With these Lightning and lab would take a batch script's process for one rank of a job step."""


class Written(Strict):
    """The content of an attempt's file.

    Attributes:
        format: what tells it from other JSON.
        number: the job.
        attempt: from 1 on.
        slot: the slot of the master.
        folder: where the job and its master talk (``lab.run_progress``).
        sweep: the sweep's directory.
        waits: whether the job waits for verdicts.
        words: the job's overrides.
        user_dirs: its config folders.
        config: its resolved config.
        home: the run that ``ckpt`` or ``resume`` names.
        notes: lines to print when it begins.
        command: the command to record.
        directory: the working directory, from which relative paths count.
        any_sources: whether a run that other sources have begun is continued.
        sources: the fingerprint of the sources that the master has read; empty if they may differ.
        threads: threads of each process; None: what the environment says.
        environment: variables to set.
    """

    format: Literal["lab attempt 1"]
    number: WholeAbove0
    attempt: WholeAbove0
    slot: WholeFrom0
    folder: Text
    sweep: Text
    waits: bool
    words: list[str]
    user_dirs: list[str]
    config: dict[str, Any]
    home: Text | None
    notes: list[str]
    command: str
    directory: Text
    any_sources: bool
    sources: str
    threads: WholeAbove0 | None
    environment: dict[str, str]

    def assignment(self) -> Assignment:
        """Return the attempt; after the first one a run is continued, also with ``resume=never``."""
        config = dict(self.config)
        if config.get("resume") == "never" and (self.attempt > 1 or _restarts()):
            config["resume"] = "auto"
        composed = Composed(config, self.words, notes=list(self.notes))
        home = None if self.home is None else Path(self.home)
        prepared = Prepared(self.words, self.user_dirs, composed, home, command=self.command)
        prepared.any_sources = self.any_sources
        folder, sweep = Path(self.folder), Path(self.sweep)
        return Assignment(self.number, self.attempt, self.slot, prepared, folder, sweep, self.waits)


def written(assignment: Assignment, threads: int | None = None, sources: str = "") -> Written:
    """Return what the file of an attempt holds.

    Args:
        assignment: the attempt.
        threads: threads of each of its processes.
        sources: the fingerprint of the sources that it must run with; empty for any.
    """
    job = assignment.prepared
    return Written(
        format="lab attempt 1",
        number=assignment.number,
        attempt=assignment.attempt,
        slot=assignment.slot,
        folder=str(assignment.folder.resolve()),
        sweep=str(assignment.sweep.resolve()),
        waits=assignment.waits,
        words=job.words,
        user_dirs=[str(Path(folder).resolve()) for folder in job.user_dirs],
        config=job.config,
        home=None if job.home is None else str(job.home),
        notes=job.composed.notes,
        command=job.command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        directory=str(Path.cwd()),
        any_sources=job.any_sources,
        sources=sources,
        threads=threads,
        environment=_to_hand_over(os.environ),
    )


def write_assignment(assignment: Assignment, threads: int | None = None, sources: str = "") -> Path:
    """Write an attempt to a file in its folder, and return the file; see ``written``.

    Raises:
        OSError: it cannot be written.
    """
    file = assignment.folder / f"attempt-{assignment.attempt}.json"
    assignment.folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(written(assignment, threads, sources).model_dump(), indent=1) + "\n")
    return file


def read_assignment(file: Path) -> Written:
    """Read an attempt's file.

    Raises:
        RunError: it cannot be read, or is none.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{file} is not the file of an attempt: no JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(f"{file} is not the file of an attempt: its format is not {FORMAT!r}")
    try:
        return Written.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise RunError(f"{file} is not the file of an attempt: {key}: {one_line(problem['msg'])}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the attempt of a file and return its exit code: 0 done, 1 failed, 2 refused, 130 and 143 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lab.sweeps.worker", description="Runs one attempt of a job.")
    parser.add_argument("file", type=Path, help="the attempt, as a launcher has written it")
    parser.add_argument("--with-parent", action="store_true", help="end at once when standard input closes")
    options = parser.parse_args(argv)
    guard_streams()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))  # Ray blocks some
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")
    if options.with_parent:
        threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    try:
        found = read_assignment(options.file)
        assignment = _take_over(found)
    except LabError as error:
        say(error)
        return 2
    try:
        _require_sources(found)
    except LabError as error:
        say(error)
        write_word(assignment.folder, word_of(error))
        return 2
    collect_seldom()
    try:
        return run_attempt(assignment)
    finally:
        collect_as_usual()


def _take_over(found: Written) -> Assignment:
    """Set what the process has of its own: environment and working directory."""
    for name in (*_OF_RANKS, *(name for name in os.environ if name.startswith(_OWN))):
        os.environ.pop(name, None)
    os.environ.update(found.environment)
    if found.threads is not None:
        os.environ[NUM_THREADS] = str(found.threads)
    os.environ.setdefault(NUM_THREADS, str(share_of_cores(found.config)))  # the same for all jobs: nothing is measured
    try:
        os.chdir(found.directory)
    except OSError as error:
        raise RunError(f"{found.directory}, where the sweep was started: {error.strerror} on this machine") from None
    assignment = found.assignment()
    os.environ.update(environment_of(assignment))
    assignment.folder.mkdir(parents=True, exist_ok=True)
    return assignment


def _require_sources(found: Written) -> None:
    find_in_working_directory(found.config["extensions"])
    if found.sources and sources_fingerprint(found.config["extensions"]) != found.sources:
        names = " or ".join(["lab", *found.config["extensions"]])
        raise RunError(
            f"job {found.number}: the sources of {names} here differ from those that the sweep's master has read; end "
            "the sweep, repeat its command, then: lab sweep retry"
        )


def _restarts() -> int:
    """Return how often Slurm has put this job into its queue again."""
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdigit() else 0


def _to_hand_over(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a job elsewhere needs too; a file is no place for secrets."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_HANDED)
        and not name.startswith(_OWN)
        and name != "WANDB_SERVICE"
        and not any(part in name for part in _SECRET)
    }


def _end_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
