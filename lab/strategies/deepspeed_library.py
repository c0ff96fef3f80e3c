"""Importing and starting the package deepspeed so that nothing of it shows: no log, no compiler, no environment.

What is undone or held off here was read in deepspeed 0.19.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from lab.errors import ConfigError

_group: Any = None
"""The process group that deepspeed has been started with."""


def require_deepspeed() -> None:
    """Raise a ``ConfigError`` with the command that installs deepspeed, where it is missing."""
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError("the deepspeed strategies need the package deepspeed: pip install 'lab[deepspeed]'")


@contextmanager
def environment(more: Mapping[str, str], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Within this context these variables are set, others are absent; after it all is as it was before."""
    before = dict(os.environ)
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(more)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def load_deepspeed(device: str) -> Any:
    """Import deepspeed for a type of device.

    Args:
        device: ``cpu`` or ``cuda``; deepspeed itself would take the first GPU that it finds.
    """
    with environment({"DS_ACCELERATOR": device, "DS_SKIP_CUDA_CHECK": "1"}):
        import deepspeed
        from deepspeed.accelerator import get_accelerator, set_accelerator

        if get_accelerator().device_name() != device:  # imported before, for something else
            kinds = importlib.import_module(f"deepspeed.accelerator.{device}_accelerator")
            set_accelerator(getattr(kinds, f"{device.upper()}_Accelerator")())
    deepspeed.utils.logging.set_log_level_from_string("error")
    # On a CPU deepspeed would compile a shared-memory all-reduce (ninja, g++) that only its inference engine calls.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def start_communication(deepspeed: Any) -> None:
    """Let deepspeed use the process group of this job, which exists; it looks for no MPI then."""
    global _group
    from deepspeed import comm
    from deepspeed.utils import groups

    if _group is not dist.group.WORLD:
        comm.comm.cdb = None
        groups._WORLD_GROUP = None
        _group = dist.group.WORLD
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


def release(engine: Any, module: nn.Module, kept: Mapping[nn.Parameter, frozenset[str]]) -> None:
    """End an engine: hooks, what deepspeed keeps of it elsewhere, and what it has put in place of torch's functions.

    Args:
        engine: to be ended.
        module: its module, whose parameters are empty afterwards in stage 3.
        kept: the attributes that each parameter had before; the others hold the engine's memory.
    """
    from deepspeed.runtime import torch_autocast
    from deepspeed.runtime.zero import parameter_offload, partition_parameters
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator

    engine.destroy()
    for hook in (engine.module_forward_pre_hook, engine.module_forward_post_hook):
        hook.remove()
    for parameter in module.parameters():
        for name in vars(parameter).keys() - kept.get(parameter, frozenset()):
            delattr(parameter, name)
    parameter_offload.FWD_MODULE_STACK.clear()
    # The cache of a method, for which every coordinator and its modules would live as long as the process.
    method = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
    for part in (method, *(cell.cell_contents for cell in method.__closure__ or ())):
        if hasattr(part, "cache_clear"):
            part.cache_clear()
    torch_autocast.TORCH_AUTOCAST_INITIALIZED = False
    torch_autocast.TORCH_AUTOCAST_DTYPE = None
    own_linear = getattr(partition_parameters.InsertPostInitMethodToModuleSubClasses, "linear_bk", None)
    if own_linear is not None:
        torch.nn.functional.linear = own_linear
