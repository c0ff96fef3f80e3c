"""From logits to answers: equal to run_squad.py's own output, and rules of no answer by hand.

``run_squad.json`` holds what google-research/bert's run_squad.py, run unmodified, made of a generated file.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.data.text.tokenizer import TextTokenizer
from lab.structures.question_answering import SpanLogits
from lab.tasks.question_answering.alignment import align
from lab.tasks.question_answering.data.squad import Question
from lab.tasks.question_answering.data.windows import AnswerWindows, Cutting, collate_windows
from lab.tasks.question_answering.metrics import measure
from lab.tasks.question_answering.spans import (
    NO_ANSWER,
    SpanChoice,
    as_answers,
    best_spans,
    chosen,
    question_answers,
    window_records,
)
from tests.unit.tasks.question_answering.squad_files import golden_tokenizer, golden_windows

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "run_squad.json").read_text())


def logit(window: int, place: int, which: int) -> float:
    """Return a number that float32 holds exactly, as the golden run was given it."""
    none = 6 if place == 0 and 20 <= window < 40 else 0
    return ((window * 37 + place * (11 if which == 0 else 23) + which * 17) % 61) / 8 - 3 + none


def records_of(windows: AnswerWindows, choice: SpanChoice, tokenizer: TextTokenizer, size: int) -> list[dict[str, Any]]:
    """Return the records of all windows, whose padding has a logit that would win."""
    found: list[dict[str, Any]] = []
    for first in range(0, len(windows), size):
        rows = range(first, min(first + size, len(windows)))
        batch = collate_windows([windows[0, row] for row in rows], 0)
        places = range(batch.input_ids.shape[1])
        starts, ends = (torch.tensor([[logit(row, p, which) for p in places] for row in rows]) for which in (0, 1))
        if batch.attention_mask is not None:
            starts, ends = (values.masked_fill(~batch.attention_mask, 1e3) for values in (starts, ends))
        found += window_records(best_spans(SpanLogits(starts, ends), batch, choice), batch, choice, tokenizer)
    return found


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_answers_equal_those_of_run_squad(version: str, tmp_path: Path) -> None:
    """Texts, logits and order of all n-best lists, odds and predictions are equal; probabilities to 1e-15.

    Records in any order and from several ranks, some twice, give the same.
    """
    expected, tokenizer = GOLDEN["versions"][version], golden_tokenizer(GOLDEN, tmp_path)
    choice = SpanChoice(**GOLDEN["choice"], abstain=version == "2.0", aligned=True)
    records = records_of(golden_windows(GOLDEN, tokenizer, tmp_path, training=False), choice, tokenizer, 7)
    records += records[::5]
    random.Random(0).shuffle(records)
    measured = measure(records, choice, with_files=True)
    found = {name: json.loads(text) for name, text in measured.files.items()}
    assert found["predictions.json"] == expected["predictions"]
    assert set(expected["predictions"].values()) != {""}
    assert ("" in expected["predictions"].values()) == (version == "2.0")
    for name, entries in expected["nbest"].items():
        mine = [list(entry.values()) for entry in found["nbest_predictions.json"][name]]
        assert [[entry[0], *entry[2:]] for entry in mine] == [[entry[0], *entry[2:]] for entry in entries]
        assert [entry[1] for entry in mine] == pytest.approx([entry[1] for entry in entries], abs=1e-15)
    if version == "2.0":
        assert found["null_odds.json"] == expected["null_odds"]


def test_mutants_are_seen(tmp_path: Path) -> None:
    """Without the context rule, with longer answers, or with fewer starts, answers differ from run_squad.py's."""
    tokenizer = golden_tokenizer(GOLDEN, tmp_path)
    windows = golden_windows(GOLDEN, tokenizer, tmp_path, training=False)
    expected = GOLDEN["versions"]["1.1"]["predictions"]

    def predictions(**changes: int) -> Any:
        choice = SpanChoice(**{**GOLDEN["choice"], **changes}, aligned=True)
        return json.loads(measure(records_of(windows, choice, tokenizer, 64), choice, True).files["predictions.json"])

    assert predictions() == expected
    assert predictions(max_answer_length=20) != expected
    assert predictions(n_best=2) != expected
    windows._most_context = lambda index: torch.ones(int(windows._lengths[index]), dtype=torch.bool).numpy()  # type: ignore[method-assign]
    assert predictions() != expected


