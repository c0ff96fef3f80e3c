"""The DataModule of questions: files of SQuAD's layout, or generated ones, as windows of tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from lab.checking import check_file
from lab.data.datamodule import DataModule
from lab.data.holdout import TEST, TRAIN, VAL, check_shares, hold_out
from lab.data.text import generated
from lab.data.text.chosen import CHARACTERS, choose_tokenizer
from lab.data.text.tokenizer import TextTokenizer
from lab.data.text.training import train_wordpiece
from lab.errors import ConfigError, DataError
from lab.ranges import Count, Ge, Le, Positive, Probability, Seed, Share, Word
from lab.structures import DataSpec
from lab.structures.question_answering import AnsweringBatch, AnsweringSpec
from lab.structures.text import TextSpec
from lab.tasks.question_answering.data.squad import Question, is_version_2, read_questions
from lab.tasks.question_answering.data.windows import AnswerWindows, Cutting, collate_windows, require_some
from lab.tasks.question_answering.settings import default_stride, length_problem

log = logging.getLogger(__name__)
GENERATED = "generated questions"


@dataclass(eq=False)
class QuestionsDataModule(DataModule):
    """Questions about texts, whose answers are parts of the texts. A sample is a window of a text.

    Args:
        batch_size: the global batch size in windows.
        num_workers: loader processes per rank.
        seed: decides the order of the windows, what is held out, and what is generated.
        root: the folder of the files; None: they are given as they are.
        train: the training questions, see ``read_questions``; None: generated.
        val: the validation questions; None: a share of the articles of ``train``, or generated if that is None.
        test: the test questions; None: the validation ones, or generated if ``train`` is None.
        val_share: share of the articles to hold out of ``train`` where it is needed.
        num_train: generated questions to train on.
        num_val: the same for validation.
        num_test: the same for the test.
        unanswerable: share of the generated questions that have no answer.
        min_sentences: the fewest sentences of a generated text, of three at most.
        tokenizer: files of a tokenizer or a checkpoint of lab, see ``choose_tokenizer``; None: WordPiece, trained on
            the training texts.
        vocab_size: the most tokens of a tokenizer that is trained.
        lowercase: whether a tokenizer that is trained, or read from a vocab.txt, lower-cases text and strips accents.
        max_length: the most tokens of a window, special ones too.
        stride: tokens between the beginnings of the windows of a text; None: 128, less in short windows.
        max_query_length: the most tokens of a question; longer ones are cut off.
        max_characters: the most characters of a text or question; longer ones are refused.

    Raises:
        ConfigError: the lengths contradict each other, or ``val_share`` is out of range.
    """

    task = "question_answering"
    sample_name = "window"

    _: KW_ONLY
    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    root: Word | None = None
    train: Word | None = None
    val: Word | None = None
    test: Word | None = None
    val_share: Share = 0.1
    num_train: Positive = 8192
    num_val: Positive = 256
    num_test: Positive = 512
    unanswerable: Probability = 0.0
    min_sentences: Annotated[int, Ge(1), Le(3)] = 1
    tokenizer: Word | None = None
    vocab_size: Positive = 1000
    lowercase: bool = True
    max_length: Positive = 384
    stride: Positive | None = None
    max_query_length: Positive = 64
    max_characters: Positive = 1_000_000

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        check_shares(self.val_share, None)
        problem = length_problem(self.max_length, self.stride, self.max_query_length)
        if problem is not None:
            raise ConfigError("{}: {}".format(*problem))
        self._followed: str | None = None
        self._known: dict[str, list[Question]] = {}
        self._rows_read: dict[str, dict[str, Any]] = {}

    def follow(self, spec: DataSpec) -> None:
        """Take the tokenizer of a checkpoint, since its network knows no other; lengths stay those of this data."""
        assert isinstance(spec, TextSpec)
        self._followed = spec.tokenizer

    @property
    def spec(self) -> AnsweringSpec:
        """The tokenizer, the lengths, and whether questions may have no answer."""
        cutting = self._cutting
        return AnsweringSpec(
            tokenizer=cutting.tokenizer.to_text(),
            vocab_size=cutting.tokenizer.vocab_size,
            max_length=cutting.max_length,
            stride=cutting.stride,
            max_query_length=cutting.max_query_length,
            unanswerable=is_version_2(self.questions(TRAIN)),
        )

    def build(self, split: str) -> AnswerWindows:
        """Return the windows of a split.

        Raises:
            DataError: no training question can be learned.
        """
        windows = AnswerWindows(self.questions(split), self._cutting, split == TRAIN)
        source = self._source(split)
        if windows.left_out:
            reasons = ", ".join(f"{count} {why}" for why, count in windows.left_out.items())
            effect = "left out of training" if split == TRAIN else "without a loss, but measured"
            log.warning("%s: %d questions (%s), %s: %s", source, len(windows.questions), split, effect, reasons)
        if split == TRAIN:
            require_some(windows, source)
        used = len(windows.questions) - sum(windows.left_out.values())
        name = source if source not in self._rows_read else f"{source} ({split})"
        self._rows_read[name] = {
            "rows": len(windows.questions),
            "used": used if split == TRAIN else len(windows.questions),
            "left_out": dict(windows.left_out) if split == TRAIN else {},
        }
        return windows

    def collate(self, samples: Sequence[Any]) -> AnsweringBatch:
        """Put windows together into a batch."""
        return collate_windows(samples, self._cutting.tokenizer.pad_id)

    def build_inputs(self, paths: list[Path]) -> AnswerWindows:
        """Return the windows of the questions of a file, to answer them."""
        (path,) = paths
        check_file(path, may_be_empty=False)
        return AnswerWindows(
            read_questions(path, self.max_characters, need_answers=False), self._cutting, training=False
        )

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return for each file the numbers of questions and used ones, and the reasons for the difference."""
        return dict(self._rows_read)

    @property
    def folder(self) -> Path:
        """The folder of the files; the current one where ``root`` is None."""
        return Path(self.root or "")

    def read(self, path: Path) -> list[Question]:
        """Return the questions of a file; a subclass may read another format.

        Raises:
            DataError: it is missing, empty or of another format.
        """
        check_file(path, may_be_empty=False)
        return read_questions(path, self.max_characters)

    def questions(self, split: str) -> list[Question]:
        """Return the questions of ``train``, ``val`` or ``test``."""
        if split not in self._known:
            self._known[split] = self._read(split)
        return self._known[split]

    def _read(self, split: str) -> list[Question]:
        path = self._path(split)
        if self.train is None and path is None:
            return self._generated(split)
        if split == TEST and path is None:
            return self.questions(VAL)
        if path is not None and (split != TRAIN or self.val is not None):
            return self.read(path)
        whole = self._path(TRAIN)
        assert whole is not None
        train, val = self._held_out(self.read(whole))
        self._known[TRAIN] = train
        return train if split == TRAIN else val

    def _path(self, split: str) -> Path | None:
        name = {TRAIN: self.train, VAL: self.val, TEST: self.test}[split]
        return None if name is None else self.folder / name

    def _source(self, split: str) -> str:
        if split == TEST and self.test is None and self.train is not None:
            return self._source(VAL)
        path = self._path(split) or (self._path(TRAIN) if split == VAL else None)
        return GENERATED if path is None else str(path)

    def _generated(self, split: str) -> list[Question]:
        place = (TRAIN, VAL, TEST).index(split)
        count = (self.num_train, self.num_val, self.num_test)[place]
        made = generated.questions(3 * self.seed + place, count, self.unanswerable, self.min_sentences)
        return [Question(item.id, item.question, item.context, item.answers, item.starts) for item in made]

    def _held_out(self, questions: list[Question]) -> tuple[list[Question], list[Question]]:
        """Return the training and validation part of questions: no article is in both.

        Raises:
            DataError: there is one article.
        """
        articles = sorted({item.article for item in questions})
        if len(articles) < 2:
            raise DataError(f"{self._path(TRAIN)}: one article is too few to hold some out; name a file by data.val")
        shares = {TRAIN: 1 - self.val_share, VAL: self.val_share}
        parts = dict(
            zip(articles, hold_out([str(it) for it in articles], [()] * len(articles), shares, self.seed), strict=True)
        )
        train, val = ([item for item in questions if parts[item.article] == name] for name in (TRAIN, VAL))
        return train, val

    @cached_property
    def _cutting(self) -> Cutting:
        stride = self.stride or default_stride(self.max_length, self.max_query_length)
        return Cutting(self._tokenizer(), self.max_length, stride, self.max_query_length)

    def _tokenizer(self) -> TextTokenizer:
        if self._followed is not None:
            return TextTokenizer.from_text(self._followed)
        if self.tokenizer == CHARACTERS:
            raise ConfigError("data.tokenizer=characters has no [CLS] and [SEP]; take a vocab.txt of BERT, or null")
        if self.tokenizer is not None:
            return choose_tokenizer(self.tokenizer, [], self.vocab_size, self.lowercase)
        train = self.questions(TRAIN)
        contexts = dict.fromkeys(item.context for item in train)
        return train_wordpiece([*contexts, *(item.question for item in train)], self.vocab_size, self.lowercase)


def asked(pairs: Sequence[tuple[str, str]]) -> list[Question]:
    """Return questions about texts that a caller gives."""
    return [
        Question(str(number), question, context, answered=False) for number, (question, context) in enumerate(pairs)
    ]
