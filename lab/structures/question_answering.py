"""Answers to questions as spans of a text: description, batches, answers, protocol. B windows of texts, T tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        known: whether the span of each window is known; host values, so that nothing waits for a device.
    """

    starts: Tensor
    ends: Tensor
    known: tuple[bool, ...]

    def rows(self, chosen: slice) -> AnsweringTargets:
        """Return the targets of consecutive windows."""
        return AnsweringTargets(self.starts[chosen], self.ends[chosen], self.known[chosen])


@dataclass(frozen=True)
class Passage:
    """The part of a text that a window holds, and the question about it; values of the host.

    Attributes:
        question: the number of the question in its dataset.
        id: names the question.
        answers: the texts of its true answers; empty where it has none, or they are not known.
        text: the part of the text, of whole words.
        begin: the character of the whole text at which the part begins.
        spans: for each token of the part (n of them) the first character in ``text`` and the one behind the last.
        first: the place of the part's first token in the window.
    """

    question: int
    id: str
    answers: tuple[str, ...]
    text: str
    begin: int
    spans: tuple[tuple[int, int], ...]
    first: int


@dataclass
class AnsweringBatch(TextBatch[AnsweringTargets]):
    """A batch of windows: ``[CLS] question [SEP] part of the text [SEP]``.

    Attributes:
        may_start: (B, T) bool, True at tokens of the text that have more of the text around them in this window than
            in the question's other ones (run_squad's "max context"): an answer may begin there. None in training.
        in_text: (B, T) bool, True at tokens of the text: an answer may end there. None in training.
        passages: the text of each window; empty in training.
    """

    may_start: Tensor | None = None
    in_text: Tensor | None = None
    passages: tuple[Passage, ...] = ()

    def rows(self, chosen: slice) -> AnsweringBatch:
        """Return the part of the batch with some consecutive windows."""
        return replace(
            super().rows(chosen),
            may_start=None if self.may_start is None else self.may_start[chosen],
            in_text=None if self.in_text is None else self.in_text[chosen],
            passages=self.passages[chosen],
        )


class Answer(NamedTuple):
    """An answer that was found.

    Attributes:
        text: the part of the text that answers; empty if the question has no answer in it.
        start: its first character in the text; -1 if there is no answer.
        end: one past its last character; -1 if there is no answer.
        score: the sum of the logits of its start and end.
        probability: among the best answers of the question.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


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
