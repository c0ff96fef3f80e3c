"""Pictures of classifiers."""

from __future__ import annotations

import torch
from PIL import Image

from lab.ops.images import normalize_images
from lab.structures.classification import ClassificationSpec
from lab.tasks.classification.pictures import BAD, GOOD, captioned, draw_confusion, draw_inputs, draw_mistakes


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


def test_small_images_are_enlarged_and_large_ones_reduced() -> None:
    assert captioned(torch.zeros(3, 16, 8, dtype=torch.uint8), []).size == (160, 162)
    assert captioned(Image.new("RGB", (640, 320)), []).size == (160, 82)
    assert captioned(Image.new("RGB", (640, 320)), [("x" * 300, BAD)]).width == 160


def test_mistakes_stand_on_a_sheet() -> None:
    mistake = (0.9, 0, 1, torch.zeros(3, 32, 32, dtype=torch.uint8))
    assert draw_mistakes([mistake] * 5, ("a", "b")).width > 320


def test_training_images_are_drawn_as_the_network_gets_them() -> None:
    spec = ClassificationSpec(class_names=("cat", "dog", "eel"), input_shape=(3, 170, 170))
    normalised = normalize_images(torch.randint(0, 256, (1, 3, 170, 170), dtype=torch.uint8))
    plain = draw_inputs(normalised, torch.tensor([2]), spec)
    mixed = draw_inputs(normalised, torch.tensor([[0.75, 0.25, 0.0]]), spec)
    assert mixed.height > plain.height  # a line for each class
    one = draw_inputs(normalize_images(torch.full((1, 3, 160, 160), 93, dtype=torch.uint8)), torch.tensor([1]), spec)
    assert one.getpixel((80, 80)) == (93, 93, 93)
