"""Metrics whose states are rows of samples: kept on the device, gathered from all ranks, put into one order."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from lab.compat.torchmetrics import GatheredMetric
from lab.errors import DataError


class RowsMetric(GatheredMetric, ABC):
    """A metric whose states are rows that batches add: concatenated over batches, then over ranks.

    Attributes:
        states: dtype and shape without rows of each state, ``(0, ...)``.
    """

    states: ClassVar[Mapping[str, tuple[tuple[int, ...], torch.dtype]]]

    def __init__(self) -> None:
        """Register the states."""
        super().__init__()
        for name in self.states:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def keep(self, values: Mapping[str, Tensor], device: torch.device) -> None:
        """Add rows to the states of these names. They stay on ``device``, so that nothing waits for it."""
        for name, value in values.items():
            getattr(self, name).append(value.detach().to(device, self.states[name][1], non_blocking=True))

    def gathered(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the rows of each state, in ``compute`` those of all ranks."""
        found = {}
        for name, (shape, dtype) in self.states.items():
            state = getattr(self, name)  # a list before a sync, a tensor after it
            found[name] = (dim_zero_cat(state) if len(state) else torch.empty(shape, dtype=dtype)).cpu().numpy()
        return found

    def empty_states(self) -> dict[str, Tensor]:
        """Return the states of a rank without a batch."""
        return {
            name: torch.empty(shape, dtype=dtype, device=self.device) for name, (shape, dtype) in self.states.items()
        }


def kept_rows(
    ids: np.ndarray[Any, Any], valid: np.ndarray[Any, Any], what: str = "image"
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the valid ids in ascending order, and the row of each: the same on any number of ranks.

    Args:
        ids: (n,) of the gathered samples.
        valid: (n,) bool, False for a sample that only fills up a batch.
        what: a sample is, for the message.

    Raises:
        DataError: two valid rows have one id.
    """
    rows = np.flatnonzero(valid)
    rows = rows[np.argsort(ids[rows], kind="stable")]
    ordered = ids[rows]
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise DataError(f"{what} id {twice[0]} was evaluated twice: ids must be unique, and padding rows not valid")
    return ordered, rows


def packed_rows(
    counts: np.ndarray[Any, Any], order: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return of each item of packed samples, taken in an order, the sample's place in it and the item's packed row.

    Args:
        counts: (n,) items of each sample, packed one sample after the other.
        order: (m,) samples to take.
    """
    starts, lengths = np.cumsum(counts) - counts, counts[order]
    place = np.repeat(np.arange(len(order)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return place, starts[order][place] + within
