"""Words are taken apart by Hydra's parser, so a quoted, signed or escaped one means what it means when composed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.config.compose import compose_config
from lab.config.words import parse_word, word_key, word_values

READ = [
    ("ckpt=a/b.ckpt", "", "ckpt", "a/b.ckpt"),
    ("ckpt='my run/b.ckpt'", "", "ckpt", "my run/b.ckpt"),
    ('ckpt="my run/b.ckpt"', "", "ckpt", "my run/b.ckpt"),
    ("ckpt='it\\'s/b.ckpt'", "", "ckpt", "it's/b.ckpt"),
    ("ckpt=a\\=b/c.ckpt", "", "ckpt", "a=b/c.ckpt"),
    ("ckpt= a/b.ckpt", "", "ckpt", "a/b.ckpt"),
    ("+ckpt=a", "+", "ckpt", "a"),
    ("++ckpt='a b'", "++", "ckpt", "a b"),
    ("stage='test'", "", "stage", "test"),
    ("resume='null'", "", "resume", "null"),
    ("resume=null", "", "resume", None),
    ("resume=", "", "resume", ""),
    ("~logger", "~", "logger", None),
    ("~logger=csv", "~", "logger", "csv"),
    ("optimizer.betas=[0.9,0.99]", "", "optimizer.betas", [0.9, 0.99]),
    ("seed=0,1", "", "seed", "0,1"),
    ("ckpt='a b','c d'", "", "ckpt", "'a b','c d'"),
    ("data@other=coco", "", "data@other", "coco"),
    ("ckpt=a=b", "", "ckpt", "a=b"),  # what ``spelled`` puts in quotes is read as it is composed
    ("ckpt=runs (1)/x", "", "ckpt", "runs (1)/x"),
    ("resume=/x/数据", "", "resume", "/x/数据"),
]


@pytest.mark.parametrize(("text", "sign", "key", "value"), READ, ids=[read[0] for read in READ])
def test_a_word(text: str, sign: str, key: str, value: Any) -> None:
    word = parse_word(text)
    assert (word.sign, word.key, word.value, word.is_read) == (sign, key, value, True)


@pytest.mark.parametrize("text", ["ckpt='a", "ckpt=(1", "a,b=1", "", "word"])
def test_what_hydra_cannot_read_is_cut_at_the_first_sign_and_marked(text: str) -> None:
    key, _, value = text.partition("=")
    word = parse_word(text)
    assert (word.key, word.value, word.is_read) == (key, value, False)


@pytest.mark.parametrize("text", [text for text, _, key, _ in READ if key in ("ckpt", "stage", "resume")])
def test_a_value_is_the_one_that_hydra_composes(text: str) -> None:
    word = parse_word(text)
    if word.sign != "+" and "," not in text:
        assert compose_config([text]).config[word.key] == word.value


def test_the_last_word_counts() -> None:
    words = ["ckpt=a", "stage=fit", "++stage='test'", "ckpt='b c'", "resume=x", "resume=null"]
    assert word_values(words, ("stage", "ckpt", "resume")) == {"stage": "test", "ckpt": "b c"}
    assert list(map(word_key, words)) == ["ckpt", "stage", "stage", "ckpt", "resume", "resume"]


def test_nobody_else_takes_words_apart() -> None:
    """``"="`` as a separator, or a prefix that ends in ``=``, stands in ``lab/config/words.py`` alone."""
    found = []
    for path in sorted(Path(lab.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            texts = ast.unparse(node.args[0]) if name and isinstance(node, ast.Call) and node.args else ""
            if (name in ("split", "partition") and texts in ("'='", '"="')) or (
                name == "startswith" and ("='" in texts or '="' in texts)
            ):
                found.append(path.name)
    assert set(found) == {"words.py"}
