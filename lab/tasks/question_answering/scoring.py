"""Exact match and F1 of SQuAD, equal to the last digit to the official evaluate-v1.1.py and evaluate-v2.0.py.

Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, and "Know What You Don't Know:
Unanswerable Questions for SQuAD", 2018. Figures are percentages, as there. Python floats are added up in the order of
the questions, because the official scripts do so and another order may change the last digit.
"""

from __future__ import annotations

import operator
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Asked(Protocol):
    """What scoring needs of a question."""

    @property
    def id(self) -> str:
        """What names it among all questions."""
        ...

    @property
    def answers(self) -> Sequence[str]:
        """The texts of its true answers; none for a question without an answer."""
        ...


def normalize_answer(text: str) -> str:
    """Return an answer in lower case, without ASCII punctuation and articles, words separated by one space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(predicted: str, answers: Sequence[str]) -> float:
    """Return 1 if a prediction is one of the answers after normalisation, else 0."""
    found = normalize_answer(predicted)
    return float(any(found == normalize_answer(answer) for answer in answers))


def f1(predicted: str, answers: Sequence[str], empty_is_equal: bool = True) -> float:
    """Return the largest F1 of the words of a prediction and of an answer.

    Args:
        predicted: the prediction.
        answers: at least one.
        empty_is_equal: two texts without a word have 1 (SQuAD 2.0), else 0 (SQuAD 1.1).
    """
    found = normalize_answer(predicted).split()
    return max(_f1(found, normalize_answer(answer).split(), empty_is_equal) for answer in answers)


def _f1(found: list[str], true: list[str], empty_is_equal: bool) -> float:
    if empty_is_equal and (not found or not true):
        return float(found == true)
    shared = sum((Counter(found) & Counter(true)).values())
    if shared == 0:
        return 0.0
    precision, recall = 1.0 * shared / len(found), 1.0 * shared / len(true)
    return (2 * precision * recall) / (precision + recall)


@dataclass(frozen=True)
class Scores:
    """The figures of a set of predictions.

    Attributes:
        values: percentages by name: ``exact_match`` and ``f1``; of SQuAD 2.0 also ``has_answer_...`` and
            ``no_answer_...`` of the questions with and without an answer, and, with null scores, ``best_exact_match``
            and ``best_f1``, what the best threshold would give, and the thresholds ``best_exact_match_threshold`` and
            ``best_f1_threshold``.
        total: the questions that the means are over.
        missing: questions without a prediction. They count as wrong (1.1), or are left out of the means (2.0).
        unknown: predictions without a question.
    """

    values: dict[str, float]
    total: int
    missing: int
    unknown: int


def score(
    questions: Sequence[Asked],
    predictions: Mapping[str, str],
    version_2: bool | None = None,
    null_odds: Mapping[str, float] | None = None,
    null_threshold: float = 1.0,
) -> Scores:
    """Return exact match and F1 as the official script does.

    Args:
        questions: the questions, in the order of their file.
        predictions: the answer of each question by its id; an empty text says that there is none.
        version_2: score as SQuAD 2.0; None: where a question has no answer.
        null_odds: how much more likely no answer is than the prediction, for each question of ``predictions`` (2.0).
        null_threshold: a question with higher odds counts as one that was not answered.

    Raises:
        KeyError: ``null_odds`` lacks a question.
    """
    if version_2 is None:
        version_2 = any(not question.answers for question in questions)
    known = {question.id for question in questions}
    missing = sum(question.id not in predictions for question in questions)
    unknown = sum(name not in known for name in predictions)
    if version_2:
        values, total = _score_2(questions, predictions, null_odds, null_threshold)
    else:
        values, total = _score_1(questions, predictions), len(questions)
    return Scores(values, total, missing, unknown)


def _score_1(questions: Sequence[Asked], predictions: Mapping[str, str]) -> dict[str, float]:
    exact = overlap = 0.0
    for question in questions:
        if question.id in predictions and question.answers:
            exact += exact_match(predictions[question.id], question.answers)
            overlap += f1(predictions[question.id], question.answers, empty_is_equal=False)
    total = len(questions)
    return {"exact_match": _percent(exact, total), "f1": _percent(overlap, total)}


def _score_2(
    questions: Sequence[Asked],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float] | None,
    null_threshold: float,
) -> tuple[dict[str, float], int]:
    answered = {question.id: bool(question.answers) for question in questions}
    raw: dict[str, dict[str, float]] = {"exact_match": {}, "f1": {}}
    for question in questions:
        if question.id in predictions:
            true = [answer for answer in question.answers if normalize_answer(answer)] or [""]
            raw["exact_match"][question.id] = exact_match(predictions[question.id], true)
            raw["f1"][question.id] = f1(predictions[question.id], true)
    odds = dict.fromkeys(predictions, 0.0) if null_odds is None else null_odds
    kept = {
        kind: {name: float(not answered[name]) if odds[name] > null_threshold else value for name, value in of.items()}
        for kind, of in raw.items()
    }
    values = {kind: _mean(of.values()) for kind, of in kept.items()}
    for prefix, wanted in (("has_answer", True), ("no_answer", False)):
        if any(has == wanted for has in answered.values()):
            for kind, of in kept.items():
                values[f"{prefix}_{kind}"] = _mean(value for name, value in of.items() if answered[name] == wanted)
    if null_odds is not None:
        for kind, of in raw.items():
            best, threshold = best_threshold(of, predictions, null_odds, answered)
            values |= {f"best_{kind}": best, f"best_{kind}_threshold": threshold}
    return values, len(raw["f1"])


def best_threshold(
    scores: Mapping[str, float],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float],
    answered: Mapping[str, bool],
) -> tuple[float, float]:
    """Return the best mean, in percent, that any threshold gives, and the lowest such threshold.

    Args:
        scores: of each predicted question, as if it had been answered.
        predictions: the answers.
        null_odds: see ``score``.
        answered: whether each question has an answer.
    """
    current = best = float(sum(not has for has in answered.values()))
    threshold = 0.0
    for name in sorted(null_odds, key=lambda name: null_odds[name]):
        if name not in scores:
            continue
        if answered[name]:
            current += scores[name]
        elif predictions[name]:
            current -= 1
        if current > best:
            best, threshold = current, null_odds[name]
    return _percent(best, len(scores)), threshold


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return _percent(reduce(operator.add, found, 0.0), len(found))  # sum() rounds differently since Python 3.12


def _percent(part: float, total: int) -> float:
    return 100.0 * part / total if total else float("nan")
