"""Random numbers inside and outside of tensor regions.

Outside, the ranks of a tensor group hold the same activations and must draw the same dropout masks; inside, each holds
other ones and must draw others. Megatron's ``mpu`` keeps a second generator for each rank. Here the state inside
follows from the state outside, so that a checkpoint has nothing more to keep, and a recomputed forward pass (activation
checkpointing) draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lab.layers.tensor_parallel.groups import RankGroup
from lab.layers.tensor_parallel.mappings import is_alone


@contextmanager
def tensor_region(group: RankGroup | None, device: torch.device | None = None) -> Iterator[None]:
    """Context in which each rank of a group draws other random numbers.

    On entering, one number is drawn from the CPU's generator, which is alike on all ranks; it and the rank's number
    seed what is drawn inside. Afterwards the generators go on as if nothing more had been drawn, alike on all ranks.
    Without a group nothing happens.

    Args:
        group: the ranks.
        device: where numbers are drawn, beside the CPU.
    """
    if group is None or is_alone(group):
        yield
        return
    seed = int(torch.randint(2**62, ()))
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed + 2718 + group.rank)
        yield
