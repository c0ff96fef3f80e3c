"""Measures how long a token takes when BLOOM is split over two gloo ranks, by torch's plan and by Megatron's layers.

``python -m tests.dist.decode_probe [WIDTH [LAYERS [RANKS]]]`` prints for each way the fastest token, and the fastest
pass over a prompt of 256 tokens, measured in turns on the same ranks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist

from lab.models.bloom.network import Bloom
from lab.strategies.tensor_parallel import TensorParallelStrategy
from tests.dist.plain import make_trainer
from tests.distributed import run_distributed

WAYS = ("dtensor", "megatron")
ROUNDS, TOKENS, LONG = 5, 40, 256


class Idle(pl.LightningModule):
    """Only lets a strategy split the network."""

    def __init__(self, net: Bloom) -> None:
        super().__init__()
        self.net = net

    def predict_step(self, batch: Any) -> None:
        """Compute nothing."""


def split(way: str, width: int, layers: int, rank: int, ranks: int) -> Bloom:
    """Return this rank's part of a network."""
    pl.seed_everything(0, verbose=False)
    net = Bloom(8192, width, layers, width // 64, tensor_parallel=way).eval()
    if ranks > 1:
        make_trainer(TensorParallelStrategy(), rank, ranks).predict(Idle(net), [torch.zeros(1)])
    return net


@torch.no_grad()
def probe(rank: int, width: int, layers: int, ranks: int) -> dict[str, float]:
    """Return the fastest time of each, in seconds."""
    nets = {way: split(way, width, layers, rank, ranks) for way in WAYS}
    ids = torch.randint(8192, (1, LONG))
    found: dict[str, float] = {}
    for _ in range(ROUNDS):
        for way, net in nets.items():
            keep(found, f"{way}, a token", fastest_step(net, ids[:, :8]))
            keep(found, f"{way}, {LONG} tokens", timed(partial(net.generate, ids, 1)))
    return found


def fastest_step(net: Bloom, ids: torch.Tensor) -> float:
    """Return the time of the fastest token, with the logarithm of its probability."""
    marks: list[float] = []
    net.generate(ids, TOKENS, watch=lambda tokens, logprobs: marks.append(time.perf_counter()))
    return min(later - earlier for earlier, later in pairwise(marks))


def keep(found: dict[str, float], name: str, seconds: float) -> None:
    found[name] = min(seconds, found.get(name, seconds))


def timed(call: Callable[[], Any]) -> float:
    """Return the time of a call on all ranks."""
    dist.barrier()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]] + [512, 8, 2][len(sys.argv) - 1 :]
    from tests.dist import decode_probe

    for name, seconds in run_distributed(decode_probe.probe, given[2], args=tuple(given))[0].items():
        print(f"{name:24} {seconds * 1000:8.2f} ms")
