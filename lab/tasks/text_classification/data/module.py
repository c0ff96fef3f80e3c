"""The base of the DataModules of labelled texts: splits, classes, tokens, batches."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.data.datamodule import DataModule
from lab.data.holdout import TEST, TRAIN, VAL, check_shares, hold_out
from lab.data.text.chosen import choose_tokenizer
from lab.data.text.documents import Documents, TextPiece
from lab.data.text.sequences import TextEncoding
from lab.errors import ConfigError, DataError
from lab.ranges import Count, Positive, Seed, Share, Word
from lab.structures import DataSpec, KeyedDataset
from lab.structures.text_classification import TextClassificationBatch, TextClassificationSpec
from lab.tasks.text_classification.data.dataset import TextDataset, fingerprint_of
from lab.tasks.text_classification.data.encoding import TextSample, collate_texts, encoding_of
from lab.tasks.text_classification.data.files import TextFormat, TextRows, read_inputs

log = logging.getLogger(__name__)
SPLIT_WORDS = {TRAIN: "training", VAL: "validation", TEST: "test"}
MOST_CLASSES = 10_000


@dataclass(eq=False)
class TextClassificationModule(DataModule):
    """Base of the DataModules of labelled texts: a subclass implements ``rows``.

    Args:
        batch_size: the global batch size in texts.
        num_workers: loader processes per rank.
        seed: decides the order of the texts, and which of them are held out.
        tokenizer: see ``choose_tokenizer``; None: WordPiece that is trained on the training texts.
        vocab_size: the most tokens of a vocabulary that is trained.
        lowercase: whether a tokenizer that is trained, or read from a vocab.txt, lower-cases text and strips accents.
        max_length: the most tokens of a sequence, special ones too.
        window_stride: tokens between the starts of the windows in which a longer text is read; 0: it is cut off.
        max_windows: the most windows of a text.
        group_by_length: whether a training batch holds either texts longer than the median or shorter ones.
        class_names: the name of each label, in the order of the labels (numbers by size, words by letters); None: the
            labels themselves.
        val_share: share of the training texts to hold out for validation, balanced by class, where there are none of
            its own.

    Raises:
        ConfigError: ``val_share`` is out of range.
    """

    task = "text_classification"
    sample_name = "text"

    _: KW_ONLY
    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    tokenizer: Word | None = None
    vocab_size: Positive = 8000
    lowercase: bool = True
    max_length: Positive = 128
    window_stride: Count = 0
    max_windows: Positive = 32
    group_by_length: bool = False
    class_names: Sequence[str] | None = None
    val_share: Share = 0.1

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        check_shares(self.val_share, None)
        self._followed: TextClassificationSpec | None = None
        self._read: dict[str, TextRows] = {}

    @abstractmethod
    def rows(self, split: str) -> TextRows | None:
        """Read the texts of ``train``, ``val`` or ``test``; None where ``val`` or ``test`` have none of their own."""

    def input_format(self) -> TextFormat:
        """Return the format of tables of texts to predict."""
        return TextFormat()

    def follow(self, spec: DataSpec) -> None:
        """Take tokenizer, lengths and classes from a trained task, whose network reads no others."""
        assert isinstance(spec, TextClassificationSpec)
        self._followed = spec

    @cached_property
    def _parts(self) -> dict[str, TextRows]:
        """The texts of every split."""
        train, val, test = self._own(TRAIN), self._own(VAL), self._own(TEST)
        assert train is not None
        self._ordered = ordered_labels(train)
        if val is None:
            train, val = self._held_out(train)
        return {TRAIN: train, VAL: val, TEST: val if test is None else test}

    def texts_of(self, split: str) -> TextRows:
        """Return the texts of a split with their labels."""
        return self._parts[split]

    def _own(self, split: str) -> TextRows | None:
        found = self.rows(split)
        if found is not None:
            self._read[found.source] = found
            if any(found.left_out.values()):
                why = ", ".join(f"{count} {what}" for what, count in found.left_out.items() if count)
                log.warning("%s: %d rows, %d used: %s", found.source, found.rows, len(found.texts), why)
        return found

    def _held_out(self, rows: TextRows) -> tuple[TextRows, TextRows]:
        """Return the training and validation part of texts, which have two classes at least."""
        count = len(rows.texts)
        shares = {TRAIN: 1 - self.val_share, VAL: self.val_share}
        parts = hold_out([str(row) for row in range(count)], [[label] for label in rows.labels], shares, self.seed)
        train, val = ([row for row, part in enumerate(parts) if part == name] for name in (TRAIN, VAL))
        log.warning(
            "%s: data.val_share=%g held out by data.seed=%d, balanced by class: %d train, %d val",
            rows.source,
            self.val_share,
            self.seed,
            len(train),
            len(val),
        )
        return rows.take(train), rows.take(val)

    @property
    def _labels(self) -> tuple[str, ...]:
        """The labels of the training file in order, of all of it, so that no held-out part changes them."""
        return self._ordered if self._parts else ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each label.

        Raises:
            ConfigError: ``class_names`` are not as many as there are labels, or not all different.
        """
        if self.class_names is None:
            return self._labels
        given = tuple(map(str, self.class_names))
        if len(given) != len(self._labels) or len(set(given)) != len(given):
            raise ConfigError(
                f"data.class_names={list(given)}: give {len(self._labels)} different names, for the labels "
                f"{', '.join(self._labels)} in this order"
            )
        return given

    @cached_property
    def _encoding(self) -> TextEncoding:
        """How texts become sequences."""
        if self._followed is not None:
            return encoding_of(self._followed)
        read = [TextsRead(rows) for rows in self._parts.values()]
        tokenizer = choose_tokenizer(self.tokenizer, read, self.vocab_size, self.lowercase, kind="wordpiece")
        return TextEncoding(tokenizer, self.max_length, self.window_stride, self.max_windows)

    @property
    def spec(self) -> TextClassificationSpec:
        """The tokenizer, the classes, and how many texts of each there are to train on."""
        encoding = self._encoding
        if self.pairs and encoding.window_stride:
            raise ConfigError("data.window_stride: pairs of texts are cut off, not read in windows; leave it 0")
        return TextClassificationSpec(
            tokenizer=encoding.tokenizer.to_text(),
            vocab_size=encoding.tokenizer.vocab_size,
            max_length=encoding.max_length,
            class_names=self.names,
            class_counts=self.dataset(TRAIN).class_counts().counts,
            pairs=self.pairs,
            window_stride=encoding.window_stride,
            max_windows=encoding.max_windows,
        )

    def build(self, split: str) -> TextDataset:
        """Return the dataset of a split.

        Raises:
            DataError: it has a label that the training texts have not.
        """
        rows = self._parts[split]
        labels, names = self._numbers(rows, split), self._known_names
        encoding = self._encoding
        encoded = encoding.encode(rows.texts, rows.seconds)
        if encoded.shortened:
            how = "data.max_windows" if encoding.window_stride else "data.max_length, or windows by data.window_stride"
            limit = f"{encoding.max_length} tokens" + (f" x {encoding.max_windows}" if encoding.window_stride else "")
            log.warning(
                "%s: %d of %d texts for %s are longer than %s and cut off (%s)",
                rows.source,
                encoded.shortened,
                len(rows.texts),
                SPLIT_WORDS[split],
                limit,
                how,
            )
        how = (
            f"{encoding.tokenizer.fingerprint}\0{encoding.max_length}\0{encoding.window_stride}\0{encoding.max_windows}"
        )
        print_ = fingerprint_of(rows.texts, rows.seconds, labels, names, how)
        return TextDataset(encoded, labels, names, print_, self.group_by_length and split == TRAIN)

    @property
    def _known_names(self) -> tuple[str, ...]:
        """The classes of the task: those of a trained one, else those of the data."""
        return self.names if self._followed is None else self._followed.class_names

    def _numbers(self, rows: TextRows, split: str) -> list[int]:
        """Return the label of each text as a number."""
        names = self._known_names
        known = {name: number for number, name in enumerate(names)}
        if self._followed is None or self.class_names is not None:
            known = {label: known[name] for label, name in zip(self._labels, self.names, strict=True) if name in known}
        found = [known.get(label, -1) for label in rows.labels]
        if -1 in found:
            row = found.index(-1)
            raise DataError(
                f"{rows.source}: text {row + 1} of the {SPLIT_WORDS[split]} set has the label "
                f"{rows.labels[row][:40]!r}, and the training knows {', '.join(list(known)[:8])}"
            )
        return found

    def collate(self, samples: Sequence[Any]) -> TextClassificationBatch:
        """Put texts together into a batch."""
        return collate_texts(samples, self._encoding.tokenizer.pad_id, self.pairs)

    @cached_property
    def pairs(self) -> bool:
        """Whether a sample is a pair of texts."""
        return self._parts[TRAIN].seconds is not None if self._followed is None else self._followed.pairs

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return the texts of a file, to predict."""
        (path,) = paths
        return TextInputs(read_inputs(path, self.input_format()), self._encoding)

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return for each file the numbers of rows and used rows, and the reasons for the difference."""
        return {
            source: {"rows": rows.rows, "used": len(rows.texts), "left_out": dict(rows.left_out)}
            for source, rows in self._read.items()
        }


