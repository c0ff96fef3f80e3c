"""Names of classes: they must be distinct, or the metrics of two classes would have one name."""

from __future__ import annotations

from collections.abc import Sequence

from lab.data.images.annotations import tell_once
from lab.data.presence import NO_CATEGORY
from lab.errors import ConfigError


def clean_name(text: str) -> str:
    """Return the name of a class without outer spaces, and with inner spaces and line breaks as one space."""
    return " ".join(text.split())


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the class names of a config.

    Raises:
        ConfigError: a name is empty or occurs twice.
    """
    clean = [clean_name(str(name)) for name in names]
    for name in clean:
        if not name or clean.count(name) > 1:
            labels = [label for label, other in enumerate(clean) if other == name]
            what = f"{name!r} for the labels {' and '.join(map(str, labels))}" if name else "a class without a name"
            raise ConfigError(f"data.class_names has {what}; give every class a name of its own")
    return tuple(clean)


def distinct_names(categories: Sequence[tuple[int, str]], source: str) -> list[tuple[int, str]]:
    """Return the categories; those with the same name get their ids appended, which is logged.

    Args:
        categories: id and name of each.
        source: the annotation file, for the message.
    """
    ids: dict[str, list[int]] = {}
    for number, name in categories:
        ids.setdefault(name, []).append(number)
    shared = {name: numbers for name, numbers in ids.items() if len(numbers) > 1 or name == NO_CATEGORY}
    for name, numbers in sorted(shared.items()):
        what = "categories have the same name" if len(numbers) > 1 else "category has a name that stands for no class,"
        tell_once(
            f"{source}: {len(numbers)} {what} {name!r}: they are told apart as "
            f"{', '.join(f'{name} (id {number})' for number in numbers)}"
        )
    return [(number, f"{name} (id {number})" if name in shared else name) for number, name in categories]
