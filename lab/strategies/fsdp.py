"""Fully sharded data parallel: each rank holds a part of every parameter, gradient and optimizer state.

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023, in its second form
(``torch.distributed.fsdp.fully_shard``): every parameter stays a tensor of its own, split along its first dimension.
The parameters of a unit are gathered before its forward pass and again before its backward pass; its gradients are
averaged and split as soon as they are there. Runs on GPUs and, over gloo, on CPUs.
"""

from __future__ import annotations

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from lab.errors import ConfigError
from lab.strategies.sharding import ShardedStrategy, units


class FSDPStrategy(ShardedStrategy):
    """FSDP2 over all ranks, unit by unit; the units are the ``blocks`` of the architecture's ``parallel`` module.

    Args:
        reduce_dtype: what gradients are added up in: ``32``, or ``bf16`` for half the traffic and its error.
        cpu_offload: keep parameters, gradients and optimizer states in host memory, and step there. GPUs only.
        activation_checkpointing: keep only the inputs of the units for backward and compute their insides again.
        reshard_after_forward: True frees a unit's gathered parameters until backward; False keeps them, which saves
            an all-gather and costs their memory; an integer splits them over so many ranks only, those of a machine
            for instance.
        reduce_once: where micro-batches are accumulated, reduce their gradients once for each optimizer step: less
            traffic, but each rank then holds the gradients of the whole network in between.
    """

    def __init__(
        self,
        reduce_dtype: str = "32",
        cpu_offload: bool = False,
        activation_checkpointing: bool = False,
        reshard_after_forward: bool | int = True,
        reduce_once: bool = False,
    ) -> None:
        super().__init__(reduce_dtype, cpu_offload, reshard_after_forward, reduce_once)
        self.activation_checkpointing = activation_checkpointing

    def parallelize(self, net: nn.Module) -> None:
        """Shard the units and the whole."""
        parts = units(net)
        if self.activation_checkpointing:
            if not parts:
                raise ConfigError(
                    f"strategy.activation_checkpointing: {type(net).__name__} names no blocks (see parallel.py of DETR)"
                )
            for part in parts:
                recompute(part)
        self.shard(net, parts)


def recompute(module: nn.Module) -> None:
    """Let a module keep only its inputs for backward. Its parameters keep their names: nothing is wrapped around it."""
    # On the instance, within the hooks by which FSDP gathers: what is computed again finds the parameters gathered.
    module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)
