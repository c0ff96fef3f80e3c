"""What a recommender is fed: sequences of items with the item that follows each, or a step of lanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from lab.report.pieces import PADDING, PLAIN, SECOND, TARGET, MarkedPiece
from lab.report.sanity import OUTLIERS, SplitLook
from lab.structures import LaneBatch, SequenceBatch
from lab.tasks.recommendation.data.module import RecommendationDataModule
from lab.training.browsing import NOT_IMAGES, BrowseCard, Browser, DataIndex

MOST_PADDING = 8
"""Padded places that are shown of a sequence."""
RARE = 5
COLD = "events of items that the training lacks"
SINGLE, SAME, LONG = "sequences of one event", "sequences of one item, repeated", "longer than data.max_length"


class RecommendationBrowser(Browser):
    """Sequences of items."""

    unit = "sequence"
    legend = {  # noqa: RUF012
        PLAIN: "an item, read only",
        TARGET: "an item after which the item below it is to be predicted",
        SECOND: "a lane in which a session begins",
        PADDING: "padding",
    }
    skipped = {**NOT_IMAGES, "class balance": "items have no classes: see the events of an item"}  # noqa: RUF012
    columns = 1

    @property
    def module(self) -> RecommendationDataModule:
        """The data."""
        return cast(RecommendationDataModule, self.data)

    def item(self, number: int) -> str:
        """Return the id of an item in the data's files."""
        return str(self.spec.item_names[number - 1]) if number else "-"

    def cards(self, batch: Any, augmented: bool) -> Iterator[BrowseCard]:
        """Yield sequences with their targets and padding; of lanes one card for a step of all of them."""
        yield from self._step(batch) if isinstance(batch, LaneBatch) else self._sequences(batch)

    def _sequences(self, batch: SequenceBatch) -> Iterator[BrowseCard]:
        width = batch.items.shape[1]
        for row in batch.valid.nonzero().flatten().tolist():
            length, following = int(batch.lengths[row]), batch.targets.items[row].tolist()
            pieces = [
                MarkedPiece(self.item(item), TARGET if after else PLAIN, self.item(after) if after else "")
                for item, after in zip(batch.items[row, :length].tolist(), following, strict=False)
            ]
            padded = width - length
            pieces += [MarkedPiece("0", PADDING)] * min(padded, MOST_PADDING)
            pieces += [MarkedPiece(f"… {padded} in all", PADDING)] if padded > MOST_PADDING else []
            caption = f"sequence {int(batch.sequence_ids[row])}: {length} events read"
            caption += f", {batch.targets.counts[row]} to predict, {padded} padding"
            if batch.targets.negatives is not None:
                first = next(place for place, after in enumerate(following) if after)
                drawn = batch.targets.negatives[row, first].tolist()
                caption += f"; {len(drawn)} negatives for the first: {', '.join(map(self.item, drawn[:4]))}"
            yield BrowseCard.of_pieces(pieces, caption)

    def _step(self, batch: LaneBatch) -> Iterator[BrowseCard]:
        following = batch.targets.items[batch.targets.positions].tolist()
        rows = zip(batch.items.tolist(), following, batch.starts.tolist(), strict=True)
        pieces = [
            MarkedPiece(self.item(item), SECOND if starts else TARGET, self.item(after)) for item, after, starts in rows
        ]
        negatives = int(batch.targets.negative_counts.sum())
        caption = f"a step of {len(pieces)} lanes, {int(batch.starts.sum())} sessions begin"
        yield BrowseCard.of_pieces(pieces, f"{caption}, {negatives} negatives shared by all lanes")

    def stored(self, split: str) -> Any:
        """Return the whole sequences of a split."""
        return self.module.sequences_of(split)

    def name(self, split: str, index: int) -> str:
        """Return the id of a sequence in the data's files."""
        return f"{split}: {self.stored(split).names[index]}"

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read whole sequences."""
        sequences, counts = self.stored(look.split), self.module.item_counts
        longest = self.module.max_length
        look.watch(OUTLIERS, SINGLE, SAME, *([LONG] if longest else []), *([COLD] if look.split != "train" else []))
        seen = np.zeros(len(counts) + 1, dtype=np.int64)
        for number in indices:
            items = sequences.items[sequences.offsets[number] : sequences.offsets[number + 1]]
            name = str(sequences.names[number])
            np.add.at(seen, items, 1)
            look.number("events of a sequence", len(items))
            index.add(look.split, number, items.tobytes())
            if len(items) == 1:
                look.find(SINGLE, name)
            elif len(np.unique(items)) == 1:
                look.find(SAME, f"{name} ({len(items)} times {self.item(int(items[0]))})")
            if longest and len(items) > longest + 1:
                look.find(LONG, f"{name} ({len(items)})")
            cold = items[counts[items - 1] == 0]
            if look.split != "train" and len(cold):
                look.find(COLD, self.item(int(cold[0])), len(cold))
            yield
        self._count_items(look, seen[1:])

    def _count_items(self, look: SplitLook, seen: Any) -> None:
        """Add how often items occur, and how unevenly."""
        present = np.sort(seen[seen > 0])[::-1]
        look.numbers.setdefault("events of an item", type(look.numbers["events of a sequence"])()).extend(present)
        for number in np.argsort(-seen, kind="stable")[:10].tolist():
            if seen[number]:
                look.tally("most frequent items", self.item(number + 1), int(seen[number]))
        if len(present):
            top = present[: max(1, len(present) // 10)].sum() / present.sum()
            look.facts["items"] = f"{len(present):,} of {len(seen):,}"
            look.facts["events of the most frequent tenth of items"] = f"{100 * top:.1f} %"
            look.facts[f"items with fewer than {RARE} events"] = int((present < RARE).sum())
