"""Batch normalisation over several ranks: synchronised where torch can do it, with a note where it cannot."""

from __future__ import annotations

from typing import cast

from torch import nn

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronize_batch_norm(net: nn.Module, num_ranks: int, on_gpu: bool) -> tuple[nn.Module, str | None]:
    """Make batch norm layers compute their statistics over the batches of all ranks.

    Args:
        net: the network; frozen batch norms, which compute no statistics, are of another class.
        num_ranks: the number of ranks with different samples.
        on_gpu: whether training is on GPUs; torch has no SyncBatchNorm for CPUs.

    Returns:
        The network, and a note on what differs from a training on one device; None if nothing does.
    """
    layers = [module for module in net.modules() if isinstance(module, _KINDS)]
    if num_ranks == 1 or not layers:
        return net, None
    if on_gpu:
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(net)), None
    return net, (
        f"{len(layers)} batch norm layers take their statistics from each rank's share of a batch, as torch has no "
        "SyncBatchNorm on CPUs: losses differ from those of one process"
    )
