"""The gradients that an optimizer is about to read: their norm, and how to drop them.

A gradient is in ``grad``, or was handed over as rows of a table (``lab.layers.row_table.TableRows``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lab.checkpoint.access import local_part
from lab.compat.torch import foreach_norm
from lab.layers.row_table import TableRows
from lab.training.row_adagrad import Adagrad


@torch.no_grad()
def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the norm () of this rank's part of all gradients, on their device, without waiting for the device.

    It is not finite if a gradient is not finite, or if a sum of squares overflows.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in _gradients(optimizer):
        groups.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    norms = [torch.linalg.vector_norm(torch.stack(foreach_norm(group))) for group in groups.values()]
    if len(norms) < 2:
        return norms[0] if norms else torch.zeros(())
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device, torch.float64) for norm in norms]))


def drop_gradients(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor] | None = None) -> None:
    """Drop gradients: the optimizer's step then changes neither these parameters nor their states.

    Args:
        optimizer: the optimizer that would read them.
        parameters: whose gradients; None for all.
    """
    rows = _rows(optimizer)
    for parameter in _parameters(optimizer) if parameters is None else parameters:
        parameter.grad = None
    for shared in rows.values() if parameters is None else (rows[item] for item in parameters if item in rows):
        shared.forget()


def _rows(optimizer: torch.optim.Optimizer) -> Mapping[Tensor, TableRows]:
    return optimizer.rows if isinstance(optimizer, Adagrad) else {}


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[Any]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    rows = _rows(optimizer)
    for parameter in _parameters(optimizer):
        shared, gradient = rows.get(parameter), parameter.grad
        if shared is not None:
            for _, values in shared.gradients:
                yield values
            if gradient is not None and shared.touched is not None:
                gradient = gradient.index_select(0, shared.touched)  # nobody reads the other rows: they are many
        if gradient is not None:
            yield local_part(gradient)
