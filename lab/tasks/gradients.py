"""The gradients that an optimizer is about to read: their norm, and a step without them.

Gradients stand in ``grad``, or as ``row_gradients`` of a table (``lab.tasks.optim.Adagrad``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lab.checkpoint.access import is_dtensor


@torch.no_grad()
def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the norm () float64 of what this rank holds of all gradients, on their device; nothing waits for it.

    It is not finite where a gradient is not, or where the squares of one parameter's gradients are beyond its dtype.
    """
    norms: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in _gradients(optimizer):
        if gradient.numel():
            norms.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    totals = [torch.stack(torch._foreach_norm(group)).double() for group in norms.values()]
    if not totals:
        return torch.zeros((), dtype=torch.float64)
    return torch.linalg.vector_norm(torch.cat([total.to(totals[0].device) for total in totals]))


def drop_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Forget all gradients: the optimizer's step then leaves parameters and states as they are."""
    for parameter in _parameters(optimizer):
        parameter.grad = None
        if hasattr(parameter, "row_gradients"):
            parameter.row_gradients = []


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[Any]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for parameter in _parameters(optimizer):
        for _, values in getattr(parameter, "row_gradients", ()):
            yield values
        gradient = parameter.grad
        if gradient is None:
            continue
        touched = getattr(parameter, "touched", None)
        if touched is not None and getattr(parameter, "row_updates", False) and type(parameter) is nn.Parameter:
            yield gradient.index_select(0, touched)  # of this table nobody reads the other rows, which are many
        else:
            yield gradient.to_local() if is_dtensor(gradient) else gradient
