"""Where a corpus is cut into training, validation and test text: at its end, between documents where that is near."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lab.data.cached import COMPLETE, made_once
from lab.data.text.documents import Documents, Extent, PartOfDocuments, measure
from lab.errors import DataError

NEAR = 0.1
"""A border moves to the end of a document that is at most this share of the smallest part away."""


def cut_off(documents: Documents, shares: Sequence[float]) -> list[Documents]:
    """Return the first part of a corpus, and the parts that are cut off at its end.

    Args:
        documents: the corpus; it is read once to measure it, which is remembered.
        shares: the share of the characters of each part that is cut off, in the order in which they stand.

    Raises:
        DataError: the corpus has fewer characters than parts.
    """
    if not shares:
        return [documents]
    key = hashlib.sha256(repr(("borders", documents.fingerprint(), list(shares))).encode()).hexdigest()[:32]

    def write(folder: Path) -> None:
        extent = measure(documents)
        plain = {"borders": borders(extent, shares), "text": documents.name}
        (folder / COMPLETE).write_text(json.dumps(plain))

    places = json.loads((made_once(key, write) / COMPLETE).read_text())["borders"]
    if any(begin >= end for begin, end in pairwise(places)):
        raise DataError(
            f"{documents.name}: its {places[-1]} characters are too few to hold shares of {list(shares)} of them out"
        )
    return [PartOfDocuments(documents, begin, end, places[-1]) for begin, end in pairwise(places)]


def borders(extent: Extent, shares: Sequence[float]) -> list[int]:
    """Return where the parts of a corpus begin and end, in characters.

    The first part ends at ``int(characters * (1 - shares))``, as karpathy/nanoGPT cuts; or at the end of a document
    within ``NEAR`` of the smallest part from there.
    """
    total = extent.characters
    exact = [int(total * (1 - sum(shares[place:]) + 1e-12)) for place in range(len(shares))]
    near = NEAR * min(shares) * total
    found = [0]
    for place in exact:
        at = bisect_left(extent.ends, place)
        ends = [extent.ends[number] for number in (at - 1, at) if 0 <= number < len(extent.ends)]
        nearest = min(ends, key=lambda end: abs(end - place))
        found.append(nearest if abs(nearest - place) <= near and nearest < total else place)
    return [*found, total]
