"""Pictures of detections: what is drawn, where, and in which colour."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lab.report.canvas import class_colour, contact_sheet
from lab.tasks.detection.pictures import draw_detections, side_by_side

NAMES = ("cat", "dog", "bird")
BOX = torch.tensor([[16.0, 24.0, 48.0, 56.0]])
NO_BOXES = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def grey(height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.full((3, height, width), 100, dtype=torch.uint8)


def pixels(picture: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return (x, y) of all pixels of exactly this colour."""
    data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(picture.height, picture.width, 3)
    rows, columns = torch.where((data == torch.tensor(colour, dtype=torch.uint8)).all(dim=2))
    return list(zip(columns.tolist(), rows.tolist(), strict=True))


def test_small_images_are_enlarged_four_times_and_the_box_with_them() -> None:
    picture = draw_detections(grey(), BOX, torch.tensor([1]), None, NAMES)
    assert picture.size == (256, 256)
    found = pixels(picture, class_colour(1))
    # 16..48 becomes 64..191, and 24..56 becomes 96..223; the label stands above the box.
    assert max(x for x, y in found if y >= 96) == 191
    assert min(x for x, y in found) == 64
    assert max(y for x, y in found) == 223
    assert (64, 96) in found
    assert (191, 223) in found
    assert (128, 160) not in found
    assert any(y < 96 for x, y in found)
    assert picture.getpixel((128, 160)) == (100, 100, 100)


def test_large_images_keep_their_size_and_the_given_picture_its_pixels() -> None:
    photo = Image.new("RGB", (640, 480), (10, 20, 30))
    picture = draw_detections(photo, BOX, torch.tensor([0]), torch.tensor([0.9]), NAMES)
    assert picture.size == (640, 480)
    assert pixels(picture, class_colour(0))
    assert photo.getcolors() == [(640 * 480, (10, 20, 30))]
    assert draw_detections(photo.convert("L"), *NO_BOXES, None, NAMES).mode == "RGB"


def test_low_scores_and_boxes_that_are_not_numbers_are_left_out() -> None:
    boxes = torch.cat([BOX, BOX, torch.tensor([[float("nan"), 0, 9, 9], [0, 0, float("inf"), 9]])])
    scores = torch.tensor([0.7, 0.3, 0.9, 0.9])
    picture = draw_detections(grey(), boxes, torch.tensor([0, 1, 2, 2]), scores, NAMES, threshold=0.5)
    assert pixels(picture, class_colour(0))
    assert not pixels(picture, class_colour(1))
    assert not pixels(picture, class_colour(2))


def test_the_best_box_lies_on_top() -> None:
    boxes = BOX.repeat(2, 1)
    for best, scores in ((0, [0.9, 0.6]), (1, [0.6, 0.9])):
        picture = draw_detections(grey(), boxes, torch.tensor([0, 1]), torch.tensor(scores), NAMES)
        assert picture.getpixel((64, 160)) == class_colour(best)


def test_boxes_beyond_the_image_unordered_boxes_and_unknown_labels_do_no_harm() -> None:
    boxes = torch.tensor([[-1e9, -50.0, 1e9, 90.0], [40.0, 40.0, 10.0, 10.0], [63.9, 63.9, 64.0, 64.0]])
    picture = draw_detections(grey(), boxes, torch.tensor([0, 1, 7]), torch.tensor([0.5, 0.6, 0.7]), NAMES)
    assert picture.size == (256, 256)
    assert (0, 128) in pixels(picture, class_colour(0))


def test_labels_of_equal_boxes_do_not_cover_each_other() -> None:
    picture = draw_detections(grey(), BOX.repeat(3, 1), torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.8, 0.7]), NAMES)
    for label in range(3):
        assert len(pixels(picture, class_colour(label))) > 300  # a label's ground, less its letters


def test_truth_stands_left_and_prediction_right() -> None:
    predicted = (BOX, torch.tensor([1]), torch.tensor([0.8]))
    sheet = side_by_side(grey(), (BOX, torch.tensor([0])), predicted, NAMES)
    middle = sheet.width / 2
    assert {x < middle for x, _ in pixels(sheet, class_colour(0))} == {True}
    assert {x > middle for x, _ in pixels(sheet, class_colour(1))} == {True}
    assert sheet.width >= 2 * 256
    assert sheet.height > 256
    empty = side_by_side(grey(), NO_BOXES, (*NO_BOXES, torch.zeros(0)), NAMES)
    assert empty.size == sheet.size


def test_crowded_small_images_are_enlarged_more_on_both_sides() -> None:
    few, many = (torch.full((count,), 0.8) for count in (8, 9))
    for scores, width in ((few, 256), (many, 640)):
        boxes, labels = BOX.expand(len(scores), 4), torch.ones(len(scores), dtype=torch.int64)
        assert draw_detections(grey(), boxes, labels, scores, NAMES).size == (width, width)
        for sheet in (
            side_by_side(grey(), (boxes, labels), (*NO_BOXES, torch.zeros(0)), NAMES),
            side_by_side(grey(), NO_BOXES, (boxes, labels, scores), NAMES),
        ):
            assert 2 * width < sheet.width < 2 * width + 20
    sheet = side_by_side(grey(), NO_BOXES, (boxes, labels, many), NAMES, threshold=0.9)  # none is drawn
    assert sheet.width < 2 * 256 + 20
    assert draw_detections(grey(480, 640), boxes, labels, many, NAMES).size == (640, 480)


def test_contact_sheet_places_pictures_in_rows() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = contact_sheet([Image.new("RGB", (10, 6), colour) for colour in colours], columns=2, gap=2)
    assert sheet.size == (2 * 12 + 2, 2 * 8 + 2)
    for colour, corner in zip(colours, [(2, 2), (14, 2), (2, 10)], strict=True):
        assert min(pixels(sheet, colour)) == corner
        assert len(pixels(sheet, colour)) == 60
    assert max(contact_sheet([Image.new("RGB", (300, 200))] * 9, max_side=500).size) == 500
    with pytest.raises(ValueError, match="no picture"):
        contact_sheet([])


def test_colours_of_classes_differ() -> None:
    colours = [class_colour(label) for label in range(12)]
    distances = [sum(abs(a - b) for a, b in zip(p, q, strict=True)) for i, p in enumerate(colours) for q in colours[:i]]
    assert min(distances) > 60


def test_an_image_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, H, W\) uint8, not \(64, 64, 3\) torch\.uint8"):
        draw_detections(torch.zeros(64, 64, 3, dtype=torch.uint8), *NO_BOXES, None, NAMES)
    with pytest.raises(ValueError, match=r"torch\.float32"):
        draw_detections(torch.zeros(3, 64, 64), *NO_BOXES, None, NAMES)
