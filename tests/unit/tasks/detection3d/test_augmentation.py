"""Colours and masks of a training against slow forms of what DETR3D's authors do, drawn from the same numbers."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.ops.chances import unit
from lab.structures.detection3d import PixelScale
from lab.tasks.detection3d import augmentation
from lab.tasks.detection3d.augmentation import changed_hues, distorted, grid_masked, normalized
from lab.tasks.detection3d.data.collate import OF_GRID, OF_PICTURE, draw_chances

GRID = {"probability": 0.7, "ratio": 0.5}
COLOURS: dict[str, Any] = {"brightness": 32.0, "contrast": [0.5, 1.5], "saturation": [0.5, 1.5], "hue": 18.0}
COLOURS |= {"swap_channels": True}


def chances_of(count: int, cameras: int = 2) -> Tensor:
    return torch.stack([draw_chances(torch.Generator().manual_seed(seed), cameras) for seed in range(count)])


def slow_grid(height: int, width: int, drawn: list[float], ratio: float) -> np.ndarray[Any, Any]:
    """Return the mask (H, W) as the published module paints it: bars of ones on a canvas, cut from its middle."""
    rows, columns = int(1.5 * height), int(1.5 * width)
    period = 2 + math.floor(drawn[1] * (height - 2))
    bar = min(max(int(period * ratio + 0.5), 1), period - 1)
    canvas = np.zeros((rows, columns))
    for number in range(rows // period):
        start = period * number + math.floor(drawn[2] * period)
        canvas[start : start + bar] = 1
    for number in range(columns // period):
        start = period * number + math.floor(drawn[3] * period)
        canvas[:, start : start + bar] = 1
    top, left = (rows - height) // 2, (columns - width) // 2
    return canvas[top : top + height, left : left + width]


def test_grid_mask_is_the_published_one() -> None:
    chances, images = chances_of(24), torch.ones(24, 2, 3, 37, 50)
    found, masked = grid_masked(images, chances, GRID), 0
    for row in range(24):
        drawn = unit(chances[row, :OF_GRID]).tolist()
        expected = slow_grid(37, 50, drawn, 0.5) if drawn[0] < 0.7 else np.ones((37, 50))
        masked += drawn[0] < 0.7
        assert (found[row].numpy() == expected).all(), row
    assert 12 < masked < 24


def slow_colours(image: np.ndarray[Any, Any], drawn: list[float]) -> np.ndarray[Any, Any]:
    """Return one picture (3, h, w) RGB with other colours, pixel by pixel, with Python's own HSV."""
    found = image.astype(np.float64)
    if drawn[0] < 0.5:
        found = found + (-32 + drawn[6] * 64)
    contrast = 0.5 + drawn[7] if drawn[2] < 0.5 else 1.0
    if drawn[1] < 0.5:
        found = found * contrast
    saturation = 0.5 + drawn[8] if drawn[3] < 0.5 else 1.0
    hue = -18 + 36 * drawn[9] if drawn[4] < 0.5 else 0.0
    flat = found.reshape(3, -1)
    for column in range(flat.shape[1]):
        angle, share, value = colorsys.rgb_to_hsv(*flat[:, column])
        flat[:, column] = colorsys.hsv_to_rgb((angle + hue / 360) % 1, share * saturation, value)
    if drawn[1] >= 0.5:
        found = found * contrast
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return found[list(orders[int(drawn[10] * 6)])] if drawn[5] < 0.5 else found


def test_colours_change_as_published() -> None:
    chances = chances_of(16)
    images = torch.randint(40, 256, (16, 2, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[0, 0, :, 0, 0] = 99  # grey
    found = distorted(images, chances, COLOURS)
    drawn = unit(chances[:, OF_GRID:]).unflatten(1, (2, OF_PICTURE))
    worst = 0.0
    for row in range(16):
        for camera in range(2):
            expected = slow_colours(images[row, camera].numpy(), drawn[row, camera].tolist())
            worst = max(worst, float(np.abs(found[row, camera].numpy() - expected).max()))
    assert worst < 1e-3  # of 255; worst measured: 1.6e-4, float32
    assert (found[0, 0] != found[0, 1]).any()  # each camera by itself


def test_hues_turn() -> None:
    red = torch.tensor([200.0, 0.0, 0.0]).view(3, 1, 1)
    same, turn = torch.ones(1, 1), torch.full((1, 1), 120.0)
    torch.testing.assert_close(changed_hues(red, same, turn).flatten(), torch.tensor([0.0, 200.0, 0.0]))
    torch.testing.assert_close(changed_hues(red, same / 2, turn * 0).flatten(), torch.tensor([200.0, 100.0, 100.0]))


def both() -> None:
    test_grid_mask_is_the_published_one()
    test_colours_change_as_published()


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("_bars", lambda side, period, bar, phase: (torch.arange(side) % period[:, None]) < bar[:, None]),
        ("changed_hues", lambda images, saturation, hue: changed_hues(images, saturation, hue * 0)),
        ("_ORDERS", ((0, 1, 2),) * 6),
    ],
)
def test_mutants_are_seen(name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, name, mutant)
    with pytest.raises(AssertionError):
        both()


def test_pixels_as_a_network_wants_them() -> None:
    images = torch.randint(0, 256, (2, 1, 3, 4, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    scale, sizes = PixelScale((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), bgr=True), torch.tensor([[4, 6], [2, 5]])
    found = normalized(images, sizes, scale)
    expected = (images.flip(2).float() - torch.tensor([1.0, 2, 3]).view(3, 1, 1)) / torch.tensor([4.0, 5, 6]).view(
        3, 1, 1
    )
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1, ..., :2, :5], expected[1, ..., :2, :5])
    assert not found[1, ..., 2:, :].any()
    assert not found[1, ..., 5:].any()
    assert images.dtype == torch.uint8
