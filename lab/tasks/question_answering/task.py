"""Question answering: a network that scores each token of a window as an answer's start and end is trained, measured.

The loss is the task's own, as in run_squad.py of google-research/bert: half the cross-entropy of the start plus half
that of the end, over the tokens of a window. run_squad.py also spreads probability over padding, all windows being
padded to one length; here padding has none, so that a window's loss does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.structures import Term
from lab.structures.question_answering import Answer, Answerer, AnsweringBatch, AnsweringSpec, SpanLogits
from lab.tasks.question_answering.data.module import asked
from lab.tasks.question_answering.data.windows import AnswerWindows, Cutting, collate_windows
from lab.tasks.question_answering.metrics import AnswerMetrics, Measured
from lab.tasks.question_answering.spans import (
    SpanChoice,
    as_answers,
    best_spans,
    by_question,
    chosen,
    question_answers,
    window_records,
)
from lab.training.task import Task

WINDOWS = "windows"


class AnsweringTask(Task):
    """Train and measure a network that finds answers; see ``Task`` for the arguments."""

    kind = "question_answering"
    protocol = Answerer
    monitor = "val/f1"
    shown = ("exact_match", "f1")
    spec: AnsweringSpec

    def make_metrics(self) -> None:
        """Make the collections of answers.

        Raises:
            ConfigError: the network cannot read windows as long as those of the data.
        """
        longest = self.net.max_length
        if 0 < longest < self.spec.max_length:
            raise ConfigError(
                f"data.max_length: {self.spec.max_length} tokens are more than the network reads ({longest})"
            )
        settings = self.eval_settings
        self.choice = SpanChoice(
            n_best=settings["n_best"],
            max_answer_length=settings["max_answer_length"],
            null_threshold=settings["null_threshold"],
            abstain=self.spec.unanswerable,
            aligned=settings["answer_text"] == "aligned",
        )
        self.answers = {split: AnswerMetrics(self.choice) for split in ("val", "test")}
        self.measured = Measured()

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the training."""
        return TextTokenizer.from_text(self.spec.tokenizer)

    def reset_metrics(self, split: str) -> None:
        """Forget the answers of a split."""
        self.answers[split].reset()

    def forward(self, batch: AnsweringBatch) -> SpanLogits:
        """Return the logits of starts and ends."""
        found: SpanLogits = self.net(batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.num_tokens)
        return found

    def terms(self, batch: AnsweringBatch) -> tuple[SpanLogits, Mapping[str, Term]]:
        """Return the logits, and half the cross-entropies of starts and ends, summed over windows with a known span."""
        outputs = self(batch)
        pairs = (("loss_start", outputs.starts, batch.targets.starts), ("loss_end", outputs.ends, batch.targets.ends))
        return outputs, {name: Term(_entropy(logits, places, batch) / 2, WINDOWS) for name, logits, places in pairs}

    def totals(self, batch: AnsweringBatch) -> Mapping[str, float]:
        """Return the number of windows with a known span."""
        return {WINDOWS: float(sum(batch.targets.known))}

    def evaluate(self, split: str, outputs: SpanLogits, batch: AnsweringBatch) -> None:
        """Keep the best answers of each window."""
        self.answers[split].update(self._records(outputs, batch))

    def _records(self, outputs: SpanLogits, batch: AnsweringBatch) -> list[dict[str, Any]]:
        spans = best_spans(outputs, batch, self.choice)
        return window_records(spans, batch, self.choice, self.tokenizer if self.choice.aligned else None)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return exact match and F1 in percent; a test also gives the predictions as ``files``."""
        self.measured = self.answers[split].compute(with_files=split == "test")
        self.files = self.measured.files
        return dict(self.measured.values)

    def describe_evaluation(self) -> str:
        """Return what the figures are."""
        version = "2.0" if self.measured.version_2 else "1.1"
        choice = self.choice
        text = "aligned words" if choice.aligned else "characters of tokens"
        none = f", no answer above {choice.null_threshold:g}" if choice.abstain else ""
        return (
            f"SQuAD {version}'s exact match and F1 in percent, over {self.measured.questions} questions; answers of up "
            f"to {choice.max_answer_length} tokens from a window's best {choice.n_best} starts and ends, {text}{none}"
        )

    def predict_step(self, batch: AnsweringBatch, batch_idx: int) -> list[dict[str, Any]]:
        """Return a record of each window's best answers, see ``window_records``."""
        return self._records(self(batch), batch)

    def predict(self, inputs: Any, batch_size: int = 16, k: int | None = None) -> Any:
        """Return the answer to a question about a text, as ``Answer``; its text is empty if there is none.

        Args:
            inputs: a pair ``(question, text)``; or a list of pairs.
            batch_size: windows in one forward pass.
            k: return a list of the best k answers instead, best first.

        Returns:
            An ``Answer`` (with ``k`` a list of them); for a list of pairs a list of these.

        Raises:
            DataError: an input is no pair of texts, or one of them is empty.
        """
        single = isinstance(inputs, tuple)
        pairs = [inputs] if single else list(inputs)
        for number, pair in enumerate(pairs):
            _check_pair(pair, "the input" if single else f"input {number}")
        spec = self.spec
        cutting = Cutting(self.tokenizer, spec.max_length, spec.stride, spec.max_query_length)
        windows = AnswerWindows(asked(pairs), cutting, training=False)
        records: list[dict[str, Any]] = []
        with self.evaluating():
            for first in range(0, len(windows), batch_size):
                rows = range(first, min(first + batch_size, len(windows)))
                batch = collate_windows([windows[0, row] for row in rows], cutting.tokenizer.pad_id)
                records += self.predict_step(batch.to(self.device), 0)
        found = [self._answers(group, k) for group in by_question(records)]
        return found[0] if single else found

    def _answers(self, records: list[Mapping[str, Any]], k: int | None) -> Any:
        best, odds = question_answers(records, self.choice)
        answers = as_answers(best)
        if k is not None:
            return answers[:k]
        text = chosen(best, odds, self.choice)
        none = Answer("", -1, -1, 0.0, 0.0)
        return next((answer for answer in answers if answer.text == text), none)

    def describe_pass(self, batch: Any, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shape of the batch and the terms of its loss."""
        found = "a loss that reads values" if terms is None else ", ".join(terms)
        return f"tokens {tuple(batch.input_ids.shape)} -> starts {tuple(outputs.starts.shape)}, ends; {found}"


def _entropy(logits: Tensor, places: Tensor, batch: AnsweringBatch) -> Tensor:
    """Return the summed cross-entropy of known places (B,) among the tokens of each window."""
    logits = logits.float()
    if batch.attention_mask is not None:
        logits = logits.masked_fill(~batch.attention_mask, -torch.inf)
    return functional.cross_entropy(logits, places, ignore_index=-1, reduction="sum")


def _check_pair(pair: Any, name: str) -> None:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise DataError(f"{name} is no pair of texts: give (question, text)")
    for what, text in zip(("question", "text"), pair, strict=True):
        if not text.strip():
            raise DataError(f"{name} has an empty {what}; give (question, text)")
