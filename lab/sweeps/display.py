"""The name under which a tracker shows a job of a sweep: what differs from the other jobs, in few signs. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from lab.config.words import parse_word
from lab.text import printable

LONGEST = 120
"""W&B accepts 128 signs."""


def display_name(words: Iterable[str], shared: Iterable[str]) -> str | None:
    """Return the overrides of a job that not all jobs have, such as ``lr=1e-3 seed=0``.

    Of a key only its end is shown, as far as it tells the job's keys apart: ``optimizer.lr`` and ``scheduler.lr``
    stay as they are. A name that is too long is cut in the middle.

    Args:
        words: the overrides of the job.
        shared: the overrides that all jobs have.

    Returns:
        The name; None if nothing differs.
    """
    known = set(shared)
    own = {word.key: word for word in (parse_word(text) for text in words if text not in known)}  # the last one counts
    ends = _ends(set(own))
    parts = [f"~{ends[key]}" if word.sign == "~" else f"{ends[key]}={word.shown}" for key, word in own.items()]
    name = printable(" ".join(parts))
    if len(name) > LONGEST:
        half = (LONGEST - 3) // 2
        name = f"{name[:half]}...{name[-half:]}"
    return name or None


def _ends(keys: set[str]) -> dict[str, str]:
    """Return for each key its shortest end, cut at dots, that no other key has."""
    ends = {}
    for key in keys:
        parts = key.split(".")
        others = [other.split(".") for other in keys - {key}]
        size = next(n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others))
        ends[key] = ".".join(parts[-size:])
    return ends
