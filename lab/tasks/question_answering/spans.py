"""From logits to answers, as run_squad.py of google-research/bert has it.

Spans are found for all windows of a batch at once, on its device. Then the texts of each window's best spans are read,
and the windows of a question are joined: this needs its windows in their order, and nothing of other questions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lab.data.text.tokenizer import TextTokenizer
from lab.structures.question_answering import Answer, AnsweringBatch, Passage, SpanLogits
from lab.tasks.question_answering.alignment import aligned_text

NO_ANSWER = 1e6
"""The odds of no answer where a text has no span at all."""

BLOCK = 32
"""Spans that are read at a time."""


@dataclass(frozen=True)
class SpanChoice:
    """How answers are chosen.

    Attributes:
        n_best: the most answers of a question, and how many of the best starts and ends of a window are paired.
        max_answer_length: the most tokens of an answer.
        null_threshold: a question has no answer if the score of none is larger than that of the best answer by more.
        abstain: whether a question may have no answer.
        aligned: take the answers' texts as run_squad.py does (``alignment``), not by the tokens' characters.
    """

    n_best: int = 20
    max_answer_length: int = 30
    null_threshold: float = 0.0
    abstain: bool = False
    aligned: bool = False


@dataclass
class BestSpans:
    """The best spans of each window, the best first; N of them, fewer where ``scores`` are -inf.

    Attributes:
        places: (B, N, 2) int64, the first and last token.
        logits: (B, N, 2) float32, of start and end.
        scores: (B, N) float64, the sums of both.
        null: (B, 2) float32, the logits of no answer.
    """

    places: Tensor
    logits: Tensor
    scores: Tensor
    null: Tensor


def best_spans(outputs: SpanLogits, batch: AnsweringBatch, choice: SpanChoice) -> BestSpans:
    """Return the best spans of a batch.

    The best starts and the best ends among all tokens are paired. A pair counts if both are tokens of the text, its
    start has the most context in this window, and it is neither reversed nor too long.
    """
    assert batch.may_start is not None
    assert batch.in_text is not None
    starts, ends = (logits.float() for logits in outputs)
    if batch.attention_mask is not None:  # padding is no token
        starts, ends = (logits.masked_fill(~batch.attention_mask, -torch.inf) for logits in (starts, ends))
    count = min(choice.n_best, starts.shape[1])
    start_logits, start_places = _best(starts, count)
    end_logits, end_places = _best(ends, count)
    length = end_places[:, None, :] - start_places[:, :, None] + 1  # (B, N, N)
    valid = (length > 0) & (length <= choice.max_answer_length)
    valid &= batch.may_start.gather(1, start_places)[:, :, None] & batch.in_text.gather(1, end_places)[:, None, :]
    sums = start_logits.double()[:, :, None] + end_logits.double()[:, None, :]
    scores, pairs = sums.masked_fill(~valid, -torch.inf).flatten(1).sort(dim=1, descending=True, stable=True)
    rows, columns = pairs // count, pairs % count
    return BestSpans(
        torch.stack([start_places.gather(1, rows), end_places.gather(1, columns)], 2),
        torch.stack([start_logits.gather(1, rows), end_logits.gather(1, columns)], 2),
        scores,
        torch.stack([starts[:, 0], ends[:, 0]], 1),
    )


def _best(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    values, places = logits.sort(dim=1, descending=True, stable=True)  # the first of equal ones first, unlike topk
    return values[:, :count], places[:, :count]


def window_records(
    spans: BestSpans, batch: AnsweringBatch, choice: SpanChoice, tokenizer: TextTokenizer | None = None
) -> list[dict[str, Any]]:
    """Return a record of plain values for each valid window of a batch; this waits for its device.

    A record has ``window``, ``question`` (numbers), ``id``, ``answers`` (the true ones), ``null`` (two logits) and
    ``found``: the best different texts, each as ``[text, first character, character behind, start logit, end logit]``.
    That is enough: no window gives more than ``n_best`` texts to its question, and each text by its best span.

    Args:
        spans: what ``best_spans`` returned.
        batch: the batch, on any device.
        choice: how answers are chosen.
        tokenizer: needed for ``choice.aligned``.
    """
    valid, numbers = batch.valid.tolist(), batch.sample_ids.tolist()
    counts = spans.scores.isfinite().sum(1).tolist()
    places, logits, null = spans.places.cpu(), spans.logits.cpu(), spans.null.tolist()
    ids = batch.input_ids.tolist() if choice.aligned else []
    records = []
    for row, passage in enumerate(batch.passages):
        if valid[row]:
            texts = Reader(passage, choice, tokenizer, ids[row] if ids else [])
            found = texts.best(places[row, : counts[row]], logits[row, : counts[row]])
            records.append(
                {
                    "window": numbers[row],
                    "question": passage.question,
                    "id": passage.id,
                    "answers": list(passage.answers),
                    "null": null[row],
                    "found": found,
                }
            )
    return records


class Reader:
    """Reads the texts of spans of a window.

    Args:
        passage: the window's text.
        choice: how answers are chosen.
        tokenizer: needed for ``choice.aligned``.
        ids: the window's tokens, likewise.
    """

    def __init__(
        self, passage: Passage, choice: SpanChoice, tokenizer: TextTokenizer | None, ids: Sequence[int]
    ) -> None:
        self.passage, self.choice, self.tokenizer, self.ids = passage, choice, tokenizer, ids

    def best(self, places: Tensor, logits: Tensor) -> list[list[Any]]:
        """Return the best different texts of spans; see ``window_records``.

        Args:
            places: (S, 2) the first and last token of each, best first, on the host.
            logits: (S, 2) of start and end.
        """
        seen: set[str] = set()
        found: list[list[Any]] = []
        for some in zip(places.split(BLOCK), logits.split(BLOCK), strict=True):  # few are needed in most windows
            for (first, last), scores in zip(*(part.tolist() for part in some), strict=True):
                if len(found) == self.choice.n_best:
                    return found
                text, begin, end = self.text(first, last)
                if text not in seen:
                    seen.add(text)
                    found.append([text, begin, end, *scores])
        return found

    def text(self, first: int, last: int) -> tuple[str, int, int]:
        """Return the text of a span of tokens, its first character in the whole text and the one behind its last."""
        passage = self.passage
        begin, end = passage.spans[first - passage.first][0], passage.spans[last - passage.first][1]
        if not self.choice.aligned:
            return passage.text[begin:end], passage.begin + begin, passage.begin + end
        assert self.tokenizer is not None
        last_begin = passage.spans[last - passage.first][0]
        text = aligned_text(passage.text, begin, last_begin, self.ids[first : last + 1], self.tokenizer)
        return text, passage.begin + begin, passage.begin + end


def question_answers(records: Iterable[Mapping[str, Any]], choice: SpanChoice) -> tuple[list[list[Any]], float]:
    """Join the windows of a question.

    Args:
        records: of all windows of the question, in their order.
        choice: how answers are chosen.

    Returns:
        The best answers as in ``window_records``, best first, with no answer (an empty text) among them if the question
        may have none; and how much larger the score of none is than that of the best answer, 0 if it may not.
    """
    records = list(records)
    entries = [entry for record in records for entry in record["found"]]
    none: list[list[Any]] = []
    if choice.abstain:
        null = min((record["null"] for record in records), key=sum)  # the first of equal ones
        none = [["", -1, -1, *null]]
    best: list[list[Any]] = []
    seen: set[str] = set()
    for entry in sorted(entries + none, key=_score, reverse=True):  # stable: no answer comes after its equals
        if len(best) == choice.n_best:
            break
        if entry[0] not in seen:
            seen.add(entry[0])
            best.append(entry)
    if none and "" not in seen:
        best += none
    if not none:
        return best, 0.0
    real = next((entry for entry in best if entry[0]), None)
    return best, NO_ANSWER if real is None else _score(none[0]) - real[3] - real[4]


def chosen(best: Sequence[Sequence[Any]], null_odds: float, choice: SpanChoice) -> str:
    """Return the answer to a question as a text, empty if it has none; see ``question_answers``."""
    if choice.abstain and null_odds > choice.null_threshold:
        return ""
    return next((str(entry[0]) for entry in best if entry[0]), "")


def as_answers(best: Sequence[Sequence[Any]]) -> list[Answer]:
    """Return the best answers to a question, the best first, with probabilities among themselves."""
    scores = [_score(entry) for entry in best]
    most = max(scores, default=0.0)
    weights = [math.exp(score - most) for score in scores]
    total = sum(weights)
    return [
        Answer(entry[0], entry[1], entry[2], score, weight / total)
        for entry, score, weight in zip(best, scores, weights, strict=True)
    ]


def by_question(records: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """Yield the records of each question; windows of a question stand together in the order of windows."""
    for _, group in groupby(records, key=lambda record: record["question"]):
        yield list(group)


def _score(entry: Sequence[Any]) -> float:
    return float(entry[3] + entry[4])
