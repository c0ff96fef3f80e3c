"""Pieces as they are shown, and the picture of them."""

from __future__ import annotations

import numpy as np
import pytest

from lab.report.pieces import FILLS, HIDDEN, MOST_LETTERS, PLAIN, MarkedPiece, draw_pieces, shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("the", "the"),
        (" the", "·the"),
        ("  ", "··"),
        ("a b ", "a b·"),
        ("\n", r"\n"),
        ("a\x1b", r"a\x1b"),
        ("x" * 99, "x" * (MOST_LETTERS - 1) + "…"),
    ],
)
def test_blanks_and_control_characters_can_be_seen(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_each_piece_has_the_colour_of_its_mark() -> None:
    picture = np.asarray(draw_pieces([MarkedPiece("one"), MarkedPiece("two", HIDDEN, "true")]))
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert FILLS[PLAIN] in colours
    assert FILLS[HIDDEN] in colours


def test_lines_break_and_what_has_no_room_is_counted() -> None:
    pieces = [MarkedPiece(f"word{number}") for number in range(200)]
    whole, part = draw_pieces(pieces, most_lines=100), draw_pieces(pieces, most_lines=3)
    assert whole.width == part.width
    assert whole.height > 2 * part.height
    assert (
        draw_pieces([MarkedPiece("a", breaks=True), MarkedPiece("b")]).height
        > draw_pieces([MarkedPiece("a"), MarkedPiece("b")]).height
    )


def test_a_piece_that_is_wider_than_the_picture_and_none_at_all() -> None:
    assert draw_pieces([MarkedPiece("x" * 500)], width=100).width == 100
    assert draw_pieces([]).height > 0
