"""A corpus of documents of sentences as tokens, in files that are mapped into memory: see ``lab.data.text.streams``.

Beside the stream of tokens stand the places where sentences and documents begin, so that a pair of sentences is read
without its document.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lab.data.cached import COMPLETE, made_once
from lab.data.text.documents import Documents, FileDocuments, TextPiece
from lab.data.text.generated import document
from lab.data.text.streams import SHARD, Counts, TokenStream, shard_name
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import DataError
from lab.tasks.language_modeling.data.sentences import SentenceLayout, read_sentences

BATCH = 1 << 20
"""The characters that are encoded at once."""
UNKNOWN = "<unk>"
"""What stands for rare words in WikiText; it becomes the tokenizer's token for unknown words."""
_VERSION = 1


@dataclass(frozen=True)
class SentenceFiles(Documents):
    """Documents of sentences in text files.

    Attributes:
        paths: the files.
        layout: how they hold sentences, see ``read_sentences``.
        column: see there.
        column_names: see there.
    """

    paths: tuple[Path, ...]
    layout: SentenceLayout = "lines"
    column: str = "text"
    column_names: tuple[str, ...] | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The first file, and how many more there are."""
        more = len(self.paths) - 1
        return f"{self.paths[0]}{f' and {more} more' if more else ''}"

    @property
    def size(self) -> int:  # type: ignore[override]
        """The bytes of the files."""
        return sum(path.stat().st_size for path in self.paths)

    def sentences(self) -> Iterator[str | None]:
        """Yield sentences, and None where a document ends."""
        return read_sentences(self.paths, self.layout, self.column, self.column_names)

    def pieces(self) -> Iterator[TextPiece]:
        """Yield sentences to train a tokenizer on, without marks of unknown words."""
        for sentence in self.sentences():
            if sentence is not None:
                yield (sentence.replace(UNKNOWN, " ") if self.layout == "wikitext" else sentence), False

    def fingerprint(self) -> str:
        """Return a hash of the files' contents and of the layout."""
        names = "" if self.column_names is None else f" {self.column_names}"
        return f"{self.layout} {self.column}{names} {FileDocuments(self.paths).fingerprint()}"


@dataclass(frozen=True)
class GeneratedSentences(Documents):
    """Documents of ``lab.data.text.generated``, all of one seed.

    Attributes:
        first: the number of the first one.
        count: how many.
    """

    first: int
    count: int
    layout: SentenceLayout = "lines"
    name: str = "generated text"

    def sentences(self) -> Iterator[str | None]:
        """Yield sentences, and None where a document ends."""
        for number in range(self.first, self.first + self.count):
            yield from document(0, number)
            yield None

    def pieces(self) -> Iterator[TextPiece]:
        """Yield the sentences to train a tokenizer on."""
        return ((sentence, False) for sentence in self.sentences() if sentence is not None)

    def fingerprint(self) -> str:
        """Return a hash of the text."""
        digest = hashlib.sha256()
        for sentence in self.sentences():
            digest.update((sentence or "").encode() + b"\n")
        return digest.hexdigest()


Source = SentenceFiles | GeneratedSentences


class Corpus:
    """Documents of sentences.

    Args:
        folder: where the files are.
        chosen: the numbers of the documents that it has; None: all of them.
    """

    def __init__(self, folder: Path, chosen: NDArray[np.int64] | None = None) -> None:
        self.folder, self.chosen = folder, chosen
        self.stream = TokenStream(folder)

    @cached_property
    def _sentences(self) -> NDArray[np.int64]:
        """(S + 1,) the first token of each sentence, and the number of tokens."""
        return np.memmap(self.folder / "sentences.bin", dtype=np.int64, mode="r")

    @cached_property
    def _documents(self) -> NDArray[np.int64]:
        """(D + 1,) the first sentence of each document, and the number of sentences."""
        return np.memmap(self.folder / "documents.bin", dtype=np.int64, mode="r")

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._documents) - 1 if self.chosen is None else len(self.chosen)

    def bounds(self, document: int) -> list[int]:
        """Return where each sentence of a document begins among the tokens, and where the last one ends."""
        number = document if self.chosen is None else self.chosen[document]
        first, last = self._documents[number : number + 2]
        found: list[int] = self._sentences[first : last + 1].tolist()
        return found

    def read(self, start: int, stop: int) -> list[int]:
        """Return consecutive tokens."""
        found: list[int] = self.stream.read(start, stop).tolist()
        return found

    def hold_out(self, share: float) -> tuple[Corpus, Corpus]:
        """Return the corpus without a share of its documents, and these; the same ones each time, at least one.

        Raises:
            DataError: there is only one document.
        """
        total = len(self)
        if total < 2:
            raise DataError(
                f"{self.name}: has one document, so none can be held out; documents end with an empty line, or name "
                "other files by data.val_files and data.test_files"
            )
        order = np.random.default_rng(0).permutation(total)
        cut = min(max(1, round(share * total)), total - 1)
        numbers = order if self.chosen is None else self.chosen[order]
        return Corpus(self.folder, np.sort(numbers[cut:])), Corpus(self.folder, np.sort(numbers[:cut]))

    @property
    def name(self) -> str:
        """What the text is, for messages."""
        return str(json.loads((self.folder / COMPLETE).read_text())["text"])

    def counts(self) -> dict[str, int]:
        """Return the numbers of documents, of those with a single sentence, of sentences and of tokens."""
        numbers: NDArray[np.int64] | slice = slice(None) if self.chosen is None else self.chosen
        first, last = self._documents[:-1][numbers], self._documents[1:][numbers]
        return {
            "documents": len(self),
            "of one sentence": int((last - first == 1).sum()),
            "sentences": int((last - first).sum()),
            "tokens": int((self._sentences[last] - self._sentences[first]).sum()),
        }

    def fingerprint(self) -> str:
        """Return a hash of the documents and their tokens."""
        chosen = b"" if self.chosen is None else self.chosen.tobytes()
        return hashlib.sha256(self.folder.name.encode() + chosen).hexdigest()


