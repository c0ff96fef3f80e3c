"""Changes of uint8 images, a whole batch at once, each image by its own strength.

The formulas are those of ``torchvision.transforms.v2.functional``, which takes one strength for all images of a call.
Results are equal to the bit, except at a few pixels of sheared images whose source lies midway between two: there
either of them is taken. Factors are float64, so that what is left of 1 is rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply images (B, C, H, W) uint8 by factors (B,)."""
    return images.float().mul_(_each(factors.float())).clamp_(0, 255).to(torch.uint8)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend images (B, 3, H, W) uint8 with their grey versions; a factor (B,) of 0 is grey, 1 the image itself."""
    return _blend(images, _grey(images), factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend images (B, 3, H, W) uint8 with the mean of their grey versions; a factor (B,) of 1 is the image itself."""
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), factors)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blend images (B, C, H, W) uint8 with their blurred versions; a factor (B,) of 1 is the image itself.

    The outermost pixels stay as they are. A blurred pixel is the mean over its 3x3 neighbourhood, in which it counts
    five times itself: 13 parts, so no mean lies midway between two whole numbers.
    """
    if min(images.shape[2:]) <= 2:
        return images
    values = images.float()
    across = values[..., :-2] + values[..., 1:-1] + values[..., 2:]
    inner = values[..., 1:-1, 1:-1]
    blurred = (across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]).add_(inner, alpha=4).div_(13).round_()
    inner.copy_(torch.addcmul(inner, blurred.sub_(inner), _rest(factors)))
    return values.clamp_(0, 255).to(torch.uint8)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest ``bits`` (B,) int64 of each value of images (B, C, H, W) uint8."""
    masks = 256 - (1 << (8 - bits))
    return images & _each(masks.to(torch.uint8))


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the values of images (B, C, H, W) uint8 that are not below a threshold (B,)."""
    return torch.where(images.float() >= _each(thresholds), 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of images (B, C, H, W) uint8 to the whole range of values."""
    from torchvision.transforms.v2 import functional as F

    stretched: Tensor = F.autocontrast(images)
    return stretched


def equalize(images: Tensor) -> Tensor:
    """Make the values of each channel of images (B, C, H, W) uint8 equally frequent, as PIL does."""
    from torchvision.transforms.v2 import functional as F

    equalized: Tensor = F.equalize(images)
    return equalized


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Move the pixels of images; the nearest one is taken, and what lies outside is black.

    Args:
        images: (B, C, H, W) uint8.
        matrices: (B, 2, 3) float32: from a place in the result to one in the image, (x, y, 1) -> (x, y) in pixels from
            the middle.

    Returns:
        (B, C, H, W) uint8.
    """
    batch, _, height, width = images.shape
    x, y = (_from_middle(length, images.device) for length in (width, height))

    def source(row: int, length: int) -> Tensor:
        # In the roundings of torchvision: places from -1 to 1 first, then pixels.
        by_x, by_y, shift = (matrices[:, row] / (0.5 * length)).view(batch, 3, 1, 1).unbind(1)
        places = (x * by_x + y[:, None] * by_y).add_(shift)
        return places.add_(1).mul_(0.5 * length).sub_(0.5).round_()

    columns, rows = source(0, width), source(1, height)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    taken = (rows.clamp_(0, height - 1) * width).add_(columns.clamp_(0, width - 1)).long()
    flat = images.flatten(2)
    moved = flat.gather(2, taken.flatten(1)[:, None].expand(-1, flat.shape[1], -1)).view_as(images)
    return moved * inside[:, None]


def erase(images: Tensor, boxes: Tensor, value: float = 0.0) -> Tensor:
    """Fill a box of each image.

    Args:
        images: (B, C, H, W) floats.
        boxes: (B, 4): top, left, height, width in pixels; a height of 0 fills nothing.
        value: what the box is filled with.
    """
    return images.masked_fill(in_boxes(boxes, images.shape[2], images.shape[3])[:, None], value)


def mix(images: Tensor, shares: Tensor, boxes: Tensor) -> Tensor:
    """Mix each image with its neighbour: the first with the second, the third with the fourth, and so on.

    mixup (Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, equation 1) where the box is empty,
    else CutMix (Yun et al., "CutMix", ICCV 2019, equation 1): the box shows the neighbour.

    Args:
        images: (B, C, H, W) floats, an even number of them; of an odd number the last one stays as it is.
        shares: (B,) what the image keeps of itself.
        boxes: (B, 4): top, left, height, width in pixels.
    """
    inside = in_boxes(boxes, images.shape[2], images.shape[3])
    kept = torch.where(_each(boxes[:, 2] > 0), (~inside)[:, None].to(images.dtype), _each(shares.to(images.dtype)))
    return neighbours(images).mul_(1 - kept).addcmul_(images, kept)


def mix_labels(labels: Tensor, shares: Tensor, num_classes: int) -> Tensor:
    """Return the shares (B, K) float32 of classes in images that ``mix`` has mixed.

    Args:
        labels: (B,) int64, or (B, K) shares of classes in each image.
        shares: (B,) what an image keeps of itself; with CutMix the share of its area.
        num_classes: K.
    """
    if labels.ndim == 1:
        labels = torch.nn.functional.one_hot(labels, num_classes)
    own, kept = labels.float(), shares.float()[:, None]
    return neighbours(own).mul_(1 - kept).addcmul_(own, kept)


def neighbours(rows: Tensor) -> Tensor:
    """Return (B, ...) with the rows of each pair exchanged; of an odd number the last one stays."""
    even = len(rows) // 2 * 2
    swapped = rows[:even].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    return torch.cat([swapped, rows[even:]]) if even < len(rows) else swapped


def in_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return (B, height, width) bool: which pixels lie in boxes (B, 4) of top, left, height and width."""
    top, left, tall, wide = boxes[:, :, None].unbind(1)
    rows, columns = (torch.arange(length, device=boxes.device) for length in (height, width))
    down, right = (rows >= top) & (rows < top + tall), (columns >= left) & (columns < left + wide)
    return down[:, :, None] & right[:, None]


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _rest(factors: Tensor) -> Tensor:
    """Return 1 - factors (B,) as float32, subtracted in float64."""
    return _each((1 - factors.double()).float())


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    scaled = images.float().mul_(_each(factors.float()))  # a product of both types would take three times as long
    return scaled.addcmul_(others, _rest(factors)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Return (B, 1, H, W) float32 whole numbers."""
    red, green, blue = images.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[:, None]


def _from_middle(length: int, device: torch.device) -> Tensor:
    return torch.linspace((1 - length) * 0.5, (length - 1) * 0.5, length, device=device)
