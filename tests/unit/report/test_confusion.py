"""Confusion matrices as pictures."""

from __future__ import annotations

import torch

from lab.report.canvas import BAD, GOOD
from lab.report.confusion import draw_confusion


def test_a_confusion_matrix_is_shaded_by_the_shares_of_its_rows() -> None:
    names = ("a", "b")
    picture = draw_confusion(torch.tensor([[5, 0], [3, 1]]), names)
    margin = picture.width - 2 * 44 - 2
    corners = {
        (row, column): picture.getpixel((margin + 44 * column + 3, margin + 44 * row + 3))
        for row in (0, 1)
        for column in (0, 1)
    }
    assert corners[0, 0] == GOOD
    assert corners[0, 1] == (255, 255, 255)
    assert corners[1, 0] == tuple(round(255 + (part - 255) * 0.75) for part in BAD)
    assert corners[1, 1] == tuple(round(255 + (part - 255) * 0.25) for part in GOOD)


def test_many_classes_fit_on_a_picture() -> None:
    picture = draw_confusion(torch.eye(500, dtype=torch.int64), tuple(map(str, range(500))))
    assert max(picture.size) < 1300