@pytest.mark.parametrize("case", json.loads((HERE / "get_final_text.json").read_text()))
def test_alignment_equals_get_final_text(case: list[str]) -> None:
    """Words taken apart, dropped signs, unknown tokens, letters that stand twice: as run_squad.py answers."""
    predicted, written, normalised, expected = case
    assert align(predicted, written, normalised) == expected


def test_an_answer_by_offsets_is_a_part_of_the_text(tmp_path: Path) -> None:
    """Exactly the characters from the first token's first one to the last token's last one, blanks too."""
    tokenizer = golden_tokenizer(GOLDEN, tmp_path)
    windows, choice = golden_windows(GOLDEN, tokenizer, tmp_path, training=False), SpanChoice(n_best=20)
    contexts = {item.id: item.context for item in windows.questions}
    entries = [
        (record["id"], *entry[:3]) for record in records_of(windows, choice, tokenizer, 64) for entry in record["found"]
    ]
    assert all(contexts[name][begin:end] == text for name, text, begin, end in entries)
    assert any("  " in text or "\u200b" in text for _, text, _, _ in entries)


def entry(text: str, start: float, end: float) -> list[Any]:
    return [text, 0, len(text), start, end]


def test_no_answer_by_hand() -> None:
    """The least score of no answer over the windows is 1.0; the best answer has 2.5 and then 0.25."""
    windows = [
        {"null": [2.0, 1.0], "found": [entry("fox", 1.0, -0.75)]},
        {"null": [0.5, 0.5], "found": [entry("fox", 2.0, 0.5), entry("red fox", 0.0, 0.0)]},
    ]
    choice = SpanChoice(abstain=True)
    best, odds = question_answers(windows, choice)
    assert [item[0] for item in best] == ["fox", "", "red fox"]
    assert odds == -1.5
    assert chosen(best, odds, choice) == "fox"
    assert chosen(best, odds, SpanChoice(abstain=True, null_threshold=-2.0)) == ""
    weights = [math.exp(2.5), math.exp(1.0), 1.0]
    assert [answer.probability for answer in as_answers(best)] == pytest.approx([it / sum(weights) for it in weights])
    best, odds = question_answers(windows, SpanChoice())
    assert ([item[0] for item in best], odds) == (["fox", "red fox"], 0.0)


def test_a_text_without_a_span_has_no_answer() -> None:
    """No answer is chosen, whether the training knew such questions or not."""
    windows = [{"null": [0.0, 0.0], "found": []}]
    for abstain in (True, False):
        choice = SpanChoice(abstain=abstain)
        best, odds = question_answers(windows, choice)
        assert chosen(best, odds, choice) == ""
        assert odds == (NO_ANSWER if abstain else 0.0)


def test_no_answer_is_listed_below_better_ones() -> None:
    """A list that is full without it gets it as one more entry, as in run_squad.py."""
    windows = [{"null": [-9.0, 0.0], "found": [entry("fox", 2.0, 0.5), entry("red fox", 0.0, 0.0)]}]
    best, _ = question_answers(windows, SpanChoice(n_best=2, abstain=True))
    assert [item[0] for item in best] == ["fox", "red fox", ""]


def test_an_empty_text_has_one_window_and_no_answer(tmp_path: Path) -> None:
    """Its question counts, though there is nothing to mark."""
    tokenizer = golden_tokenizer(GOLDEN, tmp_path)
    windows = AnswerWindows([Question("1", "Who was it?", "")], Cutting(tokenizer, 28, 7, 12), training=False)
    records = records_of(windows, SpanChoice(), tokenizer, 1)
    assert [(record["id"], record["found"]) for record in records] == [("1", [])]
