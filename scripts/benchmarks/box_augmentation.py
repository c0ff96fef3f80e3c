"""Augmentation of images with boxes: HSV against torchvision, a mosaic against its usual form and a plain sample."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lab.data.images.colors import adjust_hsv
from lab.data.images.resizing import sample_generator
from lab.tasks.detection.data.mosaic import BoxedImage, MosaicOptions, make_mosaic
from lab.tasks.detection.data.transforms import DetectionTransform, fitted_size

Size = tuple[int, int]
Made = tuple[Callable[[], Tensor], Callable[[], Tensor], float]
SIDE = 352
"""Of the samples."""
MOSAIC = MosaicOptions(1.0)


def hsv_row(batch: int, size: Size, device: torch.device) -> Made:
    """Hue, saturation and value of images, by one function and by torchvision's two for hue and saturation."""
    images = [_image(size, number) for number in range(batch)]

    def ours() -> Tensor:
        return torch.stack([adjust_hsv(image, 0.015, 1.3, 1.0) for image in images])

    def theirs() -> Tensor:
        return torch.stack([F.adjust_saturation(F.adjust_hue(image, 0.015), 1.3) for image in images])

    hue = adjust_hsv(images[0], 0.015, 1.0, 1.0).float() - F.adjust_hue(images[0], 0.015).float()  # rounded, cut off
    return ours, theirs, float(hue.abs().mean()) / 255


def mosaic_row(batch: int, size: Size, device: torch.device) -> Made:
    """A mosaic of decoded images; the peer resizes each as a whole and pastes them."""
    pictures = [_boxed(size, number) for number in range(4 * batch)]
    draws = [MOSAIC.draw((SIDE, SIDE), sample_generator(0, 0, number)) for number in range(batch)]

    def each(make: Callable[..., Tensor]) -> Tensor:
        return torch.stack([make(pictures[4 * row : 4 * row + 4], *draws[row]) for row in range(batch)])

    def ours(four: list[BoxedImage], factor: float, center: tuple[int, int]) -> Tensor:
        sizes = [fitted_size(*size, (SIDE, SIDE), True, factor)] * 4
        return make_mosaic(four, sizes, center, (SIDE, SIDE)).image

    gap = (each(ours).float() - each(pasted).float()).abs().mean() / 255
    return lambda: each(ours), lambda: each(pasted), float(gap)


def mosaic_sample_row(batch: int, size: Size, device: torch.device) -> Made:
    """Samples of decoded images that all are mosaics; the peer's are plain, so the ratio is what mosaics cost."""
    pictures = [_boxed(size, number) for number in range(2 * batch)]
    plain = DetectionTransform(True, size=SIDE)
    mosaics = DetectionTransform(True, size=SIDE, mosaic=MOSAIC)
    epoch = itertools.count()

    def other(generator: torch.Generator) -> BoxedImage:
        return pictures[int(torch.randint(len(pictures), (), generator=generator))]

    def samples(transform: DetectionTransform) -> Tensor:
        number = next(epoch)
        draws = [sample_generator(0, number, row) for row in range(batch)]
        return torch.stack([transform(*pictures[row], draws[row], others=other).image for row in range(batch)])

    return lambda: samples(mosaics), lambda: samples(plain), 0.0


def pasted(four: list[BoxedImage], factor: float, center: tuple[int, int]) -> Tensor:
    """Return a mosaic the usual way: whole images on a canvas of several times the size, of which a part is cut out."""
    canvas = torch.full((3, 5 * SIDE, 5 * SIDE), MOSAIC.grey, dtype=torch.uint8)
    for number, picture in enumerate(four):
        stored = picture.image.shape
        height, width = fitted_size(stored[1], stored[2], (SIDE, SIDE), True, factor)
        below, right = divmod(number, 2)
        top = 2 * SIDE + center[1] - (0 if below else height)
        left = 2 * SIDE + center[0] - (0 if right else width)
        canvas[:, top : top + height, left : left + width] = F.resize(picture.image, [height, width], antialias=True)
    return canvas[:, 2 * SIDE : 3 * SIDE, 2 * SIDE : 3 * SIDE]


def _image(size: Size, seed: int) -> Tensor:
    """Return a smooth image (3, h, w), which lies in memory as a decoded one."""
    small = torch.randint(0, 256, (3, 12, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return F.resize(small, list(size)).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _boxed(size: Size, seed: int) -> BoxedImage:
    corners = torch.rand(10, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    boxes = (corners * torch.tensor([size[1], size[0]])).view(-1, 4)
    return BoxedImage(_image(size, seed), boxes, torch.zeros(10, dtype=torch.int64))
