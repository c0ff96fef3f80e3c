"""Texts and pairs of texts as token sequences: cut off, or read in windows.

A text is ``[CLS] text [SEP]``, a pair ``[CLS] first [SEP] second [SEP]``, as BERT reads them (Devlin et al., NAACL
2019, section 4.1); special tokens that a tokenizer lacks are left out. A pair that is too long loses tokens at the end
of whichever text is longer, the second one if both are as long, as in Google's run_classifier.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError

AT_ONCE = 4096
"""Texts that are encoded at once."""
TextWindow = tuple[list[int], int]
"""Token ids, special ones too, and how many of them belong to the first text."""


@dataclass(frozen=True)
class EncodedTexts:
    """N texts as M windows of tokens, in three arrays, so that millions of them take little memory.

    Attributes:
        ids: all tokens, one window after the other.
        starts: (M + 1,) where each window begins in ``ids``.
        firsts: (M,) how many tokens of each window belong to the first text.
        texts: (N + 1,) where the windows of each text begin.
        shortened: the number of texts of which tokens were cut off.
    """

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int32]
    texts: npt.NDArray[np.int64]
    shortened: int

    def __len__(self) -> int:
        return len(self.texts) - 1

    def windows(self, text: int) -> list[TextWindow]:
        """Return the windows of a text."""
        numbers = range(int(self.texts[text]), int(self.texts[text + 1]))
        return [
            (self.ids[self.starts[number] : self.starts[number + 1]].tolist(), int(self.firsts[number]))
            for number in numbers
        ]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the tokens of the longest window of each text (N,): the first one's."""
        lengths: npt.NDArray[np.int64] = np.diff(self.starts)[self.texts[:-1]]
        return lengths


@dataclass(frozen=True)
class TextEncoding:
    """How texts become sequences.

    Attributes:
        tokenizer: text to ids.
        max_length: the most tokens of a sequence, special ones too.
        window_stride: tokens between the starts of a text's windows; 0: longer texts are cut off.
        max_windows: the most windows of a text; what comes after them is cut off.

    Raises:
        ConfigError: sequences have no room for text, or windows would leave tokens out.
    """

    tokenizer: TextTokenizer
    max_length: int
    window_stride: int = 0
    max_windows: int = 32
    begin: tuple[int, ...] = field(init=False)
    end: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        special = self.tokenizer.special
        end = special.end_of_text if special.sep is None else special.sep
        object.__setattr__(self, "begin", () if special.cls is None else (special.cls,))
        object.__setattr__(self, "end", () if end is None else (end,))
        if self.room < 1:
            raise ConfigError(f"data.max_length={self.max_length} leaves no room for text beside special tokens")
        if self.window_stride > self.room:
            raise ConfigError(
                f"data.window_stride={self.window_stride}: windows hold {self.room} tokens of a text, and starts so "
                f"far apart would leave some out; take at most {self.room}"
            )

    @property
    def room(self) -> int:
        """The most tokens of a text in one sequence."""
        return self.max_length - len(self.begin) - len(self.end)

    def encode(self, texts: Sequence[str], seconds: Sequence[str | None] | None = None) -> EncodedTexts:
        """Return texts as windows of tokens; where there is a second text, the pair is cut off."""
        ids: list[npt.NDArray[np.int32]] = []
        lengths, firsts, counts, shortened = list[int](), list[int](), list[int](), 0
        for first in range(0, len(texts), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            for windows, cut in self._windows(texts[part], None if seconds is None else seconds[part]):
                ids += [np.array(window, dtype=np.int32) for window, _ in windows]
                lengths += [len(window) for window, _ in windows]
                firsts += [of_first for _, of_first in windows]
                counts.append(len(windows))
                shortened += cut
        return EncodedTexts(
            np.concatenate(ids) if ids else np.empty(0, dtype=np.int32),
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            np.array(firsts, dtype=np.int32),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
            shortened,
        )

    def _windows(
        self, texts: Sequence[str], seconds: Sequence[str | None] | None
    ) -> Iterator[tuple[list[TextWindow], bool]]:
        """Yield the windows of each text, and whether tokens of it were cut off."""
        tokens = self.tokenizer.encode_batch(texts)
        if seconds is None:
            yield from map(self._of_one, tokens)
            return
        others = self.tokenizer.encode_batch([second or "" for second in seconds])
        for first, other, second in zip(tokens, others, seconds, strict=True):
            yield self._of_one(first) if second is None else self._of_pair(first, other)

    def _of_one(self, tokens: list[int]) -> tuple[list[TextWindow], bool]:
        stride = self.window_stride or self.room
        needed = 1 + max(0, -(-(len(tokens) - self.room) // stride))
        count = min(needed, self.max_windows if self.window_stride else 1)
        parts = [tokens[number * stride : number * stride + self.room] for number in range(count)]
        whole = [[*self.begin, *part, *self.end] for part in parts]
        return [(window, len(window)) for window in whole], count < needed

    def _of_pair(self, first: list[int], second: list[int]) -> tuple[list[TextWindow], bool]:
        room = self.room - len(self.end)
        kept, others = cut_pair(len(first), len(second), room)
        begun = [*self.begin, *first[:kept], *self.end]
        cut = (kept, others) != (len(first), len(second))
        return [([*begun, *second[:others], *self.end], len(begun))], cut


def cut_pair(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each text of a pair are kept.

    One after the other leaves the longer text, or the second one of two as long, until both have room together.

    Args:
        first: tokens of the first text.
        second: tokens of the second one.
        room: the most tokens of both.
    """
    over = max(0, first + second - room)
    if over <= abs(first - second):  # the longer one alone is cut
        return (first - over, second) if first > second else (first, second - over)
    return room - room // 2, room // 2
