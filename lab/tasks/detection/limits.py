"""Compares, before a training, the most objects that a detector finds in an image with the data's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.data.presence import SPLIT_NAMES
from lab.structures.detection import Limited

if TYPE_CHECKING:
    from lab.data.datamodule import DataModule


def too_many_boxes(net: Any, data: DataModule) -> list[str]:
    """Return a line if images have more boxes than the network can find in one, with the argument to set.

    Data that do not offer ``box_counts``, and networks that do not offer ``Limited``, are passed over.

    Args:
        net: the detector.
        data: its data; all three splits are looked at.
    """
    if not isinstance(net, Limited):
        return []
    name, limit = net.most_objects
    counts = {split: _box_counts(data.dataset(split)) for split in SPLIT_NAMES}
    most = max(max(found, default=0) for found in counts.values())
    if most <= limit:
        return []
    split, found = next((split, found) for split, found in counts.items() if max(found, default=0) > limit)
    beyond = sum(count > limit for count in found)
    return [
        f"{SPLIT_NAMES[split]}: {beyond} of {len(found)} images have more boxes than this network finds in one "
        f"(model.net.{name}={limit}), so the rest is missed; the most are {most}: set model.net.{name}={most} or more"
    ]


def _box_counts(dataset: Any) -> list[int]:
    found: list[int] = dataset.box_counts() if hasattr(dataset, "box_counts") else []
    return found
