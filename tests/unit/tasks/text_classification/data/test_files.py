"""Files of labelled texts, and what is refused of them in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from lab.errors import DataError
from lab.tasks.text_classification.data.files import TextFormat, read_inputs, read_rows

ROWS = [('he said "no"', "1"), ("a, b", "0"), ("fine", "1")]
PAIRS = TextFormat("first", "other", "class")


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    """Quotes are signs like others in a .tsv, and quote values in a .csv."""
    tsv = "".join(f"{text}\t{label}\n" for text, label in ROWS)
    csv = 'label,text\n1,"he said ""no"""\n0,"a, b"\n1,fine\n'
    jsonl = "".join(json.dumps({"text": text, "label": int(label), "more": 1}) + "\n" for text, label in ROWS)
    table = pyarrow.table({"text": [text for text, _ in ROWS], "label": [float(label) for _, label in ROWS]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    plain = TextFormat(column_names=["text", "label"])
    found = [
        read_rows(write(tmp_path, "rows.tsv", tsv), plain),
        read_rows(write(tmp_path, "rows.csv", csv), TextFormat()),
        read_rows(write(tmp_path, "rows.jsonl", jsonl), TextFormat()),
        read_rows(tmp_path / "rows.parquet", TextFormat()),
    ]
    assert [list(zip(rows.texts, rows.labels, strict=True)) for rows in found] == [ROWS] * 4
    assert [rows.rows for rows in found] == [3] * 4


def test_a_text_of_several_lines_is_one_text(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", 'text,label\n"one\ntwo",a\nthree,b\n')
    assert read_rows(path, TextFormat()).texts == ["one\ntwo", "three"]


def test_pairs_and_rows_without_a_text_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.tsv", "first\tother\tclass\nx\ty\ta\nx\t \ta\n\ty\tb\nx\ty\t\nx\nu\tv\tb\n")
    rows = read_rows(path, PAIRS)
    assert (rows.texts, rows.seconds, rows.labels) == (["x", "u"], ["y", "v"], ["a", "b"])
    assert rows.rows == 6
    assert rows.left_out == {
        "with fewer than 3 columns": 1,
        "without a second text": 1,
        "without a text": 1,
        "without a label": 1,
    }
    assert rows.take([1]).texts == ["u"]


def test_inputs(tmp_path: Path) -> None:
    lines = write(tmp_path, "texts.txt", "one\n\n  \ntwo\n")
    assert read_inputs(lines, TextFormat()).texts == ["one", "two"]
    table = write(tmp_path, "texts.csv", "text,number\none,1\ntwo,2\n")
    assert read_inputs(table, TextFormat()).texts == ["one", "two"]
    with pytest.raises(DataError, match=r"the network was trained on pairs of texts; give a \.tsv"):
        read_inputs(lines, PAIRS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.tsv", "", "is empty"),
        ("rows.tsv", "text\tlabel\n", "holds a header and no rows"),
        (
            "rows.csv",
            "sentence,label\na,1\n",
            "there is no column 'text'; it has sentence, label; name yours by",
        ),
        (
            "rows.csv",
            "text,label\n\xe9t\xe9,1\n".encode("latin-1"),
            "line 2 is not UTF-8, which it is read",
        ),
        ("rows.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2 is no JSON (Expecting ':' delimiter"),
        ("rows.jsonl", '{"text": "a"}\n', "there is no column 'label'; it has text; name yours by data.label_column"),
        ("rows.jsonl", '["a"]\n', "line 1 is no object of JSON"),
        ("rows.jsonl", '{"text": 7, "label": 1}\n', "'text' of row 1 is 7, no text"),
        (
            "rows.jsonl",
            '{"text": "a", "label": 0.5}\n',
            "the label of row 1 is 0.5, no class: a text",
        ),
        ("rows.jsonl", '{"text": " ", "label": 1}\n', "there is no text to use in it (1 without a text)"),
        ("rows.tsv", "text\tlabel\n" + "a " * 5_000_000 + "\t1\n", "line 2: a value of more than 131072 signs; lon"),
        ("rows.txt", "a\tb\n", "labelled texts are in .tsv, .csv, .jsonl or .parquet; or name data.separator"),
    ],
)
def test_bad_files_give_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_rows(path, TextFormat())
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
