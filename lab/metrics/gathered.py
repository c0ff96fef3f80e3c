"""Packed rows of samples that several ranks have gathered, put into one order."""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.errors import DataError


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
