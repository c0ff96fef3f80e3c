"""``launcher=ray``: each attempt is an actor on a node of a Ray cluster (``lab.sweeps.ray_relay``). No torch.

Ray is imported here only when the launcher is used. It starts threads, so this launcher never forks. Nothing is tried
again by Ray: an actor, a node or a worker that dies is the end of an attempt, which the ledger decides on. The master
never waits for Ray: each attempt has one question under way, and its answer is taken when it has come.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lab.errors import ConfigError
from lab.launch.jobs import processes
from lab.launch.prepare import Prepared
from lab.sweeps.placing import Assignment, Ended
from lab.sweeps.ray_mirror import Mirror
from lab.sweeps.ray_relay import Relay
from lab.sweeps.settings import RayLauncher
from lab.sweeps.worker import written
from lab.system.processes import end_in_words
from lab.system.provenance import sources_fingerprint
from lab.text import one_line

_CONNECT = 5.0
"""Seconds that an address has to answer."""
_CLEANING = 10.0
"""Seconds that a killed attempt has to remove its files."""
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class RayPlacer:
    """Starts attempts as actors.

    Args:
        settings: the group ``launcher``.
        jobs: the jobs that are known at the start.

    Raises:
        ConfigError: Ray is not installed, the cluster does not answer, or no node has what a job needs.
    """

    def __init__(self, settings: RayLauncher, jobs: Sequence[Prepared]) -> None:
        self.settings = settings
        if not settings.shared:
            _require_own_files(jobs)
        self.ray = _connect(settings.address)
        try:
            for job in jobs:
                self._require_room(job)
        except ConfigError:
            self.close()
            raise
        path = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        self._environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, path))}}

    def _needs(self, job: Prepared) -> dict[str, float]:
        """Return what a job asks of a node, by Ray's names."""
        needs: dict[str, float] = {"CPU": self.settings.threads_per_job or 1, **self.settings.resources}
        if gpus := self.settings.gpus_of(job.config["trainer"]):
            needs["GPU"] = gpus
        if self.settings.memory is not None:
            needs["memory"] = bytes_of(self.settings.memory)
        return needs

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _require_room(self, job: Prepared) -> None:
        nodes = self._nodes()
        for name, needed in self._needs(job).items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if needed > most:
                key = {"CPU": "threads_per_job", "GPU": "devices_per_job", "memory": "memory"}.get(name, "resources")
                raise ConfigError(
                    f"launcher.{key}: a job needs {needed:g} {name}, and of the {len(nodes)} nodes of the Ray cluster "
                    f"none has more than {most:g}"
                )

    def workers(self, jobs: Sequence[Prepared]) -> tuple[int, str]:
        """Return how many of these jobs the cluster has room for, and why."""
        if self.settings.workers is not None:
            return self.settings.workers, "launcher.workers"
        nodes = self._nodes()
        room = [sum(_room(node, self._needs(job)) for node in nodes) for job in jobs]
        number = max(1, min(min(room, default=1), len(jobs)))
        return number, f"a Ray cluster of {len(nodes)} node(s); launcher.workers=N sets it"

    def has_left(self, folder: Path) -> bool:
        """Actors end with their master."""
        return False

    def start(self, assignment: Assignment) -> RayAttempt:
        """Ask Ray for an actor.

        Raises:
            OSError: files of the job cannot be read or written.
        """
        job = assignment.prepared
        threads = max(1, (self.settings.threads_per_job or 1) // processes(job.config))
        content = written(assignment, threads, sources_fingerprint(job.config["extensions"]))
        most = bytes_of(self.settings.max_file)
        mirror = None if self.settings.shared else Mirror(assignment, most)
        needs = self._needs(job)
        actor = self.ray.remote(Relay).options(
            num_cpus=needs.pop("CPU"),
            num_gpus=needs.pop("GPU", 0),
            memory=needs.pop("memory", None),
            resources=needs,
            max_restarts=0,
            max_task_retries=0,
            runtime_env=self._environment,
        )
        relay = actor.remote(content.model_dump_json(), self.settings.shared, most)
        return RayAttempt(self.ray, relay, self.settings.poll, mirror)

    def close(self) -> None:
        """Leave the cluster; one of this machine alone ends."""
        self.ray.shutdown()


@dataclass
class RayAttempt:
    """An attempt in an actor.

    Attributes:
        ray: the module.
        relay: the actor.
        every: seconds between two questions.
        mirror: takes the files to the node and back; None if the file system is shared.
    """

    ray: Any
    relay: Any
    every: float
    mirror: Mirror | None
    where: str = ""
    stopped: bool = False
    killed_at: float | None = None
    _asked: tuple[str, Any] | None = None
    _next: str = "begin"
    _at: float = 0.0
    _code: int | None = None
    _ended: Ended | None = field(default=None)

    @property
    def place(self) -> str:
        """The worker's pid and node."""
        return f"Ray, {self.where}" if self.where else "Ray, waiting for a node"

    @property
    def waits(self) -> bool:
        """Whether no node has had room for it yet."""
        return not self.where

    def poll(self) -> Ended | None:
        """Return how it has ended; None while it runs or waits for a node."""
        while self._ended is None and self._take_answer():
            if self._ended is None and time.monotonic() >= self._at:
                self._ask()
        return self._ended

    def _take_answer(self) -> bool:
        """Take the answer to the question under way; return whether there can be another question now."""
        if self.killed_at is not None and time.monotonic() > self.killed_at + _CLEANING:
            self._end(Ended(137))
            return False
        if self._asked is None:
            return time.monotonic() >= self._at
        step, reference = self._asked
        if not self.ray.wait([reference], timeout=0)[0]:
            return False
        self._asked = None
        try:
            self._learn(step, self.ray.get(reference))
        except self.ray.exceptions.RayActorError as error:
            why = "" if self.killed_at is not None else f"its node or its Ray worker was lost: {_reason(error)}"
            self._end(Ended(137, why))
        except self.ray.exceptions.RayTaskError as error:
            self._end(Ended(1, f"on its node: {one_line(error.cause)}"))
        return self._ended is None

    def _learn(self, step: str, answer: Any) -> None:
        if step == "clean":
            self._end(Ended(137))
        elif step == "start":
            self.where = f"pid {answer['pid']} on {answer['host']}"
            self._next = "look"
            if self.stopped:
                self._tell(signal.SIGTERM)
        elif step == "look":
            self._code = answer["code"]
            self._next, self._at = "look", time.monotonic() + self.every
            if self.mirror is not None and self.mirror.take(answer):
                self._next, self._at = "piece", 0.0
            elif self._code is not None:
                self._finish(self._code)
        elif step == "piece":
            assert self.mirror is not None
            if self.mirror.take_piece(answer):
                self._next = "look"
                if self._code is not None:
                    self._finish(self._code)

    def _ask(self) -> None:
        if self._next == "begin":
            piece = self.mirror.next_piece() if self.mirror is not None else b""
            if piece:
                self._asked = ("begin", self.relay.receive.remote(piece))
                return
            self._next = "start"
        if self._next == "start":
            self._asked = ("start", self.relay.start.remote())
        elif self._next == "piece":
            assert self.mirror is not None
            self._asked = ("piece", self.relay.piece.remote(self.mirror.received))
        elif self.mirror is None:
            self._asked = ("look", self.relay.look.remote())
        else:
            self._asked = ("look", self.relay.look.remote(self.mirror.reports_read, self.mirror.new_verdict()))

    def _finish(self, code: int) -> None:
        self._end(Ended(code, end_in_words(code) if code else ""))

    def _end(self, ended: Ended) -> None:
        self._ended = ended
        with suppress(self.ray.exceptions.RayError):
            self.relay.clean.remote()
        self.relay = None  # without a handle Ray ends the actor, after what it still has to do
        if self.mirror is not None:
            self.mirror.close()

    def _tell(self, signum: int) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.relay.send.remote(int(signum))

    def stop(self) -> None:
        """Ask it to write a checkpoint and end; one that has no node yet ends at once."""
        self.stopped = True
        if self._ended is not None:
            return
        if self.where:
            self._tell(signal.SIGTERM)
        else:
            self.ray.kill(self.relay)
            self._end(Ended(143))

    def kill(self) -> None:
        """End it and all its processes at once."""
        if self._ended is not None or self.killed_at is not None:
            return
        if not self.where:
            self.ray.kill(self.relay)
            self._end(Ended(137))
            return
        self.killed_at = time.monotonic()
        self._asked = ("clean", self.relay.clean.remote())

    def reopen(self) -> None:
        """Let it open its log file again."""
        if self._ended is None and self.where:
            self._tell(signal.SIGUSR1)


def _connect(address: str | None) -> Any:
    """Return the module ``ray``, connected to a cluster.

    Raises:
        ConfigError: Ray is not installed, or the cluster does not answer.
    """
    if find_spec("ray") is None:
        raise ConfigError("launcher=ray: Ray is not installed; pip install 'lab[ray]', or use launcher=local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # a cluster of this machine alone listens on no other interface than loopback
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # as for jobs that this process forks
    elif address != "auto":
        _require_listening(address)
    ray = importlib.import_module("ray")
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address="local" if address is None else address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"launcher.address={address}" if address else "launcher=ray"
        raise ConfigError(f"{where}: {one_line(error).partition('. ')[0]}") from None
    finally:
        for signum, handler in before.items():  # Ray sets one that ends the process
            signal.signal(signum, handler)
    return ray


def _require_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ConfigError(f"launcher.address={address}: give auto or HOST:PORT, the address that ray start has printed")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"launcher.address={address}: nothing answers there ({why})") from None


def _require_own_files(jobs: Sequence[Prepared]) -> None:
    for job in jobs:
        config = job.config
        if config["stage"] != "fit" or config["check"] or config["ckpt"] or config["resume"] not in ("auto", "never"):
            raise ConfigError(
                "launcher.shared=false: only stage=fit without ckpt and resume=DIR, because the nodes do not see files "
                "of this machine"
            )


def _room(node: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """Return how many jobs with these needs a node has room for."""
    return int(min(node.get(name, 0) // needed for name, needed in needs.items() if needed))


def _reason(error: Exception) -> str:
    """Return what Ray says of a lost actor, without its lists of ids."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line.startswith("The actor is dead because")), lines[0] if lines else "")
    return one_line(said).partition(". ")[0].partition(" Worker exit type")[0].rstrip(".")


def bytes_of(text: str) -> int:
    """Return the number of bytes of ``512M`` or ``16G``."""
    return int(text[:-1]) * _UNITS[text[-1]]
