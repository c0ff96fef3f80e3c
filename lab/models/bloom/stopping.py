"""Where a continuation ends: a token for the end of a text, sequences of tokens, or strings in the decoded text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lab.errors import ConfigError

Decode = Callable[[list[int]], str]
"""Turns tokens into text."""


class Stopping:
    """Tells after each new token which sequences have ended.

    Args:
        end_of_text: a token that ends a text; None: there is none.
        stop: texts (these need ``decode``), or sequences of tokens, which end it too; they stay in the result.
        decode: turns tokens into text.
        device: of the tokens.

    Raises:
        ConfigError: an entry of ``stop`` is empty, or a text without ``decode``.
    """

    def __init__(
        self,
        end_of_text: int | None,
        stop: Sequence[str | Sequence[int]],
        decode: Decode | None,
        device: torch.device,
    ) -> None:
        if any(not len(entry) for entry in stop):
            raise ConfigError("stop: an entry is empty, and would end every text at once")
        self.texts = tuple(entry for entry in stop if isinstance(entry, str))
        if self.texts and decode is None:
            raise ConfigError(f"stop={self.texts[0]!r} is a text: it needs decode=, which turns tokens into text")
        self.end_of_text, self.decode = end_of_text, decode
        self.sequences = [torch.tensor(entry, device=device) for entry in stop if not isinstance(entry, str)]
        # A text of n characters has at most 4 n bytes, and each token at least one byte.
        self._tail = 4 * max(map(len, self.texts), default=0)

    @property
    def possible(self) -> bool:
        """Whether a sequence can end before the greatest number of tokens."""
        return self.end_of_text is not None or bool(self.sequences or self.texts)

    def ended(self, new: Tensor) -> Tensor:
        """Return which texts end with their last token, (B,) bool. Only texts in ``stop`` make the host wait.

        Args:
            new: (B, n) the tokens so far, without the prompt.
        """
        found = torch.zeros(len(new), dtype=torch.bool, device=new.device)
        if self.end_of_text is not None:
            found |= new[:, -1] == self.end_of_text
        for sequence in self.sequences:
            if new.shape[1] >= len(sequence):
                found |= (new[:, -len(sequence) :] == sequence).all(1)
        if self.texts and self.decode is not None:
            tails = map(self.decode, new[:, -self._tail :].tolist())
            found |= torch.tensor([any(text in tail for text in self.texts) for tail in tails], device=new.device)
        return found
