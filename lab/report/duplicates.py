"""Finds samples of one content, and images that are nearly equal, by hashes alone. No torch.

Of each sample 16 bytes of a hash and its place are kept; of an image also a perceptual hash and a thumbnail of 9 x 9
grey levels. So a million samples take about 40 MB, a million images about 140 MB.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lab.report.sanity import Finding, SanityReport

EXACT, NEAR = "exact duplicates", "near duplicates"
NEAR_BITS = 6
"""Of 128: how many bits of the perceptual hashes of two images may differ, if they count as nearly equal."""
NEAR_LEVELS = 6.0
"""Of 255: how much their thumbnails may differ, in the mean."""
SIDE = 9
_BANDS = 8
_MOST_TOGETHER = 1024
_LEAST_STEP = 3

SamplePlace: TypeAlias = tuple[int, int]
NameOf = Callable[[str, int], str]
PlaceArray: TypeAlias = npt.NDArray[np.uint64]


class ContentIndex:
    """The contents of samples as hashes.

    Args:
        splits: the names of the splits, in their order.
    """

    def __init__(self, splits: tuple[str, ...]) -> None:
        self.splits = splits
        self._parts = {name: array("Q") for name in ("high", "low", "split", "index", "label")}

    def add(self, split: str, index: int, content: bytes, label: str = "") -> int:
        """Add a sample.

        Args:
            split: it is of.
            index: its number in the split.
            content: its decoded content; what differs is another sample.
            label: its annotation: samples of one content and different labels contradict each other.

        Returns:
            The hash of the content.
        """
        digest = hashlib.blake2b(content, digest_size=16).digest()
        mark = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        high, low = int.from_bytes(digest[:8]), int.from_bytes(digest[8:])
        values = (high, low, self.splits.index(split), index, int.from_bytes(mark))
        for kept, value in zip(self._parts.values(), values, strict=True):
            kept.append(value)
        return high

    def groups(self) -> Iterator[list[tuple[int, int, int]]]:
        """Yield the samples of one content, if there are several: (number of the split, index, label) of each."""
        parts = {name: np.array(kept, dtype=np.uint64) for name, kept in self._parts.items()}
        order = np.lexsort((parts["index"], parts["split"], parts["low"], parts["high"]))
        high, low = parts["high"][order], parts["low"][order]
        same = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1]))
        for run in np.split(same, np.flatnonzero(np.diff(same) > 1) + 1):
            if len(run):
                rows = order[run[0] : run[-1] + 2]
                yield [tuple(int(parts[name][row]) for name in ("split", "index", "label")) for row in rows]  # type: ignore[misc]

    def report(self, report: SanityReport, name_of: NameOf, labelled: bool) -> None:
        """Add what was found to a report.

        Args:
            report: has a look at each split that samples were added of.
            name_of: returns the name of a sample.
            labelled: whether labels were given.
        """
        looks = {look.split: look for look in report.looks}
        present = [split for number, split in enumerate(self.splits) if number in set(self._parts["split"])]
        for split in present:
            looks[split].watch(EXACT, "exact duplicates", *(["duplicates with another label"] if labelled else []))
        for one, two in combinations(present, 2):
            report.between[f"{two} also in {one}"] = Finding(EXACT)
        for group in self.groups():
            first: dict[int, tuple[int, int]] = {}
            for number, index, label in group:
                split = self.splits[number]
                name = name_of(split, index)
                if number in first:
                    of, known = first[number]
                    looks[split].find("exact duplicates", f"{name} = {name_of(split, of)}")
                    if labelled and label != known:
                        looks[split].find("duplicates with another label", f"{name} = {name_of(split, of)}")
                for other, (of, _) in first.items():
                    if other != number:
                        words = f"{split} also in {self.splits[other]}"
                        report.between[words].add(f"{name} = {name_of(self.splits[other], of)}")
                first.setdefault(number, (index, label))


def thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return an image as (9, 9) grey levels."""
    grey = image.convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0), dtype=np.uint8)


