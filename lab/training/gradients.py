"""The gradients that an optimizer is about to read: their norm, and how to drop them.

A gradient is in ``grad``, or was handed over as rows of a table (``lab.layers.row_table.TableRows``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lab.checkpoint.access import is_dtensor, local_part
from lab.compat.torch import foreach_norm
from lab.layers.row_table import TableRows
from lab.training.row_adagrad import Adagrad


@torch.no_grad()
def gradient_norm(optimizer: torch.optim.Optimizer, world_size: int = 1) -> Tensor:
    """Return the norm () of this rank's part of all gradients, on their device, without waiting for the device.

    The squares of these norms sum over the ranks to the square of the norm of all gradients: where ranks hold the same
    gradients, each counts its share of them. A norm is not finite if a gradient is not finite, or if a sum of squares
    overflows.

    Args:
        optimizer: the optimizer that is about to read the gradients.
        world_size: the number of ranks.
    """
    groups: dict[tuple[torch.device, torch.dtype, int], list[Tensor]] = {}
    for gradient in _gradients(optimizer):
        local = local_part(gradient)
        groups.setdefault((local.device, local.dtype, _num_copies(gradient, world_size)), []).append(local)
    norms = []
    for (_, _, num_copies), group in groups.items():
        norm = torch.linalg.vector_norm(torch.stack(foreach_norm(group)))
        norms.append(norm if num_copies == 1 else norm / num_copies**0.5)
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


def _num_copies(gradient: Any, world_size: int) -> int:
    """Return on how many ranks each element of a gradient is."""
    if world_size == 1 or not is_dtensor(gradient):
        return world_size
    mesh = gradient.device_mesh
    split = math.prod(mesh.size(dim) for dim, place in enumerate(gradient.placements) if not place.is_replicate())
    return world_size // split


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
            yield gradient
