"""Text that comes from elsewhere (names in a dataset, files, messages of libraries), made safe for a terminal."""

from __future__ import annotations

import logging
import re
import sys
import warnings

# Control characters (C0, C1), marks that turn the direction of what follows, separators of lines, lone surrogates (of
# file names that are no UTF-8), and the byte-order mark, which cannot be seen.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_BREAKS = re.compile(r"[^\S\n]*[\r\n]\s*")
_default_format = warnings.formatwarning


def printable(text: object, keep_lines: bool = False) -> str:
    r"""Return a text with every sign that a terminal would act on written as its escape (``\x1b``).

    Args:
        text: anything; its ``str`` is taken.
        keep_lines: leave line breaks and tabs as they are, as in a traceback.
    """

    def escaped(match: re.Match[str]) -> str:
        sign = match[0]
        return sign if keep_lines and sign in "\n\t" else sign.encode("unicode_escape").decode("ascii")

    return _UNSAFE.sub(escaped, str(text))


def one_line(text: object) -> str:
    """Return a text as ``printable``, its line breaks with the spaces around them made one space."""
    return printable(_BREAKS.sub(" ", str(text).strip()))


def guard_streams() -> None:
    """Let no text stop or steer a terminal: what cannot be encoded is escaped; warnings and logs are ``printable``."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stream put in the place of the terminal's has none
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
