"""Encoded texts with labels, read by key."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lab.data.presence import ClassCounts
from lab.data.text.sequences import EncodedTexts
from lab.tasks.text_classification.data.encoding import TextSample


class TextDataset:
    """Texts as a ``KeyedDataset``; a sample does not depend on the epoch.

    Args:
        encoded: the N texts as windows of tokens.
        labels: of each, 0 to K - 1; -1 where none is known.
        class_names: the K classes.
        fingerprint: of texts, labels and classes.
        group_by_length: whether a training batch holds texts of similar length.
    """

    def __init__(
        self,
        encoded: EncodedTexts,
        labels: Sequence[int],
        class_names: tuple[str, ...],
        fingerprint: str,
        group_by_length: bool = False,
    ) -> None:
        self.encoded, self.labels, self.class_names = encoded, list(labels), class_names
        self._fingerprint, self.group_by_length = fingerprint, group_by_length

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> TextSample:
        """Return the text at ``(epoch, index)``."""
        return TextSample(self.encoded.windows(key[1]), self.labels[key[1]], key[1])

    @property
    def aspect_ratios(self) -> list[float] | None:
        """Tokens of each text over their median, so that a batch holds longer or shorter texts; None: not asked."""
        if not self.group_by_length:
            return None
        lengths = self.encoded.lengths()
        ratios: list[float] = (lengths / max(1.0, float(np.median(lengths)))).tolist()
        return ratios

    def class_counts(self) -> ClassCounts:
        """Return the texts of each class."""
        counts = Counter(self.labels)
        return ClassCounts(tuple(counts[label] for label in range(len(self.class_names))), "text")

    def fingerprint(self) -> str:
        """Return the hash of texts, labels and classes."""
        return self._fingerprint


def fingerprint_of(
    texts: Sequence[str], seconds: Sequence[str] | None, labels: Sequence[int], class_names: Sequence[str], how: str
) -> str:
    """Return a hash of texts, labels and classes, and of how they are encoded."""
    digest = hashlib.sha256(f"texts-1\0{how}\0{list(class_names)}".encode())
    for part in (texts, seconds or ()):
        for text in part:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    digest.update(np.array(labels, dtype=np.int64).tobytes())
    return digest.hexdigest()
