"""Samples of BERT's pretraining: pairs that are drawn once and kept in files, tokens hidden anew in each epoch or once.

The files are mapped into memory. A pair takes 29 bytes: two places in the corpus, not the tokens that stand there.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Literal

import numpy as np
import torch

from lab.data.cached import COMPLETE, made_once
from lab.data.text.batching import pad_texts
from lab.structures.language_modeling import MaskedBatch, MaskedTargets
from lab.structures.text import TextBatch
from lab.tasks.language_modeling.data.corpus import Corpus
from lab.tasks.language_modeling.data.pairs import (
    MaskRules,
    PairRules,
    SentencePair,
    draw_masks,
    draw_pairs,
    draw_texts,
)

Masking = Literal["dynamic", "static"]
PAIR = np.dtype(
    [
        ("first", "<i8"),
        ("second", "<i8"),
        ("first_length", "<u2"),
        ("second_length", "<u2"),
        ("random_next", "?"),
        ("masks_end", "<i8"),
    ]
)
MASK = np.dtype([("position", "<u2"), ("token", "<u4")])
CHUNK = 1 << 16
"""The pairs that are held before they are written."""
_VERSION = 1

PairRow = tuple[int, int, int, int, bool, int]


@dataclass(frozen=True)
class MaskedSample:
    """A pair of texts, or a lone text, as a network reads it.

    Attributes:
        number: that of the sample in its dataset.
        ids: ``[CLS] first [SEP] second [SEP]`` or ``[CLS] text [SEP]``, with hidden tokens.
        first_length: the tokens up to and with the first ``[SEP]``.
        positions: of hidden tokens, ascending.
        labels: what stood there.
        random_next: whether the second text is a random one; None: there is no second text.
    """

    number: int
    ids: list[int]
    first_length: int
    positions: list[int]
    labels: list[int]
    random_next: bool | None


class MaskedSamples:
    """The pairs, or the lone texts, of a corpus.

    Args:
        corpus: documents of sentences.
        pairs: how they are drawn.
        masks: how tokens are hidden.
        masking: ``"static"``: once, as the published ``create_pretraining_data.py`` does; samples and their order are
            equal to its output. ``"dynamic"``: anew in each epoch (Liu et al., "RoBERTa", 2019, section 4.1).
        seed: decides pairs and hidden tokens.
    """

    aspect_ratios: Sequence[float] | None = None

    def __init__(self, corpus: Corpus, pairs: PairRules, masks: MaskRules, masking: Masking, seed: int) -> None:
        self.corpus, self.rules, self.masking, self.seed = corpus, masks, masking, seed
        self.of_pairs = pairs.pairs
        static = masks if masking == "static" else None
        parts = ("pairs", _VERSION, corpus.fingerprint(), pairs, seed, static)
        self.key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        self.folder = made_once(self.key, lambda folder: _draw(folder, corpus, pairs, static, seed))
        self._pairs = np.memmap(self.folder / "pairs.bin", dtype=PAIR, mode="r")
        self._order = np.memmap(self.folder / "order.bin", dtype=np.int64, mode="r")
        self._masks = np.memmap(self.folder / "masks.bin", dtype=MASK, mode="r") if static else None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._pairs)

    def __getitem__(self, key: tuple[int, int]) -> MaskedSample:
        """Return the sample for ``(epoch, index)``."""
        epoch, index = key
        place = int(self._order[index])
        first, second, first_length, second_length, random_next, end = self._pairs[place].item()
        pair = SentencePair(first, first + first_length, second, second + second_length, random_next)
        ids = _whole(self.corpus, pair, self.rules)
        if self._masks is None:
            positions, replacements = draw_masks(ids, self.rules, Random(f"{self.seed} {epoch} {index}"))
        else:
            begin = int(self._pairs[place - 1]["masks_end"]) if place else 0
            hidden = self._masks[begin:end]
            positions, replacements = hidden["position"].tolist(), hidden["token"].tolist()
        labels = [ids[position] for position in positions]
        for position, token in zip(positions, replacements, strict=True):
            ids[position] = token
        return MaskedSample(index, ids, first_length + 2, positions, labels, random_next if self.of_pairs else None)

    def fingerprint(self) -> str:
        """Return a string that identifies the text, its tokens, and how they are drawn and hidden."""
        return hashlib.sha256(repr((self.key, self.masking, self.rules)).encode()).hexdigest()


def _draw(folder: Path, corpus: Corpus, pairs: PairRules, masks: MaskRules | None, seed: int) -> None:
    """Draw the pairs of a corpus, and for static masks its hidden tokens, into an empty folder."""
    rng = Random(seed)
    with (folder / "pairs.bin").open("wb") as table, (folder / "masks.bin").open("wb") as hidden:
        count = _write_pairs(table, hidden, corpus, pairs, masks, rng)
    order = array("q", range(count))
    rng.shuffle(order)
    with (folder / "order.bin").open("wb") as file:
        order.tofile(file)
    (folder / COMPLETE).write_text(json.dumps({"pairs": count, "text": corpus.name}))


def _write_pairs(
    table: IO[bytes], hidden: IO[bytes], corpus: Corpus, pairs: PairRules, masks: MaskRules | None, rng: Random
) -> int:
    rows: list[PairRow] = []
    replaced: list[tuple[int, int]] = []
    count = ended = 0
    draw = draw_pairs if pairs.pairs else draw_texts
    for pair in draw(corpus, pairs, rng):
        if masks is not None:
            found = draw_masks(_whole(corpus, pair, masks), masks, rng)
            replaced.extend(zip(*found, strict=True))
            ended += len(found[0])
        lengths = pair.first_stop - pair.first, pair.second_stop - pair.second
        rows.append((pair.first, pair.second, *lengths, pair.random_next, ended))
        if len(rows) == CHUNK:
            count += _flush(table, hidden, rows, replaced)
    return count + _flush(table, hidden, rows, replaced)


def _flush(table: IO[bytes], hidden: IO[bytes], rows: list[PairRow], replaced: list[tuple[int, int]]) -> int:
    count = len(rows)
    np.array(rows, dtype=PAIR).tofile(table)
    np.array(replaced, dtype=MASK).tofile(hidden)
    rows.clear()
    replaced.clear()
    return count


def _whole(corpus: Corpus, pair: SentencePair, rules: MaskRules) -> list[int]:
    ids = [rules.cls, *corpus.read(pair.first, pair.first_stop), rules.sep]
    if pair.second_stop > pair.second:
        ids += [*corpus.read(pair.second, pair.second_stop), rules.sep]
    return ids


def gather_masked(samples: Sequence[MaskedSample], pad_id: int) -> MaskedBatch:
    """Return samples as a batch.

    Args:
        samples: at least one; all pairs, or all lone texts.
        pad_id: what fills up shorter ones.
    """
    following = [int(one.random_next) for one in samples if one.random_next is not None]
    types = [[0] * one.first_length + [1] * (len(one.ids) - one.first_length) for one in samples] if following else None
    input_ids, attention_mask, token_type_ids, lengths = pad_texts([one.ids for one in samples], pad_id, types)
    targets = MaskedTargets(
        torch.tensor([position for one in samples for position in one.positions], dtype=torch.int64),
        torch.tensor([label for one in samples for label in one.labels], dtype=torch.int64),
        tuple(len(one.positions) for one in samples),
        torch.tensor(following) if following else None,
    )
    return TextBatch(
        input_ids,
        attention_mask,
        token_type_ids,
        lengths,
        targets,
        torch.tensor([one.number for one in samples]),
        torch.ones(len(samples), dtype=torch.bool),
    )
