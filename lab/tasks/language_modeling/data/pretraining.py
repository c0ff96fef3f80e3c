"""Text for masked language models: BERT's pairs of sentences, or lone texts, with hidden tokens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from lab.checking import check_choice, check_range
from lab.data.datamodule import DataModule
from lab.data.text.chosen import choose_tokenizer
from lab.data.text.documents import find_texts
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.ranges import Count, Ge, Le, OneOf, Positive, Probability, Seed, Share, Word
from lab.structures import DataSpec, Table
from lab.structures.language_modeling import LanguageSpec, MaskedBatch
from lab.structures.text import TextSpec
from lab.tasks.language_modeling.data.corpus import Corpus, GeneratedSentences, SentenceFiles, Source, read_corpus
from lab.tasks.language_modeling.data.pairs import MaskRules, PairRules
from lab.tasks.language_modeling.data.samples import MaskedSamples, Masking, gather_masked
from lab.tasks.language_modeling.data.sentences import LAYOUTS, SentenceLayout

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@dataclass(eq=False)
class PretrainingDataModule(DataModule):
    """``data=pretraining``: files of sentences, or generated text.

    The pairs of validation and test, and the tokens hidden in them, are the same for every seed.

    Args:
        batch_size: the global batch size.
        num_workers: loader processes per rank.
        seed: decides pairs and hidden tokens, and the order of the samples.
        objective: ``"masked"``.
        max_length: the most tokens of a sample, special ones too.
        root: the folder in which relative file names are; None: the current one.
        files: files, folders and patterns of the training text; None: it is generated.
        val_files: those to validate on; None: a share of the training documents is held out.
        test_files: those to test on; None: a share of the training documents is held out.
        layout: how the files hold sentences, see ``read_sentences``.
        column: of .jsonl, .csv and .tsv files, see there.
        column_names: of .csv and .tsv files, see there.
        val_share: the share of documents to validate on, where no files are named for that.
        test_share: the same for the test.
        tokenizer: a file or folder, see ``choose_tokenizer``; None: WordPiece is trained on the training text.
        vocab_size: the most tokens of a tokenizer that is trained.
        lowercase: of a vocab.txt, and of a tokenizer that is trained: lower-case the text and strip accents.
        pairs: whether a sample is a pair of texts, and whether the second follows the first is learnt too; else it is
            one text.
        masking: see ``MaskedSamples``.
        whole_words: hide words as a whole; WordPiece only.
        dupe_factor: see ``PairRules``; validation and test read each document once.
        short_seq_prob: see ``PairRules``.
        masked_lm_prob: see ``MaskRules``.
        max_predictions: see ``MaskRules``.
        num_documents: generated documents, those of validation and test too.

    Raises:
        ConfigError: values contradict each other.
    """

    task = "language_modeling"
    sample_name = "pair"

    _: KW_ONLY
    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    objective: Annotated[str, OneOf("masked")] = "masked"
    max_length: Annotated[int, Ge(5), Le(65535)] = 128
    root: Word | None = None
    files: Word | Sequence[Word] | None = None
    val_files: Word | Sequence[Word] | None = None
    test_files: Word | Sequence[Word] | None = None
    layout: SentenceLayout = "lines"
    column: Word = "text"
    column_names: Sequence[Word] | None = None
    val_share: Share | None = 0.05
    test_share: Share | None = 0.05
    tokenizer: Word | None = None
    vocab_size: Positive = 1000
    lowercase: bool = True
    pairs: bool = True
    masking: Masking = "dynamic"
    whole_words: bool = False
    dupe_factor: Positive = 5
    short_seq_prob: Probability = 0.1
    masked_lm_prob: Annotated[float, Ge(0), Le(1)] = 0.15
    max_predictions: Positive = 20
    num_documents: Positive = 2000

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        check_choice("data.layout", self.layout, LAYOUTS)
        check_choice("data.masking", self.masking, ("dynamic", "static"))
        check_range("data.max_length", self.max_length, least=5, most=65535)
        for split, files, share in (
            ("val", self.val_files, self.val_share),
            ("test", self.test_files, self.test_share),
        ):
            if files is not None and self.files is None:
                raise ConfigError(f"data.{split}_files needs data.files, the text to train on")
            if files is None and share is None:
                raise ConfigError(f"data.{split}_share=null: give the share to hold out, or data.{split}_files")
        shares = [share for share, files in self._shares() if files is None]
        if sum(share or 0 for share in shares) >= 1:
            raise ConfigError(f"data.val_share={self.val_share} and data.test_share={self.test_share} leave no text")
        self.sample_name = "pair" if self.pairs else "text"
        self._followed: TextTokenizer | None = None
        self._corpora: dict[str, Corpus] = {}

    def _shares(self) -> list[tuple[float | None, Any]]:
        return [(self.val_share, self.val_files), (self.test_share, self.test_files)]

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The text of each split that has its own."""
        if self.files is None:
            return {"train": GeneratedSentences(0, self.num_documents)}
        named = {"train": self.files, "val": self.val_files, "test": self.test_files}
        keys = {"train": "data.files", "val": "data.val_files", "test": "data.test_files"}
        return {
            split: self._files(find_texts(files, self.root, keys[split]))
            for split, files in named.items()
            if files is not None
        }

    def _files(self, paths: Sequence[Path]) -> SentenceFiles:
        names = None if self.column_names is None else tuple(self.column_names)
        return SentenceFiles(tuple(paths), self.layout, self.column, names)

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The tokenizer: that of a checkpoint, or the one that the config names.

        Raises:
            DataError: it lacks a special token that samples need.
        """
        found = self._followed or choose_tokenizer(
            self.tokenizer, [self.sources["train"]], self.vocab_size, self.lowercase, kind="wordpiece"
        )
        lacking = [name for name in ("cls", "sep", "mask") if getattr(found.special, name) is None]
        if lacking:
            names = ", ".join(f"[{name.upper()}]" for name in lacking)
            raise DataError(
                f"data.tokenizer={self.tokenizer}: its vocabulary lacks {names}; masked language models need a "
                "tokenizer of BERT's, or null to train one"
            )
        return found

    def follow(self, spec: DataSpec) -> None:
        """Take a checkpoint's tokenizer; see ``DataModule.follow``."""
        assert isinstance(spec, TextSpec)
        self._followed = TextTokenizer.from_text(spec.tokenizer)
        self.__dict__.pop("text_tokenizer", None)
        self._corpora, self._datasets = {}, {}

    def corpus(self, split: str) -> Corpus:
        """Return the documents of a split."""
        if not self._corpora:
            self._corpora = self._read()
        return self._corpora[split]

    def _read(self) -> dict[str, Corpus]:
        found = {split: read_corpus(source, self.text_tokenizer) for split, source in self.sources.items()}
        whole = len(found["train"])
        for split, share in (("test", self.test_share), ("val", self.val_share)):
            if split not in found:
                assert share is not None
                found["train"], found[split] = found["train"].hold_out(share * whole / len(found["train"]))
        for split, corpus in found.items():
            if len(corpus) == 1 and self.pairs:
                log.warning("%s: has one document: what is not its next sentence is from itself too", split)
        return found

    @property
    def masks(self) -> MaskRules:
        """How tokens are hidden."""
        tokenizer = self.text_tokenizer
        special = tokenizer.special
        assert special.cls is not None
        assert special.sep is not None
        assert special.mask is not None
        continuations: frozenset[int] = frozenset()
        if self.whole_words:
            if tokenizer.kind != "wordpiece":
                raise DataError(f"data.whole_words=true needs WordPiece, and the tokenizer is {tokenizer.kind}")
            tokens = ((number, tokenizer.id_to_token(number)) for number in range(tokenizer.vocab_size))
            continuations = frozenset(number for number, token in tokens if token and token.startswith("##"))
        return MaskRules(
            tokenizer.vocab_size,
            special.cls,
            special.sep,
            special.mask,
            self.masked_lm_prob,
            self.max_predictions,
            continuations,
        )

    def build(self, split: str) -> MaskedSamples:
        """Return the samples of a split.

        Raises:
            DataError: the text cannot be read, or holds nothing.
        """
        if split != "train":
            return self._to_measure(self.corpus(split))
        rules = PairRules(self.max_length, self.dupe_factor, self.short_seq_prob, self.pairs)
        return MaskedSamples(self.corpus(split), rules, self.masks, self.masking, self.seed)

    def _to_measure(self, corpus: Corpus) -> MaskedSamples:
        rules = PairRules(self.max_length, 1, self.short_seq_prob, self.pairs)
        return MaskedSamples(corpus, rules, self.masks, "dynamic", 0)

    @property
    def spec(self) -> LanguageSpec:
        """The description of the data, with its tokenizer."""
        return LanguageSpec(
            objective="masked",
            tokenizer=self.text_tokenizer.to_text(),
            vocab_size=self.text_tokenizer.vocab_size,
            max_length=self.max_length,
            num_tokens=self.corpus("train").counts()["tokens"],
        )

    def tables(self) -> dict[str, Table]:
        """Return the numbers of documents, sentences, tokens and pairs of each split."""
        rows: Table = []
        for split in SPLITS:
            rows.append(
                {"split": split, **self.corpus(split).counts(), f"{self.sample_name}s": len(self.dataset(split))}
            )
        return {"data": rows}

    def collate(self, samples: Sequence[Any]) -> MaskedBatch:
        """Put samples together into a batch."""
        return gather_masked(samples, self.text_tokenizer.pad_id)

    def build_inputs(self, paths: list[Path]) -> MaskedSamples:
        """Return the pairs of files, to measure as the validation text is."""
        return self._to_measure(read_corpus(self._files(paths), self.text_tokenizer))
