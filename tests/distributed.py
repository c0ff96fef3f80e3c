"""Runs a function in several gloo processes here, for tests of what must not depend on the number of ranks.

The ranks are forked from a nursery, a process of its own that has imported torch, Lightning and lab once: each job has
fresh processes, so no job finds what another has left in torch's or deepspeed's globals, and starts in tenths of a
second instead of the many that the imports take on two ranks at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
_nursery: subprocess.Popen[bytes] | None = None


def run_distributed(
    fn: Callable[..., Any],
    world_size: int = 2,
    args: tuple = (),
    timeout: float = 900.0,
    fresh: dict[str, str] | None = None,
) -> list[Any]:
    """Call ``fn(rank, *args)`` on ``world_size`` ranks of a gloo process group and return their results.

    ``fn`` must be a module's top-level function and its result picklable (plain numbers, dicts, numpy arrays). The
    first rank that fails raises here, with its own traceback in the message; the others are ended.

    Args:
        fn: what to call.
        world_size: on how many ranks.
        args: its arguments after the rank.
        timeout: seconds after which all are ended and the test fails: for what hangs, not for what is slow.
        fresh: for tests of a process's memory: ranks that do their imports themselves, with these variables set from
            their start.
    """
    nursery = _shared() if fresh is None else _start({**fresh, "LAB_BARE_NURSERY": "1"})
    try:
        with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
            return _run(nursery, fn, world_size, args, timeout, Path(folder))
    finally:
        if fresh is not None:
            _stop(nursery)


def _start(variables: dict[str, str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.distributed"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )


def _shared() -> subprocess.Popen[bytes]:
    global _nursery
    if _nursery is None or _nursery.poll() is not None:
        _nursery = _start({})
        atexit.register(_stop, _nursery)
    return _nursery


def _stop(nursery: subprocess.Popen[bytes]) -> None:
    assert nursery.stdin is not None
    nursery.stdin.close()
    nursery.wait()


def _run(
    nursery: subprocess.Popen[bytes], fn: Callable[..., Any], world_size: int, args: tuple, timeout: float, folder: Path
) -> list[Any]:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    end = time.monotonic() + timeout
    _send(nursery.stdin, (world_size, str(folder), pickle.dumps((fn, args))))
    pids: list[int] = _receive(nursery.stdout, end)
    problem = ""
    for _ in pids:
        try:
            rank, code = _receive(nursery.stdout, end)
        except TimeoutError:
            problem = f"{world_size} ranks have not ended after {timeout:.0f} s"
            _kill(pids)
            end = time.monotonic() + 60
            rank, code = _receive(nursery.stdout, end)
        pids[rank] = 0
        if code and not problem:
            error = folder / f"{rank}.error"
            problem = f"rank {rank} of {world_size} failed:\n{error.read_text() if error.exists() else f'exit {code}'}"
            _kill(pids)
    if problem:
        raise AssertionError(problem)
    return [pickle.loads((folder / f"{rank}.result").read_bytes()) for rank in range(world_size)]


def _kill(pids: list[int]) -> None:
    """End the ranks that have not been waited for."""
    for pid in filter(None, pids):
        with contextlib.suppress(ProcessLookupError):  # it has ended, which is not said yet
            os.kill(pid, signal.SIGKILL)


def _send(pipe: IO[bytes], message: Any) -> None:
    content = pickle.dumps(message)
    pipe.write(len(content).to_bytes(8, "big") + content)
    pipe.flush()


def _receive(pipe: IO[bytes], end: float | None = None) -> Any:
    """Return the next message, or None at the pipe's end; raise a ``TimeoutError`` where none begins before ``end``."""
    if end is not None and not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
        raise TimeoutError
    size = _read(pipe, 8)
    return pickle.loads(_read(pipe, int.from_bytes(size, "big"))) if size else None


def _read(pipe: IO[bytes], count: int) -> bytes:
    """Read no byte more than ``count``, so that what ``select`` says of the pipe is so."""
    found = b""
    while len(found) < count and (part := os.read(pipe.fileno(), count - len(found))):
        found += part
    return found


def _serve() -> None:
    """Fork the ranks of one job after the other and say how each has ended, until the input ends."""
    if "LAB_BARE_NURSERY" not in os.environ:
        _prepare()
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a rank prints is no reply
    while (request := _receive(requests)) is not None:
        world_size, folder, work = request
        with socket.socket() as listening:  # where the ranks meet: nobody else can take its port
            listening.bind(("127.0.0.1", 0))
            listening.listen(world_size + 8)
            pids = []
            for rank in range(world_size):
                if (pid := os.fork()) == 0:
                    _rank(rank, world_size, Path(folder), work, listening)
                pids.append(pid)
        _send(replies, pids)
        _see_them_end(requests, replies, pids)


def _see_them_end(requests: IO[bytes], replies: IO[bytes], pids: list[int]) -> None:
    """Say of each rank when it ends; end all when whoever has asked for them is gone."""
    left = dict(enumerate(pids))
    while left:
        for rank, pid in list(left.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del left[rank]
                _send(replies, (rank, os.waitstatus_to_exitcode(status)))
        if left and select.select([requests], [], [], 0.02)[0]:  # nothing is sent before all have ended
            _kill(list(left.values()))
            os._exit(1)


def _prepare() -> None:
    """Import what every rank would import, deepspeed aside: what its import leaves behind is a test's business."""
    import gc
    import importlib

    for name in (
        "faster_coco_eval",
        "pytest",
        "lab.data.scenes.module",
        "lab.experiment.evaluation",
        "lab.experiment.fit",
        "lab.cli.main",
        "lab.launch.targets",
        "lab.models.detr.variants",
        "lab.models.resnet.variants",
        "lab.report.tables",
        "lab.strategies.ddp",
        "lab.strategies.dp",
        "lab.strategies.fsdp",
        "lab.strategies.tensor_parallel",
        "torch._dynamo",
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the collections of the ranks would copy every page


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, whatever it waits for."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def _rank(rank: int, world_size: int, folder: Path, work: bytes, listening: socket.socket) -> None:
    """Do a job's part in this process and end it."""
    code = 1
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        import torch
        import torch.distributed as dist

        port = listening.getsockname()[1]
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world_size))
        os.environ["LOCAL_RANK"] = str(rank)
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the launcher does; else Lightning would set it in the fit
        torch.set_num_threads(1)  # several ranks with a thread for each core would wait for each other most of the time
        store = dist.TCPStore(
            "127.0.0.1", port, world_size, is_master=rank == 0, master_listen_fd=os.dup(listening.fileno())
        )
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
        fn, args = pickle.loads(work)
        (folder / f"{rank}.result").write_bytes(pickle.dumps(fn(rank, *args)))
        dist.barrier()
        dist.destroy_process_group()
        code = 0
    except BaseException:  # reported by the parent, whatever it was
        (folder / f"{rank}.error").write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
    os._exit(0)
