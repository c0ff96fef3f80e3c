"""Makes text from elsewhere (names in a dataset, files, messages of libraries) safe for a terminal."""

from __future__ import annotations

import logging
import re
import sys
import warnings

# Control characters (C0, C1), marks that change the writing direction, line separators, lone surrogates (from file
# names that are not UTF-8), and the byte-order mark, which is invisible.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_BREAKS = re.compile(r"[^\S\n]*[\r\n]\s*")
_default_format = warnings.formatwarning


def printable(text: object, keep_lines: bool = False) -> str:
    r"""Return a text in which every character that a terminal would act on is escaped (``\x1b``).

    Args:
        text: anything; its ``str`` is taken.
        keep_lines: leave line breaks and tabs as they are, as in a traceback.
    """

    def escaped(match: re.Match[str]) -> str:
        sign = match[0]
        return sign if keep_lines and sign in "\n\t" else sign.encode("unicode_escape").decode("ascii")

    return _UNSAFE.sub(escaped, str(text))


def one_line(text: object) -> str:
    """Return a text as ``printable``, with each line break and the spaces around it replaced by one space."""
    return printable(_BREAKS.sub(" ", str(text).strip()))


def guard_streams() -> None:
    """Make output safe for the terminal: escape what cannot be encoded, and make warnings and logs ``printable``."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stream that replaces the terminal's may have none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    warnings.formatwarning = _format_warning
    logging.setLogRecordFactory(_Record)


class _Record(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage(), keep_lines=not self.name.startswith("lab."))


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return printable(_default_format(one_line(message), category, filename, lineno, line), keep_lines=True)
