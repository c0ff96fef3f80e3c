"""Language modelling, masked and causal: samples, targets and the protocols of architectures.

B sequences in a batch, T tokens of the longest, V tokens in the vocabulary, P positions with a label in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import Movable, Term, split_packed
from lab.structures.text import TextBatch, TextSpec


@dataclass(frozen=True)
class LanguageSpec(TextSpec):
    """What data for language modelling tells.

    Attributes:
        objective: ``"causal"``: predict each token from those before it; ``"masked"``: predict tokens that were hidden.
        num_tokens: tokens to train on.
    """

    task: str = "language_modeling"
    objective: str = "causal"
    num_tokens: int = 0

    def __post_init__(self) -> None:
        if self.objective not in ("causal", "masked"):
            raise ValueError(f"objective {self.objective[:40]!r} is neither causal nor masked")


@dataclass
class CausalTargets(Movable):
    """The token that follows each token.

    Attributes:
        labels: (B, T) int64; -1 where nothing is predicted (padding, or a token that only serves as context).
        counts: the number of labels of each sequence; host integers.
        documents: (B, T) int64, the number of the document within the sequence that each token is of, so that attention
            keeps to it; None: attention reads the whole sequence.
        text_per_label: UTF-8 bytes and words (split at blanks) of the whole text that is measured, for each of its
            labels; 0 where they are not known. Each batch of a text has the same.
    """

    labels: Tensor
    counts: tuple[int, ...]
    documents: Tensor | None = None
    text_per_label: tuple[float, float] = (0.0, 0.0)

    def rows(self, chosen: slice) -> CausalTargets:
        """Return the targets of consecutive sequences."""
        documents = None if self.documents is None else self.documents[chosen]
        return CausalTargets(self.labels[chosen], self.counts[chosen], documents, self.text_per_label)


@dataclass
class MaskedTargets(Movable):
    """The tokens that were hidden, and whether the second text of a pair follows the first one.

    Attributes:
        positions: (P,) int64, places of hidden tokens within each sequence, those of one sequence after the other.
        labels: (P,) int64, the tokens.
        counts: the number of hidden tokens of each sequence; host integers.
        next_sentence: (B,) int64: 0 the second text follows the first, 1 it is a random one; None: no such pairs.
    """

    positions: Tensor
    labels: Tensor
    counts: tuple[int, ...] = field(default=())
    next_sentence: Tensor | None = None

    def rows(self, chosen: slice) -> MaskedTargets:
        """Return the targets of consecutive sequences."""
        part = split_packed(self.counts, chosen)
        following = None if self.next_sentence is None else self.next_sentence[chosen]
        return MaskedTargets(self.positions[part], self.labels[part], self.counts[chosen], following)


CausalBatch = TextBatch[CausalTargets]
MaskedBatch = TextBatch[MaskedTargets]


@dataclass
class LanguageScores(Movable):
    """How well a network predicts the labels of a batch.

    Attributes:
        losses: (P,) float32, the cross-entropy of each label in nats, in row-major order; P counts the labels.
        correct: (P,) bool, whether the label is the most probable token; None in training.
        next_sentence_losses: (B,) float32; None where the batch has no pairs.
        next_sentence_correct: (B,) bool; None in training too.
    """

    losses: Tensor
    correct: Tensor | None = None
    next_sentence_losses: Tensor | None = None
    next_sentence_correct: Tensor | None = None


class Scored(Protocol):
    """The outputs of a language model.

    Attributes:
        scores: of the targets; None if none were given.
    """

    scores: LanguageScores | None


@runtime_checkable
class LanguageModel(Protocol):
    """The protocol of architectures that model text. ``totals`` and ``loss`` are as in ``Detector``.

    Everything that the loss needs of the parameters is computed within ``forward``, where strategies gather them.

    Attributes:
        objective: ``"causal"`` or ``"masked"``: which targets it learns from.
        max_length: the most tokens that it reads; 0 where there is no limit.
    """

    objective: str
    max_length: int

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
        targets: Any = None,
    ) -> Scored:
        """Map tokens to states.

        Args:
            input_ids: this and the next three as ``TextEncoder.encode`` has them.
            attention_mask: see there.
            token_type_ids: see there.
            num_tokens: see there.
            targets: ``CausalTargets`` or ``MaskedTargets`` to compute ``scores`` of; None: logits are wanted.
        """
        ...

    def totals(self, targets: Any) -> Mapping[str, float]:
        """Return this batch's share of every normaliser of the loss, by its name."""
        ...

    def loss(self, outputs: Any, targets: Any) -> Mapping[str, Term]:
        """Return named terms: weighted sums over this batch, each with the name of its normaliser."""
        ...


@runtime_checkable
class Generator(Protocol):
    """The protocol of causal language models that continue texts."""

    def generate(
        self, input_ids: Tensor, max_new_tokens: int, attention_mask: Tensor | None = None, **how: Any
    ) -> Tensor:
        """Return prompts and their continuations (B, T + n) int64.

        Args:
            input_ids: (B, T) int64, padded at the left.
            max_new_tokens: the most tokens to add.
            attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
            how: as ``lab.models.bloom.generation`` documents it.
        """
        ...


@runtime_checkable
class Filler(Protocol):
    """The protocol of masked language models that name hidden tokens."""

    def fill(
        self,
        input_ids: Tensor,
        rows: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Return the logits (P, V) of the tokens at some places.

        Args:
            input_ids: (B, T) int64, one text each.
            rows: (P,) int64, the sequence of each place, ascending.
            positions: (P,) int64, the place within it.
            attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
            num_tokens: the number of True in ``attention_mask``, if the caller knows it.
        """
        ...
