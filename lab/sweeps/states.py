"""The states of a job of a sweep. No torch."""

from __future__ import annotations

from typing import Literal

JobState = Literal[
    "waiting",  # to be started, or to be tried again
    "running",
    "finished",
    "pruned",  # stopped by the search, because others are better at the same step
    "failed",  # its retries are used up
    "diverged",  # its loss was not finite, which another attempt would repeat
    "refused",  # its config, data or run directory is wrong
    "poison",  # dead twice before a first step: set aside
    "interrupted",  # stopped by a signal, to be continued
    "withdrawn",  # taken out by the user
]
DONE: frozenset[str] = frozenset({"finished", "pruned", "withdrawn"})
"""States with which a sweep is complete."""
BAD: frozenset[str] = frozenset({"failed", "diverged", "refused", "poison"})
"""Failures, which ``lab sweep retry`` starts again."""
OPEN: frozenset[str] = frozenset({"waiting", "running", "interrupted"})
"""Jobs that the same command goes on with."""
