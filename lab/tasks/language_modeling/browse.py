"""What a language model is fed: tokens with the borders of documents, or pairs of texts with hidden tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lab.report.pieces import CONTEXT, HIDDEN, PADDING, PLAIN, SECOND, SPECIAL, MarkedPiece
from lab.report.sanity import DAMAGED, OUTLIERS, SplitLook
from lab.structures.language_modeling import CausalBatch, MaskedTargets
from lab.tasks.language_modeling.data.causal import CausalTextModule
from lab.tasks.language_modeling.data.pretraining import PretrainingDataModule
from lab.training.browsing import NOT_IMAGES, BrowseCard, DataIndex
from lab.training.text_browser import TokenBrowser

SHORT, LONG, UNKNOWN = "documents of fewer than 2 tokens", "documents of more than 100,000 tokens", "unknown tokens"
EMPTY = "documents without text, left out"
MOST_TOKENS = 100_000


class LanguageBrowser(TokenBrowser):
    """Windows of a stream of tokens, or pairs of texts."""

    unit = "document"
    legend = {  # noqa: RUF012
        PLAIN: "a token",
        SECOND: "a token of the second text",
        HIDDEN: "a hidden token: as it is read, and below it what is to be said",
        SPECIAL: "a special token",
        CONTEXT: "read only: nothing is predicted after it",
        PADDING: "padding",
    }
    skipped = {**NOT_IMAGES, "class balance": "text has no classes"}  # noqa: RUF012

    def cards(self, batch: Any, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the windows of a batch, or its pairs with what is hidden."""
        masked = isinstance(batch.targets, MaskedTargets)
        for row in batch.valid.nonzero().flatten().tolist():
            yield self._masked(batch, row) if masked else self._window(batch, row)

    def _window(self, batch: CausalBatch, row: int) -> BrowseCard:
        pieces = self.pieces(batch, row)
        labels, documents = batch.targets.labels[row].tolist(), batch.targets.documents
        numbers = None if documents is None else documents[row].tolist()
        ends = self.tokenizer.special.end_of_text
        for place, label in enumerate(labels[: batch.lengths[row]]):
            piece = pieces[place]
            if label < 0 and piece.mark == PLAIN:
                piece = replace(piece, mark=CONTEXT)
            following = place + 1 < len(labels)
            is_end = ends is not None and int(batch.input_ids[row, place]) == ends
            if is_end or (numbers is not None and following and numbers[place] != numbers[place + 1]):
                piece = replace(piece, breaks=True)
            pieces[place] = piece
        caption = (
            f"window {int(batch.sample_ids[row])}: {batch.lengths[row]} tokens, {batch.targets.counts[row]} predicted"
        )
        if numbers is not None:
            caption += f", of {len(set(numbers))} documents that do not see each other"
        return BrowseCard.of_pieces(pieces, caption)

    def _masked(self, batch: Any, row: int) -> BrowseCard:
        targets: MaskedTargets = batch.targets
        first = sum(targets.counts[:row])
        part = slice(first, first + targets.counts[row])
        hidden = zip(targets.positions[part].tolist(), targets.labels[part].tolist(), strict=True)
        below = {place: self.token(label) for place, label in hidden}
        pieces = self.pieces(batch, row, below)
        pieces = [self._broken(piece, place, batch, row) for place, piece in enumerate(pieces)]
        caption = f"sample {int(batch.sample_ids[row])}: {batch.lengths[row]} tokens, {len(below)} hidden"
        if targets.next_sentence is not None:
            caption += "; the second text " + ("is a random one" if int(targets.next_sentence[row]) else "follows")
        return BrowseCard.of_pieces(pieces, caption)

    def _broken(self, piece: MarkedPiece, place: int, batch: Any, row: int) -> MarkedPiece:
        """Begin a new line after the first text of a pair."""
        types = batch.token_type_ids
        if types is None or place + 1 >= batch.lengths[row]:
            return piece
        return replace(piece, breaks=bool(types[row, place + 1]) and not bool(types[row, place]))

    def count(self, split: str) -> int:
        """Return the number of documents of a split."""
        if isinstance(self.data, CausalTextModule):
            return self.data.stream(split)[0].counts.documents
        assert isinstance(self.data, PretrainingDataModule)
        return len(self.data.corpus(split))

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read the tokens of documents."""
        look.watch(OUTLIERS, SHORT, LONG)
        look.watch(DAMAGED, UNKNOWN)
        self._facts(look)
        unknown = self.tokenizer.special.unk
        for number in indices:
            tokens = self._document(look.split, number)
            name = self.name(look.split, number)
            look.number("tokens of a document", len(tokens))
            if len(tokens) < 2:
                look.find(SHORT, name)
            if len(tokens) > MOST_TOKENS:
                look.find(LONG, f"{name} ({len(tokens):,})")
            lacking = 0 if unknown is None else tokens.count(unknown)
            if lacking:
                look.find(UNKNOWN, name, lacking)
            index.add(look.split, number, hashlib.sha256(repr(tokens).encode()).digest())
            yield

    def _facts(self, look: SplitLook) -> None:
        """Add what the reading of the whole text has counted."""
        look.facts["samples of an epoch"] = f"{len(self.data.dataset(look.split)):,}"
        if not isinstance(self.data, CausalTextModule):
            assert isinstance(self.data, PretrainingDataModule)
            look.facts |= {name: f"{count:,}" for name, count in self.data.corpus(look.split).counts().items()}
            return
        counts = self.data.stream(look.split)[0].counts
        for name in ("tokens", "words", "characters", "bytes"):
            look.facts[name] = f"{getattr(counts, name):,}"
        look.watch(DAMAGED, EMPTY)
        if counts.empty:
            look.find(EMPTY, self.data.sources[look.split].name, counts.empty)

    def _document(self, split: str, number: int) -> list[int]:
        """Return the tokens of a document."""
        if isinstance(self.data, CausalTextModule):
            stream = self.data.stream(split)[0]
            ends = int(stream.counts.ends is not None)  # a token that ends the document before stands at its start
            start = int(stream.starts[number]) + ends
            stop = int(stream.starts[number + 1]) if number + 1 < len(stream.starts) else len(stream) - ends
            return stream.read(start, stop).tolist()
        assert isinstance(self.data, PretrainingDataModule)
        bounds = self.data.corpus(split).bounds(number)
        return self.data.corpus(split).read(bounds[0], bounds[-1])

    def stored(self, split: str) -> Any:
        """Return the samples of a split."""
        return self.data.dataset(split)