def ordered_labels(rows: TextRows) -> tuple[str, ...]:
    """Return the different labels of training texts: as their source orders them, numbers by size, words by letters.

    Raises:
        DataError: there is only one, or almost every text has its own.
    """
    names, total = set(rows.labels), len(rows.texts)
    if len(names) < 2:
        raise DataError(f"{rows.source}: all {total} texts have the label {min(names)!r}; there is nothing to tell")
    numbers = all(name.removeprefix("-").isdecimal() for name in names)
    found = rows.classes or tuple(sorted(names, key=int if numbers else str))
    if len(found) > MOST_CLASSES or (total > 20 and len(names) > total // 2):
        raise DataError(
            f"{rows.source}: {len(found)} different labels in {total} texts ({', '.join(found[:3])}, ...); are these "
            "classes? name the column of labels by data.label_column"
        )
    return found


@dataclass(frozen=True)
class TextsRead(Documents):
    """Texts in memory as documents of a corpus, from which a tokenizer is trained.

    Attributes:
        rows: the texts.
    """

    rows: TextRows

    @property
    def name(self) -> str:  # type: ignore[override]  # a property may stand for an attribute that is only read
        """Where they are from."""
        return self.rows.source

    def pieces(self) -> Iterator[TextPiece]:
        """Yield each text as one piece."""
        yield from ((text, True) for text in (*self.rows.texts, *(self.rows.seconds or ())))

    def fingerprint(self) -> str:
        """Return a hash of the texts."""
        return fingerprint_of(self.rows.texts, self.rows.seconds, (), (), "")


class TextInputs:
    """Texts without labels as a ``KeyedDataset``, for a prediction.

    Args:
        rows: the texts.
        encoding: how they become sequences.
    """

    def __init__(self, rows: TextRows, encoding: TextEncoding) -> None:
        self.rows, self.encoded = rows, encoding.encode(rows.texts, rows.seconds)

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.encoded)

    def __getitem__(self, key: tuple[int, int]) -> TextSample:
        """Return the text at ``(epoch, index)``."""
        return TextSample(self.encoded.windows(key[1]), -1, key[1])

    @property
    def aspect_ratios(self) -> None:
        """None: a prediction goes through the texts in order."""
        return
