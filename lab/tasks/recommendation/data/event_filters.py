"""Filters and splits of a log of events, and the mapping of its items to the numbers of another log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lab.tasks.recommendation.data.events import Events


def without_repeats(events: Events) -> Events:
    """Return the events without those that repeat the item of the event before, in the same session."""
    same = (np.diff(events.items, prepend=-1) == 0) & (np.diff(events.sessions, prepend=-1) == 0)
    return events.keep(~same)


def with_support(events: Events, min_length: int, min_support: int, fixpoint: bool) -> Events:
    """Return the events of sessions with a minimum length and items with a minimum support.

    Short sessions are removed first, then rare items, then sessions that have become too short: once, as in the
    preprocessing of RSC15, or until nothing changes.

    Args:
        events: all events.
        min_length: fewest events of a session.
        min_support: fewest events of an item.
        fixpoint: repeat until nothing changes.
    """
    events = _long_enough(events, min_length)
    while True:
        before = len(events)
        counts = np.bincount(events.items, minlength=len(events.item_names))
        events = _long_enough(events.keep(counts[events.items] >= min_support), min_length)
        if not fixpoint or len(events) == before:
            return events


def _long_enough(events: Events, min_length: int) -> Events:
    counts = np.bincount(events.sessions, minlength=len(events.session_names))
    return events.keep(counts[events.sessions] >= min_length)


def split_by_time(events: Events, window: float, by: str) -> tuple[Events, Events]:
    """Return the sessions before the last ``window`` seconds and those in it.

    Args:
        events: all events.
        window: seconds before the last event.
        by: ``"end"``: a session is in the window if its last event is; ``"start"``: if its first event is.
    """
    times = np.full(len(events.session_names), -np.inf if by == "end" else np.inf)
    (np.maximum if by == "end" else np.minimum).at(times, events.sessions, events.times)
    late = times[events.sessions] >= events.times.max() - window
    return events.keep(~late), events.keep(late)


def known_only(events: Events, train: Events, min_length: int) -> tuple[Events, int]:
    """Return the events whose item is in the training data, without short sessions; and the number of other events."""
    known = np.zeros(len(train.item_names), dtype=np.bool_)
    known[train.items] = True
    left = events.keep(known[events.items])
    return _long_enough(left, min_length), len(events) - len(left)


def translate(events: Events, names: Mapping[str, int]) -> Events:
    """Return the events with other item numbers; items that are not in ``names`` become -1.

    Args:
        events: the events, with their own item names.
        names: the new number of each known item.
    """
    table = np.array([names.get(str(name), -1) for name in events.item_names], dtype=np.int64)
    known = np.array(list(names), dtype=object)
    return replace(events, items=table[events.items], item_names=known, left_out=dict(events.left_out))
