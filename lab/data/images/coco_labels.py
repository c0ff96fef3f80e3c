"""Shared by the readers of COCO's layout: categories as labels, and the files of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lab.data.images.coco_json import check_categories
from lab.data.json_files import load_lists
from lab.data.presence import NO_CATEGORY
from lab.errors import ConfigError

CategoryIds = Literal["raw", "contiguous"]


MAX_RAW_ID = 10_000
"""The highest id under ``category_ids="raw"``: a network has a class for each id up to the highest."""


def split_files(
    train: Mapping[str, str],
    val: Mapping[str, str],
    test: Mapping[str, str] | None,
    parts: Sequence[str],
    allowed: Sequence[str] = (),
) -> dict[str, Mapping[str, str]]:
    """Return the files of each split; without a test set the test uses the validation set.

    Raises:
        ConfigError: a split lacks one of ``parts``, or has one that is neither in ``parts`` nor ``allowed``.
    """
    found = {"train": train, "val": val, "test": test or val}
    for split, files in found.items():
        if not set(parts) <= set(files) <= {*parts, *allowed}:
            wanted = ", ".join(f"'{part}'" for part in parts[:-1]) + f" and '{parts[-1]}'"
            wanted += "".join(f", may have '{part}'" for part in allowed)
            raise ConfigError(f"data.{split} needs {wanted}, not {', '.join(files) or 'nothing'}")
    return found


def read_categories(annotations: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield ``{"id", "name"}`` of each category, ordered by id; ``key`` only makes the cache's key unique."""
    del key
    path = Path(annotations)
    for category in check_categories(load_lists(path, "instances")["categories"], path)[0]:
        yield {"id": category.id, "name": category.name}


def label_names(
    categories: Sequence[tuple[int, str]], category_ids: CategoryIds
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Return the name and the COCO category id of each label; ids are None at the gaps of ``"raw"``.

    Raises:
        ConfigError: under ``"raw"`` an id is below 0, or too high to have a class for each id up to it.
    """
    names = dict(sorted(categories))
    ids: tuple[int | None, ...]
    if category_ids == "contiguous":
        ids = tuple(names)
    else:
        lowest, highest = min(names), max(names)
        if lowest < 0 or highest > MAX_RAW_ID:
            why = f"{highest + 1} classes for {len(names)} categories" if lowest >= 0 else "a class below 0"
            raise ConfigError(
                f"data.category_ids=raw takes category ids as labels, and the id {lowest if lowest < 0 else highest} "
                f"would make {why}; set data.category_ids=contiguous"
            )
        ids = tuple(label if label in names else None for label in range(highest + 1))
    return tuple(NO_CATEGORY if category is None else names[category] for category in ids), ids
