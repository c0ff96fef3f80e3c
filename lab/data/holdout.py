"""Holding a share of annotated images out, balanced by the classes that stand in them.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, 2011): the rarest
class is shared out first, each image to the part that lacks most of it. Only the standard library is used.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

from lab.errors import ConfigError

TRAIN, VAL, TEST = "train", "val", "test"


def check_shares(val_share: float | None, test_share: float | None) -> None:
    """Refuse shares that are none, or that leave nothing to train on; None is not checked.

    Raises:
        ConfigError: one is not above 0 and below 1, or both make 1.
    """
    for name, share in (("val_share", val_share), ("test_share", test_share)):
        if share is not None and not 0 < share < 1:
            raise ConfigError(f"data.{name}={share}: give the share of the images to hold out, above 0 and below 1")
    if (val_share or 0) + (test_share or 0) >= 1:
        raise ConfigError(f"data.val_share={val_share} and data.test_share={test_share} leave nothing to train on")


def hold_out(
    names: Sequence[str], classes: Sequence[Collection[Hashable]], shares: Mapping[str, float], seed: int
) -> list[str]:
    """Return for each image the part that it goes to; the same for the same names, classes, shares and seed.

    The order of the images does not matter.

    Args:
        names: of the images, each once.
        classes: what stands in each image, in whatever number.
        shares: of each part, 1 together; a part with a share above 0 gets an image where there are as many as parts.
        seed: decides between images of the same classes.
    """
    digest = {name: hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest() for name in names}
    order = sorted(range(len(names)), key=lambda place: digest[names[place]])
    present = [frozenset(found) for found in classes]
    holders: dict[Hashable, list[int]] = defaultdict(list)
    for place in order:
        for label in present[place]:
            holders[label].append(place)
    wanted = {part: share * len(names) for part, share in shares.items()}
    lacking = {
        part: {label: share * len(places) for label, places in holders.items()} for part, share in shares.items()
    }
    parts: dict[int, str] = {}

    def give(place: int, label: Hashable | None) -> None:
        part = max(shares, key=lambda part: (0.0 if label is None else lacking[part][label], wanted[part]))
        parts[place] = part
        wanted[part] -= 1
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
    _fill_empty(parts, shares, order)
    return [parts[place] for place in range(len(names))]


def _fill_empty(parts: dict[int, str], shares: Mapping[str, float], order: Sequence[int]) -> None:
    """Give an image to each part that got none, from the largest part."""
    for part, share in shares.items():
        if share > 0 and part not in parts.values():
            largest, count = Counter(parts.values()).most_common(1)[0]
            if count > 1:
                parts[next(place for place in order if parts[place] == largest)] = part
