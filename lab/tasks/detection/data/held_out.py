"""Completes the splits of annotated images: a share is held out where validation or test are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from lab.data.holdout import TEST, TRAIN, VAL, hold_out
from lab.errors import DataError

ItemT = TypeVar("ItemT")
VAL_SHARE = 0.2
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""The split that the name of a folder stands for."""


@dataclass(frozen=True)
class Shares:
    """What to hold out of the images to train on.

    Attributes:
        val: the share for validation; None: ``VAL_SHARE`` if there is no validation set.
        test: the same for the test; None: nothing, and without a test set the test uses the validation set.
        seed: decides which images are held out.
    """

    val: float | None = None
    test: float | None = None
    seed: int = 0


def complete_splits(
    found: Mapping[str, list[ItemT]],
    how: str,
    shares: Shares,
    source: str,
    name: Callable[[ItemT], str],
    classes: Callable[[ItemT], Collection[Hashable]],
) -> tuple[dict[str, tuple[ItemT, ...]], str]:
    """Return the items of train, val and test, and how they were made, for the user (``""``: as they were found).

    Args:
        found: the items of each split that there is; train must be among them.
        how: how they were found, if the user should know.
        shares: what to hold out.
        source: where the annotations are, for messages.
        name: returns the name of an item, each a different one.
        classes: returns the classes in an item.

    Raises:
        DataError: there are too few images.
    """
    splits, said = dict(found), [how] if how else []
    wanted = {
        VAL: (0.0 if VAL in splits else VAL_SHARE) if shares.val is None else shares.val,
        TEST: shares.test or 0.0,
    }
    held = {part: share for part, share in wanted.items() if share > 0}
    if held:
        pool = splits[TRAIN]
        if len(pool) <= len(held):
            raise DataError(f"{source}: {len(pool)} images to train on are too few to hold a share of them out")
        of_train = {TRAIN: 1 - sum(held.values()), **held}
        parts = hold_out([name(item) for item in pool], [classes(item) for item in pool], of_train, shares.seed)
        said += [f"the {part} set that is there is not used" for part in held if part in splits]
        for part in (TRAIN, *held):
            splits[part] = [item for item, given in zip(pool, parts, strict=True) if given == part]
        amounts = " and ".join(f"{share:g} (data.{part}_share) for {part}" for part, share in held.items())
        said.append(f"held out of the images to train on, by data.seed={shares.seed} and balanced by class: {amounts}")
    if TEST not in splits:
        splits[TEST] = splits[VAL]
        said.append("the test is on the validation set")
    counts = ", ".join(f"{len(splits[split])} {split}" for split in (TRAIN, VAL, TEST))
    return {split: tuple(items) for split, items in splits.items()}, f"{'; '.join(said)}: {counts}" if said else ""
