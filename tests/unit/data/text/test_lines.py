"""Texts of files, and what is said of files that hold none."""

import pytest

from lab.data.text.lines import read_texts
from lab.errors import DataError


def test_texts_of_each_kind_of_file(tmp_path, caplog):
    written = {
        "a.txt": "one\r\n\n  two \n",
        "a.jsonl": '{"text": "one"}\n\n{"text": "  two ", "n": 1}\n',
        "a.csv": 'n,text\n1,one\n2,"  two "\n',
        "a.tsv": "text\tn\none\t1\n  two \t2\n",
    }
    for name, content in written.items():
        (tmp_path / name).write_text(content, newline="")
        assert [text.strip() for text in read_texts(tmp_path / name)] == ["one", "two"], name
    assert caplog.messages == [f"{tmp_path / 'a.txt'}: 1 empty line is left out"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty$"),
        ("a.txt", b" \n\n", "holds no text$"),
        ("a.txt", b"one\nca\xe9\n", "line 2 is not UTF-8; save it as UTF-8$"),
        ("a.txt", b"one\nt\0wo\n", r"line 2 holds a zero byte \(NUL\)"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"body": "b"}\n',
            "line 2 has no text in the column 'text'; it has the columns body",
        ),
        ("a.jsonl", b'{"text": 3}\n', "line 1 has no text in the column 'text'"),
        ("a.jsonl", b"[1]\n", "line 1 has no text in the column 'text'; it is no JSON object"),
        ("a.jsonl", b'{"text": "a"}\n{"tex\n', "line 2 is no JSON: "),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON: nested too deeply$"),
        ("a.jsonl", b'{"text": "\\ud83d\\ude00"}\n{"text": "a\\uD83D"}', "line 2 holds half a character"),
        ("a.csv", b"n,body\n1,one\n", "text"),
    ],
)
def test_files_without_texts_are_refused_in_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_texts(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
