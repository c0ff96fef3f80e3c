"""Damaged and hostile files of tokenizers: one line each."""

import json
import tracemalloc

import pytest

from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import train_bpe, train_characters
from lab.errors import DataError

GOOD = json.loads(train_bpe(["a b"], 260).to_text())
PIECES = {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
PIECES |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 200}


def changed(**values):
    """Return a tokenizer.json with other values, those of the model by ``model__NAME``."""
    plain = json.loads(json.dumps(GOOD))
    for name, value in values.items():
        part, _, key = name.rpartition("__")
        (plain[part] if part else plain)[key] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty$"),
        ("{", "is no tokenizer.json: "),
        ("{}", "has no 'model' with a 'type'$"),
        ('{"model": []}', "has no 'model' with a 'type'$"),
        ('{"model": {"type": "Magic"}}', "its model is 'Magic'; should be one of WordPiece, BPE"),
        ("{" * 100_000, "is no tokenizer.json: "),
        ('{"a":' + "[" * 100_000, "nested too deeply$"),
        (changed(model__vocab=[]), "is empty or no table of tokens$"),
        (changed(model__vocab={"a": "b"}), "the token 'a' has the id b; "),
        (changed(model__vocab={"a": -1}), "the token 'a' has the id -1; "),
        (changed(model__vocab={"a": True}), "the token 'a' has the id True; "),
        (changed(model__vocab={"a": 4_000_000_000}), "the token 'a' has the id 4000000000; "),
        (changed(model__vocab={"a": 0, "b": 0}, added_tokens=[]), "two tokens have the same id$"),
        (changed(model__merges=[["a", "no"]]), "is damaged: Token `no` out of vocabulary"),
        (changed(model__merges=[["a"]]), "is damaged: "),
        (
            changed(added_tokens=[{"content": []}]),
            "'added_tokens' should be a list of tokens, each with its 'content'$",
        ),
        (changed(added_tokens=[1]), "'added_tokens' should be a list of tokens, each with its 'content'$"),
        (changed(normalizer={"type": "Nothing"}), "is damaged: "),
        (
            changed(
                pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
            ),
            "is damaged: Oniguruma",
        ),
        (
            json.dumps({"version": "1.0", "model": {**PIECES, "unk_token": "[NO]"}}),
            r"lacks '\[NO\]', which stands for unknown",
        ),
    ],
)
def test_a_damaged_tokenizer_json(content, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        TextTokenizer.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).startswith(str(tmp_path))


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"has 1048576 MB; no tokenizer has more than 256$"):
            TextTokenizer.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n", r"lacks \[UNK\], which stands for unknown words"),
        ("[UNK]\na\nb\na\n", "line 4 repeats 'a' of line 2$"),
        ("[UNK]\n\nb\n", "line 2 is ''; vocab.txt has one token a line$"),
        ("[UNK]\na b\n", "line 2 is 'a b'; vocab.txt has one token a line$"),
        ("[UNK]\na\0b\n", "holds zero bytes"),
    ],
)
def test_a_damaged_vocabulary(content, message, tmp_path):
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        TextTokenizer.load(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ("[", "a b", "encoder.json: is no json: "),
        ("[" * 100_000, "a b", "encoder.json: is no json: nested too deeply$"),
        ("[1]", "a b", "should be a table from token to id, 0 or more$"),
        ('{"a": 1.5}', "a b", "should be a table from token to id, 0 or more$"),
        (
            '{"a": 0, "b": 1}',
            "#version: 0.2\na b\n",
            "vocab.bpe: line 2 is 'a b'; expected two tokens of encoder.json$",
        ),
        ('{"a": 0, "b": 1}', "a\n", "vocab.bpe: line 1 is 'a'; expected two tokens"),
        ('{"a": 0}', None, "vocab.bpe: no such file$"),
    ],
)
def test_damaged_files_of_a_bpe(vocabulary, merges, message, tmp_path):
    (tmp_path / "encoder.json").write_text(vocabulary)
    if merges is not None:
        (tmp_path / "vocab.bpe").write_text(merges)
    with pytest.raises(DataError, match=message):
        TextTokenizer.load(tmp_path)


def test_places_without_a_tokenizer(tmp_path):
    with pytest.raises(DataError, match=r"no such file; a tokenizer is vocab.txt, tokenizer.json, or a folder with"):
        TextTokenizer.load(tmp_path / "no.json")
    with pytest.raises(DataError, match=r"holds no tokenizer; expected tokenizer.json, vocab.txt, encoder.json and"):
        TextTokenizer.load(tmp_path)


def test_characters_with_a_gap_in_their_ids():
    plain = json.loads(train_characters(["abc"]).to_text())
    plain["model"]["vocab"]["c"] = 7
    with pytest.raises(DataError, match=r"3 characters should have the ids 0 to 2$"):
        TextTokenizer.from_text(json.dumps(plain))
