"""SQuAD's scores: values worked out by hand, and the official script's on the answers of three systems."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import pytest

from lab.tasks.question_answering.data.squad import read_predictions, read_questions
from lab.tasks.question_answering.scoring import exact_match, f1, normalize_answer, score
from tests.unit.tasks.question_answering.squad_files import qa, squad, write

ROOT = Path(__file__).resolve().parents[4]
XQUAD = Path(os.environ.get("LAB_DATA_DIR", "data")) / "xquad_en"
TEXT = "In 1931 the red fox, The, came."
MIXED = squad(
    (TEXT, [qa("q1", "Who?", TEXT, "the red fox", "fox"), qa("q2", "When?", TEXT, "In 1931")]),
    (TEXT, [qa("q3", "Why?", TEXT, impossible=True), qa("q4", "Where?", TEXT), qa("q5", "Which?", TEXT, "The")]),
)
PREDICTED = {"q1": "Red  fox!", "q2": "1931", "q3": "", "q4": "Rome", "q5": ""}
ODDS = {"q1": -3.0, "q2": 1.5, "q3": 2.0, "q4": -1.0, "q5": 0.5}


def test_normalisation() -> None:
    """Lower case, then no ASCII punctuation, then no articles, then single blanks."""
    assert normalize_answer(" The  U.S.A.\tand an – apple ") == "usa and – apple"
    assert normalize_answer("a-the") == "athe"


def test_a_prediction_is_compared_with_the_best_of_the_answers() -> None:
    """Two of three predicted words stand in an answer of two: precision 2/3, recall 1."""
    assert exact_match("the Fox", ["wolf", "fox."]) == 1.0
    assert f1("red fox ran", ["wolf", "red fox"]) == pytest.approx(0.8)


def test_texts_without_a_word_differ_between_the_versions() -> None:
    """Both normalise to nothing: an exact match; F1 is 1 in version 2.0 and 0 in version 1.1."""
    assert exact_match("the", ["a"]) == 1.0
    assert f1("the", ["a"]) == 1.0
    assert f1("the", ["a"], empty_is_equal=False) == 0.0


def test_version_2_by_hand(tmp_path: Path) -> None:
    """Exact: q1, q3, q5; F1 of q2 is 2/3; a question whose answer is an article alone counts as answered by nothing."""
    questions = read_questions(write(tmp_path / "mixed.json", MIXED))
    found = score(questions, PREDICTED)
    expected = {"exact_match": 60.0, "f1": 100 * (3 + 2 / 3) / 5}
    expected |= {"has_answer_exact_match": 200 / 3, "has_answer_f1": 100 * (2 + 2 / 3) / 3}
    expected |= {"no_answer_exact_match": 50.0, "no_answer_f1": 50.0}
    assert found.values == pytest.approx(expected, rel=1e-15)
    assert (found.total, found.missing, found.unknown) == (5, 0, 0)


def test_thresholds_by_hand(tmp_path: Path) -> None:
    """At 1.0 q2 and q3 are not answered. Two lack an answer; in order of odds q1 +1, q4 -1, q5 +1, q2 +0 or +2/3."""
    questions = read_questions(write(tmp_path / "mixed.json", MIXED))
    values = score(questions, PREDICTED, null_odds=ODDS).values
    assert (values["exact_match"], values["f1"]) == (60.0, 60.0)
    assert (values["best_exact_match"], values["best_exact_match_threshold"]) == (60.0, -3.0)
    assert values["best_f1"] == pytest.approx(100 * (3 + 2 / 3) / 5, rel=1e-15)
    assert values["best_f1_threshold"] == 1.5


def test_missing_predictions_are_counted(tmp_path: Path) -> None:
    """They are wrong in version 1.1, where q2 of q1, q2, q5 is left; version 2.0 leaves them out of its means."""
    questions = read_questions(write(tmp_path / "mixed.json", MIXED))
    with_answers = [question for question in questions if question.answers]
    found = score(with_answers, {"q1": "fox", "other": "x"})
    assert (found.values, found.total) == ({"exact_match": 100 / 3, "f1": 100 / 3}, 3)
    assert (found.missing, found.unknown) == (2, 1)
    found = score(questions, {"q1": "fox"})
    assert (found.values["exact_match"], found.total, found.missing) == (100.0, 1, 4)


@pytest.mark.skipif(not XQUAD.is_dir(), reason="LAB_DATA_DIR has no xquad_en")
@pytest.mark.parametrize("system", ["bert_ensemble", "rnet_plus_ensemble", "match_lstm_ensemble"])
def test_official_scores_of_real_systems(system: str) -> None:
    """Equal to the last digit to what the official script prints, in both versions."""
    expected = json.loads((XQUAD / "expected_em_f1.json").read_text())["results"][system]
    questions, predictions = (
        read_questions(XQUAD / "xquad.en.json"),
        read_predictions(XQUAD / "predictions" / f"{system}.json"),
    )
    for version_2 in (False, True):
        values = score(questions, predictions, version_2).values
        assert (values["exact_match"], values["f1"]) == (expected["exact"], expected["f1"])


def test_the_script_prints_a_table_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is JSON with all figures; what is missing is said; a wrong file is one line."""
    data = str(write(tmp_path / "mixed.json", MIXED))
    answers = str(write(tmp_path / "answers.json", {**PREDICTED, "x": ""}))
    odds = str(write(tmp_path / "odds.json", {**ODDS, "x": 0}))
    script = str(ROOT / "scripts" / "squad_score.py")
    monkeypatch.setattr(sys, "argv", [script, data, answers, "--null-odds", odds])
    runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert (found["version"], found["best_f1_threshold"], found["unknown"]) == ("2.0", 1.5, 1)
    assert "has_answer_exact_match" in printed
    assert "1 predictions are of no question" in printed
    monkeypatch.setattr(sys, "argv", [script, data, data])
    with pytest.raises(SystemExit, match=r"^error: .*mixed.json: the entry of 'data' is not the text of its answer$"):
        runpy.run_path(script, run_name="__main__")
