"""Holds out a share of annotated images, balanced by the classes in them.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, 2011): the rarest
class is distributed first; each image goes to the part that lacks most of it. Only the standard library is used.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

from lab.errors import ConfigError

TRAIN, VAL, TEST = "train", "val", "test"


def check_shares(val_share: float | None, test_share: float | None) -> None:
    """Refuse shares out of range, or that leave nothing to train on; None is not checked.

    Raises:
        ConfigError: a share is not above 0 and below 1, or their sum reaches 1.
    """
    for name, share in (("val_share", val_share), ("test_share", test_share)):
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if share is not None and not (number and 0 < share < 1):
            raise ConfigError(f"data.{name}={share}: give the share of the images to hold out, above 0 and below 1")
    if (val_share or 0) + (test_share or 0) >= 1:
        raise ConfigError(f"data.val_share={val_share} and data.test_share={test_share} leave nothing to train on")


def hold_out(
    names: Sequence[str], classes: Sequence[Collection[Hashable]], shares: Mapping[str, float], seed: int
) -> list[str]:
    """Return for each image the part that it belongs to; the same for the same names, classes, shares and seed.

    The order of the images does not matter.

    Args:
        names: the names of the images, each once.
        classes: the classes in each image; how often a class occurs does not matter.
        shares: the share of each part, 1 in sum. Every part with a share above 0 gets at least one image, so there must
            be at least as many images as parts.
        seed: decides between images with the same classes.
    """
    digest = {name: hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest() for name in names}
    order = sorted(range(len(names)), key=lambda place: digest[names[place]])
    present = [frozenset(found) for found in classes]
    holders: dict[Hashable, list[int]] = defaultdict(list)
    for place in order:
        for label in present[place]:
            holders[label].append(place)
    room = _whole(shares, len(names))
    lacking = {
        part: {label: share * len(places) for label, places in holders.items()} for part, share in shares.items()
    }
    parts: dict[int, str] = {}

    def give(place: int, label: Hashable | None) -> None:
        open_parts = [part for part in shares if room[part]]
        part = max(open_parts, key=lambda part: (0.0 if label is None else lacking[part][label], room[part]))
        parts[place] = part
        room[part] -= 1
        for other in present[place]:
            lacking[part][other] -= 1

    left = {label: len(places) for label, places in holders.items()}
    while left:
        rarest = min(left, key=lambda label: (left[label], str(label)))
        for place in holders[rarest]:
            if place not in parts:
                give(place, rarest)
                for other in present[place]:
                    left[other] = left.get(other, 1) - 1
        left = {label: count for label, count in left.items() if count > 0}
    for place in order:
        if place not in parts:
            give(place, None)
    return [parts[place] for place in range(len(names))]


def _whole(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Return how many images each part gets: the nearest whole numbers above 0 that add up to the total."""
    exact = {part: share * total for part, share in shares.items() if share > 0}
    counts = {part: max(1, int(value + 1e-9)) for part, value in exact.items()}
    while sum(counts.values()) != total:
        step = 1 if sum(counts.values()) < total else -1
        able = [part for part in counts if counts[part] + step > 0] or list(counts)
        part = max(able, key=lambda part: step * (exact[part] - counts[part]))
        counts[part] += step
    return {part: counts.get(part, 0) for part in shares}
