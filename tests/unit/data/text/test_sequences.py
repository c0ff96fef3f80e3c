"""How texts and pairs become sequences, against Google's loop and by hand."""

from __future__ import annotations

import pytest

from lab.data.text.sequences import TextEncoding, cut_pair
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError

TOKENIZER = TextTokenizer.characters("abcdefgh ", ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
PAD, UNK, CLS, SEP = range(4)
A = TOKENIZER.token_to_id("a")
assert A is not None


def of(max_length: int = 8, stride: int = 0, most: int = 32) -> TextEncoding:
    return TextEncoding(TOKENIZER, max_length, stride, most)


def test_a_pair_is_cut_as_googles_loop_does() -> None:
    """``_truncate_seq_pair`` of run_classifier.py: the longer text loses a token, the second one of two as long."""

    def loop(first: int, second: int, room: int) -> tuple[int, int]:
        while first + second > room:
            first, second = (first - 1, second) if first > second else (first, second - 1)
        return first, second

    cases = [(first, second, room) for first in range(9) for second in range(9) for room in range(1, 12)]
    assert [cut_pair(*case) for case in cases] == [loop(*case) for case in cases]


def test_a_text_is_cut_off() -> None:
    encoded = of().encode(["abcabcabc", "aa"])
    assert encoded.windows(0) == [([CLS, A, A + 1, A + 2, A, A + 1, A + 2, SEP], 8)]
    assert encoded.windows(1) == [([CLS, A, A, SEP], 4)]
    assert (encoded.shortened, encoded.lengths().tolist()) == (1, [8, 4])


def test_a_pair() -> None:
    encoded = of(9).encode(["abc", "aaaaaaaa"], ["b", "bbbb"])
    assert encoded.windows(0) == [([CLS, A, A + 1, A + 2, SEP, A + 1, SEP], 5)]
    assert encoded.windows(1) == [([CLS, A, A, A, SEP, A + 1, A + 1, A + 1, SEP], 5)]
    assert encoded.shortened == 1


@pytest.mark.parametrize(
    ("length", "starts"),
    [(0, [0]), (6, [0]), (7, [0, 4]), (10, [0, 4]), (11, [0, 4, 8]), (17, [0, 4, 8, 12])],
)
def test_windows_read_every_token(length: int, starts: list[int]) -> None:
    """Of 6 tokens each, 4 apart; the last one ends with the text."""
    text = "abcdefgh "[:8] * 3
    windows = of(stride=4).encode([text[:length]]).windows(0)
    tokens = TOKENIZER.encode(text[:length])
    assert [ids[1:-1] for ids, _ in windows] == [tokens[start : start + 6] for start in starts]
    assert starts[-1] + 6 >= length


def test_too_many_windows_are_counted() -> None:
    encoded = of(stride=4, most=2).encode(["a" * 10, "a" * 11])
    assert (len(encoded.windows(0)), len(encoded.windows(1)), encoded.shortened) == (2, 2, 1)


def test_what_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.max_length=2 leaves no room for text beside special tokens$"):
        of(2)
    with pytest.raises(ConfigError, match=r"^data\.window_stride=7: windows hold 6 tokens of a text.*take at most 6$"):
        of(8, 7)
