"""Checks whether quotes in a text table are so simple that every reader parses them in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lab.data.tables.lines import LONGEST_LINE

_QUOTE, _LF, _CR = 0x22, 0x0A, 0x0D


def plainly_quoted(blocks: Iterable[bytes], separator: int) -> bool:
    """Return whether quotes enclose whole values, each within one line and without inner quotes.

    Args:
        blocks: the text.
        separator: the byte between columns.
    """
    return all(_plain(text, separator) for text in _of_whole_lines(blocks))


def _of_whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield text in pieces that end at line ends."""
    carried: list[bytes] = []
    for block in blocks:
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        if not end:
            carried.append(block)
            if sum(map(len, carried)) > LONGEST_LINE:
                yield b'"'  # which is not simple, so the careful reader gets the file and refuses such a line
                return
            continue
        yield b"".join([*carried, block[:end]])
        carried = [block[end:]]
    yield b"".join(carried)


def _plain(text: bytes, separator: int) -> bool:
    signs = np.frombuffer(b"\n" + text + b"\n", dtype=np.uint8)
    quotes = np.flatnonzero(signs == _QUOTE)
    if not len(quotes):
        return True
    if len(quotes) % 2:
        return False
    before, after = signs[quotes[0::2] - 1], signs[quotes[1::2] + 1]
    outside = (_LF, _CR, separator)
    if not (np.isin(before, outside).all() and np.isin(after, outside).all()):
        return False
    ends = np.flatnonzero((signs == _LF) | (signs == _CR))
    return not (np.searchsorted(quotes, ends) % 2).any()
