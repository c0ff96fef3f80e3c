"""Starts the ranks of a job as new processes, prints their output, ends all when one dies. No torch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lab import errors
from lab.launch.forking import ForkedRank, Rank
from lab.launch.jobs import Job
from lab.launch.outcomes import RanksFailed
from lab.run_progress import last_word
from lab.system.cores import NUM_THREADS
from lab.system.ranks import Place
from lab.system.signals import Interrupted
from lab.text import one_line, printable

GRACE = 3.0
"""Seconds that the other ranks have to end after one has died, and again after SIGTERM."""
PATIENCE = 120.0
"""Seconds that they have after a signal to the job, to write checkpoints and finish loggers."""
_POLL = 0.05


@dataclass
class Worker:
    """One rank's process and the file to which it writes its error."""

    rank: int
    process: Rank
    error_file: Path

    @property
    def code(self) -> int | None:
        """Its exit code as in a shell: 128 + n for signal n; None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    @property
    def word(self) -> dict[str, Any] | None:
        """The error that it wrote: see ``lab.run_progress.word_of``."""
        return last_word(self.error_file.parent, self.error_file.name)


def run_workers(job: Job, fork: bool = False) -> None:
    """Run a job in new processes on this machine, one for each rank.

    Output goes to standard output; if there are several ranks, each line starts with its rank. The first
    rank that dies ends the job: the others get SIGTERM after ``GRACE`` seconds and SIGKILL after the same time again.
    A signal to this process is forwarded to all of them.

    Args:
        job: the job.
        fork: fork the processes from this one, which has imported torch and computed nothing.

    Raises:
        LabError: a rank has refused something.
        Diverged: the loss or the gradients are no longer finite.
        Pruned: the search of a sweep has ended the training.
        Interrupted: a signal has ended the ranks.
        RanksFailed: a rank has failed in another way, or was killed.
    """
    count = job.world_size
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        terminal = not fork and sys.stdout.isatty()
        workers = _start(job, count, Path(folder), terminal, fork)
        pumps = _start_pumps(workers)
        try:
            with _forwarded_signals(workers):
                code = _wait(workers)
        finally:
            _end(workers)
            for pump in pumps:
                pump.join(timeout=GRACE)
        if code or any(worker.word for worker in workers):  # a pruned job's exit code is 0
            raise _failure(workers, code)


def _start(job: Job, count: int, folder: Path, terminal: bool, fork: bool) -> list[Worker]:
    workers: list[Worker] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(count + 8)
        port = listening.getsockname()[1]
        for rank in range(count):
            place = Place(rank, rank, count, count, 0, "127.0.0.1", port)
            error_file = folder / f"rank-{rank}.json"
            environment = _environment(place, error_file, job.threads)
            environment["LAB_STORE_FD"] = str(listening.fileno())
            pass_fds = [listening.fileno()] if rank == 0 else []
            if fork:
                process: Rank = ForkedRank(environment, pass_fds)
            else:
                process = _spawn(environment, pass_fds, bare=terminal and rank == 0)
            workers.append(Worker(rank, process, error_file))
            assert process.stdin is not None
            process.stdin.write(job.to_json().encode() + b"\n")
            process.stdin.flush()
    return workers


def _spawn(environment: dict[str, str], pass_fds: list[int], bare: bool) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter; ``bare``: the terminal shows its progress bar."""
    with _blocked_signals():  # the worker inherits the signal mask, and unblocks when it can be interrupted
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "lab.launch.worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=None if bare else subprocess.PIPE,
            stderr=None if bare else subprocess.STDOUT,
            pass_fds=pass_fds,
        )


def _start_pumps(workers: list[Worker]) -> list[threading.Thread]:
    """Start a thread for the output of each worker; only now, because a process with threads must not be forked."""
    sys.stdout.flush()
    pumps: list[threading.Thread] = []
    for worker in workers:
        if worker.process.stdout is not None:
            tag = f"[rank {worker.rank}] ".encode() if len(workers) > 1 else b""
            arguments = (worker.process.stdout, tag)
            pumps.append(threading.Thread(target=_pump, args=arguments, daemon=True))
            pumps[-1].start()
    return pumps


