"""What a network that answers questions is fed: windows of a text with the question before it and the answer marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from lab.report.pieces import ANSWER, CONTEXT, PADDING, QUESTION, SPECIAL
from lab.report.sanity import DAMAGED, OUTLIERS, SplitLook
from lab.structures.question_answering import AnsweringBatch
from lab.tasks.question_answering.data.module import QuestionsDataModule
from lab.training.browsing import BrowseCard, DataIndex
from lab.training.text_browser import TokenBrowser, joined

LONG_WORDS = 1000
LONG, EMPTY, MISPLACED = (
    f"texts of more than {LONG_WORDS:,} words",
    "without a question or a text",
    "answers that are not where they should begin",
)


class AnsweringBrowser(TokenBrowser):
    """Questions about texts."""

    unit = "question"
    legend = {  # noqa: RUF012
        QUESTION: "the question",
        CONTEXT: "the text",
        ANSWER: "the answer",
        SPECIAL: "a special token",
        PADDING: "padding",
    }

    def cards(self, batch: AnsweringBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the windows of a batch, with the span of the answer."""
        assert batch.token_type_ids is not None
        for row in batch.valid.nonzero().flatten().tolist():
            start, end = int(batch.targets.starts[row]), int(batch.targets.ends[row])
            pieces, types = self.pieces(batch, row), batch.token_type_ids[row].tolist()
            for place, piece in enumerate(pieces[: batch.lengths[row]]):
                if piece.mark != SPECIAL:
                    mark = CONTEXT if types[place] else QUESTION
                    pieces[place] = replace(piece, mark=ANSWER if 0 < start <= place <= end else mark)
                elif place and not types[place]:
                    pieces[place] = replace(piece, breaks=True)
            said = f"the answer is tokens {start} to {end}" if start > 0 else "the answer is not in this window"
            said = "the answer is not known" if start < 0 else said
            yield BrowseCard.of_pieces(
                pieces, f"window {int(batch.sample_ids[row])}: {batch.lengths[row]} tokens; {said}"
            )

    def count(self, split: str) -> int:
        """Return the number of questions of a split."""
        return len(self._questions(split))

    def _questions(self, split: str) -> Any:
        return cast(QuestionsDataModule, self.data).questions(split)

    def name(self, split: str, index: int) -> str:
        """Return the id of a question."""
        return f"{split}: {self._questions(split)[index].id}"

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read questions, texts and answers."""
        questions, windows = self._questions(look.split), self.data.dataset(look.split)
        look.watch(OUTLIERS, LONG)
        look.watch(DAMAGED, EMPTY, MISPLACED)
        look.facts["windows"] = f"{len(windows):,} of up to {self.spec.max_length} tokens"
        look.facts["questions that are left out or have no loss"] = sum(windows.left_out.values())
        for number in indices:
            item, name = questions[number], self.name(look.split, number)
            look.count_class("with an answer" if item.answers else "without an answer")
            words = len(item.context.split())
            look.number("words of a text", words)
            look.number("words of a question", len(item.question.split()))
            if words > LONG_WORDS:
                look.find(LONG, f"{name} ({words:,})")
            if item.is_empty:
                look.find(EMPTY, name)
            for answer, start in zip(item.answers, item.starts, strict=False):
                look.number("words of an answer", len(answer.split()))
                if item.context[start : start + len(answer)] != answer:
                    look.find(MISPLACED, f"{name} ({answer[:30]})")
            index.add(look.split, number, b"".join(joined([item.question, item.context])), repr(item.answers))
            yield

    def stored(self, split: str) -> Any:
        """Return the windows of a split."""
        return self.data.dataset(split)
