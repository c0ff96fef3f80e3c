"""The tokenizer that a config names: one of a file, of the text's characters, or one that is trained on the text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from lab.checkpoint.format import CheckpointReader
from lab.data.cached import COMPLETE, made_once
from lab.data.text.documents import Documents
from lab.data.text.progress import ShownTexts, shown
from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import STREAM_TOKENS, train_bpe, train_characters, train_wordpiece
from lab.errors import DataError
from lab.system.files import is_checkpoint

CHARACTERS = "characters"


def choose_tokenizer(
    name: str | None,
    documents: Sequence[Documents],
    vocab_size: int,
    lowercase: bool = True,
    kind: Literal["wordpiece", "bpe"] = "bpe",
) -> TextTokenizer:
    """Return a tokenizer; one that is made of text is made once and kept in the cache of datasets.

    Args:
        name: ``"characters"``: those of all documents, with a token for the end of a text if there are several
            documents; None: trained on the first documents; else a file or folder (``TextTokenizer.load``), or a
            checkpoint of lab that was trained on text, whose tokenizer it is.
        documents: the training text first, then others.
        vocab_size: the most tokens of one that is trained.
        lowercase: of WordPiece: lower-case the text and strip accents.
        kind: what is trained.

    Raises:
        ConfigError: ``vocab_size`` is too small.
        DataError: there is no such file, it is damaged, or there is no text.
    """
    if name is not None and name != CHARACTERS:
        path = Path(name).expanduser()
        return tokenizer_of(path) if is_checkpoint(path) else TextTokenizer.load(path, lowercase)
    if name == CHARACTERS:
        return _kept(("characters", [each.fingerprint() for each in documents]), lambda: _characters(documents))
    train = documents[0]
    parts = (kind, vocab_size, lowercase and kind == "wordpiece", train.fingerprint())
    texts = ShownTexts(train, "vocabulary of")
    if kind == "wordpiece":
        return _kept(parts, lambda: train_wordpiece(texts, vocab_size, lowercase))
    return _kept(parts, lambda: train_bpe(texts, vocab_size))


def tokenizer_of(checkpoint: Path) -> TextTokenizer:
    """Return the tokenizer of a checkpoint of lab.

    Raises:
        CheckpointError: it cannot be read.
        DataError: it was not trained on text.
    """
    arguments = CheckpointReader(checkpoint).state.get("hyper_parameters")
    spec = arguments.get("spec") if isinstance(arguments, dict) else None
    text = spec.get("tokenizer") if isinstance(spec, dict) else None
    if not isinstance(text, str) or not text:
        raise DataError(f"data.tokenizer={checkpoint}: this checkpoint was not trained on text and has no tokenizer")
    return TextTokenizer(text, str(checkpoint))


def _characters(documents: Sequence[Documents]) -> TextTokenizer:
    """Return a tokenizer of all characters; the end of a text is a token if one of the corpora has several texts."""
    symbols: set[str] = set()
    several = False
    for each in documents:
        found = 0
        for text, last in shown(each, "characters of"):
            symbols.update(text)
            found += last
        several = several or found > 1
    return train_characters(["".join(sorted(symbols))], STREAM_TOKENS if several else ())


def _kept(parts: object, make: Callable[[], TextTokenizer]) -> TextTokenizer:
    key = hashlib.sha256(repr(("tokenizer 1", parts)).encode()).hexdigest()[:32]

    def write(folder: Path) -> None:
        text = make().to_text()
        (folder / "tokenizer.json").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        (folder / COMPLETE).write_text(
            json.dumps({"sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()})
        )

    return TextTokenizer.load(made_once(key, write) / "tokenizer.json")
