"""Reads the files in which tokenizers are published, as one tokenizer.json: what is wrong with a file is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.checking import check_file
from lab.data.text.byte_level import byte_level_bpe
from lab.data.text.special import NAMES
from lab.data.text.tokenizer_json import MOST_BYTES
from lab.data.text.wordpiece import wordpiece
from lab.data.text_files import read_text
from lab.errors import DataError

PAIRS = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))
"""The two files of a BPE, as GPT-2's authors and as Hugging Face name them."""


def read_tokenizer(path: Path, lowercase: bool = True) -> str:
    """Return the content of a tokenizer.json; see ``TextTokenizer.load``.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    if path.is_dir():
        return _folder(path, lowercase)
    if not path.exists():
        raise DataError(
            f"{path}: no such file; a tokenizer is vocab.txt, tokenizer.json, or a folder with "
            f"{' or '.join(' and '.join(pair) for pair in PAIRS)}"
        )
    return _file(path, lowercase)


def _folder(path: Path, lowercase: bool) -> str:
    for name in ("tokenizer.json", "vocab.txt"):
        if (path / name).is_file():
            return _file(path / name, lowercase)
    for vocabulary, merges in PAIRS:
        if (path / vocabulary).is_file():
            return _bpe(path / vocabulary, path / merges)
    raise DataError(
        f"{path}: holds no tokenizer; expected tokenizer.json, vocab.txt, "
        f"{' or '.join(' and '.join(pair) for pair in PAIRS)}"
    )


def _file(path: Path, lowercase: bool) -> str:
    for vocabulary, merges in PAIRS:
        if path.name in (vocabulary, merges):
            return _bpe(path.parent / vocabulary, path.parent / merges)
    text = _read(path)
    return text if text.lstrip()[:1] == "{" else _wordpiece(text, path, lowercase)


def _read(path: Path) -> str:
    check_file(path, may_be_empty=False)
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: has {path.stat().st_size >> 20} MB; no tokenizer has more than {MOST_BYTES >> 20}")
    return read_text(path)


def _wordpiece(text: str, path: Path, lowercase: bool) -> str:
    """Return the tokenizer of a vocab.txt: one token a line, its id is the number of the line."""
    tokens = text.removesuffix("\n").split("\n")
    vocabulary: dict[str, int] = {}
    for number, line in enumerate(tokens):
        token = line.strip()
        if token in vocabulary:
            raise DataError(f"{path}: line {number + 1} repeats {token[:40]!r} of line {vocabulary[token] + 1}")
        if len(token.split()) != 1:
            raise DataError(f"{path}: line {number + 1} is {token[:40]!r}; vocab.txt has one token a line")
        vocabulary[token] = number
    unk = next((name for name in NAMES["unk"] if name in vocabulary), None)
    if unk is None:
        raise DataError(f"{path}: lacks [UNK], which stands for unknown words; is it a vocab.txt of WordPiece?")
    return str(wordpiece(vocabulary, lowercase, unk).to_str())


def _bpe(vocabulary: Path, merges: Path) -> str:
    """Return the tokenizer of a json of token to id, and a list of merges, a pair a line."""
    try:
        found: Any = json.loads(_read(vocabulary))
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "nested too deeply"
        raise error if isinstance(error, DataError) else DataError(f"{vocabulary}: is no json: {why}") from error
    if not isinstance(found, dict) or not all(type(number) is int and number >= 0 for number in found.values()):
        raise DataError(f"{vocabulary}: should be a table from token to id, 0 or more")
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(_read(merges).split("\n"), 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(part in found for part in (*parts, parts[0] + parts[1])):
            raise DataError(f"{merges}: line {number} is {line[:40]!r}; expected two tokens of {vocabulary.name}")
        pairs.append((parts[0], parts[1]))
    return str(byte_level_bpe(found, pairs).to_str())
