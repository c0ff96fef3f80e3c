"""Text for causal language models: a stream of tokens, cut into windows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from lab.checking import check_choice
from lab.data.datamodule import DataModule
from lab.data.holdout import check_shares
from lab.data.text.chosen import choose_tokenizer
from lab.data.text.documents import Break, Documents, FileDocuments, GeneratedDocuments, HubDocuments, find_texts
from lab.data.text.splits import cut_off
from lab.data.text.streams import TokenStream, token_stream
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError
from lab.ranges import Count, OneOf, Positive, Seed, Share, Word
from lab.structures import DataSpec, Table
from lab.structures.language_modeling import CausalBatch, LanguageSpec
from lab.structures.text import TextSpec
from lab.tasks.language_modeling.data.windows import (
    Crossing,
    EvalWindows,
    TokenWindow,
    TrainWindows,
    WindowPlaces,
    gather_windows,
)

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@dataclass(eq=False)
class CausalTextModule(DataModule):
    """``data=text``: files of text or JSON lines, a dataset of Hugging Face's, or generated text.

    Args:
        batch_size: the global batch size, in windows.
        num_workers: loader processes per rank.
        seed: decides the order of windows, and where they begin.
        objective: ``"causal"``.
        max_length: the tokens of a window.
        root: the folder in which relative file names are; None: the current one.
        files: files, folders and patterns of the training text; None: it is generated, unless ``path`` is given.
        val_files: those to validate on; None: a share of the training text.
        test_files: those to test on; None: a share of the training text, or the validation text.
        column: the column of JSON lines, or of a dataset, with the text.
        document_ends: where documents of text files end: ``"file"``, ``"blank_line"`` or ``"line"``.
        path: a dataset by its name at the Hugging Face Hub, or a folder of one.
        subset: its configuration; None: its only one.
        train_split: its split to train on.
        val_split: its split to validate on; None: a share of the training text.
        test_split: its split to test on; None: a share of the training text, or the validation text.
        val_share: the share at the end of the training text that validates, where nothing else does.
        test_share: the share after that, to test on; None: the validation text, where nothing else does.
        tokenizer: see ``choose_tokenizer``.
        vocab_size: the most tokens of a tokenizer that is trained.
        lowercase: whether WordPiece of a vocab.txt lower-cases text.
        windows: see ``TrainWindows``.
        documents: ``"ignore"``: windows reach over several documents; ``"mask"``: attention keeps to one.
        eval_stride: see ``EvalWindows``; None: ``max_length``, so that no token is read twice.
        num_train: generated documents to train on.
        num_val: to validate on.
        num_test: to test on.

    Raises:
        ConfigError: values contradict each other.
    """

    task = "language_modeling"
    sample_name = "window"

    _: KW_ONLY
    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    objective: Annotated[str, OneOf("causal")] = "causal"
    max_length: Positive = 128
    root: Word | None = None
    files: Word | Sequence[Word] | None = None
    val_files: Word | Sequence[Word] | None = None
    test_files: Word | Sequence[Word] | None = None
    column: Word = "text"
    document_ends: Break = "file"
    path: Word | None = None
    subset: Word | None = None
    train_split: Word = "train"
    val_split: Word | None = None
    test_split: Word | None = None
    val_share: Share = 0.1
    test_share: Share | None = None
    tokenizer: Word | None = None
    vocab_size: Positive = 512
    lowercase: bool = True
    windows: WindowPlaces = "random"
    documents: Crossing = "ignore"
    eval_stride: Positive | None = None
    num_train: Positive = 2000
    num_val: Positive = 100
    num_test: Positive = 100

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        check_choice("data.windows", self.windows, ("random", "blocks"))
        check_choice("data.documents", self.documents, ("ignore", "mask"))
        check_shares(self.val_share, self.test_share)
        if self.path is not None and self.files is not None:
            raise ConfigError(f"data.path={self.path} and data.files={self.files}: give one of them")
        if self.files is None and self.path is None and (self.val_files or self.test_files):
            raise ConfigError("data.val_files and data.test_files need data.files, the text to train on")
        if self.eval_stride is not None and self.eval_stride > self.max_length:
            raise ConfigError(
                f"data.eval_stride={self.eval_stride}: should be from 1 to data.max_length={self.max_length}"
            )
        self._followed: TextTokenizer | None = None
        self._streams: dict[str, tuple[TokenStream, str]] = {}

    @cached_property
    def sources(self) -> dict[str, Documents]:
        """The documents of each split."""
        if self.files is None and self.path is None:
            counts, first, found = (self.num_train, self.num_val, self.num_test), 0, {}
            for split, count in zip(SPLITS, counts, strict=True):
                found[split], first = GeneratedDocuments(0, first, count), first + count
            return dict(found)
        own = {split: self._own(split) for split in SPLITS}
        train = own["train"]
        assert train is not None
        cut = [("val", self.val_share)] if own["val"] is None else []
        cut += [("test", self.test_share)] if own["test"] is None and self.test_share is not None else []
        parts = cut_off(train, [share for _, share in cut])
        own |= dict(zip(["train", *(split for split, _ in cut)], parts, strict=True))
        own["test"] = own["test"] or own["val"]
        return {split: documents for split, documents in own.items() if documents is not None}

    def _own(self, split: str) -> Documents | None:
        """Return the documents that the config names for a split."""
        if self.path is not None:
            name = {"train": self.train_split, "val": self.val_split, "test": self.test_split}[split]
            return None if name is None else HubDocuments(self.path, self.subset, name, self.column)
        files = {"train": self.files, "val": self.val_files, "test": self.test_files}[split]
        key = "data.files" if split == "train" else f"data.{split}_files"
        return (
            None if files is None else FileDocuments(find_texts(files, self.root, key), self.column, self.document_ends)
        )

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The tokenizer: that of a checkpoint, or the one that the config names."""
        if self._followed is not None:
            return self._followed
        return choose_tokenizer(self.tokenizer, list(self.sources.values()), self.vocab_size, self.lowercase)

    def follow(self, spec: DataSpec) -> None:
        """Take a checkpoint's tokenizer; see ``DataModule.follow``."""
        assert isinstance(spec, TextSpec)
        self._followed = TextTokenizer.from_text(spec.tokenizer)
        self.__dict__.pop("text_tokenizer", None)
        self._streams, self._datasets = {}, {}

    def stream(self, split: str) -> tuple[TokenStream, str]:
        """Return the tokens of a split, and their fingerprint."""
        if split not in self._streams:
            documents = self.sources[split]
            self._streams[split] = token_stream(documents, self.text_tokenizer)
            counts = self._streams[split][0].counts
            if counts.unknown:
                log.warning(
                    "%s: %d of its %d tokens are unknown to the tokenizer",
                    documents.name,
                    counts.unknown,
                    counts.tokens,
                )
            if counts.empty:
                log.warning("%s: %d documents without text are left out", documents.name, counts.empty)
        return self._streams[split]

    def build(self, split: str) -> TrainWindows | EvalWindows:
        """Return the windows of a split.

        Raises:
            DataError: the text cannot be read, or is too short.
        """
        stream, key = self.stream(split)
        if split == "train":
            return TrainWindows(stream, key, self.max_length, self.windows, self.documents, self.seed)
        return self._to_measure(stream, key)

    @property
    def spec(self) -> LanguageSpec:
        """The description of the data, with its tokenizer."""
        return LanguageSpec(
            tokenizer=self.text_tokenizer.to_text(),
            vocab_size=self.text_tokenizer.vocab_size,
            max_length=self.max_length,
            num_tokens=len(self.stream("train")[0]),
        )

    def tables(self) -> dict[str, Table]:
        """Return the numbers of documents, characters, words and tokens of each split."""
        rows: Table = []
        for split in SPLITS:
            counts = self.stream(split)[0].counts
            names = ("documents", "characters", "words", "tokens", "unknown")
            rows.append({"split": split, **{name: getattr(counts, name) for name in names}})
        return {"data": rows}

    def collate(self, samples: Sequence[TokenWindow]) -> CausalBatch:
        """Put windows together into a batch."""
        return gather_windows(samples)

    def build_inputs(self, paths: list[Path]) -> EvalWindows:
        """Return the windows of files, to measure as the validation text is."""
        documents = FileDocuments(tuple(paths), self.column, self.document_ends)
        return self._to_measure(*token_stream(documents, self.text_tokenizer))

    def _to_measure(self, stream: TokenStream, fingerprint: str) -> EvalWindows:
        return EvalWindows(stream, fingerprint, self.max_length, self.eval_stride or self.max_length, self.documents)
