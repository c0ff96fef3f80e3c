"""Decodes text files from other tools (lists, json, XML, names of classes).

The encoding follows from a byte order mark, else from an XML declaration, else it is UTF-8. Nothing is guessed: a list
in GBK does not tell its encoding, so it is refused in one line. Only the standard library is used.
"""

from __future__ import annotations

import codecs
import re
import stat
from pathlib import Path

from lab.errors import DataError

MARKS = (  # the longer first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "cp950"}
"""Encodings whose names are often used for a superset, and that superset, in Python's names."""
NOT_FOR_FILES = frozenset({"idna", "punycode", "undefined", "charmap", "utf-7", "unicode-escape", "raw-unicode-escape"})
"""Python codecs that are not encodings of text files; ``unicode-escape`` would read other characters."""
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._:-]*)["']""")


def read_text(path: str | Path) -> str:
    """Return the text of a file, without a byte order mark and with line feeds as line ends.

    Args:
        path: a file in UTF-8, UTF-16 or UTF-32, or XML in the encoding that it declares.

    Raises:
        DataError: the file cannot be read, or its bytes are not valid in its encoding.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # reading a pipe would block for ever
            raise DataError(f"{path} cannot be read: it is no regular file")
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return decode_text(content, str(path))


def decode_text(content: bytes, name: str) -> str:
    """Return bytes as text; see ``read_text``.

    Args:
        content: the bytes of a whole file.
        name: the file's name, for messages.

    Raises:
        DataError: the bytes are not valid in their encoding.
    """
    marked, encoding = _marked(content)
    problem = ""
    declared = None if encoding else _declared(content)
    candidates = [encoding or "utf-8"] if declared is None else [declared, WIDER.get(declared, declared)]
    for candidate in candidates:
        try:
            text = content[marked:].decode(candidate)
        except UnicodeDecodeError as error:
            problem = f"byte {marked + error.start} is none of its letters"
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        problem = "it holds zero bytes"
    what = "starts as" if encoding else "has no byte order mark and should be" if declared is None else "declares"
    raise DataError(f"{name} {what} {candidates[0].upper()}, but {problem}; save the file as UTF-8")


def _marked(content: bytes) -> tuple[int, str | None]:
    """Return the length of the byte order mark, and the encoding that the mark or zeros in the first bytes tell."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return len(mark), encoding
    zeros = [byte == 0 for byte in content[:4]]  # as XML and json tell UTF-16 and UTF-32 without a mark
    wide: dict[tuple[bool, ...], str] = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return 0, wide.get(tuple(zeros))


def _declared(content: bytes) -> str | None:
    """Return Python's name of the encoding that an XML file declares; None without a valid declaration."""
    found = _DECLARED.match(content[:1024])
    try:
        codec = codecs.lookup(found[1].decode("ascii")) if found else None
    except LookupError:  # "ansi" for instance, which is not an encoding: only UTF-8 is tried
        return None
    if codec is None or codec.name in NOT_FOR_FILES or codec.name.startswith(("utf-16", "utf-32")):
        return None  # the declaration was readable byte by byte, so the file is not in UTF-16
    try:
        b"a".decode(codec.name)
    except LookupError:  # base64, zlib and the like, which are not text encodings
        return None
    return codec.name
