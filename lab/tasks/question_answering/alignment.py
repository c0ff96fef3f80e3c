"""The text of an answer as run_squad.py's ``get_final_text`` finds it: by aligning normalised with written words.

run_squad.py keeps no characters of tokens. It takes the written words that hold the answer, joined by one blank each,
cuts and normalises them again and looks for the answer's tokens in the result. If the characters of both correspond one
to one, they lead back to the written text; if not (an unknown token, a ligature that is taken apart, a character that
is dropped), the answer is the whole words. Where the same letters stand twice in the words, the first place is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lab.data.text.tokenizer import TextTokenizer

_WORD = re.compile("[^ \t\r\n\u202f]+")


def aligned_text(text: str, begin: int, last: int, ids: Sequence[int], tokenizer: TextTokenizer) -> str:
    """Return the text of a span of tokens.

    Args:
        text: whole words, with the span's words among them.
        begin: the character of ``text`` that its first token begins at.
        last: the character that its last token begins at.
        ids: the tokens of the span.
        tokenizer: of WordPiece.
    """
    words = [found[0] for found in _WORD.finditer(text) if found.end() > begin and found.start() <= last]
    pieces = " ".join(str(tokenizer.id_to_token(number)) for number in ids)
    joined = " ".join(pieces.replace(" ##", "").replace("##", "").split())
    return align(joined, " ".join(words), " ".join(basic_words(" ".join(words), tokenizer)))


def align(predicted: str, written: str, normalised: str) -> str:
    """Return the part of written words that stands for predicted ones, or all of them if that cannot be told.

    Args:
        predicted: the words of an answer, as the tokenizer normalises them.
        written: the words of the text that hold it.
        normalised: those words as the tokenizer normalises and splits them.
    """
    place = normalised.find(predicted)
    if place < 0:
        return written
    of_written = [index for index, sign in enumerate(written) if sign != " "]
    of_normalised = {index: rank for rank, index in enumerate(i for i, sign in enumerate(normalised) if sign != " ")}
    first, last = of_normalised.get(place), of_normalised.get(place + len(predicted) - 1)
    if len(of_written) != len(of_normalised) or first is None or last is None:
        return written
    return written[of_written[first] : of_written[last] + 1]


def basic_words(text: str, tokenizer: TextTokenizer) -> list[str]:
    """Return a text as cleaned and normalised words and signs of punctuation, before these become pieces."""
    normalise, split = _steps(tokenizer.to_text())
    return [word for word, _ in split(normalise(text))]


@lru_cache(maxsize=4)
def _steps(text: str) -> Any:
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(text)
    normalise = found.normalizer.normalize_str if found.normalizer is not None else str
    return normalise, found.pre_tokenizer.pre_tokenize_str
