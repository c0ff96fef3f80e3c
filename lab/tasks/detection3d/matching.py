"""Detections matched with the truth by the distance of their centres, as nuScenes does, all frames and classes at once.

Of each frame and class the detections choose in the order of their scores: each takes the nearest box in the plane that
no other has taken, if it is nearer than the threshold. A detection with no box within the threshold takes nothing from
others, so only pairs within it are looked at; round by round the next detection of every frame and class chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lab.tasks.detection3d.poses import IntArray, RealArray

CHUNK = 100_000
"""Detections whose distances are computed at once."""


def by_score(scores: RealArray) -> IntArray:
    """Return the order (n,) of detections: highest score first, of equal ones the later first, as the devkit has it."""
    return np.lexsort((np.arange(len(scores)), scores))[::-1]


def same_group(left: IntArray, right: IntArray) -> tuple[IntArray, IntArray]:
    """Return the indices of all pairs of equal groups: (p,) of ``left`` and (p,) of ``right``, ordered by the left one.

    Args:
        left: (n,) the group of each.
        right: (m,) the group of each; those of a group keep their order.
    """
    order = np.argsort(right, kind="stable")
    first = np.searchsorted(right, left, "left", sorter=order)
    counts = np.searchsorted(right, left, "right", sorter=order) - first
    pairs = np.repeat(np.arange(len(left)), counts)
    within = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pairs, order[first[pairs] + within]


def near_pairs(
    found: RealArray, true: RealArray, groups: tuple[IntArray, IntArray], limit: float
) -> tuple[IntArray, IntArray, RealArray]:
    """Return the pairs of a group that are nearer than a limit: detections (p,), boxes (p,), distances (p,) in metres.

    Args:
        found: (n, 2) centres of detections in the plane.
        true: (m, 2) centres of boxes.
        groups: (n,) and (m,) the frame and class of each, as one number.
        limit: metres.
    """
    parts = []
    for start in range(0, len(found), CHUNK):
        pairs, boxes = same_group(groups[0][start : start + CHUNK], groups[1])
        pairs += start
        distances = np.sqrt(((found[pairs] - true[boxes]) ** 2).sum(1))
        near = distances < limit
        parts.append((pairs[near], boxes[near], distances[near]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    pairs, boxes, distances = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return pairs, boxes, distances


def match(
    found: RealArray, true: RealArray, groups: tuple[IntArray, IntArray], place: IntArray, limits: Sequence[float]
) -> list[IntArray]:
    """Return for each threshold the box (n,) that each detection has taken, or -1.

    Args:
        found: (n, 2) centres of detections in the plane.
        true: (m, 2) centres of boxes.
        groups: (n,) and (m,) the frame and class of each, as one number.
        place: (n,) the place of each detection in the order of scores, 0 for the best.
        limits: thresholds in metres.
    """
    pairs, boxes, distances = near_pairs(found, true, groups, max(limits))
    rounds = _rank_in_group(pairs, groups[0], place)
    order = np.lexsort((boxes, distances, pairs, rounds))
    pairs, boxes, distances, rounds = pairs[order], boxes[order], distances[order], rounds[order]
    sizes, chosen = (len(found), len(true)), []
    for limit in limits:
        near = distances < limit
        chosen.append(_choose(pairs[near], boxes[near], rounds[near], sizes))
    return chosen


def _rank_in_group(pairs: IntArray, groups: IntArray, place: IntArray) -> IntArray:
    """Return of each pair's detection how many detections of its group, of those in pairs, are before it."""
    present = np.unique(pairs)
    order = present[np.lexsort((place[present], groups[present]))]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    ranks = np.zeros(len(groups), np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return ranks[pairs]


def _choose(pairs: IntArray, boxes: IntArray, rounds: IntArray, sizes: tuple[int, int]) -> IntArray:
    """Return the box of each detection, or -1; pairs are in the order of rounds, detections and distances."""
    chosen, taken = np.full(sizes[0], -1), np.zeros(sizes[1], dtype=bool)
    bounds = np.flatnonzero(np.diff(rounds, prepend=-1, append=-1))
    for start, end in pairwise(bounds):
        free = ~taken[boxes[start:end]]
        who, what = pairs[start:end][free], boxes[start:end][free]
        first = np.diff(who, prepend=-1) != 0  # the nearest of each; nobody else of its frame and class is in the round
        chosen[who[first]] = what[first]
        taken[what[first]] = True
    return chosen
