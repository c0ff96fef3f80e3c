"""Reports before the training which classes the data lacks, and whether an evaluation has too few samples.

A class without an object or a pixel cannot be learnt and is left out of means; a metric over a handful of samples says
little; data without any object is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import DataError

if TYPE_CHECKING:
    from lab.data.datamodule import DataModule

MOST_PIXELS = 2**27
"""The pixels of label maps that are read to find their classes: a second or two."""
FEW = 10
"""With fewer samples an evaluation is reported as small."""
MAX_NAMES = 5
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class ClassCounts:
    """How often each class occurs in a split.

    Attributes:
        counts: for each label the number of objects, or of label maps with a pixel of it.
        unit: ``"object"`` or ``"pixel"``.
        read: the number of label maps that were read; None if all data was counted.
        of: the number of all label maps.
    """

    counts: tuple[int, ...]
    unit: str
    read: int | None = None
    of: int | None = None


def describe_presence(data: DataModule, splits: Sequence[str]) -> list[str]:
    """Return lines on classes that are missing, and on evaluations with few samples.

    Args:
        data: data of any kind; without classes no class is missing.
        splits: any of ``"train"``, ``"val"`` and ``"test"``.

    Raises:
        DataError: a split has no object, or no labelled pixel, at all.
    """
    lines: dict[str, list[str]] = {}
    names: Sequence[str] = ()
    for split in splits:
        dataset = data.dataset(split)
        names = getattr(dataset, "class_names", ())
        counts = dataset.class_counts() if hasattr(dataset, "class_counts") else None
        found = [] if counts is None else [_without(names, counts, split)]
        if split != "train":
            found.append(_few(dataset, data.sample_name))
        for line in filter(None, found):
            lines.setdefault(line, []).append(SPLIT_NAMES[split])
    return [f"{' and '.join(of)}: {line}" for line, of in lines.items()] + _similar(names)


def describe_sizes(data: DataModule) -> str:
    """Return how many samples each split has, such as ``training 205, validation 87, test 72 images``."""
    sizes = ", ".join(f"{name} {len(data.dataset(split))}" for split, name in SPLIT_NAMES.items())
    return f"{sizes} {data.sample_name}s"


def spread(length: int) -> Iterator[int]:
    """Yield 0 to ``length`` - 1, each once, so that the first few are spread over the whole range."""
    step = max(1, round(length**0.5))
    for first in range(step):
        yield from range(first, length, step)


def _without(names: Sequence[str], counts: ClassCounts, split: str) -> str:
    """Return the line on classes that a split lacks, or ``""``."""
    classes = [label for label, name in enumerate(names) if name != NO_CATEGORY]
    if not any(counts.counts) and counts.read == counts.of:
        what = "train on" if split == "train" else "measure"
        each = "object" if counts.unit == "object" else "pixel of any class"
        raise DataError(
            f"there is no {each} in the {SPLIT_NAMES[split]} data, and nothing to {what}; what was left out is named "
            "above, if anything was"
        )
    missing = [names[label] for label in classes if not counts.counts[label]]
    if not missing:
        return ""
    more = f" and {len(missing) - MAX_NAMES} more" if len(missing) > MAX_NAMES else ""
    looked = f" in the {counts.read} of {counts.of} label maps looked at" if counts.read != counts.of else ""
    says = "they cannot be learnt" if split == "train" else "they have no part in the means"
    return (
        f"{len(missing)} of {len(classes)} classes have no {counts.unit}{looked} "
        f"({', '.join(missing[:MAX_NAMES])}{more}): {says}"
    )


def _few(dataset: object, what: str) -> str:
    owners = getattr(dataset, "owners", None)
    number = len(dataset) if owners is None else len(set(owners.tolist()))  # type: ignore[arg-type]
    if number >= FEW:
        return ""
    return f"{number} {what}{'s' if number > 1 else ''} to measure on: a figure of so few says little"


def _similar(names: Sequence[str]) -> list[str]:
    """Return lines on class names that differ only in upper and lower case."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if name != NO_CATEGORY:
            groups.setdefault(name.casefold(), []).append(name)
    return [
        f"the classes {' and '.join(map(repr, group))} differ in capitals alone: if they are one, mend the annotations"
        for group in groups.values()
        if len(group) > 1
    ]


NO_CATEGORY = "N/A"
"""The name of a label without a class: the gaps in COCO's ids."""
