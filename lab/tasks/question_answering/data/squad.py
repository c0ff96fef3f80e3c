"""Reads questions with their texts and answers: SQuAD's json (1.1 and 2.0), or a line of json for each question.

SQuAD's layout is ``{"data": [{"paragraphs": [{"context": ..., "qas": [{"id", "question", "answers": [{"text",
"answer_start"}], "is_impossible"}]}]}]}``. A line of a ``.jsonl`` file is ``{"question", "context"}`` with, optionally,
``id`` and ``answers``, a list as in SQuAD or ``{"text": [...], "answer_start": [...]}`` as in tables of the Hub.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from lab.data.json_files import read_json
from lab.data.text_files import read_text
from lab.errors import DataError

MOST_CHARACTERS = 1_000_000
"""Characters of a text or question, unless ``data.max_characters`` says otherwise: a longer one is a broken file."""
_LAYOUT = "SQuAD's layout is data[].paragraphs[] with 'context' and 'qas[]' of 'id', 'question' and 'answers'"


@dataclass(frozen=True)
class Question:
    """A question about a text.

    Attributes:
        id: names it among all questions.
        question: what is asked.
        context: the text that holds the answer.
        answers: the texts of its true answers; empty for a question without an answer.
        starts: the character of ``context`` that each answer begins at, as the file says; it is not checked yet.
        answered: whether the file says what the answer is, or that there is none.
        article: the number of the article that the text is of; a number of its own for each line of json.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    answered: bool = True
    article: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether question or text hold nothing but blanks."""
        return not self.question.strip() or not self.context.strip()


def read_questions(
    path: str | Path, most_characters: int = MOST_CHARACTERS, need_answers: bool = True
) -> list[Question]:
    """Return the questions of a file, in its order.

    Args:
        path: a json file of SQuAD's layout, or ``.jsonl`` with a question in each line.
        most_characters: the most that a text or a question may have.
        need_answers: refuse a question of which the file does not say its answers.

    Raises:
        DataError: the file cannot be read, has another layout, an id twice, a text that is too long, or no question.
    """
    path = Path(path)
    rows = _lines(path) if path.suffix.lower() in (".jsonl", ".ndjson") else _squad(path)
    questions: list[Question] = []
    places: dict[str, str] = {}
    for where, article, row, context in rows:
        found = _question(path, where, article, row, context, need_answers)
        for name, text in (("question", found.question), ("context", found.context)):
            if len(text) > most_characters:
                raise DataError(
                    f"{path}: {where}: the {name} has {len(text)} characters, more than {most_characters}; split it, "
                    "or raise data.max_characters"
                )
        if found.id in places:
            raise DataError(
                f"{path}: {where}: the id {found.id!r} is that of {places[found.id]} too; give each its own"
            )
        places[found.id] = where
        questions.append(found)
    if not questions:
        raise DataError(f"{path} holds no question; {_LAYOUT}")
    return questions


RawQuestion = tuple[str, int, Any, Any]
"""Where a question is, the number of its article, its object, its context."""


def _squad(path: Path) -> Iterator[RawQuestion]:
    content = read_json(path)
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list):
        what = "has no list 'data'" if isinstance(content, dict) else "is no json object"
        raise DataError(f"{path} {what}; {_LAYOUT}; a file with a question in each line should be called .jsonl")
    for number, article in enumerate(articles):
        for place, paragraph in enumerate(_list(path, f"data[{number}]", article, "paragraphs")):
            where = f"data[{number}].paragraphs[{place}]"
            for index, row in enumerate(_list(path, where, paragraph, "qas")):
                yield f"{where}.qas[{index}]", number, row, _text(path, where, paragraph, "context")


def _lines(path: Path) -> Iterator[RawQuestion]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            where = f"line {number}"
            try:
                row = from_json(line)
            except ValueError as error:
                raise DataError(f"{path}: {where} is not json ({error}); each line holds one question") from error
            if isinstance(row, dict) and "id" not in row:
                row["id"] = str(number)
            yield where, number, row, _text(path, where, row, "context")


def _list(path: Path, where: str, row: Any, key: str) -> list[Any]:
    if not isinstance(row, dict) or not isinstance(row.get(key), list):
        what = f"has no list {key!r}" if isinstance(row, dict) else "is no json object"
        raise DataError(f"{path}: {where} {what}; {_LAYOUT}")
    found: list[Any] = row[key]
    return found


def _text(path: Path, where: str, row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str):
        what = "is no json object" if not isinstance(row, dict) else f"has no text {key!r}"
        raise DataError(f"{path}: {where} {what}; {_LAYOUT}")
    return value


def _question(path: Path, where: str, article: int, row: Any, context: str, need_answers: bool) -> Question:
    question = _text(path, where, row, "question")
    if isinstance(row.get("id"), int) and not isinstance(row["id"], bool):
        row["id"] = str(row["id"])
    texts, starts = _answers(path, where, row)
    answered = "answers" in row or row.get("is_impossible") is True
    if need_answers and not answered:
        raise DataError(f"{path}: {where} has no 'answers'; {_LAYOUT}, an empty list where there is none")
    if row.get("is_impossible") is True:
        texts, starts = (), ()
    return Question(_text(path, where, row, "id"), question, context, texts, starts, answered, article)


def _answers(path: Path, where: str, row: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    given = row.get("answers", [])
    texts: Any
    starts: Any
    if isinstance(given, dict):  # as tables of the Hub have them
        texts, starts = given.get("text"), given.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise DataError(f"{path}: {where}.answers needs lists 'text' and 'answer_start' of the same length")
    elif isinstance(given, list):
        rows = [item if isinstance(item, dict) else {} for item in given]
        texts, starts = [item.get("text") for item in rows], [item.get("answer_start") for item in rows]
    else:
        raise DataError(f"{path}: {where}.answers is no list; {_LAYOUT}")
    for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            raise DataError(f"{path}: {where}.answers[{index}] needs a text 'text' and a whole number 'answer_start'")
    return tuple(texts), tuple(starts)


def read_predictions(path: str | Path) -> dict[str, str]:
    """Return the predictions of a file: a json object from the id of each question to its answer.

    Raises:
        DataError: it is something else.
    """
    return dict(_mapping(path, str, "the text of its answer"))


def read_null_odds(path: str | Path) -> dict[str, float]:
    """Return the odds of no answer of a file: a json object from the id of each question to a number.

    Raises:
        DataError: it is something else.
    """
    return {name: float(value) for name, value in _mapping(path, (int, float), "a number")}


def _mapping(path: str | Path, kind: type | tuple[type, ...], what: str) -> Iterator[tuple[str, Any]]:
    content = read_json(Path(path))
    if not isinstance(content, dict):
        raise DataError(f"{path} is no json object; it maps the id of each question to {what}")
    for name, value in content.items():
        if not isinstance(value, kind) or isinstance(value, bool) or value != value:
            raise DataError(f"{path}: the entry of {name!r} is not {what}")
        yield name, value


def is_version_2(questions: Sequence[Question]) -> bool:
    """Whether a question has no answer."""
    return any(question.answered and not question.answers for question in questions)
