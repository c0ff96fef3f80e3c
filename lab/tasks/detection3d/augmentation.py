"""What the device does to the pictures of frames: normalisation; in training changes of colours and GridMask.

All that is drawn follows from ``MultiviewBatch.chances``, so it is the same on any number of ranks.

- GridMask (Chen et al., "GridMask Data Augmentation", arXiv 2001.04086) as DETR3D (Wang et al., CoRL 2021) applies it:
  to normalised and padded pictures, all cameras of a frame alike; what lies in a horizontal or a vertical bar is kept,
  and the squares between the bars are hidden. Bars have a period of 2 to H - 1 pixels, and a random phase on a canvas
  of one and a half times the size, from whose middle the mask is cut.
- Photometric distortion of SSD (Liu et al., ECCV 2016), of each camera by itself: brightness, contrast (before or after
  the rest), saturation, hue, order of channels, each for every second picture. Values are not clipped, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lab.ops.chances import unit
from lab.structures.detection3d import PixelScale
from lab.tasks.detection3d.data.collate import OF_GRID, OF_PICTURE

_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def normalized(images: Tensor, sizes: Tensor, pixels: PixelScale) -> Tensor:
    """Return pictures (B, N, 3, H, W) in the scale and order of channels of a network; padding is 0.

    They are computed in float32 and returned as torch's default type, which is that of the network.

    Args:
        images: (B, N, 3, H, W) RGB of 0..255, uint8 or float.
        sizes: (B, 2) height and width without the padding.
        pixels: mean, deviation, and whether the network reads BGR.
    """
    height, width = images.shape[-2:]
    mean, deviation = (images.new_tensor(values, dtype=torch.float32).view(3, 1, 1) for values in pixels[:2])
    ordered = images.flip(2) if pixels.bgr else images
    found = ordered.to(torch.float32, copy=True).sub_(mean).div_(deviation)
    rows = torch.arange(height, device=images.device) >= sizes[:, :1]
    columns = torch.arange(width, device=images.device) >= sizes[:, 1:]
    found.masked_fill_((rows[:, :, None] | columns[:, None, :])[:, None, None], 0.0)
    return found.to(torch.get_default_dtype())


def grid_masked(images: Tensor, chances: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Return pictures, those of some frames hidden but for the bars of a grid.

    Args:
        images: (B, N, 3, H, W).
        chances: (B, R) int64, of which the first four are used.
        settings: the fields of ``GridMaskSettings``.
    """
    height, width = images.shape[-2:]
    drawn = unit(chances[:, :OF_GRID])
    period = 2 + (drawn[:, 1] * max(1, height - 2)).floor()
    bar = torch.minimum((period * settings["ratio"] + 0.5).floor().clamp(min=1), period - 1)
    kept = [
        _bars(side, period, bar, (phase * period).floor())
        for side, phase in ((height, drawn[:, 2]), (width, drawn[:, 3]))
    ]
    mask = kept[0][:, :, None] | kept[1][:, None, :] | (drawn[:, 0] >= settings["probability"])[:, None, None]
    return images * mask[:, None, None].to(images.dtype)


def _bars(side: int, period: Tensor, bar: Tensor, phase: Tensor) -> Tensor:
    """Return (B, side) bool, True in bars that begin at ``phase + i * period`` of a canvas of 1.5 times the side.

    As many bars are drawn as whole periods fit the canvas; the side is cut from its middle.
    """
    canvas = int(1.5 * side)
    place = torch.arange(side, device=period.device) + (canvas - side) // 2
    number, within = (place - phase[:, None]).div(period[:, None], rounding_mode="floor"), place - phase[:, None]
    within = within - number * period[:, None]
    return (number >= 0) & (number < (canvas / period).floor()[:, None]) & (within < bar[:, None])


def distorted(images: Tensor, chances: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Return pictures (B, N, 3, H, W) float32 with other colours, about 0..255.

    Args:
        images: (B, N, 3, H, W) uint8 RGB.
        chances: (B, R) int64, those after the first four are used, ``OF_PICTURE`` for each camera.
        settings: the fields of ``PhotometricSettings``.
    """
    count = images.shape[1]
    integers = chances[:, OF_GRID:].unflatten(1, (count, OF_PICTURE))
    drawn, shaped = unit(integers), (*integers.shape[:2], 1, 1, 1)
    does = drawn[..., :6] < 0.5

    def between(column: int, low: float, high: float) -> Tensor:
        return (low + drawn[..., column] * (high - low)).float()

    def chosen(flag: Tensor, value: Tensor, otherwise: float) -> Tensor:
        return torch.where(flag, value, otherwise).view(shaped)

    found = images.float() + chosen(does[..., 0], between(6, -settings["brightness"], settings["brightness"]), 0.0)
    contrast, first = between(7, *settings["contrast"]), does[..., 1]
    found *= chosen(does[..., 2] & first, contrast, 1.0)
    saturation = chosen(does[..., 3], between(8, *settings["saturation"]), 1.0)
    hue = chosen(does[..., 4], between(9, -settings["hue"], settings["hue"]), 0.0)
    found = changed_hues(found, saturation[..., 0, :, :], hue[..., 0, :, :])
    found *= chosen(does[..., 2] & ~first, contrast, 1.0)
    if settings["swap_channels"]:
        orders = torch.tensor(_ORDERS, device=images.device)
        order = torch.where(does[..., 5, None], orders[(drawn[..., 10] * len(_ORDERS)).long()], orders[0])
        found = found.gather(2, order.view(*order.shape, 1, 1).expand_as(found))
    return found


def changed_hues(images: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Return RGB pictures of any scale with other saturations and hues, through the cone of HSV.

    Args:
        images: (..., 3, H, W) float32.
        saturation: (..., 1, 1) factor of saturations.
        hue: (..., 1, 1) degrees by which hues are turned.
    """
    red, green, blue = images.unbind(-3)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    tiny = torch.finfo(images.dtype).eps
    sixth = torch.where(value == green, blue - red, red - green)
    angle = torch.where(value == green, 2.0, 4.0)
    is_red = value == red
    sixth = torch.where(is_red, green - blue, sixth).div_(spread + tiny)
    angle = angle.masked_fill_(is_red, 0.0).add_(sixth).add_(hue / 60)
    drop = (
        spread.mul_(value).div_(value.abs() + tiny).mul_(saturation)
    )  # what the lowest channel lies below the highest
    found = torch.empty_like(images)
    for channel, offset in enumerate((5, 3, 1)):
        turned = (angle + offset).remainder_(6)
        ramp = torch.minimum(turned, 4 - turned).clamp_(0, 1)
        torch.addcmul(value, drop, ramp, value=-1, out=found.select(-3, channel))
    return found
