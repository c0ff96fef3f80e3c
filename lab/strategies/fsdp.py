"""Fully sharded data parallel: each rank holds a part of every parameter, gradient and optimizer state.

Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023, in its second form
(``torch.distributed.fsdp.fully_shard``): every parameter stays a separate tensor, split along its first dimension. The
parameters of a unit are gathered before its forward pass and again before its backward pass; its gradients are averaged
and split as soon as they are complete. Runs on GPUs and, over gloo, on CPUs.
"""

from __future__ import annotations

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from lab.errors import ConfigError
from lab.registry.parallel import units
from lab.strategies.sharding import ShardedStrategy


class FSDPStrategy(ShardedStrategy):
    """FSDP2 over all ranks, unit by unit; the units are the ``blocks`` of the architecture's ``parallel`` module.

    Args:
        reduce_dtype: the dtype in which gradients are summed: ``32``, or ``bf16`` for half the traffic but rounding.
        cpu_offload: keep parameters, gradients and optimizer states in host memory, and step there. GPUs only.
        activation_checkpointing: keep only the units' inputs for backward, and recompute their activations.
        reshard_after_forward: True frees a unit's gathered parameters until backward; False keeps them, which saves
            an all-gather but takes memory; an integer splits them over that many ranks, those of one machine for
            instance.
        reduce_once: with accumulated micro-batches, reduce gradients only once per optimizer step: less traffic, but
            each rank holds the gradients of the whole network in between.
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
        """Shard the units, then the whole network."""
        parts = units(net)
        if self.activation_checkpointing:
            if not parts:
                raise ConfigError(
                    f"strategy.activation_checkpointing: {type(net).__name__} has no blocks (see parallel.py of DETR)"
                )
            for part in parts:
                recompute(part)
        self.shard(net, parts)


def recompute(module: nn.Module) -> None:
    """Make a module keep only its inputs for backward. It is not wrapped, so its parameters keep their names."""
    # Patched on the instance, inside of FSDP's hooks, so that the parameters are gathered during recomputation.
    module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)
