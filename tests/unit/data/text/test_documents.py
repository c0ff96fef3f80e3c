"""Documents of files: where they end, how they are cut, and what is said of files that hold none."""

import gzip
import json

import datasets
import pytest

from lab.data.text.documents import (
    PIECE,
    FileDocuments,
    GeneratedDocuments,
    HubDocuments,
    PartOfDocuments,
    cut,
    find_texts,
    measure,
)
from lab.data.text.training import train_bpe, train_wordpiece
from lab.errors import DataError


def texts(documents):
    """Return whole documents."""
    found, parts = [], []
    for text, last in documents.pieces():
        parts.append(text)
        if last:
            found.append("".join(parts))
            parts = []
    assert not parts
    return found


def test_where_documents_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\r\ntwo\n\n \nthree\n", newline="")
    assert texts(FileDocuments((path,))) == ["one\ntwo\n\n \nthree\n"]
    assert texts(FileDocuments((path,), ends="blank_line")) == ["one\ntwo", "three"]
    assert texts(FileDocuments((path, path), ends="line")) == ["one", "two", "three"] * 2
    rows = tmp_path / "b.jsonl.gz"
    rows.write_bytes(gzip.compress("".join(json.dumps({"body": text}) + "\n" for text in ("ä\nb", "", "c")).encode()))
    assert texts(FileDocuments((rows,), column="body")) == ["ä\nb", "", "c"]
    found = measure(FileDocuments((rows,), column="body"))
    assert (found.characters, list(found.ends), found.empty) == (4, [3, 4], 1)


def test_rows_of_a_dataset(tmp_path):
    datasets.Dataset.from_dict({"text": ["one", None, "two"], "n": [1, 2, 3]}).save_to_disk(str(tmp_path / "set"))
    documents = HubDocuments(str(tmp_path / "set"), None, "train")
    assert texts(documents) == ["one", "", "two"]
    assert documents.fingerprint() == HubDocuments(str(tmp_path / "set"), None, "train").fingerprint()
    with pytest.raises(
        DataError, match=r"no split 'test', only train; data.train_split, val_split and test_split name"
    ):
        texts(HubDocuments(str(tmp_path / "set"), None, "test"))
    with pytest.raises(DataError, match=r"no column of texts 'n' \(data.column\), only text, n"):
        texts(HubDocuments(str(tmp_path / "set"), None, "train", "n"))


@pytest.mark.parametrize("train", [train_bpe, train_wordpiece])
def test_pieces_have_the_tokens_of_the_whole(train):
    text = "\n\n".join(" ".join(words) for words in GeneratedDocuments(0, 0, 40)) + "  naïve\n\n  x_ !!  \n" * 50
    tokenizer = train([text], 400)
    parts = [piece for piece, _ in cut([(text, True)], length=100)]
    assert len(parts) > 50
    assert "".join(parts) == text
    joined = [number for ids in tokenizer.encode_batch(parts) for number in ids]
    assert joined == tokenizer.encode(text)


def test_a_line_of_ten_megabytes_is_cut(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("x" * 10_000_000)
    pieces = list(FileDocuments((path,)).pieces())
    assert max(len(text) for text, _ in pieces) <= 2 * PIECE
    assert sum(len(text) for text, _ in pieces) == 10_000_000
    assert [last for _, last in pieces].count(True) == 1


def test_a_part_is_cut_to_the_character(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\nthree\n")
    whole = FileDocuments((path,), ends="line")
    assert texts(PartOfDocuments(whole, 0, 4, 11)) == ["one", "t"]
    assert texts(PartOfDocuments(whole, 4, 11, 11)) == ["wo", "three"]
    assert PartOfDocuments(whole, 0, 4, 11).fingerprint() != PartOfDocuments(whole, 0, 5, 11).fingerprint()


def test_fingerprint_follows_content_and_reading(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("same")
    second.write_text("same")
    assert FileDocuments((first,)).fingerprint() == FileDocuments((second,)).fingerprint()
    assert FileDocuments((first,)).fingerprint() != FileDocuments((first,), ends="line").fingerprint()
    second.write_text("other")
    assert FileDocuments((first,)).fingerprint() != FileDocuments((second,)).fingerprint()


def test_names_of_files(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.jsonl", "note.pdf", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert [path.name for path in find_texts(".", str(tmp_path))] == ["a.txt", "b.txt", "c.jsonl"]
    assert [path.name for path in find_texts(["b.txt", "sub/*"], str(tmp_path))] == ["b.txt", "c.jsonl"]
    for names, message in (
        ("no.txt", r"^data\.files=no\.txt: no such file or folder in "),
        ("*.md", r"^data\.files=\*\.md: no such file"),
        (["a.txt", "*.txt"], "^data.files names a file twice: "),
    ):
        with pytest.raises(DataError, match=message):
            find_texts(names, str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty$"),
        (b"caf\xe9 au lait", "line 1 is not UTF-8; save it as UTF-8$"),
        (b"one\nt\0wo", r"line 2 holds a zero byte \(NUL\)"),
    ],
)
def test_files_that_are_no_text_are_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(FileDocuments((path,)).pieces())
