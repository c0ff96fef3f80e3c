"""Pairs and hidden tokens: worked by hand with scripted numbers, and equal to the published file's own output."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from lab.tasks.language_modeling.data import pairs
from lab.tasks.language_modeling.data.pairs import MaskRules, PairRules, draw_masks, draw_pairs, draw_texts
from tests.unit.tasks.language_modeling.data.golden_pairs import CLS, GOLDEN, MASK, SEP, Lists, three_documents


class Scripted(Random):
    """Random numbers from a list of (call, arguments, result); any other call fails."""

    def __init__(self, *script: tuple[Any, ...]) -> None:
        super().__init__(0)
        self.script = list(script)

    def _next(self, *call: Any) -> Any:
        *expected, result = self.script.pop(0)
        assert list(call) == expected
        return result

    def random(self) -> float:
        return self._next("random")

    def randint(self, a: int, b: int) -> int:
        return self._next("randint", a, b)

    def shuffle(self, x: Any) -> None:
        places = self._next("shuffle", len(x))
        for place, value in enumerate([x[old] for old in places]):
            x[place] = value


def drawn(whole_words: bool) -> list[tuple[list[int], int, list[int], list[int], bool]]:
    """Return the samples of ``three_documents`` in the form of ``GOLDEN``."""
    documents, rng, found = three_documents(), Random(12345), []
    continuations = frozenset(range(7, 60, 4)) if whole_words else frozenset()
    rules = MaskRules(60, CLS, SEP, MASK, max_predictions=4, continuations=continuations)
    for pair in draw_pairs(documents, PairRules(16, dupe_factor=1), rng):
        ids = documents.sample(pair)
        positions, replacements = draw_masks(ids, rules, rng)
        labels = [ids[position] for position in positions]
        for position, token in zip(positions, replacements, strict=True):
            ids[position] = token
        found.append((ids, pair.first_stop - pair.first + 2, positions, labels, pair.random_next))
    rng.shuffle(found)
    return found


@pytest.mark.parametrize("whole_words", [False, True])
def test_equals_the_published_file_s_output(whole_words: bool) -> None:
    """Every id, segment, position and label, and the order of the samples. Every fourth token continues a word."""
    assert drawn(whole_words) == GOLDEN[whole_words]


@pytest.mark.parametrize("mutant", ["one place more", "a sentence more", "kept and random in turn"])
def test_mistakes_are_seen(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three small mistakes give other samples."""
    reach = pairs._reach
    if mutant == "one place more":
        monkeypatch.setattr(pairs, "SPECIAL", 2)
    elif mutant == "a sentence more":
        monkeypatch.setattr(
            pairs, "_reach", lambda bounds, begin, wanted: min(reach(bounds, begin, wanted) + 1, len(bounds) - 1)
        )
    else:
        monkeypatch.setattr(
            pairs, "_replacement", lambda token, rules, rng: token if rng.random() < 0.8 else rules.mask
        )
    assert drawn(False) != GOLDEN[False]


def test_two_documents_by_hand() -> None:
    """Room for 6 tokens (9 less three special ones); the first document has 3 + 2 + 4 tokens, the second one 2 + 1."""
    documents = Lists([[10, 11, 12], [13, 14], [15, 16, 17, 18]], [[20, 21], [22]])
    rng = Scripted(
        ("shuffle", 2, [0, 1]),
        # The first document, at full length. 3 and 3 + 2 tokens are below 6, so all three sentences are taken; two of
        # them become the first text, and the third one follows: 5 and 4 tokens.
        ("random", 0.5),
        ("randint", 1, 2, 2),
        ("random", 0.7),
        # 9 tokens for 6 places: one off the front of the longer first text; then they are equal, so one off the end
        # of the second; then one off the end of the first: 11 12 13 and 15 16 17.
        ("random", 0.2),
        ("random", 0.9),
        ("random", 0.6),
        # The second document aims at 2 tokens: its first sentence has them. A single sentence gets a random text, and
        # no number decides that. The document itself is drawn and refused, then the first one, its second sentence.
        ("random", 0.05),
        ("randint", 2, 6, 2),
        ("randint", 0, 1, 1),
        ("randint", 0, 1, 0),
        ("randint", 0, 2, 1),
        # Its last sentence: one token is still wanted, the sentence 10 11 12 has more.
        ("randint", 0, 1, 0),
        ("randint", 0, 2, 0),
    )
    found = list(draw_pairs(documents, PairRules(9, dupe_factor=1), rng))
    assert not rng.script
    assert [documents.sample(pair) for pair in found] == [
        [CLS, 11, 12, 13, SEP, 15, 16, 17, SEP],
        [CLS, 20, 21, SEP, 13, 14, SEP],
        [CLS, 22, SEP, 10, 11, 12, SEP],
    ]
    assert [pair.random_next for pair in found] == [False, True, True]