def perceptual_hash(small: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Return 128 bits of a thumbnail: where it gets brighter to the right, and downwards."""
    levels = small.astype(np.int16)
    right = levels[:-1, 1:] - levels[:-1, :-1] >= _LEAST_STEP
    down = levels[1:, :-1] - levels[:-1, :-1] >= _LEAST_STEP
    return tuple(int.from_bytes(np.packbits(part).tobytes()) for part in (right, down))  # type: ignore[return-value]


@dataclass
class NearIndex:
    """Images as perceptual hashes and thumbnails; images of one colour are not among them.

    Attributes:
        splits: the names of the splits, in their order.
        partial: whether so many images are alike that not all pairs were compared.
    """

    splits: tuple[str, ...]
    partial: bool = False
    _hashes: array[int] = field(default_factory=lambda: array("Q"))
    _places: array[int] = field(default_factory=lambda: array("Q"))
    _small: bytearray = field(default_factory=bytearray)

    def add(self, split: str, index: int, image: Image.Image, content: int) -> None:
        """Add an image.

        Args:
            split: it is of.
            index: its number in the split.
            image: its pixels.
            content: the hash of its content: images of one content are no near duplicates.
        """
        small = thumbnail(image)
        if small.max() - small.min() < _LEAST_STEP:
            return
        self._hashes.extend(perceptual_hash(small))
        self._places.extend((self.splits.index(split), index, content))
        self._small += small.tobytes()

    def pairs(self) -> list[tuple[SamplePlace, SamplePlace]]:
        """Return the pairs of images that are nearly equal, each as (number of the split, index), in their order."""
        hashes = np.array(self._hashes, dtype=np.uint64).reshape(-1, 2)
        places = np.array(self._places, dtype=np.uint64).reshape(-1, 3)
        small = np.frombuffer(bytes(self._small), dtype=np.uint8).reshape(-1, SIDE * SIDE)
        bits = np.unpackbits(hashes.view(np.uint8).reshape(len(hashes), 16), axis=1)
        found: set[tuple[int, int]] = set()
        for band in range(_BANDS):  # two hashes that differ in fewer bits than there are bands share a band
            keys = np.packbits(bits[:, band::_BANDS], axis=1).view(np.uint16)[:, 0]
            order = np.argsort(keys, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
                found |= self._compared(rows, bits, small, places[:, 2])
        return sorted((self._place(places, one), self._place(places, two)) for one, two in found)

    def _compared(
        self, rows: npt.NDArray[np.intp], bits: npt.NDArray[np.uint8], small: npt.NDArray[np.uint8], content: PlaceArray
    ) -> set[tuple[int, int]]:
        """Return the pairs among some images that are nearly equal."""
        self.partial = self.partial or len(rows) > _MOST_TOGETHER
        found = set()
        for place in range(len(rows) - 1):
            one, others = rows[place], rows[place + 1 : place + 1 + _MOST_TOGETHER]
            near = (bits[others] != bits[one]).sum(1) <= NEAR_BITS
            others = others[near & (content[others] != content[one])]
            if len(others):
                apart = np.abs(small[others].astype(np.int16) - small[one]).mean(1)
                found |= {(min(one, two), max(one, two)) for two in others[apart <= NEAR_LEVELS].tolist()}
        return {(int(one), int(two)) for one, two in found}

    @staticmethod
    def _place(places: PlaceArray, row: int) -> SamplePlace:
        return int(places[row, 0]), int(places[row, 1])

    def report(self, report: SanityReport, name_of: NameOf) -> list[tuple[SamplePlace, SamplePlace]]:
        """Add what was found to a report, and return the pairs."""
        looks = {look.split: look for look in report.looks}
        present = sorted(set(self._places[::3]))
        for number in present:
            looks[self.splits[number]].watch(NEAR, "pairs of near duplicates")
        for first, second in combinations(present, 2):
            report.between[f"{self.splits[second]} nearly in {self.splits[first]}"] = Finding(NEAR)
        pairs = self.pairs()
        for one, two in pairs:
            names = " ~ ".join(name_of(self.splits[number], index) for number, index in (two, one))
            if one[0] == two[0]:
                looks[self.splits[one[0]]].find("pairs of near duplicates", names)
            else:
                report.between[f"{self.splits[two[0]]} nearly in {self.splits[one[0]]}"].add(names)
        if self.partial:
            report.notes.append("many images are so alike that not all pairs were compared: there may be more pairs")
        return pairs
