"""Windows: equal to those of run_squad.py on a generated file, and cases by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.tasks.question_answering.data.squad import Question
from lab.tasks.question_answering.data.windows import AnswerWindows, ContextText, Cutting, collate_windows, require_some
from tests.unit.tasks.question_answering.squad_files import golden_tokenizer, golden_windows

GOLDEN = json.loads((Path(__file__).parents[1] / "run_squad.json").read_text())


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    """The tokenizer of the golden file."""
    return golden_tokenizer(GOLDEN, tmp_path)


def test_training_windows_equal_those_of_run_squad(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """Tokens, types and labels of every window; the question whose answer is absent is left out and counted."""
    windows = golden_windows(GOLDEN, tokenizer, tmp_path, training=True)
    assert windows.left_out == {"whose answer is not in its text": 1}
    assert len(windows) == len(GOLDEN["training"])
    batch = collate_windows([windows[0, index] for index in range(len(windows))], 0)
    assert batch.token_type_ids is not None
    spans = torch.stack([batch.targets.starts, batch.targets.ends], 1).tolist()
    for row, (length, expected) in enumerate(zip(batch.lengths, GOLDEN["training"], strict=True)):
        assert windows.questions[int(windows.numbers[row])].id == expected["id"]
        assert batch.input_ids[row, :length].tolist() == expected["ids"]
        assert batch.token_type_ids[row, :length].tolist() == expected["types"]
        assert spans[row] == expected["span"]
    assert sum(start > 0 for start, _ in spans) > 10
    assert batch.passages == ()


def test_context_of_tokens_equals_that_of_run_squad(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """Each token of a text may begin an answer in exactly one window, the same one."""
    windows = golden_windows(GOLDEN, tokenizer, tmp_path, training=False)
    found = [windows[0, index] for index in range(len(windows))]
    assert [
        {"id": window.passage.id, "most_context": window.most_context.astype(int).tolist()}
        for window in found
        if window.passage is not None and window.most_context is not None
    ] == GOLDEN["windows"]
    batch = collate_windows(found, 0)
    assert batch.may_start is not None
    assert batch.in_text is not None
    assert not (batch.may_start & ~batch.in_text).any()
    per_question = {window.passage.question: 0 for window in found if window.passage}
    for window, starts in zip(found, batch.may_start.sum(1).tolist(), strict=True):
        assert window.passage is not None
        per_question[window.passage.question] += starts
    for number, total in per_question.items():
        assert total == len(tokenizer.encode(windows.questions[number].context))


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("John Smith (1895-1943).", "1895", ["1895"]),  # within a word of signs
        ("The Japanese fox", "Japan", ["japan"]),  # a piece
        ("The banana rose", "anana", ["ban", "##ana"]),  # no piece: the whole word
        ("The fox, the red fox.", "red fox", ["red", "fox"]),
        ("The fox", "absent", None),
        ("The fox", "", None),
    ],
)
def test_spans_of_answers(tokenizer: TextTokenizer, text: str, answer: str, expected: list[str] | None) -> None:
    """The tokens of the answer if they stand in its words, else its whole words."""
    found = ContextText(text, tokenizer).span_of(answer, max(text.find(answer), 0), tokenizer.encode(answer))
    names = [tokenizer.id_to_token(number) for number in tokenizer.encode(text)]
    assert (found and names[found[0] : found[1] + 1]) == expected


@pytest.mark.parametrize("start", [-1, 5, 99])
def test_an_answer_at_another_place_is_not_found(tokenizer: TextTokenizer, start: int) -> None:
    """Words that stand elsewhere in the text do not count."""
    assert ContextText("The red fox", tokenizer).span_of("The red", start, tokenizer.encode("The red")) is None


def test_what_teaches_nothing_is_counted(tokenizer: TextTokenizer) -> None:
    """It is left out of training, but measured; if nothing is left the file is refused."""
    questions = [
        Question("1", "Who?", " \n"),
        Question("2", " ", "The fox"),
        Question("3", "Who?", "The fox", ("wolf",), (4,)),
        Question("4", "Who?", "The fox", answered=False),
    ]
    cutting = Cutting(tokenizer, 28, 7, 12)
    windows = AnswerWindows(questions, cutting, training=True)
    assert len(windows) == 0
    with pytest.raises(
        DataError,
        match=r"^x.json: none of its 4 questions can be learned: 2 without a question or a text, 1 whose answer is not "
        r"in its text, 1 whose answer is not given$",
    ):
        require_some(windows, "x.json")
    measured = AnswerWindows(questions, cutting, training=False)
    assert measured.numbers.tolist() == [0, 1, 2, 3]
    batch = collate_windows([measured[0, row] for row in range(4)], 0)
    assert batch.targets.known == (False, False, False, False)
    assert batch.rows(slice(1, 3)).passages == batch.passages[1:3]


def test_a_question_is_cut_and_its_text_is_not(tokenizer: TextTokenizer) -> None:
    """Of 20 tokens 12 are left; all tokens of the text are in some window."""
    windows = AnswerWindows([Question("1", "who " * 20, "fox " * 40)], Cutting(tokenizer, 28, 7, 12), training=False)
    found = [windows[0, row] for row in range(len(windows))]
    assert {window.first for window in found} == {14}
    assert [len(window.ids) for window in found] == [28, 28, 28, 28, 27]  # at 0, 7, 14, 21, 28 with 13 of the text
    assert sum(int(window.most_context.sum()) for window in found if window.most_context is not None) == 40


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((32, 8, 29), "data.max_query_length: a question of 29 tokens leaves no room .* 8 would"),
        (
            (128, 93, 32),
            "data.stride: windows 93 tokens apart would not overlap: .* has 93 tokens of the text; 46 would",
        ),
    ],
)
def test_lengths_that_do_not_fit(tokenizer: TextTokenizer, lengths: tuple[int, int, int], message: str) -> None:
    """One line says which key, and what would fit."""
    with pytest.raises(ConfigError, match=message):
        Cutting(tokenizer, *lengths)


def test_a_tokenizer_without_frames_is_refused() -> None:
    """Byte-level BPE has no [CLS] and [SEP]."""
    with pytest.raises(ConfigError, match=r"^data.tokenizer: this one \(characters\) lacks the tokens \[CLS\]"):
        Cutting(TextTokenizer.characters("abc"), 128, 32, 32)