def test_sentences_replaced_by_a_random_text_are_read_again() -> None:
    """One document: after ten tries its random text is from itself; the sentence that was left out begins a pair."""
    documents = Lists([[10, 11], [12, 13]])
    rng = Scripted(
        ("shuffle", 1, [0]),
        ("random", 0.1),  # not below 0.1: full length, 5 tokens
        ("randint", 1, 1, 1),
        ("random", 0.49),  # below 0.5: a random text, of 3 tokens at least
        *[("randint", 0, 0, 0)] * 10,
        ("randint", 0, 1, 0),
        ("random", 0.3),  # 2 + 4 tokens are one too many: the second text, the longer one, loses its first
        *[("randint", 0, 0, 0)] * 10,  # sentence two, a single one
        ("randint", 0, 1, 1),
    )
    found = list(draw_pairs(documents, PairRules(8, dupe_factor=1), rng))
    assert not rng.script
    assert [documents.sample(pair) for pair in found] == [
        [CLS, 10, 11, SEP, 11, 12, 13, SEP],
        [CLS, 12, 13, SEP, 12, 13, SEP],
    ]


def test_masks_by_hand() -> None:
    """9 tokens x 0.3 = 2.7, so 3, but at most 2; tokens are hidden in shuffled order and told in theirs."""
    ids = [CLS, 11, 12, 13, SEP, 15, 16, 17, SEP]
    rng = Scripted(
        ("shuffle", 6, [4, 1, 0, 2, 3, 5]),  # of the places 1 2 3 5 6 7: 6 and 2 come first
        ("random", 0.79),  # [MASK]
        ("random", 0.8),  # not [MASK]
        ("random", 0.5),  # a random token
        ("randint", 0, 59, 33),
    )
    assert draw_masks(ids, MaskRules(60, CLS, SEP, MASK, 0.3, 2), rng) == ([2, 6], [33, MASK])
    assert not rng.script


def test_whole_words_by_hand() -> None:
    """13, 15 and 17 continue words; two tokens may be hidden. A word that is too long is left out."""
    ids = [CLS, 12, SEP, 13, 20, 15, 17, 22, SEP]  # words: 12 13 (across [SEP], as published), 20 15 17, 22
    rng = Scripted(
        ("shuffle", 3, [2, 1, 0]),
        ("random", 0.9),  # 22: kept as it is
        ("random", 0.1),
        # 20 15 17 are three and 12 13 are two: too many beside 22, so nothing is drawn for them.
    )
    rules = MaskRules(60, CLS, SEP, MASK, 0.25, 20, frozenset({13, 15, 17}))
    assert draw_masks(ids, rules, rng) == ([7], [22])  # 9 x 0.25 = 2.25, so 2
    assert not rng.script


@pytest.mark.parametrize(("length", "share", "hidden"), [(10, 0.25, 2), (14, 0.25, 4), (4, 0.1, 1), (40, 0.5, 5)])
def test_number_of_hidden_tokens(length: int, share: float, hidden: int) -> None:
    """Python rounds halves to the even number; at least one is hidden, and at most five."""
    ids = [CLS, *range(10, 7 + length), SEP, SEP]
    positions, _ = draw_masks(ids, MaskRules(60, CLS, SEP, MASK, share, 5), Random(1))
    assert len(positions) == hidden


def test_lone_texts_are_whole_sentences_and_lose_no_token() -> None:
    """Samples of six tokens: sentences together while they fit; a longer one goes on in the next sample."""
    documents = Lists([[10, 11], [12, 13, 14], [15, 16]], [[20, 21, 22, 23, 24, 25, 26], [27]])
    rng = Scripted(
        ("shuffle", 2, [1, 0]),
        ("random", 0.1),  # not below 0.1: full length
        ("random", 0.05),  # the first document aims at 4 tokens
        ("randint", 2, 6, 4),
    )
    found = list(draw_texts(documents, PairRules(8, dupe_factor=1, pairs=False), rng))
    assert not rng.script
    assert [documents.tokens[text.first : text.first_stop] for text in found] == [
        [20, 21, 22, 23, 24, 25],
        [26, 27],
        [10, 11],
        [12, 13, 14],
        [15, 16],
    ]
    assert all(text.second == text.second_stop and not text.random_next for text in found)
