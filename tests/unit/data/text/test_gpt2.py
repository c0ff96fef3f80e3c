"""GPT-2's byte-level BPE is token-identical to transformers'."""

import os
from pathlib import Path

import pytest

from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import train_bpe


def test_published_files():
    root = Path(os.environ.get("LAB_DATA_DIR", "data"))
    texts = root / "wikitext2_eval" / "test.txt"
    if not (root / "gpt2_bpe" / "vocab.bpe").is_file() or not texts.is_file():
        pytest.skip(f"no {root}/gpt2_bpe or {texts}")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2Tokenizer(str(root / "gpt2_bpe" / "encoder.json"), str(root / "gpt2_bpe" / "vocab.bpe"))
    ours = TextTokenizer.load(root / "gpt2_bpe")
    part = texts.read_text(encoding="utf-8")[:50_000]
    odd = "  a\n\n b\t\r\n c  \u00a0d 日本語 🙂👍🏽 e\u0301 'll '' 12345 \ud7ff \x00"
    for text in (part, odd):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == text
    assert (ours.vocab_size, ours.special.end_of_text) == (50257, 50256)


def test_any_text_comes_back():
    tokenizer = train_bpe(["some text"] * 3, 260)
    for text in ("", " ", "\n\n", "日本語 🙂", "\x00\x7f", "a\u0301", "<|endoftext|>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert not tokenizer.special.ids & set(tokenizer.encode(text))
