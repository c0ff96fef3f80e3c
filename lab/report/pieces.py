"""Sequences of small pieces (tokens, words, items) drawn as boxes that follow each other, each marked for what it is.

The same pieces are drawn on a picture and written into a page, so both say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from lab.report.canvas import GREY, INK, PAPER, Colour
from lab.report.captions import cut_to
from lab.text import printable

PLAIN, SPECIAL, HIDDEN, ANSWER, QUESTION, SECOND, PADDING, TARGET, CONTEXT = (
    "plain",
    "special",
    "hidden",
    "answer",
    "question",
    "second",
    "padding",
    "target",
    "context",
)
FILLS: dict[str, Colour] = {
    PLAIN: (232, 237, 243),
    SPECIAL: (206, 211, 218),
    HIDDEN: (255, 205, 196),
    ANSWER: (176, 226, 186),
    QUESTION: (202, 222, 250),
    SECOND: (228, 214, 246),
    PADDING: (255, 255, 255),
    TARGET: (255, 231, 170),
    CONTEXT: (246, 246, 243),
}
"""The colours of the marks, on which dark text is read; a page has the same in its style."""
_PAD, _GAP, _MARGIN = 4, 3, 10
_EDGE: Colour = (190, 196, 204)
MOST_LETTERS = 40


@dataclass(frozen=True)
class MarkedPiece:
    """A piece of a sequence.

    Attributes:
        text: what it is.
        mark: what it is for, one of the words above.
        below: a second line: what is to be said in its place, or what follows it.
        breaks: whether a new line begins after it.
    """

    text: str
    mark: str = PLAIN
    below: str = ""
    breaks: bool = False


def shown(text: str) -> str:
    """Return a text as it is shown: blanks at its ends and control characters can be seen, long ones are cut."""
    text = text.replace("\n", r"\n").replace("\t", r"\t")
    inner = text.strip(" ")
    if inner != text:
        left = len(text) - len(text.lstrip(" "))
        text = "·" * len(text) if not inner else "·" * left + inner + "·" * (len(text) - left - len(inner))
    text = printable(text)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def draw_pieces(
    pieces: Sequence[MarkedPiece], title: str = "", width: int = 720, size: int = 14, most_lines: int = 30
) -> Image.Image:
    """Return pieces as a picture, in lines; what does not fit into it is counted in the last line.

    Args:
        pieces: in their order.
        title: stands above them.
        width: of the picture, in pixels.
        size: of the font, in pixels.
        most_lines: of the picture.
    """
    font, small = ImageFont.load_default(size=size), ImageFont.load_default(size=max(9, size - 3))
    lines = _lines(pieces, font, small, width - 2 * _MARGIN)
    left = sum(map(len, lines[most_lines:]))
    lines = lines[:most_lines]
    below = any(piece.below for line in lines for piece, _ in line)
    box, step = round(size * 1.5), round(size * 1.5) + (round(size * 1.1) if below else 0) + 5
    above = box if title else 0
    height = 2 * _MARGIN + above + step * len(lines) + (step if left else 0)
    sheet = Image.new("RGB", (width, max(height, 2 * _MARGIN + step)), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN), cut_to(printable(title), font, width - 2 * _MARGIN), fill=GREY, font=small)
    for number, line in enumerate(lines):
        x, top = float(_MARGIN), _MARGIN + above + number * step
        for piece, wide in line:
            edge = _EDGE if piece.mark == PADDING else None
            draw.rounded_rectangle((x, top, x + wide, top + box), 3, fill=FILLS[piece.mark], outline=edge)
            ink = GREY if piece.mark in (PADDING, SPECIAL) else INK
            draw.text((x + wide / 2, top + box / 2), shown(piece.text), fill=ink, font=font, anchor="mm")
            if piece.below:
                draw.text(
                    (x + wide / 2, top + box + 1), shown(piece.below), fill=(150, 40, 30), font=small, anchor="ma"
                )
            x += wide + _GAP
    if left:
        draw.text((_MARGIN, height - _MARGIN - step / 2), f"… and {left} more", fill=GREY, font=font, anchor="lm")
    return sheet


def _lines(
    pieces: Sequence[MarkedPiece], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, small: object, room: float
) -> list[list[tuple[MarkedPiece, int]]]:
    """Return the lines of pieces, each with the width of its box."""
    lines: list[list[tuple[MarkedPiece, int]]] = [[]]
    used, fresh = 0.0, False
    for piece in pieces:
        texts = [font.getlength(shown(piece.text))]
        if piece.below:
            texts.append(small.getlength(shown(piece.below)))  # type: ignore[attr-defined]
        wide = min(math.ceil(max(texts)) + 2 * _PAD, int(room))
        if lines[-1] and (fresh or used + wide > room):
            lines.append([])
            used = 0.0
        lines[-1].append((piece, wide))
        used, fresh = used + wide + _GAP, piece.breaks
    return lines
