"""Answers to questions as spans of a text: description, targets and the protocol. B windows of texts, T tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import Movable
from lab.structures.text import TextBatch, TextSpec


@dataclass(frozen=True)
class AnsweringSpec(TextSpec):
    """What data for question answering tells.

    Attributes:
        stride: tokens between the starts of the windows of a text that is longer than a sequence.
        max_query_length: the most tokens of a question; longer ones are cut off.
        unanswerable: some questions have no answer in their text (SQuAD 2.0).
    """

    task: str = "question_answering"
    stride: int = 128
    max_query_length: int = 64
    unanswerable: bool = False


@dataclass
class AnsweringTargets(Movable):
    """The span of each window's answer.

    Attributes:
        starts: (B,) int64, its first token; 0 where the window does not hold the answer, -1 where it is not known.
        ends: (B,) int64, its last token, likewise.
    """

    starts: Tensor
    ends: Tensor

    def rows(self, chosen: slice) -> AnsweringTargets:
        """Return the targets of consecutive windows."""
        return AnsweringTargets(self.starts[chosen], self.ends[chosen])


AnsweringBatch = TextBatch[AnsweringTargets]


class SpanLogits(NamedTuple):
    """The outputs of a network that answers questions.

    Attributes:
        starts: (B, T), of the answer's first token.
        ends: (B, T), of its last one.
    """

    starts: Tensor
    ends: Tensor


@runtime_checkable
class Answerer(Protocol):
    """The protocol of architectures that find answers. The task has the loss.

    Attributes:
        max_length: the most tokens that it reads; 0 where there is no limit.
    """

    max_length: int

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> SpanLogits:
        """Return the logits of starts and ends; see ``TextEncoder.encode`` for the arguments."""
        ...
