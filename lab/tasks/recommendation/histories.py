"""Histories as a caller of Python hands them in: ids of items in, a batch for the network, named items out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lab.errors import DataError, closest
from lab.structures import SequenceBatch, SequenceTargets


class Recommendation(NamedTuple):
    """An item, by the user's own id, and its score: higher is better, and comparable within one list only."""

    item: str
    score: float


def is_one(histories: Any) -> bool:
    """Whether this is one history of ids, no list of histories.

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
    """Return the numbers of the items of a history that the training knew.

    Args:
        history: ids of items, oldest first.
        numbers: the number of each id.

    Raises:
        DataError: the history is a text.
    """
    if isinstance(history, str):
        raise DataError(f"history={history!r}: should be a list of ids, [{history!r}] for one item")
    return [numbers[name] for item in history if (name := _name(item)) in numbers]


def no_known_item(history: Sequence[str | int], item_names: Sequence[str]) -> DataError:
    """Return the error of a history of which the training knew nothing."""
    near = closest(str(history[-1]), item_names) if len(history) else ""
    return DataError(f"history={[str(item) for item in history]}: the training knew none of these items{near}")


def _name(item: Any) -> str:
    """Return an id as files are read: without blanks around it, and 7.0, which pandas makes of 7, as 7."""
    whole = isinstance(item, float | np.floating) and float(item).is_integer()
    return str(int(item)) if whole else str(item).strip()


def history_batch(histories: Sequence[Sequence[int]]) -> SequenceBatch:
    """Return a batch of item numbers, at least one in each history, that asks nothing."""
    rows = [torch.tensor(history, dtype=torch.int64) for history in histories]
    items = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return SequenceBatch(
        items=items,
        lengths=torch.tensor([len(row) for row in rows]),
        targets=SequenceTargets(torch.zeros_like(items), (0,) * len(rows)),
        sequence_ids=torch.arange(len(rows)),
        valid=torch.ones(len(rows), dtype=torch.bool),
    )
