"""Activation checkpointing that leaves the network as an ordinary training step does.

A part of the network is computed again in the backward pass instead of keeping what lies between its input and output
(Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). torch's ``checkpoint`` alone would update the
running statistics of batch norms a second time then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lab.layers.convolution import BATCH_NORMS


def recomputes(*inputs: Tensor) -> bool:
    """Whether recomputing saves memory: a gradient passes the inputs, and no compiler decides itself what is kept."""
    return torch.is_grad_enabled() and any(item.requires_grad for item in inputs) and not torch.compiler.is_compiling()


def recomputed(module: nn.Module, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)`` and compute it again for the gradient; batch norms count the batch once.

    Args:
        module: holds the batch norms that ``function`` uses.
        function: of tensors alone, with the same result when it is called again.
        *inputs: of the function.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return contextlib.nullcontext(), _KeptStatistics(module)

    found: Tensor = checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)
    return found


class _KeptStatistics(AbstractContextManager[None]):
    """While it is entered batch norms update copies of their buffers; may be entered again after it was left."""

    def __init__(self, module: nn.Module) -> None:
        norms = (item for item in module.modules() if isinstance(item, BATCH_NORMS))
        self._norms = [norm for norm in norms if norm.training and norm.track_running_stats]
        self._originals: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        for norm in self._norms:
            for name, buffer in list(norm.named_buffers(recurse=False)):
                self._originals.append((norm, name, buffer))
                setattr(norm, name, buffer.clone())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for norm, name, buffer in self._originals:
            setattr(norm, name, buffer)
        self._originals.clear()
