"""Tokenizers: ids, special tokens, offsets, and that a tokenizer's text gives the same tokenizer."""

import json
import pickle

import pytest

from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import train_bpe, train_characters, train_wordpiece
from lab.errors import DataError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "the", "mask", "[", "]", "café"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n")
    return TextTokenizer.load(path)


def test_wordpiece_of_a_vocabulary(pieces):
    assert (pieces.kind, pieces.vocab_size) == ("wordpiece", 13)
    assert pieces.encode("The unaffable, UNAFFABLE") == [8, 5, 6, 7, 1, 5, 6, 7]
    assert pieces.offsets("The ünaff ") == ([8, 5, 6], [(0, 3), (4, 6), (6, 9)])
    assert pieces.decode([2, 8, 5, 6, 7, 3]) == "the unaffable"
    assert pieces.decode([2, 8], special=True) == "[CLS] the"
    assert (pieces.special.pad, pieces.special.unk, pieces.special.mask, pieces.special.end_of_text) == (0, 1, 4, None)
    assert (pieces.token_to_id("##aff"), pieces.id_to_token(6), pieces.token_to_id("x")) == (6, "##aff", None)


def test_names_of_special_tokens_are_words_unless_asked_for(pieces):
    assert pieces.encode("the [MASK]") == [8, 10, 9, 11]
    assert pieces.encode_marked("the [MASK] mask[MASK]") == [8, 4, 9, 4]


def test_cased_vocabulary_keeps_case(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\nThe\ncafé\n")
    assert TextTokenizer.load(tmp_path, lowercase=False).encode("The the café") == [1, 0, 2]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "characters"])
def test_text_of_a_tokenizer_gives_it_again(kind, tmp_path):
    corpus = ["the cat sat on the mat", "a dog and a cat, 日本"] * 3
    train = {"wordpiece": train_wordpiece, "bpe": train_bpe}
    first = train_characters(corpus, ["[PAD]", "[UNK]"]) if kind == "characters" else train[kind](corpus, 290)
    path = tmp_path / "tokenizer.json"
    path.write_text(first.to_text())
    for again in (
        TextTokenizer.from_text(first.to_text()),
        TextTokenizer.load(path),
        pickle.loads(pickle.dumps(first)),
    ):
        assert again.fingerprint == first.fingerprint
        assert again.kind == kind
        assert again.special == first.special
        assert again.encode_batch(corpus) == first.encode_batch(corpus)
    from tokenizers import Tokenizer

    assert Tokenizer.from_str(first.to_text()).encode(corpus[1], add_special_tokens=False).ids == first.encode(
        corpus[1]
    )


def test_two_files_of_a_bpe(tmp_path):
    trained = json.loads(train_bpe(["low lower lowest"] * 4, 262).to_text())["model"]
    ours = TextTokenizer.from_text(train_bpe(["low lower lowest"] * 4, 262).to_text())
    for vocabulary, merges in (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")):
        folder = tmp_path / vocabulary
        folder.mkdir()
        (folder / vocabulary).write_text(json.dumps(trained["vocab"]))
        (folder / merges).write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in trained["merges"]) + "\n")
        for path in (folder, folder / merges):
            assert TextTokenizer.load(path).encode("lowest low\n ü") == ours.encode("lowest low\n ü")
    assert ours.decode(ours.encode("lowest  low\n ü\0")) == "lowest  low\n ü\0"


def test_characters_are_reversible_and_unknown_ones_are_said():
    text = "naïve 🙂\n\t\0x"
    plain = train_characters([text])
    assert plain.decode(plain.encode(text)) == text
    assert plain.offsets("x🙂") == (plain.encode("x🙂"), [(0, 1), (1, 2)])
    with pytest.raises(DataError, match=r"^2 characters are not in the vocabulary of 11, such as 'q', .* \(\[UNK\]\)$"):
        plain.encode("xqq")
    marked = train_characters([text], ["[UNK]"])
    assert marked.encode("qx") == [marked.special.unk, marked.token_to_id("x")]


@pytest.mark.parametrize("kind", ["metaspace", "wordpiece", "bytes"])
def test_what_is_added_to_a_text_keeps_its_blank(kind, tmp_path):
    """Decoders of SentencePiece and WordPiece drop the blank with which a text of its own would begin."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = {"metaspace": "▁the ▁cat ▁sat", "wordpiece": "the cat sat", "bytes": "the Ġcat Ġsat"}[kind].split()
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    if kind == "wordpiece":
        made, decoder = models.WordPiece(vocabulary, unk_token="[UNK]"), decoders.WordPiece()
        split = pre_tokenizers.BertPreTokenizer()
    else:
        made = models.WordLevel(vocabulary, unk_token="[UNK]")
        decoder = decoders.Metaspace() if kind == "metaspace" else decoders.ByteLevel()
        split = pre_tokenizers.Metaspace() if kind == "metaspace" else pre_tokenizers.ByteLevel()
    tokenizer = Tokenizer(made)
    tokenizer.decoder, tokenizer.pre_tokenizer = decoder, split
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = TextTokenizer.load(tmp_path / "tokenizer.json")
    ids = [vocabulary[word] for word in words]
    assert found.decode(ids[:1]) + found.decode_added(ids[1:]) == found.decode(ids) == "the cat sat"
    assert found.decode_added([]) == ""
