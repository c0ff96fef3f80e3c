"""Batch normalisation over several ranks: one batch for all of them where torch can do it, a word where it cannot."""

from __future__ import annotations

from typing import cast

from torch import nn

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronize_batch_norm(net: nn.Module, num_ranks: int, on_gpu: bool) -> tuple[nn.Module, str | None]:
    """Let batch norm layers take their statistics over the ranks' whole batch.

    Args:
        net: the network; frozen batch norms, which take none, are of another class.
        num_ranks: how many ranks get samples of their own.
        on_gpu: whether it is trained on GPUs; torch has no SyncBatchNorm on a CPU.

    Returns:
        The network, and what differs from a training on one device; None if nothing does.
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
