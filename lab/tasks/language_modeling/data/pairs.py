"""Pairs of texts and hidden tokens for BERT's pretraining.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019, section
3.1 and appendix A.1-A.2, as the published ``create_pretraining_data.py`` draws them: the same calls of the same
``random.Random`` in the same order, so that equal documents and seeds give equal samples, to the last token.

A document is a list of sentences. Pairs are drawn from the places where sentences begin, without reading a token: a
pair is two spans of the corpus. Whoever hides tokens with the same generator does so before taking the next pair, as
the published file does; whoever does not (masks drawn anew in each epoch) gets other pairs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

SPECIAL = 3
"""Tokens of a sample that no document has: ``[CLS] first [SEP] second [SEP]``."""
SPECIAL_ALONE = 2
"""The same for a sample of one text: ``[CLS] text [SEP]``."""
TRIES = 10
"""How often another document is drawn before a document's own text has to serve as the random one."""


class SentencePair(NamedTuple):
    """Two spans of tokens of the corpus, and whether the second one is random; of a lone text the second is empty."""

    first: int
    first_stop: int
    second: int
    second_stop: int
    random_next: bool


class DocumentBounds(Protocol):
    """Documents of sentences; each has at least one sentence, and each sentence at least one token."""

    def __len__(self) -> int:
        """Return the number of documents."""
        ...

    def bounds(self, document: int) -> list[int]:
        """Return where each sentence of a document begins in the corpus, and where the last one ends."""
        ...


@dataclass(frozen=True)
class PairRules:
    """How pairs are drawn; in brackets the names of the published file.

    Attributes:
        max_length: the most tokens of a sample, special ones too (``max_seq_length``); at least 5.
        dupe_factor: how often each document is read, each time with other pairs.
        short_seq_prob: the chance that a document's samples aim at a random shorter length.
        pairs: False: a sample is one text, see ``draw_texts``.
    """

    max_length: int
    dupe_factor: int = 10
    short_seq_prob: float = 0.1
    pairs: bool = True


@dataclass(frozen=True)
class MaskRules:
    """How tokens are hidden.

    Attributes:
        vocab_size: the number of tokens that a random one is drawn from.
        cls: the id of ``[CLS]``, which is never hidden.
        sep: the id of ``[SEP]``, which is never hidden.
        mask: the id of ``[MASK]``.
        masked_lm_prob: the share of a sample's tokens to hide; 80 % of these become ``[MASK]``, 10 % a random token,
            10 % stay as they are.
        max_predictions: the most hidden tokens of a sample (``max_predictions_per_seq``).
        continuations: the ids of tokens that continue a word (``##ing``); then words are hidden as a whole. Empty: each
            token is hidden by itself.
    """

    vocab_size: int
    cls: int
    sep: int
    mask: int
    masked_lm_prob: float = 0.15
    max_predictions: int = 20
    continuations: frozenset[int] = frozenset()


def draw_pairs(documents: DocumentBounds, rules: PairRules, rng: Random) -> Iterator[SentencePair]:
    """Yield the pairs of all documents: ``rules.dupe_factor`` times over, the documents in one shuffled order.

    Args:
        documents: at least one. Of a single document the random text comes from itself, as in the published file.
        rules: how pairs are drawn.
        rng: every choice is drawn from it.
    """
    order = array("q", range(len(documents)))
    rng.shuffle(order)
    for _ in range(rules.dupe_factor):
        for place in range(len(order)):
            yield from _of_document(documents, order, place, rules, rng)


def draw_texts(documents: DocumentBounds, rules: PairRules, rng: Random) -> Iterator[SentencePair]:
    """Yield lone texts, as many sentences of a document as fit; each of its tokens once in each reading.

    Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach", 2019, section 4.2, call them DOC-SENTENCES. A
    sentence that is longer than a sample goes on in the next one.

    Args:
        documents: at least one.
        rules: how texts are drawn.
        rng: every choice is drawn from it.
    """
    order = array("q", range(len(documents)))
    rng.shuffle(order)
    room = rules.max_length - SPECIAL_ALONE
    for _ in range(rules.dupe_factor):
        for number in order:
            bounds = documents.bounds(number)
            target = rng.randint(2, room) if rng.random() < rules.short_seq_prob else room
            begin = bounds[0]
            while begin < bounds[-1]:
                fits = bounds[bisect_right(bounds, begin + target) - 1]
                stop = fits if fits > begin else begin + target
                yield SentencePair(begin, stop, stop, stop, False)
                begin = stop


