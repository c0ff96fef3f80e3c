"""Pictures of classifiers."""

from __future__ import annotations

import torch

from lab.ops.images import normalize_images
from lab.structures.classification import ClassificationSpec
from lab.tasks.classification.pictures import draw_inputs, draw_mistakes


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
