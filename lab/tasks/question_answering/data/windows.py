"""Windows of texts about which questions are asked, as run_squad.py of google-research/bert cuts and labels them.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019, section 4.2. A window is ``[CLS] question
[SEP] part of the text [SEP]``; parts of a text that is too long begin ``stride`` tokens apart. Two things differ from
run_squad.py: a text without any token has one window without text, not none; and questions in training may have several
answers, of which the first one is learned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.data.text.batching import pad_texts
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.structures.question_answering import AnsweringBatch, AnsweringTargets, Passage
from lab.tasks.question_answering.data.squad import Question
from lab.tasks.question_answering.settings import length_problem

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
BLANKS = " \t\r\n\u202f"
"""What separates words in run_squad.py; further blanks of Unicode do not."""
_BLANKS = re.compile(f"[{BLANKS}]+")
UNKNOWN = -1
"""The label of a window of a question whose answer is not known."""


@dataclass(frozen=True)
class Cutting:
    """How texts become windows.

    Attributes:
        tokenizer: has tokens for ``[CLS]`` and ``[SEP]``.
        max_length: the most tokens of a window.
        stride: tokens between the beginnings of the parts of a text.
        max_query_length: the most tokens of a question; longer ones are cut off.

    Raises:
        ConfigError: the lengths contradict each other, or the tokenizer lacks a token.
    """

    tokenizer: TextTokenizer
    max_length: int
    stride: int
    max_query_length: int

    def __post_init__(self) -> None:
        problem = length_problem(self.max_length, self.stride, self.max_query_length)
        if problem is not None:
            raise ConfigError("{}: {}".format(*problem))
        if self.tokenizer.special.cls is None or self.tokenizer.special.sep is None:
            raise ConfigError(
                f"data.tokenizer: this one ({self.tokenizer.kind}) lacks the tokens [CLS] and [SEP], which frame a "
                "question and its text; take a vocab.txt of BERT, or null to train one"
            )


class ContextText:
    """A text as tokens and words.

    Attributes:
        ids: (n,) of its tokens.
        spans: (n, 2) the first character of each token and the one behind its last.
        words: (n,) the number of the word that each token begins in.
    """

    def __init__(self, text: str, tokenizer: TextTokenizer) -> None:
        ids, spans = tokenizer.offsets(text)
        self.text = text
        self.ids = np.array(ids, dtype=np.int32)
        self.spans = np.array(spans, dtype=np.int32).reshape(-1, 2)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        blank: Bools = np.logical_or.reduce([codes == ord(sign) for sign in BLANKS])
        begins = ~blank & np.concatenate([[True], blank[:-1]])
        self.word_of_character = np.cumsum(begins, dtype=np.int32) - 1
        self.word_begins = np.flatnonzero(begins)
        ends = ~blank & np.concatenate([blank[1:], [True]])
        self.word_ends = np.flatnonzero(ends) + 1
        self.words = self.word_of_character[self.spans[:, 0]] if len(self.spans) else np.zeros(0, dtype=np.int32)

    def span_of(self, answer: str, start: int, tokens: Sequence[int]) -> tuple[int, int] | None:
        """Return the first and last token of an answer, or None if its words are not where it should begin.

        Args:
            answer: its text.
            start: its first character.
            tokens: the ids of ``answer``.
        """
        cleaned = " ".join(answer.split())
        if not cleaned or start < 0 or start + len(answer) > len(self.text):
            return None
        first_word = int(self.word_of_character[start])
        last_word = int(self.word_of_character[start + len(answer) - 1])
        if first_word < 0 or cleaned not in self.words_between(first_word, last_word):
            return None
        first = int(np.searchsorted(self.words, first_word, side="left"))
        last = int(np.searchsorted(self.words, last_word, side="right")) - 1
        return self._improved(first, last, np.array(tokens, dtype=np.int32)) if last >= first else None

    def words_between(self, first: int, last: int) -> str:
        """Return some consecutive words, with one blank between each two."""
        return _BLANKS.sub(" ", self.text[self.word_begins[first] : self.word_ends[last]])

    def _improved(self, first: int, last: int, tokens: NDArray[np.int32]) -> tuple[int, int]:
        """Return the first place within whole words at which the tokens of an answer stand, else the whole words."""
        count = len(tokens)
        for begin in range(first, last - count + 2 if count else first):
            if np.array_equal(self.ids[begin : begin + count], tokens):
                return begin, begin + count - 1
        return first, last


@dataclass(frozen=True)
class Window:
    """A window of a question's text.

    Attributes:
        number: of the window in its dataset.
        ids: its tokens.
        first: the place of the first token of the text.
        start: the place of the answer's first token; 0: not in this window, -1: not known.
        end: the place of its last token, likewise.
        most_context: (n,) for each token of the text, see ``AnsweringBatch.may_start``; None in training.
        passage: the text, where answers will be read from it; None in training.
    """

    number: int
    ids: list[int]
    first: int
    start: int
    end: int
    most_context: Bools | None = None
    passage: Passage | None = None


class AnswerWindows:
    """All windows of some questions, in their order; a dataset.

    Args:
        questions: what is asked.
        cutting: how texts become windows.
        training: leave out questions that teach nothing: whose answer is not in the text, or without question or text;
            and make no passages.

    Attributes:
        left_out: the number of questions left out, by reason; outside of training those whose answer is not known.
        numbers: (W,) the question of each window.
    """

    def __init__(self, questions: Sequence[Question], cutting: Cutting, training: bool) -> None:
        self.questions, self.cutting, self.training = questions, cutting, training
        self.left_out: dict[str, int] = {}
        tokenizer = cutting.tokenizer
        most = cutting.max_query_length
        self._queries = [ids[:most] for ids in tokenizer.encode_batch([item.question for item in questions])]
        self._texts: dict[str, ContextText] = {}
        rows: list[Int64s] = []
        for number, (item, span) in enumerate(zip(questions, self._spans(), strict=True)):
            if span is not None or not training:
                rows.append(self._cut(number, self._text(item.context), span))
        table = np.concatenate(rows) if rows else np.zeros((0, 6), dtype=np.int64)
        self.numbers, self._begins, self._lengths, self._starts, self._ends, self._places = table.T.copy()

    @property
    def aspect_ratios(self) -> None:
        """Windows of any length go together."""
        return None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: tuple[int, int]) -> Window:
        """Return the window of ``(epoch, index)``; all epochs have the same."""
        index = key[1]
        number, begin, length = (int(column[index]) for column in (self.numbers, self._begins, self._lengths))
        text, query, special = self._text(self.questions[number].context), self._queries[number], self._special
        ids = [special[0], *query, special[1], *text.ids[begin : begin + length].tolist(), special[1]]
        start, end, first = int(self._starts[index]), int(self._ends[index]), len(query) + 2
        if self.training:
            return Window(index, ids, first, start, end)
        return Window(index, ids, first, start, end, self._most_context(index), self._passage(index, text, first))

    def fingerprint(self) -> str:
        """Return a hash of the questions, the texts, the windows and the tokenizer."""
        digest = hashlib.sha256(self.cutting.tokenizer.fingerprint.encode())
        for item in self.questions:
            said = "\0".join((item.id, item.question, item.context, *item.answers, *map(str, item.starts)))
            digest.update(said.encode("utf-8", "surrogatepass"))
        for column in (self.numbers, self._begins, self._lengths, self._starts, self._ends):
            digest.update(column.tobytes())
        return digest.hexdigest()

    @property
    def _special(self) -> tuple[int, int]:
        special = self.cutting.tokenizer.special
        assert special.cls is not None  # Cutting has checked both
        assert special.sep is not None
        return special.cls, special.sep

    def _text(self, context: str) -> ContextText:
        if context not in self._texts:
            self._texts[context] = ContextText(context, self.cutting.tokenizer)
        return self._texts[context]

    def _spans(self) -> list[tuple[int, int] | None]:
        """Return the first and last token of each question's answer, (-1, -1) without one, None if it is not known."""
        answers = [item.answers[0] if item.answers else "" for item in self.questions]
        tokens = self.cutting.tokenizer.encode_batch(answers)
        found: list[tuple[int, int] | None] = []
        for item, ids in zip(self.questions, tokens, strict=True):
            span: tuple[int, int] | None = (UNKNOWN, UNKNOWN)
            why = ""
            if item.is_empty:
                span, why = None, "without a question or a text"
            elif not item.answered:
                span, why = None, "whose answer is not given"
            elif item.answers:
                span = self._text(item.context).span_of(item.answers[0], item.starts[0], ids)
                why = "" if span else "whose answer is not in its text"
            if span is None:
                self.left_out[why] = self.left_out.get(why, 0) + 1
            found.append(span)
        return found

    def _cut(self, number: int, text: ContextText, span: tuple[int, int] | None) -> Int64s:
        """Return a row for each window: question, begin, length, start, end, place among the question's windows."""
        first = len(self._queries[number]) + 2
        room, stride, count = self.cutting.max_length - first - 1, self.cutting.stride, len(text.ids)
        places = np.arange(1 + max(0, -(-(count - room) // stride)))
        begins = places * stride
        lengths = np.minimum(room, count - begins)
        rows = np.zeros((len(places), 6), dtype=np.int64)
        rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 5] = number, begins, lengths, places
        if span is None:
            rows[:, 3:5] = UNKNOWN
        elif span[0] >= 0:
            inside = (begins <= span[0]) & (span[1] < begins + lengths)
            rows[:, 3] = np.where(inside, span[0] - begins + first, 0)
            rows[:, 4] = np.where(inside, span[1] - begins + first, 0)
        return rows

    def _most_context(self, index: int) -> Bools:
        """Return of each token of a window's text whether this window has the most text around it."""
        stride = self.cutting.stride
        begin, length = int(self._begins[index]), int(self._lengths[index])
        reach = -(-self.cutting.max_length // stride)  # windows further away share no token
        others = np.arange(max(0, index - reach), min(len(self), index + reach + 1))
        others = others[self.numbers[others] == self.numbers[index]]
        tokens = np.arange(begin, begin + length)
        firsts, sizes = self._begins[others, None], self._lengths[others, None]
        lasts = firsts + sizes - 1
        context = np.minimum(tokens - firsts, lasts - tokens)  # (windows, n), below 0 outside
        score = np.where(context >= 0, context + 0.01 * sizes, -np.inf)
        most: Bools = others[score.argmax(axis=0)] == index  # the first one of equal ones
        return most

    def _passage(self, index: int, text: ContextText, first: int) -> Passage:
        item = self.questions[int(self.numbers[index])]
        begin, end = 0, 0
        spans = text.spans[int(self._begins[index]) : int(self._begins[index] + self._lengths[index])]
        if len(spans):
            begin = int(text.word_begins[text.word_of_character[spans[0, 0]]])
            end = int(text.word_ends[text.word_of_character[spans[-1, 0]]])
            end = max(end, int(spans[:, 1].max()))
        places = tuple((int(one), int(two)) for one, two in (spans - begin).tolist())
        answers = item.answers if item.answered else ()
        return Passage(int(self.numbers[index]), item.id, answers, text.text[begin:end], begin, places, first)


def collate_windows(windows: Sequence[Window], pad_id: int) -> AnsweringBatch:
    """Put windows together into a batch."""
    types = [[0] * window.first + [1] * (len(window.ids) - window.first) for window in windows]
    input_ids, mask, token_type_ids, lengths = pad_texts([window.ids for window in windows], pad_id, types)
    starts, ends = torch.tensor([[window.start, window.end] for window in windows]).T.contiguous()
    targets = AnsweringTargets(starts, ends, tuple(window.start >= 0 for window in windows))
    passages = tuple(window.passage for window in windows if window.passage is not None)
    batch = AnsweringBatch(
        input_ids,
        mask,
        token_type_ids,
        lengths,
        targets,
        sample_ids=torch.tensor([window.number for window in windows]),
        valid=torch.ones(len(windows), dtype=torch.bool),
    )
    if passages:
        batch.passages = passages
        batch.may_start = torch.zeros(input_ids.shape, dtype=torch.bool)
        batch.in_text = torch.zeros(input_ids.shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            assert window.most_context is not None
            part = slice(window.first, window.first + len(window.most_context))
            batch.may_start[row, part] = torch.from_numpy(window.most_context)
            batch.in_text[row, part] = True
    return batch


def require_some(windows: AnswerWindows, what: str) -> None:
    """Refuse a training set in which no question is left.

    Raises:
        DataError: there is no window.
    """
    if not len(windows):
        reasons = ", ".join(f"{count} {why}" for why, count in windows.left_out.items())
        raise DataError(f"{what}: none of its {len(windows.questions)} questions can be learned: {reasons}")