def _of_document(
    documents: DocumentBounds, order: array[int], place: int, rules: PairRules, rng: Random
) -> Iterator[SentencePair]:
    """Yield the pairs of one document: each takes sentences up to the target length and splits them in two."""
    bounds = documents.bounds(order[place])
    room = rules.max_length - SPECIAL
    target = rng.randint(2, room) if rng.random() < rules.short_seq_prob else room
    begin, end = 0, len(bounds) - 1
    while begin < end:
        stop = _reach(bounds, begin, target)
        cut = begin + (rng.randint(1, stop - begin - 1) if stop - begin > 1 else 1)
        first = (bounds[begin], bounds[cut])
        random_next = stop - begin == 1 or rng.random() < 0.5
        if random_next:
            second = _random_text(documents, order, place, target - (first[1] - first[0]), rng)
            stop = cut  # the sentences that a random text replaced are read again
        else:
            second = (bounds[cut], bounds[stop])
        yield SentencePair(*_truncate(first, second, room, rng), random_next)
        begin = stop


def _reach(bounds: Sequence[int], begin: int, wanted: int) -> int:
    """Return the sentence to stop before, so that at least ``wanted`` tokens are read, or all; at least a sentence."""
    stop = begin + 1
    while stop < len(bounds) - 1 and bounds[stop] - bounds[begin] < wanted:
        stop += 1
    return stop


def _random_text(documents: DocumentBounds, order: array[int], place: int, wanted: int, rng: Random) -> tuple[int, int]:
    """Return a span of another document that begins with a random sentence."""
    for _ in range(TRIES):
        other = rng.randint(0, len(order) - 1)
        if other != place:
            break
    bounds = documents.bounds(order[other])
    start = rng.randint(0, len(bounds) - 2)
    return bounds[start], bounds[_reach(bounds, start, wanted)]


def _truncate(first: tuple[int, int], second: tuple[int, int], room: int, rng: Random) -> tuple[int, int, int, int]:
    """Return both spans, the longer one (the second, if equal) shortened at random ends until they fit together."""
    spans = [*first, *second]
    while (long := spans[1] - spans[0]) + (other := spans[3] - spans[2]) > room:
        at = 0 if long > other else 2
        if rng.random() < 0.5:
            spans[at] += 1
        else:
            spans[at + 1] -= 1
    return spans[0], spans[1], spans[2], spans[3]


def draw_masks(ids: Sequence[int], rules: MaskRules, rng: Random) -> tuple[list[int], list[int]]:
    """Return the positions of hidden tokens, ascending, and what stands there instead.

    Args:
        ids: the sample, ``[CLS]`` and ``[SEP]`` included.
        rules: how tokens are hidden.
        rng: every choice is drawn from it.
    """
    wanted = min(rules.max_predictions, max(1, round(len(ids) * rules.masked_lm_prob)))
    words = _words(ids, rules)
    rng.shuffle(words)
    hidden: dict[int, int] = {}
    for word in words:
        if len(hidden) >= wanted:
            break
        if len(hidden) + len(word) > wanted:
            continue
        for position in word:
            hidden[position] = _replacement(ids[position], rules, rng)
    positions = sorted(hidden)
    return positions, [hidden[position] for position in positions]


def _words(ids: Sequence[int], rules: MaskRules) -> list[list[int]]:
    """Return the positions of each word, or of each token, in order.

    A second text that was cut within a word begins with a continuation: it counts to the word before ``[SEP]``.
    """
    special = (rules.cls, rules.sep)
    words: list[list[int]] = []
    for position, token in enumerate(ids):
        if token in special:
            continue
        if words and token in rules.continuations:
            words[-1].append(position)
        else:
            words.append([position])
    return words


def _replacement(token: int, rules: MaskRules, rng: Random) -> int:
    if rng.random() < 0.8:
        return rules.mask
    return token if rng.random() < 0.5 else rng.randint(0, rules.vocab_size - 1)