def read_corpus(source: Source, tokenizer: TextTokenizer, shard: int = SHARD) -> Corpus:
    """Return a corpus; its tokens are made once and kept in the cache of datasets.

    Args:
        source: its text.
        tokenizer: makes its tokens.
        shard: the tokens of a file.

    Raises:
        DataError: the text cannot be read, or there is none in it.
    """
    parts = ("sentences", _VERSION, shard, source.fingerprint(), tokenizer.fingerprint)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    return Corpus(made_once(key, lambda folder: _CorpusWriter(folder, tokenizer, shard).write(source)))


class _CorpusWriter:
    """Writes a corpus into an empty folder; it holds no more than a batch of sentences."""

    def __init__(self, folder: Path, tokenizer: TextTokenizer, shard: int) -> None:
        self.folder, self.tokenizer, self.shard = folder, tokenizer, shard
        self.counts = Counts(width=2 if tokenizer.vocab_size <= 1 << 16 else 4)
        self.sentences = 0
        self.inside = False  # whether the last document goes on
        self.files: dict[int, IO[bytes]] = {}

    def write(self, source: Source) -> None:
        with (self.folder / "sentences.bin").open("wb") as places, (self.folder / "documents.bin").open("wb") as starts:
            for group in _groups(source.sentences()):
                encoded = self._encode([text for text in group if text is not None], source)
                self._add(group, iter(encoded), places, starts)
            np.int64(self.counts.tokens).tofile(places)
            np.int64(self.sentences).tofile(starts)
        for file in self.files.values():
            file.close()
        if not self.counts.documents:
            raise DataError(f"{source.name}: there is no text in it")
        plain = {"counts": asdict(self.counts), "shard": self.shard, "text": source.name}
        (self.folder / COMPLETE).write_text(json.dumps(plain))

    def _encode(self, texts: list[str], source: Source) -> list[list[int]]:
        """Return the tokens of sentences; of WikiText's, marks of unknown words become the token for such."""
        unknown = self.tokenizer.special.unk
        if source.layout != "wikitext" or unknown is None:
            return self.tokenizer.encode_batch(texts)
        parts = [text.split(UNKNOWN) for text in texts]
        encoded = iter(self.tokenizer.encode_batch(list(chain.from_iterable(parts))))
        return [
            list(
                chain.from_iterable([*([] if place == 0 else [unknown]), *next(encoded)] for place in range(len(each)))
            )
            for each in parts
        ]

    def _add(self, group: list[str | None], encoded: Iterator[list[int]], places: IO[bytes], starts: IO[bytes]) -> None:
        """Append sentences and ends of documents to the files; sentences without a token are left out."""
        begins, firsts, tokens = array("q"), array("q"), array("q")
        for text in group:
            ids = [] if text is None else next(encoded)
            if text is None:
                self.inside = False
            elif ids:
                if not self.inside:
                    firsts.append(self.sentences)
                    self.inside = True
                begins.append(self.counts.tokens + len(tokens))
                tokens.extend(ids)
                self.sentences += 1
        begins.tofile(places)
        firsts.tofile(starts)
        self.counts.documents += len(firsts)
        self._write_tokens(np.frombuffer(tokens, dtype=np.int64))

    def _write_tokens(self, tokens: NDArray[np.int64]) -> None:
        if (unknown := self.tokenizer.special.unk) is not None:
            self.counts.unknown += int((tokens == unknown).sum())
        rest = tokens.astype(np.uint16 if self.counts.width == 2 else np.uint32)
        while len(rest):
            number, place = divmod(self.counts.tokens, self.shard)
            if number not in self.files:
                self.files[number] = (self.folder / shard_name(number)).open("wb")
            piece, rest = rest[: self.shard - place], rest[self.shard - place :]
            piece.tofile(self.files[number])
            self.counts.tokens += len(piece)


def _groups(sentences: Iterator[str | None]) -> Iterator[list[str | None]]:
    """Yield sentences and ends of documents in groups of about ``BATCH`` characters, which are encoded at once."""
    group: list[str | None] = []
    held = 0
    for sentence in sentences:
        group.append(sentence)
        held += 1 + len(sentence or "")
        if held >= BATCH:
            yield group
            group, held = [], 0
    if group:
        yield group
