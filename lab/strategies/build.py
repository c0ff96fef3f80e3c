"""Makes a Lightning Strategy from the config group ``strategy``. A strategy is imported only when it is chosen."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import Strategy

from lab.system.ranks import Place

_CLASSES = {
    "ddp": "lab.strategies.ddp.DDP",
    "fsdp": "lab.strategies.fsdp.FSDPStrategy",
    "tensor_parallel": "lab.strategies.tensor_parallel.TensorParallelStrategy",
    "dp": "lab.strategies.dp.DataParallelStrategy",
    "deepspeed_zero2": "lab.strategies.deepspeed.ZeroStrategy",
    "deepspeed_zero3": "lab.strategies.deepspeed.ZeroStrategy",
    "deepspeed_zero2_offload": "lab.strategies.deepspeed.ZeroStrategy",
    "deepspeed_zero3_offload": "lab.strategies.deepspeed.ZeroStrategy",
}
IN_ONE_PROCESS = ("single", "dp")
"""Strategies that need no process group."""


def make_strategy(settings: Mapping[str, Any]) -> Strategy:
    """Return the strategy of a Trainer; it serves one Trainer only.

    Args:
        settings: ``name`` and the options of that strategy (``conf/strategy``); not ``single``, which needs none.

    Raises:
        ConfigError: an option does not fit this machine, or a package that the strategy needs is missing.
    """
    options = {key: value for key, value in settings.items() if key != "name"}
    module, _, name = _CLASSES[settings["name"]].rpartition(".")
    strategy: Strategy = getattr(importlib.import_module(module), name)(**options)
    return strategy


def data_ranks(settings: Mapping[str, Any], place: Place) -> int:
    """Return the number of ranks with different samples; under tensor parallelism a group of ranks shares samples."""
    if settings["name"] != "tensor_parallel":
        return place.world_size
    return place.world_size // int(settings["tensor_parallel_size"] or place.local_world_size)
