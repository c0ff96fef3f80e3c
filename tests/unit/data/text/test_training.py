"""Training of tokenizers, and the script that does it from files."""

import runpy
import sys
from pathlib import Path

import pytest

from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import train_bpe, train_characters, train_wordpiece
from lab.errors import ConfigError, DataError

SCRIPT = str(Path(__file__).parents[4] / "scripts" / "train_tokenizer.py")


def test_pieces_of_wordpiece_by_hand():
    """Words "ab" (3), "abc" (2): "a"+"##b" occurs 5 times and is joined first, then "ab"+"##c", which occurs twice."""
    tokenizer = train_wordpiece(["ab ab ab abc abc"], 13)
    assert [tokenizer.id_to_token(number) for number in range(13)] == [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *("a", "b", "c", "##a", "##b", "##c"),
        *("ab", "abc"),
    ]
    assert tokenizer.encode("abc AB c d") == [12, 11, 7, 1]


def test_the_vocabulary_does_not_depend_on_hash_tables():
    corpus = ["ab ba abba baab", "cd dc cddc", "ÄÖ日"] * 2
    first = train_wordpiece(corpus, 40)
    assert train_wordpiece(corpus, 40).fingerprint == first.fingerprint
    assert train_bpe(corpus, 270).fingerprint == train_bpe(corpus, 270).fingerprint
    assert first.token_to_id("日") is not None


def test_what_cannot_be_trained():
    with pytest.raises(DataError, match=r"^there is no text to train a tokenizer on$"):
        train_wordpiece(["", ""], 40)
    with pytest.raises(DataError, match="no text"):
        train_bpe([], 300)
    with pytest.raises(DataError, match="no text"):
        train_characters([])
    with pytest.raises(TypeError, match="read twice"):
        train_wordpiece(iter(["a"]), 40)
    with pytest.raises(ConfigError, match=r"^vocab_size=256: should be at least 257$"):
        train_bpe(["a"], 256)
    with pytest.raises(DataError, match=r"lack \[UNK\]"):
        train_wordpiece(["a"], 40, special=["[PAD]"])


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, words)])
    runpy.run_path(SCRIPT, run_name="__main__")


def test_the_script(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.txt").write_text("The cat sat.\nThe cat ran.\n" * 5)
    (tmp_path / "b.jsonl").write_text('{"text": "Ünd the dog"}\n' * 5)
    run(monkeypatch, tmp_path, "--vocab-size", 40, "--out", tmp_path / "pieces")
    assert "wordpiece of 40 tokens in " in capsys.readouterr().out
    pieces = TextTokenizer.load(tmp_path / "pieces" / "vocab.txt")
    assert pieces.fingerprint == TextTokenizer.load(tmp_path / "pieces").fingerprint
    assert pieces.special.mask == 4
    assert sorted(path.name for path in (tmp_path / "pieces").iterdir()) == ["tokenizer.json", "vocab.txt"]
    run(monkeypatch, tmp_path / "*.txt", "--kind", "bpe", "--vocab-size", 1000, "--out", tmp_path / "bpe")
    assert "fewer than --vocab-size=1000: no other pair occurs 2 times" in capsys.readouterr().out
    bpe = TextTokenizer.load(tmp_path / "bpe")
    assert len(bpe.encode(" cat")) == 1
    run(monkeypatch, tmp_path / "a.txt", "--kind", "characters", "--special", "[UNK]", "--out", tmp_path / "signs")
    assert TextTokenizer.load(tmp_path / "signs").encode("T?") == [4, 0]


def test_the_script_refuses_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    for words, message in (
        ((tmp_path / "no.txt",), "^error: texts=.*no.txt: no such file or folder$"),
        ((tmp_path / "a.txt",), "^error: .*a.txt: line 1 is not UTF-8"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
