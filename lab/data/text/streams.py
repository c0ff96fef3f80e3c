"""Streams of tokens: the tokens of a corpus, one document after the other, in files that are mapped into memory.

A stream is a folder: ``tokens-00000.bin`` and so on with 2^27 tokens each (uint16, or uint32 for more than 65,536
tokens), ``starts.bin`` (int64: where each document begins) and ``meta.json``. With a token for the end of a document it
stands before the first document and after each one: it is what a document's first token is predicted from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lab.data.cached import COMPLETE, made_once
from lab.data.text.documents import Documents, TextPiece
from lab.data.text.progress import shown
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import DataError

SHARD = 1 << 27
"""The tokens of a file."""
BATCH = 1 << 20
"""The characters that are encoded at once."""
_VERSION = 1


@dataclass
class Counts:
    """What a stream holds.

    Attributes:
        tokens: those of its files, ends of documents too.
        documents: documents with text.
        empty: documents without text, which are left out.
        characters: of the text.
        bytes: of the text in UTF-8.
        words: of the text, split at blanks.
        unknown: tokens that stand for what the vocabulary lacks.
        first_bytes: bytes of the first token of each document, in sum; and of the first document alone.
        width: bytes of a token in the files.
        ends: the token that ends a document; None where there is none.
    """

    tokens: int = 0
    documents: int = 0
    empty: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0
    unknown: int = 0
    first_bytes: tuple[int, int] = (0, 0)
    width: int = 2
    ends: int | None = None


class TokenStream:
    """The tokens of a corpus.

    Args:
        folder: where its files are.

    Raises:
        DataError: a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            plain = json.loads((folder / COMPLETE).read_text())
            self.counts = Counts(**plain["counts"] | {"first_bytes": tuple(plain["counts"]["first_bytes"])})
            self.shard = int(plain["shard"])
            sizes = [(folder / shard_name(number)).stat().st_size for number in range(-(-len(self) // self.shard))]
            whole = sum(sizes) == len(self) * self.counts.width
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: these tokens are damaged ({error}); delete the folder") from error
        if not whole:
            raise DataError(f"{folder}: these tokens are damaged (a file has another size); delete the folder")

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self.counts.tokens

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return consecutive tokens, (stop - start,) int64.

        Args:
            start: the first one, at least 0.
            stop: one past the last one, at most the number of tokens.
        """
        parts = []
        while start < stop:
            number, place = divmod(start, self.shard)
            end = min(stop - number * self.shard, self.shard)
            parts.append(self._shards[number][place:end])
            start = number * self.shard + end
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(D,) int64: the first token of each document as an input: the end of the one before, or its own first."""
        found = np.memmap(self.folder / "starts.bin", dtype=np.int64, mode="r")
        if len(found) != self.counts.documents:
            raise DataError(f"{self.folder}: these tokens are damaged (starts.bin); delete the folder")
        return found

    def documents(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the number of the document, from 0, that each of some consecutive tokens is an input of."""
        return np.searchsorted(self.starts, np.arange(start, stop), side="right") - 1

    @cached_property
    def _shards(self) -> list[NDArray[Any]]:
        kind = np.uint16 if self.counts.width == 2 else np.uint32
        count = -(-len(self) // self.shard)
        return [np.memmap(self.folder / shard_name(number), dtype=kind, mode="r") for number in range(count)]

    def __getstate__(self) -> Path:
        return self.folder

    def __setstate__(self, folder: Path) -> None:
        TokenStream.__init__(self, folder)


def token_stream(documents: Documents, tokenizer: TextTokenizer, shard: int = SHARD) -> tuple[TokenStream, str]:
    """Return the stream of a corpus, which is made once and kept in the cache of datasets, and its fingerprint.

    Args:
        documents: the corpus.
        tokenizer: makes its tokens.
        shard: the tokens of a file.

    Raises:
        DataError: the corpus holds no text, or a character that the tokenizer lacks.
    """
    parts = f"{_VERSION}\0{shard}\0{documents.fingerprint()}\0{tokenizer.fingerprint}"
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    folder = made_once(key, lambda fresh: _Writer(fresh, tokenizer, shard).write(documents))
    return TokenStream(folder), key


def shard_name(number: int) -> str:
    """Return the name of a file of tokens."""
    return f"tokens-{number:05}.bin"


@dataclass
class _Writer:
    """Writes a stream into an empty folder."""

    folder: Path
    tokenizer: TextTokenizer
    shard: int
    counts: Counts = field(default_factory=Counts)

    def write(self, documents: Documents) -> None:
        special = self.tokenizer.special
        self.counts.ends = special.end_of_text if special.end_of_text is not None else special.sep
        self.counts.width = 2 if self.tokenizer.vocab_size <= 1 << 16 else 4
        self.files: dict[int, IO[bytes]] = {}
        begins, starts = True, 0
        with (self.folder / "starts.bin").open("wb") as index:
            if self.counts.ends is not None:
                self._add([self.counts.ends])
            for group in _groups(shown(documents, "tokens of")):
                encoded = self._encode([text for text, _ in group], documents)
                tokens: list[int] = []
                for (text, last), ids in zip(group, encoded, strict=True):
                    if begins and ids:
                        starts = self.counts.tokens + len(tokens) - (self.counts.ends is not None)
                        index.write(np.int64(starts).tobytes())
                        self._begin(text)
                    self.counts.empty += begins and last and not ids
                    tokens += ids
                    if last and (ids or not begins) and self.counts.ends is not None:
                        tokens.append(self.counts.ends)
                    begins = last or (begins and not ids)
                    self._count(text)
                self._add(tokens)
        for file in self.files.values():
            file.close()
        if not self.counts.documents:
            raise DataError(f"{documents.name}: there is no text in it")
        plain = {"counts": asdict(self.counts), "shard": self.shard, "text": documents.name}
        (self.folder / COMPLETE).write_text(json.dumps(plain))

    def _encode(self, texts: list[str], documents: Documents) -> list[list[int]]:
        try:
            return self.tokenizer.encode_batch(texts)
        except DataError as error:
            raise DataError(f"{documents.name}: {error}") from error

    def _count(self, text: str) -> None:
        self.counts.characters += len(text)
        self.counts.bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.counts.words += len(text.split())

    def _begin(self, text: str) -> None:
        """Count a document, and the bytes of its first token, where no token before it tells that it begins."""
        if self.counts.ends is None:
            spans = self.tokenizer.offsets(text[:1000])[1]
            size = len(text[: spans[0][1]].encode("utf-8", "surrogatepass")) if spans else 0
            every, first = self.counts.first_bytes
            self.counts.first_bytes = (every + size, first if self.counts.documents else size)
        self.counts.documents += 1

    def _add(self, tokens: list[int]) -> None:
        """Append tokens to the files."""
        narrow = np.array(tokens, dtype=np.uint16 if self.counts.width == 2 else np.uint32)
        unknown = self.tokenizer.special.unk
        if unknown is not None:
            self.counts.unknown += int((narrow == unknown).sum())
        while len(narrow):
            number, place = divmod(self.counts.tokens, self.shard)
            if number not in self.files:
                self.files[number] = (self.folder / shard_name(number)).open("wb")
            piece, narrow = narrow[: self.shard - place], narrow[self.shard - place :]
            self.files[number].write(piece.tobytes())
            self.counts.tokens += len(piece)


def _groups(pieces: Iterator[TextPiece]) -> Iterator[list[TextPiece]]:
    """Yield pieces in groups of about ``BATCH`` characters, which are encoded at once."""
    group: list[TextPiece] = []
    held = 0
    for piece in pieces:
        group.append(piece)
        held += len(piece[0])
        if held >= BATCH:
            yield group
            group, held = [], 0
    if group:
        yield group
