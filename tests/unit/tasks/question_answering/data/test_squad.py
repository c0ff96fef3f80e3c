"""Files of questions: what is read, and for everything that is wrong one line that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.errors import DataError
from lab.tasks.question_answering.data.squad import is_version_2, read_null_odds, read_predictions, read_questions
from tests.unit.tasks.question_answering.squad_files import qa, squad, write

TEXT = "The fox was red."
FINE = qa("a", "What was red?", TEXT, "The fox")


def test_both_layouts_hold_the_same(tmp_path: Path) -> None:
    """SQuAD's json, a line of json for each question, and answers as tables of the Hub have them."""
    content = squad((TEXT, [FINE, qa("b", "Why?", TEXT, impossible=True)]))
    expected = read_questions(write(tmp_path / "x.json", content))
    assert [(item.id, item.answers, item.starts, item.answered) for item in expected] == [
        ("a", ("The fox",), (0,), True),
        ("b", (), (), True),
    ]
    assert is_version_2(expected)
    lines = [
        {
            "id": "a",
            "question": "What was red?",
            "context": TEXT,
            "answers": {"text": ["The fox"], "answer_start": [0]},
        },
        {"id": "b", "question": "Why?", "context": TEXT, "answers": []},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    found = read_questions(path)
    assert [(item.question, item.answers, item.answered) for item in found] == [
        (item.question, item.answers, item.answered) for item in expected
    ]


def test_questions_to_answer_need_no_answers(tmp_path: Path) -> None:
    """Neither answers nor ids in lines of json, which are numbered."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "Who?", "context": "It was Ida."}\n', encoding="utf-8")
    (found,) = read_questions(path, need_answers=False)
    assert (found.id, found.answered) == ("1", False)
    with pytest.raises(DataError, match=r"x.jsonl: line 1 has no 'answers'; "):
        read_questions(path)


PARAGRAPH = {"context": TEXT, "qas": [FINE]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], r"is no json object; SQuAD's layout is data\[\]"),
        ({"version": "1.1"}, "has no list 'data'; SQuAD's layout"),
        ({"data": []}, "holds no question"),
        ({"data": [3]}, r": data\[0\] is no json object"),
        ({"data": [{"paragraphs": {}}]}, r": data\[0\] has no list 'paragraphs'"),
        ({"data": [{"paragraphs": [PARAGRAPH, {"qas": [FINE]}]}]}, r"data\[0\].paragraphs\[1\] has no text 'context'"),
        ({"data": [{"paragraphs": [{"context": TEXT}]}]}, r"data\[0\].paragraphs\[0\] has no list 'qas'"),
        (squad((TEXT, [{"id": "a", "answers": []}])), r"data\[0\].paragraphs\[0\].qas\[0\] has no text 'question'"),
        (squad((TEXT, [{"question": "Who?", "answers": []}])), r"qas\[0\] has no text 'id'"),
        (squad((TEXT, [{"id": "a", "question": "Who?"}])), r"qas\[0\] has no 'answers'"),
        (squad((TEXT, [{**FINE, "answers": "fox"}])), r"qas\[0\].answers is no list"),
        (squad((TEXT, [{**FINE, "answers": [{"text": "fox"}]}])), r"qas\[0\].answers\[0\] needs a text 'text' and a"),
        (squad((TEXT, [{**FINE, "answers": ["fox"]}])), r"qas\[0\].answers\[0\] needs a text"),
        (
            squad((TEXT, [FINE]), (TEXT, [FINE])),
            r"data\[1\].*: the id 'a' is that of data\[0\].paragraphs\[0\].qas\[0\]",
        ),
        (squad(("x" * 101, [FINE])), r"qas\[0\]: the context has 101 characters, more than 100; .*data.max_characters"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    """The file, the place in it, and what would be right."""
    with pytest.raises(DataError, match=message) as raised:
        read_questions(write(tmp_path / "x.json", content), most_characters=100)
    assert str(raised.value).startswith(str(tmp_path / "x.json"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [{"paragraphs": [{"context": "caf\xe9"}]}]}'.encode("latin-1"), "should be UTF-8, but byte 42"),
        (b'{"data": ' * 100_000, "is not json"),
        (b'{"data": ' + b"[" * 1_000_000, "is not json"),
        (b"", "is not json"),
        (b"\x1f\x8b\x08", "is compressed, not json"),
        (b'{"data": [{"paragraphs": [{"context": "\\ud800", "qas": []}]}]}', "is not json"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, content: bytes, message: str) -> None:
    """Another encoding, nested too deeply, empty, compressed, half a character."""
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_questions(path)


def test_a_context_of_ten_megabytes_is_refused(tmp_path: Path) -> None:
    """It would be thousands of windows; the limit can be raised."""
    path = write(tmp_path / "x.json", squad(("fox " * 2_621_440, [FINE])))
    with pytest.raises(DataError, match=r"the context has 10485760 characters, more than 1000000; split it, or raise"):
        read_questions(path)
    assert len(read_questions(path, most_characters=20_000_000)) == 1


def test_lines_that_are_wrong(tmp_path: Path) -> None:
    """The line is named."""
    path = tmp_path / "x.jsonl"
    for content, message in (("{}\n[", "line 1 has no text 'context'"), ('\n{"question": ', "line 2 is not json")):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_questions(path)


def test_predictions_and_odds(tmp_path: Path) -> None:
    """Objects of texts and of numbers, and nothing else."""
    assert read_predictions(write(tmp_path / "p.json", {"a": "fox"})) == {"a": "fox"}
    assert read_null_odds(write(tmp_path / "o.json", {"a": 1, "b": -0.5})) == {"a": 1.0, "b": -0.5}
    for content, message in (([], "is no json object"), ({"a": 1}, "the entry of 'a' is not the text of its answer")):
        with pytest.raises(DataError, match=message):
            read_predictions(write(tmp_path / "p.json", content))
    for value in (True, "1", None):
        with pytest.raises(DataError, match="the entry of 'a' is not a number"):
            read_null_odds(write(tmp_path / "o.json", {"a": value}))
