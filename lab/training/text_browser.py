"""What the browsers of text share: tokens as pieces that show where each ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from lab.data.text.tokenizer import TextTokenizer
from lab.report.pieces import HIDDEN, PADDING, PLAIN, SECOND, SPECIAL, MarkedPiece
from lab.structures.text import TextBatch
from lab.training.browsing import Browser

MOST_PADDING = 4
"""Padded places that are shown of a sequence."""


class TokenBrowser(Browser):
    """Sequences of tokens."""

    skipped = {"near duplicates": "of images only"}  # noqa: RUF012
    columns = 1

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the data."""
        return TextTokenizer.from_text(self.spec.tokenizer)

    @cached_property
    def special(self) -> frozenset[int]:
        """The ids of special tokens."""
        return frozenset(number for number in vars(self.tokenizer.special).values() if isinstance(number, int))

    def token(self, number: int) -> str:
        """Return a token as it is shown: WordPiece as its vocabulary has it, others as the text they stand for."""
        name = self.tokenizer.id_to_token(number) or "?"
        if self.tokenizer.kind == "wordpiece" or number in self.special:
            return name
        text = self.tokenizer.decode([number])
        return name if "\ufffd" in text or not text else text

    def pieces(self, batch: TextBatch, row: int, below: Mapping[int, str] | None = None) -> list[MarkedPiece]:
        """Return the tokens of a sequence of a batch, and a few of its padding.

        Args:
            batch: of sequences.
            row: the sequence.
            below: what is to be said in a token's place, by the place: such tokens are marked as hidden.
        """
        length = batch.lengths[row]
        types = [0] * length if batch.token_type_ids is None else batch.token_type_ids[row, :length].tolist()
        said = below or {}
        found = []
        for place, number in enumerate(batch.input_ids[row, :length].tolist()):
            mark = SECOND if types[place] else PLAIN
            mark = SPECIAL if number in self.special else mark
            found.append(MarkedPiece(self.token(number), HIDDEN if place in said else mark, said.get(place, "")))
        return found + self.padding(batch.input_ids.shape[1] - length)

    def padding(self, count: int) -> list[MarkedPiece]:
        """Return padded places, the first ones and how many they are."""
        shown = [MarkedPiece("pad", PADDING)] * min(count, MOST_PADDING)
        return shown + ([MarkedPiece(f"… {count} in all", PADDING)] if count > MOST_PADDING else [])


def joined(parts: Sequence[str]) -> Iterator[bytes]:
    """Yield texts as bytes, each with its end: what is compared to find copies."""
    for part in parts:
        yield part.encode("utf-8", "surrogatepass") + b"\0"
