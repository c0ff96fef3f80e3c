"""Sentences of text files: what the layouts mean, and that long lines take no long time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lab.errors import DataError
from lab.tasks.language_modeling.data.sentences import SentenceLayout, read_sentences, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One two. Three four! Five?", ["One two.", "Three four!", "Five?"]),
        ("Dr. Smith saw J. Doe. He left.", ["Dr. Smith saw J. Doe.", "He left."]),
        (
            'He said "Why?" Nobody knew ... 5 cm long. and more.',
            ['He said "Why?"', "Nobody knew ...", "5 cm long. and more."],
        ),
        ("In 1999 ( a year ) . Mating occurs . ", ["In 1999 ( a year ) .", "Mating occurs ."]),
        ("Ende. Übung macht", ["Ende.", "Übung macht"]),
        ("   ", []),
    ],
)
def test_running_text(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("text", ["." * 10**6, ". " * 200_000, "." + " " * 10**6 + "x", "A. " * 50_000])
def test_a_long_line_takes_linear_time(text: str) -> None:
    """A rule that reads something twice would take hours for these."""
    began = time.process_time()
    assert len(split_sentences(text)) == 1
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("layout", "content", "expected"),
    [
        # As google-research/bert: blanks around a sentence do not count, and several empty lines are as one.
        ("lines", "a b\n c d \n\n\ne f\r\n", ["a b", "c d", None, None, "e f"]),
        ("paragraphs", "A b. C d.\nE f.\n\nG h.\n", ["A b.", "C d.", "E f.", None, "G h.", None]),
        (
            "wikitext",
            " \n = Title = \n \n Some 1 @,@ 000 <unk> . Red @-@ tipped . \n \n = = Part = = \n \n More . \n",
            [None, "Some 1,000 <unk> .", "Red-tipped .", "More .", None],
        ),
    ],
)
def test_layouts(tmp_path: Path, layout: SentenceLayout, content: str, expected: list[str | None]) -> None:
    (tmp_path / "a.txt").write_bytes(content.encode())
    assert list(read_sentences([tmp_path / "a.txt"], layout)) == expected


def test_the_end_of_a_file_ends_no_document_of_lines(tmp_path: Path) -> None:
    """create_pretraining_data.py reads several files as if they were one."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name} one\n{name} two")
    assert list(read_sentences([tmp_path / "a", tmp_path / "b"], "lines")) == ["a one", "a two", "b one", "b two"]


def test_rows_of_json_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "One. Two.\\nThree."}\n{"body": "Four."}\n')
    found = list(read_sentences([tmp_path / "a.jsonl"], "lines", "body"))
    assert found == ["One.", "Two.", "Three.", None, "Four.", None]


@pytest.mark.parametrize(
    ("name", "content", "column", "names"),
    [
        ("a.tsv", 'One. Two.\t1\nsay "four" .\t0\n', "text", ["text", "label"]),
        ("a.csv", 'label,body\n1,"One. Two."\n0,"say ""four"" ."\n', "body", None),
    ],
)
def test_rows_of_tables_are_documents(
    tmp_path: Path, name: str, content: str, column: str, names: list[str] | None
) -> None:
    """Of labelled texts the label is not read."""
    (tmp_path / name).write_text(content)
    found = list(read_sentences([tmp_path / name], "wikitext", column, names))
    assert found == ["One.", "Two.", None, 'say "four" .', None]


def test_rows_of_tables_that_are_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\nOne.\t1\n\t0\nTwo.\n")
    assert list(read_sentences([tmp_path / "a.tsv"], "lines")) == ["One.", None]
    assert "a.tsv: 3 rows, 1 used: 1 " in caplog.text
    assert "1 without a text" in caplog.text
    with pytest.raises(DataError, match="words"):
        list(read_sentences([tmp_path / "a.tsv"], "lines", "words"))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"fine\n\xff\xfe bad \xc3")
    with pytest.raises(DataError, match="a: "):
        list(read_sentences([tmp_path / "a"], "lines"))
