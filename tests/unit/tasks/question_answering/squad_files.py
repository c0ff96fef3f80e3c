"""Small files of SQuAD's layout, made in tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.data.text.tokenizer import TextTokenizer
from lab.tasks.question_answering.data.squad import read_questions
from lab.tasks.question_answering.data.windows import AnswerWindows, Cutting


def qa(name: str, question: str, context: str, *answers: str, impossible: bool = False) -> dict[str, Any]:
    """Return a question whose answers begin where they first stand in the context."""
    found = [{"text": text, "answer_start": context.find(text)} for text in answers]
    more = {"is_impossible": True} if impossible else {}
    return {"id": name, "question": question, "answers": found, **more}


def squad(*paragraphs: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the content of a file; every paragraph is an article of its own."""
    data = [{"title": "", "paragraphs": [{"context": text, "qas": qas}]} for text, qas in paragraphs]
    return {"version": "1.1", "data": data}


def write(path: Path, content: Any) -> Path:
    """Write json, and return the path."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def golden_tokenizer(golden: dict[str, Any], folder: Path) -> TextTokenizer:
    """Return the tokenizer of ``run_squad.json``."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(golden["vocabulary"]) + "\n", encoding="utf-8")
    return TextTokenizer.load(path)


def golden_windows(golden: dict[str, Any], tokenizer: TextTokenizer, folder: Path, training: bool) -> AnswerWindows:
    """Return the windows of the questions of ``run_squad.json``."""
    questions = read_questions(write(folder / "questions.json", golden["content"]))
    return AnswerWindows(questions, Cutting(tokenizer, **golden["lengths"]), training)
