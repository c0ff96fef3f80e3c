"""Quote signs in a table of text: are they so plain that any reader takes them alike?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

_QUOTE, _LF, _CR = 0x22, 0x0A, 0x0D


def plainly_quoted(blocks: Iterable[bytes], separator: int) -> bool:
    """Return whether quotes hold whole values of one line each, and no quote signs.

    Args:
        blocks: the text.
        separator: the byte between columns.
    """
    return all(_plain(text, separator) for text in _of_whole_lines(blocks))


def _of_whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield text that ends where a line does."""
    carried: list[bytes] = []
    for block in blocks:
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        if not end:
            carried.append(block)
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
