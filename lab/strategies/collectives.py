"""The process group of a job, and collectives on host values.

On GPUs the group has two backends: NCCL for tensors on GPUs, gloo for those on the host. So nothing here waits for a
device.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lab.system.ranks import Place

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others in a collective; long enough for the first download of a dataset."""


def connect(place: Place) -> dist.Store:
    """Return the rendezvous store of the ranks of a job.

    Under lab's own launcher rank 0 inherits a listening socket (``LAB_STORE_FD``), so no other job can take its port.
    Under an external launcher it is the store of ``env://``.
    """
    if "LAB_STORE_FD" not in os.environ:
        os.environ.update(place.environment())
        store: dist.Store = next(dist.rendezvous("env://", place.rank, place.world_size, timeout=TIMEOUT))[0]
        return store
    listening = int(os.environ["LAB_STORE_FD"]) if place.rank == 0 else None
    return dist.TCPStore(
        place.master_addr,
        place.master_port,
        place.world_size,
        is_master=place.rank == 0,
        timeout=TIMEOUT,
        master_listen_fd=listening,
        wait_for_workers=False,
    )


@contextmanager
def process_group(place: Place, on_gpu: bool, store: dist.Store | None = None) -> Iterator[None]:
    """Context in which ``torch.distributed`` is initialised.

    Args:
        place: rank and address of this process.
        on_gpu: whether tensors on a GPU are exchanged too.
        store: the rendezvous store, if the ranks have one already.
    """
    if dist.is_initialized():
        yield
        return
    if store is None:
        store = connect(place) if place.world_size > 1 else dist.HashStore()
    if place.num_nodes == 1 and hasattr(socket, "if_nameindex"):
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback:  # otherwise gloo would listen at the address of the host's name
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    if on_gpu:
        torch.cuda.set_device(place.local_rank)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=TIMEOUT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


_alone = ExitStack()


def begin_alone(place: Place, on_gpu: bool) -> None:
    """Begin a process group in a job of one process, if the strategy chosen by the planner needs one.

    ``end_alone`` ends it.
    """
    _alone.enter_context(process_group(place, on_gpu))
    atexit.register(end_alone)


def end_alone() -> None:
    """End the process group of ``begin_alone``, if there is one."""
    _alone.close()
    atexit.unregister(end_alone)


def world_size() -> int:
    """Return the world size of ``torch.distributed``, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank of ``torch.distributed``, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def gather(tensor: Tensor) -> Tensor:
    """Return a tensor (...) of every rank, which has the same shape on each, as (R, ...); no gradient passes."""
    if world_size() == 1:
        return tensor.detach()[None]
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.stack(parts)


def is_lost(error: RuntimeError) -> bool:
    """Whether an error means that another rank ended while this one was waiting for it."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "by peer", "NCCL"))


def sum_over_ranks(values: Mapping[str, float], copies: int = 1) -> dict[str, float]:
    """Add up each value over all ranks; the keys are the same on every rank.

    Args:
        values: the values of this rank.
        copies: the number of ranks that pass the same values, as a group of tensor parallelism does.
    """
    if world_size() == 1 or not values:
        return dict(values)
    summed = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
    dist.all_reduce(summed)
    return dict(zip(values, (summed / copies).tolist(), strict=True))


def sum_tensors(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, on the CPU."""
    summed = tensor.detach().to("cpu", copy=True)
    if world_size() > 1:
        dist.all_reduce(summed)
    return summed


def largest(*values: int) -> tuple[int, ...]:
    """Return the largest of each value over all ranks."""
    if world_size() == 1:
        return values
    tensor = torch.tensor(values)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tuple(tensor.tolist())


def from_rank_zero(value: T) -> T:
    """Return rank 0's value on every rank."""
    if world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def collect(items: list[T]) -> list[T]:
    """Return the items of all ranks on rank 0, in the order of the ranks; an empty list on the others."""
    if world_size() == 1:
        return items
    lists: list[list[T] | None] | None = [None] * world_size() if dist.get_rank() == 0 else None
    dist.gather_object(items, lists, dst=0)
    return [item for part in lists or [] for item in part or []]
