"""Runs a function in several gloo processes here, for tests of what must not depend on the number of ranks."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_distributed(fn: Callable[..., Any], world_size: int = 2, args: tuple = (), timeout: float = 300.0) -> list[Any]:
    """Call ``fn(rank, *args)`` on ``world_size`` spawned ranks of a gloo process group and return their results.

    ``fn`` must be a module's top-level function and its result picklable (plain numbers, dicts, numpy arrays). The
    first rank that fails raises here, with its own traceback in the message; the others are ended.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=_rank, args=(fn, rank, world_size, port, args, queue), daemon=True)
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    results: dict[int, Any] = {}
    try:
        for _ in range(world_size):
            rank, error, value = queue.get(timeout=timeout)
            if error is not None:
                raise AssertionError(f"rank {rank} of {world_size} failed:\n{error}")
            results[rank] = value
    finally:
        for process in processes:
            process.join(timeout=5 if len(results) == world_size else 0)
            if process.is_alive():
                process.terminate()
                process.join()
    return [results[rank] for rank in range(world_size)]


def _rank(fn: Callable[..., Any], rank: int, world_size: int, port: int, args: tuple, queue: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world_size))
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)  # several ranks with a thread for each core would wait for each other most of the time
    error, value = None, None
    try:
        dist.init_process_group("gloo", rank=rank, world_size=world_size)
        value = fn(rank, *args)
        dist.barrier()
    except BaseException:  # reported by the parent, whatever it was
        error = traceback.format_exc()
    queue.put((rank, error, value))
    if error is None:
        dist.destroy_process_group()
