"""Histories given as Python lists: converts ids of items to a batch for the network, and results to named items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lab.errors import DataError, closest
from lab.structures import SequenceBatch, SequenceTargets


class Recommendation(NamedTuple):
    """An item, by its id in the data files, and its score. Higher is better; comparable only within one list."""

    item: str
    score: float


def is_one(histories: Any) -> bool:
    """Return whether the input is one history (a list of ids), not a list of histories.

    Raises:
        DataError: it is neither.
    """
    if isinstance(histories, str) or not hasattr(histories, "__len__") or not hasattr(histories, "__iter__"):
        raise DataError(f"history={histories!r}: should be a list of ids, [{histories!r}] for one item")
    nested = [not isinstance(item, str) and hasattr(item, "__len__") for item in histories]
    if any(nested) and not all(nested):
        raise DataError("histories: some entries are ids, some lists of ids; give one list of ids, or a list of lists")
    return not any(nested)


def known_items(history: Sequence[str | int], numbers: Mapping[str, int]) -> list[int]:
    """Return the numbers of those items of a history that are in the training data.

    Args:
        history: ids of items, oldest first.
        numbers: the number of each id.

    Raises:
        DataError: the history is a string.
    """
    if isinstance(history, str):
        raise DataError(f"history={history!r}: should be a list of ids, [{history!r}] for one item")
    return [numbers[name] for item in history if (name := _name(item)) in numbers]


def no_known_item(history: Sequence[str | int], item_names: Sequence[str]) -> DataError:
    """Return the error for a history with no item from the training data."""
    near = closest(str(history[-1]), item_names) if len(history) else ""
    return DataError(f"history={[str(item) for item in history]}: the training knew none of these items{near}")


def _name(item: Any) -> str:
    """Return an id in the form of the readers: without surrounding blanks, and 7.0 (pandas' form of 7) as 7."""
    whole = isinstance(item, float | np.floating) and float(item).is_integer()
    return str(int(item)) if whole else str(item).strip()


def history_batch(histories: Sequence[Sequence[int]]) -> SequenceBatch:
    """Return a batch without targets from histories of item numbers, each with at least one."""
    rows = [torch.tensor(history, dtype=torch.int64) for history in histories]
    items = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return SequenceBatch(
        items=items,
        lengths=torch.tensor([len(row) for row in rows]),
        targets=SequenceTargets(torch.zeros_like(items), (0,) * len(rows)),
        sequence_ids=torch.arange(len(rows)),
        valid=torch.ones(len(rows), dtype=torch.bool),
    )
