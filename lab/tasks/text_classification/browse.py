"""What a classifier of texts is fed: tokens with their label; and what the texts hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from lab.report.pieces import PADDING, PLAIN, SECOND, SPECIAL, TARGET, MarkedPiece
from lab.report.sanity import OUTLIERS, SplitLook
from lab.structures.text_classification import TextClassificationBatch
from lab.tasks.text_classification.data.module import TextClassificationModule
from lab.training.browsing import BrowseCard, DataIndex
from lab.training.text_browser import TokenBrowser, joined

MOST_CHARACTERS = 10_000
LONG, EMPTY, CUT = f"texts of more than {MOST_CHARACTERS:,} characters", "texts without text", "texts that are cut off"


class TextBrowser(TokenBrowser):
    """Texts and pairs of texts with labels."""

    unit = "text"
    legend = {  # noqa: RUF012
        TARGET: "the label",
        PLAIN: "a token",
        SECOND: "a token of the second text",
        SPECIAL: "a special token",
        PADDING: "padding",
    }

    def cards(self, batch: TextClassificationBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the texts of a batch, each in one window of tokens or several."""
        windows = batch.windows or (1,) * batch.num_samples
        first = 0
        for row, count in enumerate(windows):
            if batch.valid[row]:
                label = int(batch.targets.labels[row])
                name = self.spec.class_names[label] if label >= 0 else "no label"
                pieces = [MarkedPiece(name, TARGET, breaks=True)]
                for window in range(first, first + count):
                    pieces += self.pieces(batch, window)
                    pieces[-1] = replace(pieces[-1], breaks=True)
                tokens = sum(batch.lengths[first : first + count])
                several = f" in {count} windows" if count > 1 else ""
                yield BrowseCard.of_pieces(
                    pieces, f"text {int(batch.sample_ids[row])}: {name}, {tokens} tokens{several}"
                )
            first += count

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read texts and labels."""
        rows = cast(TextClassificationModule, self.data).texts_of(look.split)
        dataset = self.data.dataset(look.split)
        look.watch(OUTLIERS, LONG, EMPTY)
        encoding, lengths = self.spec.max_length, dataset.encoded.lengths()
        look.facts[CUT] = f"{dataset.encoded.shortened:,} of {len(dataset):,}, at {encoding} tokens"
        for number in indices:
            texts = [rows.texts[number], *([] if rows.seconds is None else [rows.seconds[number]])]
            name, label = self.name(look.split, number), dataset.class_names[dataset.labels[number]]
            look.count_class(label)
            length = sum(map(len, texts))
            look.number("characters of a text", length)
            look.number("words of a text", sum(len(text.split()) for text in texts))
            look.number("tokens of a text, as it is read", int(lengths[number]))
            if length > MOST_CHARACTERS:
                look.find(LONG, f"{name} ({length:,})")
            if not any(text.strip() for text in texts):
                look.find(EMPTY, name)
            index.add(look.split, number, b"".join(joined(texts)), label)
            yield
        if look.classes is not None:
            look.classes = {**dict.fromkeys(self.spec.class_names, 0), **look.classes}

    def stored(self, split: str) -> Any:
        """Return the texts of a split."""
        return self.data.dataset(split)