@contextmanager
def _blocked_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment(place: Place, error_file: Path, threads: int | None) -> dict[str, str]:
    # The workers import the same lab as this process, installed or not.
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **place.environment(),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "LAB_ERROR_FILE": str(error_file),
    }
    if threads is not None:  # otherwise every rank would start a thread for each core
        environment[NUM_THREADS] = str(threads)
    return environment


def _pump(stream: IO[bytes], tag: bytes) -> None:
    """Print the lines of a rank, each as a whole."""
    for line in stream:
        try:
            os.write(1, tag + (line if line.endswith(b"\n") else line + b"\n"))
        except OSError:  # a full disk: keep reading, because a full pipe would block the rank
            continue


@contextmanager
def _forwarded_signals(workers: list[Worker]) -> Iterator[None]:
    """Forward signals to the workers; a terminal's Ctrl-C reaches them anyway, being in the same process group."""

    def handle(signum: int, frame: object) -> None:
        if signum == signal.SIGTERM or not sys.stdin.isatty():
            for worker in workers:
                if worker.process.poll() is None:
                    worker.process.send_signal(signum)

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield
        return
    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait(workers: list[Worker]) -> int:
    """Wait until all workers have succeeded or one has failed; return the job's exit code."""
    while True:
        codes = [worker.code for worker in workers]
        if all(code == 0 for code in codes):
            return 0
        bad = next((code for code in codes if code), None)
        if bad is not None:
            break
        time.sleep(_POLL)
    stopped = bad in (130, 143)
    _wait_for(workers, PATIENCE if stopped else GRACE)
    words = {word["time"]: worker.code for worker in workers if (word := worker.word)}
    return bad if stopped or not words else words[min(words)] or bad


def _wait_for(workers: list[Worker], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(worker.code is None for worker in workers):
        time.sleep(_POLL)


def _end(workers: list[Worker]) -> None:
    """End the workers that still run: SIGTERM, then SIGKILL."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        left = [worker for worker in workers if worker.code is None]
        for worker in left:
            worker.process.send_signal(signum)
        _wait_for(left, GRACE)


def _failure(workers: list[Worker], code: int) -> BaseException:
    """Return the error of the worker that failed first."""
    words = sorted(((w.rank, word) for w in workers if (word := w.word)), key=lambda pair: pair[1]["time"])
    if code in (130, 143):
        where = next((word["text"] for _, word in words if word["kind"] == "interrupted"), "")
        return Interrupted(code - 128, where)
    if words:
        return _of_word(*words[0], code, len(workers))
    killed = next((worker for worker in workers if worker.code and worker.code > 128), None)
    if killed is not None and killed.code is not None:
        how = f"was killed by {signal.Signals(killed.code - 128).name}"
        return RanksFailed(f"rank {killed.rank} of {len(workers)} {how}", exit_code=code)
    return RanksFailed(f"a rank of {len(workers)} ended with exit code {code}", exit_code=code)


def _of_word(rank: int, word: dict[str, Any], code: int, count: int) -> BaseException:
    """Return the error that a rank has written."""
    text = word["text"]
    if word["kind"] == "diverged":
        return errors.Diverged(text, word["step"], word["term"])
    if word["kind"] == "pruned":
        return errors.Pruned(text, word["step"])
    if word["kind"] == "refused":
        found = getattr(errors, word["class"], None)
        if isinstance(found, type) and issubclass(found, errors.LabError):
            return found(text)
        return RanksFailed(text, exit_code=code)  # an error of the disk
    details = printable(word.get("details", ""), keep_lines=True)
    return RanksFailed(f"rank {rank} of {count} failed: {one_line(text)}", details, code)
