"""WordPiece is token-identical to google-research/bert's tokenization.py, of which this has a plain transcription.

Written from the published algorithm: BasicTokenizer (clean, Chinese characters, blanks, lower case, accents,
punctuation) and WordpieceTokenizer (the longest piece first, 200 characters a word), without never-split words.
"""

import os
import random
import unicodedata
from pathlib import Path

import pytest

from lab.data.text.tokenizer import TextTokenizer

CHINESE = "4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2B73F 2B740-2B81F 2B820-2CEAF F900-FAFF 2F800-2FA1F"
RANGES = [tuple(int(end, 16) for end in block.split("-")) for block in CHINESE.split()]
POOLS = [
    range(32, 127),  # ASCII
    range(0x300),  # control characters too
    range(0x300, 0x400),  # combining marks, Greek
    range(0x600, 0x700),  # Arabic
    range(0x1F00, 0x2070),  # Greek with accents, blanks and zero-width joiners
    range(0x2B800, 0x2BA00),  # rare Chinese characters
    range(0x4E00, 0x4E40),
    range(0xAC00, 0xAC40),  # Korean
    range(0xE000, 0xE004),  # private use
    range(0x11000, 0x11200),
    [0x130, 0xDF, 0x1E9E, 0x200D, 0xFEFF, 0xFFFD, 0xAD, 0x3A3, 0x3C3, 0x3C2, 0x2028, 0x85, 0x1680, 0x1F600, 0x61D],
]


def is_blank(sign):
    return sign in " \t\n\r" or unicodedata.category(sign) == "Zs"


def is_control(sign):
    return sign not in "\t\n\r" and unicodedata.category(sign) in ("Cc", "Cf")


def is_punctuation(sign):
    code = ord(sign)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(sign)[0] == "P"


def basic_tokens(text, lowercase):
    """Return the words that Google's BasicTokenizer gives."""
    kept = [sign for sign in text if ord(sign) not in (0, 0xFFFD) and not is_control(sign)]
    text = "".join(" " if is_blank(sign) else sign for sign in kept)
    text = "".join(f" {sign} " if any(a <= ord(sign) <= b for a, b in RANGES) else sign for sign in text)
    found = []
    for word in text.strip().split():
        if lowercase:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(sign for sign in word if unicodedata.category(sign) != "Mn")
        found.append("".join(f" {sign} " if is_punctuation(sign) else sign for sign in word))
    return " ".join(found).split()


def google(text, vocabulary, lowercase):
    """Return the ids that Google's FullTokenizer gives."""
    ids = []
    for word in basic_tokens(text, lowercase):
        pieces, start = [], 0
        while start < len(word) <= 200:
            end = len(word)
            while end > start and ("##" * (start > 0) + word[start:end]) not in vocabulary:
                end -= 1
            if end == start:
                break
            pieces.append(vocabulary["##" * (start > 0) + word[start:end]])
            start = end
        ids += pieces if start == len(word) else [vocabulary["[UNK]"]]
    return ids


def some_text(source):
    signs = [
        chr(source.choice(source.choice(POOLS)))
        if source.random() < 0.4
        else source.choice(["a", "b", "un ", "ing", " "])
        for _ in range(source.randint(1, 40))
    ]
    long = source.choice(["", "", " " + "ab" * source.randint(75, 125)])
    return "".join(signs) + long


@pytest.fixture(scope="module")
def vocabulary_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "vocab.txt"
    signs = {chr(number) for pool in POOLS for number in pool} | set("αβγδ")
    signs = {part for sign in signs for part in unicodedata.normalize("NFD", sign.lower()) + sign}
    plain = sorted(sign for sign in signs if sign.strip() and not is_control(sign) and ord(sign) % 5)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "mask", "ab", "##ab", "un", "##ing", *plain]
    path.write_text("\n".join([*tokens, *(f"##{sign}" for sign in plain)]) + "\n", encoding="utf-8", newline="")
    return path


def check(path, lowercase, count, seed):
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    vocabulary = {token: number for number, token in enumerate(lines)}
    tokenizer, source = TextTokenizer.load(path, lowercase), random.Random(seed)
    texts = [*(some_text(source) for _ in range(count)), "text [MASK] [CLS]", "ΑΣ ΣΑΣ Σ", "", "\0", "İstanbul ẞ ﬁ"]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert ids == google(text, vocabulary, lowercase), ascii(text)
        again, spans = tokenizer.offsets(text)
        assert again == ids
        assert all(0 <= begin < end <= len(text) for begin, end in spans)


@pytest.mark.parametrize("lowercase", [True, False])
def test_generated_texts(vocabulary_file, lowercase):
    check(vocabulary_file, lowercase, count=400, seed=0)


def test_the_published_vocabulary():
    path = Path(os.environ.get("LAB_DATA_DIR", "data"), "bert_vocab", "vocab.txt")
    if not path.is_file():
        pytest.skip(f"no {path}")
    check(path, True, count=200, seed=1)


def test_its_tokenizer_json_and_the_limit_of_a_word(vocabulary_file):
    first = TextTokenizer.load(vocabulary_file)
    again = TextTokenizer.from_text(first.to_text())
    assert again.encode("ΑΣ [MASK] \ue001") == first.encode("ΑΣ [MASK] \ue001")
    assert len(first.encode("ab" * 100)) == 100
    assert first.encode("ab" * 100 + "a") == [first.special.unk]


def test_spans_of_rare_characters_are_of_the_text(vocabulary_file):
    tokenizer = TextTokenizer.load(vocabulary_file)
    text = "ab\u200dΣing, \U0002b820"
    _, spans = tokenizer.offsets(text)
    assert [text[begin:end] for begin, end in spans][-2:] == [",", "\U0002b820"]
