"""Documents of sentences: what text files hold is read line by line, so a file may be larger than memory."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from lab.checking import check_choice, check_file
from lab.data.tables.columns import TextLayout
from lab.data.tables.text import read_text
from lab.data.text.lines import JSONL, TABLES, read_jsonl, read_lines

log = logging.getLogger(__name__)
SentenceLayout = Literal["lines", "paragraphs", "wikitext"]
LAYOUTS = ("lines", "paragraphs", "wikitext")
# Nothing is read twice (possessive quantifiers), so that a line of 10 MB of dots or blanks takes no longer than others.
_END = re.compile(r"""(?<![.!?])[.!?]++["'”’)\]]*+\s++(?=["'“‘(\[]*+\s*+[^\W_a-z])""")
_MARKS = re.compile(r" @([-.,])@ ")
_LONGEST = 20  # characters that an abbreviation is looked for in
_TITLES = ("mr", "mrs", "ms", "dr", "st", "prof", "gen", "col", "lt", "sgt", "capt", "rev", "hon", "jr", "sr")
_NO_END = frozenset({*_TITLES, "vs", "no", "vol", "fig", "eq", "ca", "cf", "e.g", "i.e", "etc"})


def read_sentences(
    paths: Sequence[Path], layout: SentenceLayout, column: str = "text", column_names: Sequence[str] | None = None
) -> Iterator[str | None]:
    """Yield sentences, and None where a document ends.

    Args:
        paths: text files, read one after the other. Of a .jsonl, .csv or .tsv each row is a document of running text;
            the last two are held in memory.
        layout: ``"lines"``: a sentence a line, and an empty line between documents; the end of a file ends none, as in
            the published ``create_pretraining_data.py``. ``"paragraphs"``: running text, a paragraph a line, and an
            empty line between documents; ``split_sentences`` cuts it. ``"wikitext"``: the articles of WikiText, whose
            headings are left out and whose ``1 @,@ 000`` becomes ``1,000``; see ``split_sentences`` for the rest.
        column: the column of a .jsonl, .csv or .tsv with the text.
        column_names: the columns of a .csv or .tsv without a header.

    Raises:
        DataError: a file is missing or is no text; see ``read_lines`` and ``lab.data.tables.text.read_text``.
    """
    check_choice("data.layout", layout, LAYOUTS)
    for path in paths:
        if (rows := _rows(path, column, column_names)) is not None:
            for row in rows:
                yield from (sentence for line in row.split("\n") for sentence in split_sentences(line))
                yield None
            continue
        for line in read_lines(path):
            text = line.strip()
            if layout == "wikitext":
                yield from _of_wikitext(text)
            elif not text:
                yield None
            elif layout == "lines":
                yield text
            else:
                yield from split_sentences(text)
        if layout != "lines":
            yield None


def _rows(path: Path, column: str, column_names: Sequence[str] | None) -> Iterable[str] | None:
    """Return the texts of a file with a column of them; None for any other file."""
    suffix = path.suffix.lower()
    if suffix in JSONL:
        return read_jsonl(path, column)
    if suffix not in TABLES:
        return None
    check_file(path, may_be_empty=False)
    found = read_text(path, {"text": column}, TextLayout(TABLES[suffix], column_names, None, suffix == ".csv", True))
    texts = [text for text in found.table["text"].to_pylist() if text is not None and text.strip()]
    left_out = {**found.left_out, "without a text": len(found.table) - len(texts)}
    if any(left_out.values()):
        why = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        log.warning("%s: %d rows, %d used: %s", path, found.rows, len(texts), why)
    return texts


def _of_wikitext(text: str) -> Iterator[str | None]:
    if not (text.startswith("= ") and text.endswith(" =")):
        yield from split_sentences(_MARKS.sub(r"\1", text))
    elif not text.startswith("= = "):
        yield None


def split_sentences(text: str) -> list[str]:
    """Return the sentences of running text.

    A sentence ends after ``.``, ``!`` or ``?`` (and closing quotes or brackets) before a blank, if what follows begins
    with no small letter. After an initial (``J.``) or a common abbreviation (``Dr.``) it does not. No rule of this kind
    is always right; a wrong one moves a place where a pair may be split.
    """
    found: list[str] = []
    begin = 0
    for end in _END.finditer(text):
        words = text[max(begin, end.start() - _LONGEST) : end.start()].rsplit(maxsplit=1)
        word = words[-1].lstrip("\"'“‘([") if words else ""
        attached = bool(word) and not text[end.start() - 1].isspace()
        if text[end.start()] == "." and attached and ((len(word) == 1 and word.isupper()) or word.lower() in _NO_END):
            continue
        found.append(text[begin : end.end()].strip())
        begin = end.end()
    rest = text[begin:].strip()
    return [*found, rest] if rest else found
