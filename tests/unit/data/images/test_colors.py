"""Colours against torchvision, colorsys and numbers worked out by hand."""

from __future__ import annotations

import colorsys

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lab.data.images import colors
from lab.data.images.colors import NO_CHANGE, ColorChange, adjust_hsv, scale_levels
from lab.data.images.resizing import sample_generator
from lab.errors import ConfigError


def every_kind(side: int = 160) -> torch.Tensor:
    """Return an image of random colours, with greys, black, white and pure colours among them."""
    image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image[:, :8] = image[:1, :8]
    image[:, 8] = 0
    image[:, 9] = 255
    image[:, 10:13] = torch.eye(3, dtype=torch.uint8)[:, :, None] * 200
    return image


@pytest.mark.parametrize("hue", [0.05, -0.2, 0.5])
def test_hue_equals_torchvision_within_a_level(hue):
    image = every_kind()
    difference = (adjust_hsv(image, hue, 1.0, 1.0).int() - F.adjust_hue(image, hue).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.08  # worst measured: 0.062; torchvision cuts off, here it is rounded


@pytest.mark.parametrize(
    ("hue", "saturation", "value"), [(0.1, 1.6, 0.7), (0.0, 0.4, 1.5), (-0.3, 2.0, 1.2), (1, 1, 1)]
)
def test_hsv_equals_colorsys(hue, saturation, value):
    image = every_kind(14)
    expected = torch.empty(3, 14 * 14)
    for number, colour in enumerate(image.reshape(3, -1).T.double().div(255).tolist()):
        turned, full, bright = colorsys.rgb_to_hsv(*colour)
        changed = colorsys.hsv_to_rgb((turned + hue) % 1, min(1, full * saturation), min(1, bright * value))
        expected[:, number] = torch.tensor(changed) * 255
    difference = adjust_hsv(image, hue, saturation, value).reshape(3, -1) - expected
    assert difference.abs().max() <= 0.5001  # of rounding; worst measured: 0.5000


@pytest.mark.parametrize("mutant", ["_sixths", "_ways"])
def test_mutants_of_hsv_are_seen(mutant, monkeypatch):
    original = getattr(colors, mutant)
    monkeypatch.setattr(colors, mutant, lambda *given: original(*given).roll(1, 0))
    image = every_kind()
    assert (adjust_hsv(image, 0.2, 1.0, 1.0).int() - F.adjust_hue(image, 0.2).int()).abs().max() > 100


def test_levels_by_hand():
    image = torch.tensor([0, 1, 10, 100, 200, 255], dtype=torch.uint8).expand(3, 1, -1)
    # 1.5 x + 0.75 (round half to even, as addWeighted of OpenCV does): 0.75 2.25 15.75 150.75 300.75 383.25
    assert scale_levels(image, 1.5, 0.75)[0, 0].tolist() == [1, 2, 16, 151, 255, 255]
    assert scale_levels(image, 0.5, 0.0)[0, 0].tolist() == [0, 0, 5, 50, 100, 128]  # 0.5 -> 0, 127.5 -> 128
    assert scale_levels(image, 1.0, -10.0)[0, 0].tolist() == [0, 0, 0, 90, 190, 245]


def test_what_is_off_draws_nothing_and_what_is_on_is_drawn_in_its_range():
    image = every_kind(32)
    generator = sample_generator(0, 0, 0)
    before = generator.get_state()
    assert NO_CHANGE(image, generator) is image
    assert ColorChange(hsv=(0, 0, 0))(image, generator) is image
    assert torch.equal(generator.get_state(), before)
    grey = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    change = ColorChange(contrast=(0.5, 1.5), brightness=(10, 20))
    levels = [int(change(grey, sample_generator(0, 0, index))[0, 0, 0]) for index in range(200)]
    assert 60 <= min(levels) < 72
    assert 158 < max(levels) <= 170
    bright = ColorChange(hsv=(0.0, 0.0, 0.4))
    levels = [int(bright(grey, sample_generator(0, 0, index))[0, 0, 0]) for index in range(200)]
    assert 60 <= min(levels) < 63
    assert 137 < max(levels) <= 140


def test_the_size_of_a_part_changes_nothing(monkeypatch):
    image = every_kind(50)
    whole = adjust_hsv(image, 0.1, 1.2, 0.9)
    monkeypatch.setattr(colors, "_PART", 333)
    assert torch.equal(adjust_hsv(image, 0.1, 1.2, 0.9), whole)
    assert torch.equal(adjust_hsv(image.flip(-1)[:, ::2], 0.1, 1.2, 0.9), whole.flip(-1)[:, ::2])


def test_wrong_numbers_are_named():
    for options, name in [
        ({"color": 1.5}, "color"),
        ({"hsv": (0.1, 0.2)}, "hsv=.*three gains from 0 to 1"),
        ({"hsv": (0.1, 0.2, 1.2)}, "hsv"),
        ({"contrast": (1.5, 0.5)}, "contrast=.*smallest and largest factor"),
        ({"brightness": (0, 300)}, "brightness"),
    ]:
        with pytest.raises(ConfigError, match=name):
            ColorChange(**options)
