"""launcher=ray with a module in Ray's place, whose actors live in this process and answer when a test says so."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from lab.errors import ConfigError
from lab.launch.prepare import prepare_job
from lab.sweeps import ray_cluster
from lab.sweeps.placing import Assignment, Ended
from lab.sweeps.ray_cluster import RayPlacer, bytes_of
from lab.sweeps.settings import RayLauncher
from tests.runs import SMALL


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class RayTaskError(RayError):
    @property
    def cause(self) -> str:
        return str(self)


class Actor:
    """Its methods answer what ``answers`` has for them; without an answer the question stays open."""

    def __init__(self, ray: FakeRay) -> None:
        self.ray, self.calls, self.answers = ray, list[tuple[str, tuple[Any, ...]]](), dict[str, Any]()
        ray.actors.append(self)

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> tuple[Actor, str]:
            self.calls.append((name, arguments))
            return self, name

        return types.SimpleNamespace(remote=remote)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


class FakeRay:
    """What of Ray the launcher uses."""

    exceptions = types.SimpleNamespace(RayError=RayError, RayActorError=RayActorError, RayTaskError=RayTaskError)

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.found = [{"Alive": True, "Resources": node} for node in nodes]
        self.found.append({"Alive": False, "Resources": {"CPU": 99, "GPU": 99}})
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.options: dict[str, Any] = {}
        self.init_options: dict[str, Any] = {}
        self.is_down = False

    def init(self, **options: Any) -> None:
        self.init_options = options
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does

    def shutdown(self) -> None:
        self.is_down = True

    def nodes(self) -> list[dict[str, Any]]:
        return self.found

    def remote(self, kind: type) -> Any:
        def options(**values: Any) -> Any:
            self.options = values
            return types.SimpleNamespace(remote=lambda *_: Actor(self))

        return types.SimpleNamespace(options=options)

    def wait(self, references: list[tuple[Actor, str]], timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout == 0
        ready = [(actor, name) for actor, name in references if name in actor.answers]
        return ready, []

    def get(self, reference: tuple[Actor, str]) -> Any:
        actor, name = reference
        answer = actor.answers.pop(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    found = FakeRay({"CPU": 4, "memory": 2**30}, {"CPU": 6, "GPU": 1, "memory": 2**30})
    monkeypatch.setitem(sys.modules, "ray", found)  # type: ignore[arg-type]
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: object())
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_worker_niceness"):
        monkeypatch.setenv(name, "")
    return found


def attempt(tmp_path: Path, *words: str) -> Assignment:
    prepared = prepare_job([*SMALL, f"paths.runs_dir={tmp_path / 'runs'}", *words], [])
    folder = tmp_path / "runs" / "sweeps" / "s"
    return Assignment(1, 1, 0, prepared, folder / "jobs" / "1", folder)


def placer(jobs: Any = (), **settings: Any) -> RayPlacer:
    return RayPlacer(RayLauncher(name="ray", **settings), jobs)


def test_an_attempt_waits_runs_and_ends(ray: FakeRay, tmp_path: Path) -> None:
    one = placer(poll=0.1).start(attempt(tmp_path))
    (actor,) = ray.actors
    assert one.poll() is None
    assert (one.place, one.waits) == ("Ray, waiting for a node", True)
    assert (ray.options["num_cpus"], ray.options["num_gpus"], ray.options["max_restarts"]) == (1, 0, 0)
    actor.answers["start"] = {"pid": 17, "host": "node3"}
    assert one.poll() is None
    assert (one.place, one.waits) == ("Ray, pid 17 on node3", False)
    actor.answers["look"] = {"code": None}
    assert one.poll() is None
    assert one.poll() is None
    assert actor.names() == ["start", "look"]  # the next question comes later
    time.sleep(0.11)
    actor.answers["look"] = {"code": 0}
    assert one.poll() == Ended(0)
    assert actor.names() == ["start", "look", "look", "clean"]
    assert one.poll() == Ended(0)


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (
            RayActorError("The actor died.\n\tactor_id: 3f\nThe actor is dead because its node has died. Node Id: 7"),
            Ended(137, "its node or its Ray worker was lost: The actor is dead because its node has died"),
        ),
        (
            RayTaskError("checkpoints/last.ckpt\nis too large"),
            Ended(1, "on its node: checkpoints/last.ckpt is too large"),
        ),
    ],
)
def test_a_lost_node_ends_an_attempt(error: Exception, ended: Ended, ray: FakeRay, tmp_path: Path) -> None:
    one = placer().start(attempt(tmp_path))
    one.poll()
    ray.actors[0].answers["start"] = error
    assert one.poll() == ended


def test_signals_reach_the_worker(ray: FakeRay, tmp_path: Path) -> None:
    one = placer(poll=0.1).start(attempt(tmp_path))
    one.poll()
    ray.actors[0].answers["start"] = {"pid": 17, "host": "node3"}
    one.poll()
    one.reopen()
    one.stop()
    sent = [arguments for name, arguments in ray.actors[0].calls if name == "send"]
    assert sent == [(signal.SIGUSR1,), (signal.SIGTERM,)]
    ray.actors[0].answers["look"] = {"code": 143}
    assert one.poll() == Ended(143, "killed by SIGTERM")


def test_what_has_no_node_yet_ends_at_once(ray: FakeRay, tmp_path: Path) -> None:
    own = placer()
    one, two = own.start(attempt(tmp_path)), own.start(attempt(tmp_path, "seed=2"))
    one.stop()
    two.kill()
    assert ray.killed == ray.actors
    assert (one.poll(), two.poll()) == (Ended(143), Ended(137))


def test_a_killed_attempt_ends_when_its_node_is_clean(
    ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = placer()
    one, two = own.start(attempt(tmp_path)), own.start(attempt(tmp_path, "seed=2"))
    for each, actor in zip((one, two), ray.actors, strict=True):
        each.poll()
        actor.answers["start"] = {"pid": 17, "host": "node3"}
        each.poll()
        each.kill()
        assert each.poll() is None
    ray.actors[0].answers["clean"] = None
    assert one.poll() == Ended(137)
    monkeypatch.setattr(ray_cluster, "_CLEANING", -1.0)  # a node that does not answer
    assert two.poll() == Ended(137)


def test_resources_follow_from_the_settings(ray: FakeRay, tmp_path: Path) -> None:
    own = placer(threads_per_job=4, devices_per_job=1, memory="512M", resources={"fast_disk": 1})
    own.start(attempt(tmp_path))
    asked = {key: ray.options[key] for key in ("num_cpus", "num_gpus", "memory", "resources")}
    assert asked == {"num_cpus": 4, "num_gpus": 1, "memory": 512 << 20, "resources": {"fast_disk": 1.0}}


def test_workers_are_what_the_cluster_has_room_for(ray: FakeRay, tmp_path: Path) -> None:
    jobs = [attempt(tmp_path).prepared] * 20
    assert placer(jobs).workers(jobs)[0] == 10
    assert placer(jobs, threads_per_job=3).workers(jobs)[0] == 3
    assert placer(jobs, memory="1G").workers(jobs)[0] == 2
    assert placer(jobs, workers=7).workers(jobs)[0] == 7
    assert placer(jobs).workers(jobs[:2])[0] == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"devices_per_job": 2},
            "launcher.devices_per_job: a job needs 2 GPU, and of the 2 nodes of the Ray cluster none",
        ),
        ({"threads_per_job": 7}, "launcher.threads_per_job: a job needs 7 CPU, .* none has more than 6"),
        ({"memory": "2G"}, "launcher.memory: a job needs"),
        ({"resources": {"tpu": 1}}, "launcher.resources: a job needs 1 tpu, .* none has more than 0"),
    ],
)
def test_more_than_a_node_has_is_refused(settings: Any, said: str, ray: FakeRay, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        placer([attempt(tmp_path).prepared], **settings)
    assert ray.is_down


def test_the_master_keeps_its_signals(ray: FakeRay) -> None:
    before = signal.getsignal(signal.SIGTERM)
    handler = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGTERM, handler)
    try:
        placer()
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ray.init_options["address"] == "local"
    assert ray.init_options["include_dashboard"] is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == ""  # the user's own setting stays


@pytest.mark.parametrize(
    ("words", "said"),
    [(["stage=test"], "only stage=fit"), (["check=true"], "only stage=fit"), (["resume=DIR"], "only stage=fit")],
)
def test_files_of_this_machine_need_a_shared_file_system(
    words: list[str], said: str, ray: FakeRay, tmp_path: Path
) -> None:
    job = attempt(tmp_path).prepared
    for word in words:
        key, _, value = word.partition("=")
        job.config[key] = value
    with pytest.raises(ConfigError, match=said):
        placer([job], shared=False)


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="Ray is not installed; pip install 'lab\\[ray\\]'"):
        placer()


def test_an_address_where_nothing_answers(ray: FakeRay) -> None:
    with socket.socket() as bound:  # bound, not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"launcher.address={address}: nothing answers there .Connection refused"):
            placer(address=address)
    for address in ("head", "ray://head:10001", "head:port", ":1"):
        with pytest.raises(ConfigError, match="give auto or HOST:PORT"):
            placer(address=address)
    with pytest.raises(ConfigError, match="nothing answers there"):
        placer(address="127.0.0.1:99999")


def test_no_cluster_on_this_machine(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance. Please specify the one to connect to")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match=r"launcher.address=auto: Could not find any running Ray instance$"):
        placer(address="auto")


def test_bytes() -> None:
    assert [bytes_of(text) for text in ("2K", "512M", "16G", "1T")] == [2048, 512 << 20, 16 << 30, 1 << 40]
