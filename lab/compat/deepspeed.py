"""Private parts of deepspeed that are used, corrected or switched off, from the source of deepspeed 0.19.8.

deepspeed is imported and started without side effects: no logs, no compiler, no changed environment. The functions
below read parameters, states and gradients from its engine and its optimizer (``zero``, of stage 2 or 3).
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lab.errors import ConfigError

_group: Any = None
"""The process group with which deepspeed was started."""


def require_deepspeed() -> None:
    """Raise a ``ConfigError`` with the command that installs deepspeed, if it is missing."""
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError("the deepspeed strategies need the package deepspeed: pip install 'lab[deepspeed]'")


@contextmanager
def environment(more: Mapping[str, str], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Within this context some environment variables are set and others removed; the end restores them."""
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
        device: ``cpu`` or ``cuda``; by default deepspeed would take the first GPU that it finds.
    """
    with environment({"DS_ACCELERATOR": device, "DS_SKIP_CUDA_CHECK": "1"}):
        import deepspeed
        from deepspeed.accelerator import get_accelerator, set_accelerator

        if get_accelerator().device_name() != device:  # imported before, for another device
            kinds = importlib.import_module(f"deepspeed.accelerator.{device}_accelerator")
            set_accelerator(getattr(kinds, f"{device.upper()}_Accelerator")())
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # of the logger alone: its handlers may serve others too
    # On a CPU deepspeed would compile a shared-memory all-reduce (ninja, g++) that only its inference engine calls.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def start_communication(deepspeed: Any) -> None:
    """Let deepspeed use the existing process group of this job, so that it does not look for MPI."""
    global _group
    from deepspeed import comm
    from deepspeed.utils import groups

    if _group is not dist.group.WORLD:
        comm.comm.cdb = None
        groups._WORLD_GROUP = None
        _group = dist.group.WORLD
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


def release(engine: Any, module: nn.Module, kept: Mapping[nn.Parameter, frozenset[str]]) -> None:
    """End an engine: remove its hooks, its global references and its patches of torch's functions.

    Args:
        engine: the engine to end.
        module: its module, whose parameters are empty afterwards in stage 3.
        kept: the attributes that each parameter had before; all others refer to the engine's memory.
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
    # The cache of a method would keep every coordinator and its modules in memory until the process ends.
    method = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
    for part in (method, *(cell.cell_contents for cell in method.__closure__ or ())):
        if hasattr(part, "cache_clear"):
            part.cache_clear()
    torch_autocast.TORCH_AUTOCAST_INITIALIZED = False
    torch_autocast.TORCH_AUTOCAST_DTYPE = None
    own_linear = getattr(partition_parameters.InsertPostInitMethodToModuleSubClasses, "linear_bk", None)
    if own_linear is not None:
        torch.nn.functional.linear = own_linear


def begins_step(engine: Any) -> bool:
    """Whether the next micro-batch is the first of an optimizer step."""
    return bool(engine.micro_steps % engine.gradient_accumulation_steps() == 0)


def ends_accumulation(engine: Any) -> bool:
    """Whether the last computed micro-batch completes the gradient accumulation."""
    return bool(engine.gradient_accumulation_steps() > 1 and engine.is_gradient_accumulation_boundary())


def gradient_norm(engine: Any) -> float:
    """Return the norm of all gradients of the last step before clipping, on the host; NaN if there is none."""
    norm = engine.get_global_grad_norm()
    return math.nan if norm is None else float(norm)


def skipped_step(engine: Any) -> bool:
    """Whether the last step was skipped on all ranks because the gradient norm was not finite."""
    return bool(getattr(getattr(engine, "optimizer", None), "overflow", False))


def set_loss_scaler(zero: Any, scaler: Any) -> None:
    """Replace deepspeed's own loss scaler, which with autocast never lowers its scale."""
    zero.torch_autocast_gradscaler = None
    zero.loss_scaler, zero.dynamic_loss_scale = scaler, True


