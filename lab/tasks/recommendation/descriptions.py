"""How results of recommenders are described: the protocol in words, groups of queries, the table of popularity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.structures import Table


def describe_protocol(protocol: str, settings: dict[str, Any], num_items: int) -> str:
    """Return in a few words how ranks are computed."""
    if protocol == "full":
        words = f"ranked among all {num_items} items"
    else:
        words = (
            f"ranked among {settings['num_negatives']} {settings['distribution']} negatives, seed {settings['seed']}"
        )
    if settings["exclude_seen"] or settings["exclude_train"]:
        words += f", {'seen' if settings['exclude_seen'] else 'training'} items left out"
    if settings["max_sequences"]:
        words += f", at most {settings['max_sequences']} sequences"
    return f"{words}, {settings['ties']} ties"


def group_of(values: Tensor, starts: tuple[int, ...]) -> Tensor:
    """Return the number of the group of each value: how many groups begin at it or below."""
    return torch.bucketize(values, torch.tensor(starts, device=values.device), right=True)


def group_names(starts: tuple[int, ...], lowest: int) -> list[str]:
    """Return the range of each group in words; ``starts`` is where groups begin, the first at ``lowest``."""
    edges = [lowest, *starts]
    ranges = [
        f"{first}" if last - first == 1 else f"{first}-{last - 1}" for first, last in zip(edges, starts, strict=False)
    ]
    return [*ranges, f"{starts[-1]} or more"]


def popularity_table(found: dict[str, float], ks: list[int]) -> Table:
    """Return the mean support of recommended items and its ratio to that of true items (above 1: more popular)."""
    truth = found["popularity"]
    rows: Table = [{"items": "true", "events in training": truth, "ratio": 1.0}]
    for k in ks:
        mean = found[f"popularity_{k}"]
        rows.append({"items": f"best {k}", "events in training": mean, "ratio": mean / truth if truth > 0 else None})
    return rows
