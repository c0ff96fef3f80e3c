"""Collects the answers of an evaluation from all ranks and scores them question by question.

Windows of one question may be in different batches and on different ranks. Each rank keeps a small record of each of
its windows; at the end rank 0 joins the windows of every question, in their order, and scores it once. So the result is
the same, to the last bit of the logits, on any number of ranks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.strategies import collectives
from lab.tasks.question_answering.scoring import score
from lab.tasks.question_answering.spans import SpanChoice, as_answers, by_question, chosen, question_answers

FIGURES = ("exact_match", "f1")


@dataclass(frozen=True)
class Joined:
    """A question with its answers.

    Attributes:
        id: names the question.
        answers: the true ones.
        text: the chosen answer, empty for none.
        best: the best answers as run_squad.py writes them.
        null_odds: how much larger the score of no answer is than that of the best answer.
    """

    id: str
    answers: Sequence[str]
    text: str
    best: list[dict[str, Any]]
    null_odds: float


def joined(records: Sequence[Mapping[str, Any]], choice: SpanChoice) -> Joined:
    """Join the windows of a question.

    Args:
        records: of ``window_records``, all of the question, in the order of its windows.
        choice: how answers are chosen.
    """
    best, odds = question_answers(records, choice)
    shown = [
        {"text": answer.text, "probability": answer.probability, "start_logit": entry[3], "end_logit": entry[4]}
        for answer, entry in zip(as_answers(best), best, strict=True)
    ]
    return Joined(records[0]["id"], records[0]["answers"], chosen(best, odds, choice), shown, odds)


@dataclass
class Measured:
    """The result of an evaluation.

    Attributes:
        values: exact match, F1 and what else ``scoring.score`` returns, in percent.
        questions: how many were measured.
        version_2: whether some have no answer.
        files: what run_squad.py writes, by the name of the file.
    """

    values: dict[str, float] = field(default_factory=dict)
    questions: int = 0
    version_2: bool = False
    files: dict[str, str] = field(default_factory=dict)


class AnswerMetrics:
    """The answers of one split.

    Args:
        choice: how answers are chosen.
    """

    def __init__(self, choice: SpanChoice) -> None:
        self.choice = choice
        self.records: list[dict[str, Any]] = []

    def update(self, records: Sequence[dict[str, Any]]) -> None:
        """Add windows, see ``window_records``."""
        self.records += records

    def reset(self) -> None:
        """Forget all windows."""
        self.records = []

    def compute(self, with_files: bool = False) -> Measured:
        """Return the figures of all ranks' questions, the same on all ranks; all must call it.

        Args:
            with_files: also return the predictions as files; on rank 0 alone.
        """
        records = collectives.collect(self.records)
        result = measure(records, self.choice, with_files) if collectives.rank() == 0 else Measured()
        values, questions, version_2 = collectives.from_rank_zero((result.values, result.questions, result.version_2))
        return Measured(values, questions, version_2, result.files)


def measure(records: Sequence[Mapping[str, Any]], choice: SpanChoice, with_files: bool = False) -> Measured:
    """Score records of windows, in any order; a window that several ranks have computed counts once."""
    windows = {record["window"]: record for record in records}
    found = [joined(group, choice) for group in by_question(windows[number] for number in sorted(windows))]
    if not found:
        return Measured(dict.fromkeys(FIGURES, math.nan))
    predictions = {item.id: item.text for item in found}
    odds = {item.id: item.null_odds for item in found}
    version_2 = any(not item.answers for item in found)
    with_odds = odds if version_2 and choice.abstain else None
    values = score(found, predictions, version_2, with_odds, math.inf).values
    files: dict[str, str] = {}
    if with_files:
        contents: dict[str, Any] = {"predictions": predictions, "nbest_predictions": {it.id: it.best for it in found}}
        if choice.abstain:
            contents["null_odds"] = odds
        files = {f"{name}.json": json.dumps(content, indent=4) + "\n" for name, content in contents.items()}
    return Measured(values, len(found), version_2, files)