def gathers_before_backward(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return the function by which a module of stage 3 gathers its parameters when backward reaches a tensor."""
    function: Any = getattr(module, "pre_bwd_fn", None)
    return None if function is None else function.apply


def is_whole(parameter: Any) -> bool:
    """Whether a parameter of stage 3 is gathered; while it is being gathered it is neither whole nor ``is_empty``."""
    return bool(parameter.ds_status.name == "AVAILABLE")


def is_empty(parameter: Any) -> bool:
    """Whether a parameter of stage 3 is not gathered."""
    return bool(parameter.ds_status.name == "NOT_AVAILABLE")


@dataclass(frozen=True)
class HeldShare:
    """This rank's share of an optimized parameter.

    Attributes:
        parameter: the module's parameter.
        group: the index of the optimizer's parameter group.
        flat: the rank's flat tensor, for which the optimizer keeps states.
        position: the share's first index in ``flat``.
        start: the share's first index in the flattened parameter.
        count: its number of elements, without padding; may be 0.
    """

    parameter: Any
    group: int
    flat: Tensor
    position: int
    start: int
    count: int

    def of(self, flat: Tensor) -> Tensor:
        """Return the share's part of a tensor with the layout of ``flat``."""
        return flat.detach()[self.position : self.position + self.count]


def is_split(parameter: Tensor) -> bool:
    """Whether a parameter is split by ZeRO-3, so that it is empty while it is not used."""
    return hasattr(parameter, "ds_tensor")


def shape_of(parameter: Any) -> tuple[int, ...]:
    """Return the shape of the whole parameter."""
    return tuple(parameter.ds_shape if is_split(parameter) else parameter.shape)


def held(parameter: Any) -> tuple[Tensor, int]:
    """Return this rank's part of a parameter of ZeRO-3 (without padding) and the index of its first element."""
    part: Tensor = parameter.ds_tensor
    whole, size = int(parameter.ds_numel), part.numel()
    start = min(whole, dist.get_rank() * size)
    return part.detach()[: min(size, whole - start)], start


def shares(zero: Any) -> Iterator[HeldShare]:
    """Yield this rank's share of each parameter that deepspeed's optimizer ``zero`` trains."""
    if hasattr(zero, "fp32_partitioned_groups_flat"):  # stage 3
        for number, (flat, members) in enumerate(zip(zero.fp32_partitioned_groups_flat, zero.fp16_groups, strict=True)):
            position = 0
            for parameter in members:
                part, start = held(parameter)
                group = zero.sub_group_to_group_id[number]
                yield HeldShare(parameter, group, flat, position, start, part.numel())
                position += parameter.partition_numel()
        return
    for group, (flat, members) in enumerate(zip(zero.single_partition_of_fp32_groups, zero.bit16_groups, strict=True)):
        for parameter in members:
            mapping = parameter._hp_mapping
            if mapping is None:  # only other ranks have a share of it
                yield HeldShare(parameter, group, flat, 0, 0, 0)
            else:
                here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
                yield HeldShare(parameter, group, flat, here.start, there.start, there.numel)


def share_masters(zero: Any) -> None:
    """Let the optimizer step on the parameters' own memory.

    In float32 deepspeed's "master" copies only duplicate the parameters, if both are on the same device.
    """
    if hasattr(zero, "fp32_partitioned_groups_flat"):
        for flat, own in zip(zero.fp32_partitioned_groups_flat, zero.fp16_partitioned_groups_flat, strict=True):
            if (flat.dtype, flat.device) == (own.dtype, own.device):
                flat.data = own
        return
    rank = dist.get_rank()
    for flat, parts in zip(zero.single_partition_of_fp32_groups, zero.parallel_partitioned_bit16_groups, strict=True):
        if (flat.dtype, flat.device) == (parts[rank].dtype, parts[rank].device):
            flat.data = parts[rank]
    for share in shares(zero):
        if share.count:
            share.parameter._hp_mapping.hp_fragment = share.of(share.flat)


def reduce_as_they_come(optimizer: Any) -> None:
    """Replace the backward hooks of leaf modules by hooks of their parameters.

    If no input of a leaf module needs a gradient, torch calls the module's backward hook before its backward pass, so
    that zeros would be reduced.

    Args:
        optimizer: deepspeed's ZeRO-3 optimizer.
    """
    from deepspeed.runtime.utils import count_used_parameters_in_backward

    for handle in optimizer._leaf_module_hooks:
        handle.remove()
    optimizer._leaf_module_hooks.clear()
    trained = [parameter for group in optimizer.fp16_groups for parameter in group]

    def hook(parameter: nn.Parameter) -> Callable[..., None]:
        def reduce(*_: Any) -> None:
            refresh = optimizer.should_refresh_expected_hook_count()
            optimizer.reenter_backward_if_needed()
            optimizer.reduce_ready_partitions_and_remove_grads(parameter)
            seen = optimizer._max_expected_hooks_seen
            optimizer.update_hook_state_and_maybe_run_epilogue(
                count_used_parameters_in_backward(trained) if refresh else seen
            )

        return reduce

    for parameters in optimizer.leaf_parameters.values():
        for parameter in parameters:
            if parameter.requires_grad:
                handle = parameter.register_post_accumulate_grad_hook(hook(parameter))
                optimizer._grad_acc_hooks.append(handle)


def forget_gradients(zero: Any) -> None:
    """Zero the gradient buffers of deepspeed's optimizer, before the first micro-batch of a step.

    If a parameter gets no gradient in a step, ZeRO-3 and both offloads would use that of an earlier step, which is
    still in their buffers.
    """
    if hasattr(zero, "fp32_partitioned_groups_flat"):
        stale = [zero.grad_partitions_flat_buffer, *(flat.grad for flat in zero.fp32_partitioned_groups_flat)]
    elif zero.cpu_offload:
        stale = [flat.grad for flat in zero.single_partition_of_fp32_groups] + [*zero.accumulated_grads_in_cpu.values()]
    else:
        return  # without offload, stage 2 has none
    for tensor in stale:
        if tensor is not None:
            tensor.zero_()


@torch.no_grad()
def collect_gradients(zero: Any) -> None:
    """Pass all gradients accumulated under offload to the optimizer, after the last micro-batch of a step.

    Otherwise the gradients of a parameter that the last micro-batch does not use would be lost.
    """
    if getattr(zero, "offload_optimizer", False):
        zero._finalize_offload_gradient_accumulation()
    elif getattr(zero, "cpu_offload", False):
        zero._finalize_cpu_offload_gradient_accumulation()
