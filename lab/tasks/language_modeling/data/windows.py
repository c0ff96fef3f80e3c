"""Windows of a stream of tokens, for causal language models: the tokens that are read, and the one that follows each.

T is the length of a window, N the number of tokens of the stream.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lab.data.text.streams import TokenStream
from lab.errors import ConfigError, DataError
from lab.structures.language_modeling import CausalBatch, CausalTargets

WindowPlaces = Literal["random", "blocks"]
Crossing = Literal["ignore", "mask"]


@dataclass(frozen=True)
class TokenWindow:
    """Consecutive tokens of a stream.

    Attributes:
        number: that of the window in its dataset.
        tokens: (T,) int64.
        labels: (T,) int64, the token that follows each; -1 where none is predicted.
        documents: (T,) int64, the number of each token's document within the window, from 0; None: it does not matter.
        text_per_label: see ``CausalTargets``.
    """

    number: int
    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    documents: NDArray[np.int64] | None = None
    text_per_label: tuple[float, float] = (0.0, 0.0)


def cut_window(
    stream: TokenStream, number: int, start: int, length: int, crossing: Crossing, skip: int = 0
) -> TokenWindow:
    """Return a window of a stream.

    Args:
        stream: the tokens.
        number: that of the window.
        start: its first token.
        length: T; the stream goes on for at least one token more.
        crossing: ``"mask"``: documents are told apart, and the first token of the next one is no label unless a token
            says that the document ends.
        skip: the first tokens that only serve as context.
    """
    found = stream.read(start, start + length + 1)
    labels, documents = found[1:].copy(), None
    labels[:skip] = -1
    if crossing == "mask":
        numbers = stream.documents(start, start + length + 1)
        documents = numbers[:-1] - numbers[0]
        if stream.counts.ends is None:
            labels[numbers[1:] != numbers[:-1]] = -1
    return TokenWindow(number, found[:-1], labels, documents)


class TrainWindows:
    """Windows to train on, (N - 1) // T in an epoch.

    Args:
        stream: the tokens.
        fingerprint: identifies them.
        length: T.
        windows: ``"random"``: each begins anywhere; ``"blocks"``: one begins where the last one ends, and the first one
            of each epoch at another place of what T leaves over, so that no token is always left out.
        crossing: see ``cut_window``.
        seed: decides where windows begin.

    Raises:
        DataError: the stream is shorter than a window and the token after it.
    """

    aspect_ratios: Sequence[float] | None = None

    def __init__(
        self, stream: TokenStream, fingerprint: str, length: int, windows: WindowPlaces, crossing: Crossing, seed: int
    ) -> None:
        if len(stream) <= length:
            raise DataError(
                f"the training text has {len(stream)} tokens, too few for windows of data.max_length={length} and the "
                f"token that follows; take data.max_length={max(1, len(stream) - 1)} or less"
            )
        self.stream, self.length, self.windows, self.crossing, self.seed = stream, length, windows, crossing, seed
        self._fingerprint = fingerprint

    def __len__(self) -> int:
        """Return the number of windows in an epoch."""
        return (len(self.stream) - 1) // self.length

    def __getitem__(self, key: tuple[int, int]) -> TokenWindow:
        """Return the window for ``(epoch, index)``."""
        epoch, index = key
        left = len(self.stream) - 1 - self.length
        if self.windows == "random":
            start = random.Random(f"{self.seed} {epoch} {index}").randint(0, left)
        else:
            rest = (len(self.stream) - 1) % self.length
            start = random.Random(f"{self.seed} {epoch}").randint(0, rest) + index * self.length
        return cut_window(self.stream, index, start, self.length, self.crossing)

    def fingerprint(self) -> str:
        """Return a string that identifies the text and its tokens."""
        return self._fingerprint


class EvalWindows:
    """All windows of a text: every token that something stands before is predicted exactly once.

    The first window predicts all of its tokens. Each further one begins ``stride`` tokens later and predicts the last
    ``stride``; its other tokens are context. The last one begins earlier, so that it is full.

    Args:
        stream: the tokens.
        fingerprint: identifies them.
        length: T; a shorter text is one window.
        stride: the tokens that a window predicts, at most T; the smaller, the more context each token has.
        crossing: see ``cut_window``.

    Raises:
        ConfigError: the stride is longer than the window.
        DataError: nothing can be predicted of a single token.
    """

    aspect_ratios: Sequence[float] | None = None

    def __init__(self, stream: TokenStream, fingerprint: str, length: int, stride: int, crossing: Crossing) -> None:
        if not 1 <= stride <= length:
            raise ConfigError(f"data.eval_stride={stride}: should be from 1 to data.max_length={length}")
        if len(stream) < 2:
            raise DataError("the text to measure has a single token; one before it is needed to predict it")
        self.stream, self.crossing = stream, crossing
        self.length, self.stride = min(length, len(stream) - 1), stride
        self._fingerprint = fingerprint

    def __len__(self) -> int:
        """Return the number of windows."""
        return 1 + -(-(len(self.stream) - 1 - self.length) // self.stride)

    def __getitem__(self, key: tuple[int, int]) -> TokenWindow:
        """Return the window for ``(epoch, index)``."""
        index = key[1]
        known = 0 if index == 0 else self.length + (index - 1) * self.stride  # what windows before it predict
        start = min(index * self.stride, len(self.stream) - 1 - self.length)
        found = cut_window(self.stream, index, start, self.length, self.crossing, max(0, known - start))
        return replace(found, text_per_label=self.text_per_label)

    @property
    def num_labels(self) -> int:
        """The number of tokens that are predicted."""
        crossings = self.crossing == "mask" and self.stream.counts.ends is None
        return len(self.stream) - (self.stream.counts.documents if crossings else 1)

    @cached_property
    def text_per_label(self) -> tuple[float, float]:
        """UTF-8 bytes and words (split at blanks) of the text for each token that is predicted.

        Where nothing stands before a first token it is not predicted, and its bytes do not count.
        """
        counts = self.stream.counts
        left_out = counts.first_bytes[0 if self.crossing == "mask" else 1]
        labels = max(1, self.num_labels)
        return (counts.bytes - left_out) / labels, counts.words / labels

    def fingerprint(self) -> str:
        """Return a string that identifies the text and its tokens."""
        return self._fingerprint


def gather_windows(windows: Sequence[TokenWindow]) -> CausalBatch:
    """Return a batch of windows of one length."""
    labels = np.stack([window.labels for window in windows])
    documents = [window.documents for window in windows if window.documents is not None]
    targets = CausalTargets(
        torch.from_numpy(labels),
        tuple((labels >= 0).sum(1).tolist()),
        torch.from_numpy(np.stack(documents)) if documents else None,
        windows[0].text_per_label,
    )
    tokens = torch.from_numpy(np.stack([window.tokens for window in windows]))
    return CausalBatch(
        tokens,
        None,
        None,
        (tokens.shape[1],) * len(windows),
        targets,
        torch.tensor([window.number for window in windows]),
        torch.ones(len(windows), dtype=torch.bool),
    )
