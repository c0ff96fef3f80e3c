"""Show a text on the terminal as it grows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from lab.data.text.tokenizer import TextTokenizer
from lab.tasks.language_modeling.generating import until
from lab.text import printable

_UNFINISHED = "�"
"""What decoding writes for the first bytes of a character whose others are still to come."""


class TextStream:
    """Passes on what tokens add to a text, as soon as it is sure.

    Bytes of an unfinished character wait for the rest, and so does an end that may become a text to stop at.

    Args:
        tokenizer: decodes the tokens.
        stop: texts before which the text ends.
        write: takes what is added; by default it is printed, with characters escaped that a terminal would act on.
        behind: whether a text stands before it.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        stop: Sequence[str] = (),
        write: Callable[[str], None] | None = None,
        behind: bool = True,
    ) -> None:
        self.decode = tokenizer.decode_added if behind else tokenizer.decode
        self.stop, self.write = stop, write or _print
        self.ids: list[int] = []
        self.shown = 0

    def add(self, token: int) -> None:
        """Add a token."""
        self.ids.append(token)
        text = self.decode(self.ids).rstrip(_UNFINISHED)
        end = until(text, self.stop)
        self._show(end if len(end) < len(text) else text[: len(text) - self._may_become_a_stop(text)])

    def finish(self, text: str) -> None:
        """Show what is missing of the whole text."""
        self._show(text)

    def _show(self, text: str) -> None:
        if len(text) > self.shown:
            self.write(text[self.shown :])
            self.shown = len(text)

    def _may_become_a_stop(self, text: str) -> int:
        """Return the length of the longest end of the text that a text to stop at begins with."""
        lengths = (n for word in self.stop for n in range(1, len(word)) if text.endswith(word[:n]))
        return max(lengths, default=0)


def _print(text: str) -> None:
    sys.stdout.write(printable(text, keep_lines=True))
    sys.stdout.flush()
