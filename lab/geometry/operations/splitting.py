"""How a triangle is cut when some of its edges have a new vertex in their middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.geometry.mesh import UNSET, Flags, Floats, Integers


def with_middles(corners: Integers, values: Floats, marks: Flags) -> tuple[Integers, Floats]:
    """Return (F, 6) corners and the middles of edges, ``UNSET`` where not marked, and the values with the middles'."""
    tails, heads = corners, np.roll(corners, -1, axis=1)
    there = marks & (tails >= 0) & (heads >= 0)
    low, high = np.minimum(tails, heads)[there], np.maximum(tails, heads)[there]
    width = max(len(values), 1)
    keys, inverse = np.unique(low * width + high, return_inverse=True)
    middles = np.full(corners.shape, UNSET, dtype=np.int64)
    middles[there] = len(values) + inverse
    mean = (values[keys // width] + values[keys % width]) / 2
    return np.concatenate([corners, middles], axis=1), np.concatenate([values, mean])


def patterns(marks: Flags, diagonal: Integers) -> tuple[Integers, Integers]:
    """Return (F,) which edges are marked as a number of three bits, and the diagonal where that matters, else 0."""
    pattern = marks @ np.array([1, 2, 4])
    return pattern, np.where(marks.sum(axis=1) == 2, diagonal, 0)


def _split_tables() -> dict[tuple[int, int], Integers]:
    """Return the triangles among corners 0 to 2 and middles 3 to 5 of each pattern, for each diagonal."""
    tables: dict[tuple[int, int], Sequence[Sequence[int]]] = {(0, 0): [(0, 1, 2)]}
    for k in range(3):
        a, b, c = k, (k + 1) % 3, (k + 2) % 3
        ab, bc, ca = 3 + a, 3 + b, 3 + c
        tables[1 << k, 0] = [(a, ab, c), (ab, b, c)]
        two = 7 - (1 << k)  # all but the edge from a to b
        tables[two, 0] = [(bc, c, ca), (a, b, bc), (a, bc, ca)]
        tables[two, 1] = [(bc, c, ca), (a, b, ca), (b, bc, ca)]
    tables[7, 0] = [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)]
    return {(kind, flag): np.array(tables.get((kind, flag), tables[kind, 0])) for kind in range(8) for flag in (0, 1)}


SPLITS = _split_tables()
"""Triangles among corners 0 to 2 and middles 3 to 5, by (pattern, diagonal)."""
