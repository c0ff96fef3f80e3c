"""The separator between the columns of a table: taken literally, and normalised to one spelling. No torch."""

from __future__ import annotations

import re

from lab.errors import ConfigError

BLANKS = r"\s+"
r"""The one separator that is a pattern: any run of blanks and tabs. All others are literal, ``||`` too."""

_ESCAPES = re.compile(r"\\+(t|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})")


def normalize_separator(separator: str, where: str = "data.separator") -> str:
    r"""Return the normalised separator: ``\t``, ``\\t``, ``\x09`` and a tab itself are all a tab.

    Args:
        separator: as it was typed.
        where: its key, for messages.

    Raises:
        ConfigError: it cannot separate columns.
    """
    if separator == BLANKS:
        return separator
    found = _ESCAPES.sub(lambda match: "\t" if match[1] == "t" else chr(int(match[1][1:], 16)), separator)
    if not found:
        why = "is empty"
    elif set(found) & set("\r\n"):
        why = "ends lines"
    elif '"' in found:
        why = "quotes values"
    elif found.isalnum():
        why = "occurs in names and numbers"
    else:
        return found
    raise ConfigError(
        f"{where}={separator!r} {why}, so it cannot separate columns; for a tab write {where}='\\t', for any run of "
        f"blanks {where}='{BLANKS}'; other signs stand for themselves"
    )
