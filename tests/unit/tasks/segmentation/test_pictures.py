"""Pictures of segmentations: colours at known pixels, borders, panels, legend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.report.canvas import READABLE_SIDE, class_colour
from lab.structures import Segments
from lab.tasks.segmentation.pictures import (
    OPACITY,
    draw_classes,
    palette,
    segment_classes,
    truth_and_prediction,
    with_legend,
)

SIDE = READABLE_SIDE  # large enough not to be enlarged


def halves() -> torch.Tensor:
    """Return a map whose left half is class 0 and right half 2, with a strip at the top that has none."""
    classes = torch.zeros(SIDE, SIDE, dtype=torch.int16)
    classes[:, SIDE // 2 :] = 2
    classes[:40] = -1
    return classes


def mixed(label: int, grey: int) -> list[int]:
    return [round(OPACITY * channel + (1 - OPACITY) * grey) for channel in palette(3)[label].tolist()]


def test_colours_at_known_pixels() -> None:
    image = torch.full((3, SIDE, SIDE), 100, dtype=torch.uint8)
    drawn = np.asarray(draw_classes(image, halves(), 3))
    assert drawn.shape == (SIDE, SIDE, 3)
    assert drawn[100, 10].tolist() == pytest.approx(mixed(0, 100), abs=1)
    assert drawn[100, SIDE - 10].tolist() == pytest.approx(mixed(2, 100), abs=1)
    assert drawn[10, 10].tolist() == [100, 100, 100]
    assert drawn[100, SIDE // 2 - 1].tolist() == [255] * 3  # the border
    assert drawn[100, SIDE // 2].tolist() != [255] * 3


def test_colours_of_classes_do_not_depend_on_the_images_hue() -> None:
    """Else blue under red is no colour of the legend."""
    image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    image[2] = 200
    drawn = np.asarray(draw_classes(image, halves(), 3))
    assert drawn[100, 10].tolist() == pytest.approx(mixed(0, round(200 * 0.114)), abs=1)  # ITU-R 601 luma
    assert drawn[10, 10].tolist() == [0, 0, 200]


def test_small_images_are_enlarged_and_given_segments_are_bordered() -> None:
    image, classes = torch.zeros(3, 8, 10, dtype=torch.uint8), torch.zeros(8, 10, dtype=torch.int16)
    segments = torch.zeros(8, 10, dtype=torch.int16)
    segments[:, 5:] = 1  # two objects of one class
    scale = READABLE_SIDE // 10
    plain, bordered = (np.asarray(draw_classes(image, classes, 1, item)) for item in (None, segments))
    assert plain.shape == bordered.shape == (8 * scale, 10 * scale, 3)
    assert not (plain == 255).all(-1).any()
    assert np.unique(np.nonzero((bordered == 255).all(-1))[1]).tolist() == [5 * scale - 1]


def test_classes_of_segments() -> None:
    segments = torch.tensor([[0, 1, -1], [1, 1, 0]], dtype=torch.int16)
    assert segment_classes(segments, torch.tensor([4, 2])).tolist() == [[4, 2, -1], [2, 2, 4]]
    assert segment_classes(segments, torch.tensor([], dtype=torch.int64)).tolist() == [[-1] * 3] * 2


@pytest.mark.parametrize("as_segments", [False, True])
def test_panels_and_legend_show_what_is_there(as_segments: bool) -> None:
    image = torch.full((3, SIDE, SIDE), 100, dtype=torch.uint8)
    truth = halves().clamp(max=1), torch.tensor([0, 2])  # segments 0 and 1
    predicted = torch.ones(SIDE, SIDE, dtype=torch.int16)
    found = Segments(torch.zeros(SIDE, SIDE, dtype=torch.int16), torch.tensor([1]), torch.ones(1))
    sheet = truth_and_prediction(image, truth, predicted, ("a", "b", "c"), found if as_segments else None)
    pixels = np.asarray(sheet)
    gap = max(4, SIDE // 64)
    assert sheet.width == 3 * SIDE + 2 * gap
    middle = sheet.height // 2
    assert pixels[middle, 10].tolist() == [100] * 3
    assert pixels[middle, SIDE + gap + 10].tolist() == pytest.approx(mixed(0, 100), abs=1)
    assert pixels[middle, 2 * SIDE + gap - 10].tolist() == pytest.approx(mixed(2, 100), abs=1)
    assert pixels[middle, 2 * SIDE + 2 * gap + 10].tolist() == pytest.approx(mixed(1, 100), abs=1)
    below = pixels[-(sheet.height - SIDE) // 2 :].reshape(-1, 3).tolist()
    for label in range(3):
        colour = palette(3)[label].tolist()
        assert colour in below


def test_legend_of_many_names_takes_more_lines_and_none_takes_no_room() -> None:
    picture = draw_classes(torch.zeros(3, SIDE, SIDE, dtype=torch.uint8), halves(), 3)
    assert with_legend(picture, []).size == picture.size
    one, many = (with_legend(picture, [(f"class number {i}", i) for i in range(count)]) for count in (1, 30))
    assert one.width == many.width == SIDE
    assert one.height < many.height
    shown = {tuple(pixel) for pixel in np.asarray(many)[SIDE:].reshape(-1, 3).tolist()}
    assert {tuple(palette(30)[label].tolist()) for label in range(30)} <= shown
    assert tuple(palette(1)[0]) == tuple(
        np.asarray(with_legend(picture, [("x", 0)]).convert("RGB").getpixel((6, one.height - 12)))
    )
    assert class_colour(0) != class_colour(1)
