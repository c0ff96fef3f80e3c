"""Choose the next token from logits: the greatest, or one drawn from a distribution that was cut down.

Holtzman et al.: "The Curious Case of Neural Text Degeneration", ICLR 2020 (top-p); Fan, Lewis and Dauphin:
"Hierarchical Neural Story Generation", ACL 2018 (top-k); Keskar et al.: "CTRL", 2019, section 4.1 (repetition penalty).
The order is transformers': repetition penalty, temperature, top-k, top-p.

Names: B sequences, V tokens of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.checking import check_range


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        sample: draw tokens; False: always the most probable one, whatever the next three say.
        temperature: logits are divided by it.
        top_k: only so many most probable tokens may be drawn (and those as probable as the last of them); None: all.
        top_p: only the most probable tokens that together have this probability may be drawn; None: all.
        repetition_penalty: logits of tokens that the sequence has already are divided by it (multiplied if negative);
            padding does not count.

    Raises:
        ConfigError: a number is out of its range.
    """

    sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, above=0)
        if self.top_k is not None:
            check_range("top_k", self.top_k, least=1)
        if self.top_p is not None:
            check_range("top_p", self.top_p, above=0, most=1)
        check_range("repetition_penalty", self.repetition_penalty, above=0)

    @property
    def penalises(self) -> bool:
        """Whether earlier tokens matter beside the logits."""
        return self.repetition_penalty != 1

    def process(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return logits (B, V) whose softmax is the distribution to draw from, -inf where nothing may be drawn.

        Args:
            logits: (B, V) float32.
            seen: (B, V) bool, the tokens that a sequence has already; needed for the repetition penalty.
        """
        if self.penalises and seen is not None:
            penalty = self.repetition_penalty
            logits = torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p is not None and self.top_p < 1:
            ordered, places = logits.sort()
            dropped = ordered.softmax(-1).cumsum(-1) <= 1 - self.top_p
            dropped[:, -1] = False
            logits = logits.masked_fill(dropped.scatter(1, places, dropped), -torch.inf)
        return logits

    def choose(self, logits: Tensor, numbers: Tensor | None, seen: Tensor | None = None) -> Tensor:
        """Return the next tokens (B,) int64.

        Args:
            logits: (B, V).
            numbers: (B,) float64 in [0, 1), one for each draw; needed to sample.
            seen: see ``process``.
        """
        logits = logits.float()
        if not self.sample:
            plain = Sampling(repetition_penalty=self.repetition_penalty)  # cutting does not change the greatest
            return plain.process(logits, seen).argmax(-1)
        assert numbers is not None
        sums = self.process(logits, seen).softmax(-1, dtype=torch.float64).cumsum(-1)
        drawn = torch.searchsorted(sums, (numbers * sums[:, -1])[:, None], right=True)[:, 0]
        return drawn.clamp(max=logits.shape[-1] - 1)  # a number that was rounded up to the whole sum
