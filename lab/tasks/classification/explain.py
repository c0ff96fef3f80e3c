"""Why an image was taken for its class: heat maps beside images (``eval.explain``; ``lab.inspection.heat``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lab.inspection.heat import heat_maps, method_for
from lab.report.canvas import as_picture

OPAQUE = 0.5
"""Share of the colours of heat in a picture, where it is hot."""


def explain(net: nn.Module, images: Tensor, labels: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Return heat maps (B, h, w) from 0 to 1, as the group ``eval`` asks for.

    Args:
        net: the classifier, in evaluation mode.
        images: (B, C, H, W), normalised.
        labels: (B,) int64, the classes to explain.
        settings: ``explain`` (auto, grad_cam or rollout) and ``explain_layer``.

    Raises:
        ConfigError: the method does not suit the network.
    """
    wanted = settings["explain"]
    return heat_maps(net, images, labels, method_for(net) if wanted == "auto" else wanted, settings["explain_layer"])


def as_levels(heat: Tensor | None) -> list[list[int]] | None:
    """Return a heat map (h, w) as whole numbers from 0 to 255, for a record."""
    if heat is None:
        return None
    levels: list[list[int]] = (heat * 255).round().int().tolist()
    return levels


def with_heat(
    image: Tensor | Image.Image,
    heat: Tensor | Sequence[Sequence[int]] | None,
    size: Sequence[int] = (),
    resize: int = 0,
) -> Image.Image:
    """Return a picture with the same picture under its heat map at its right; without a heat map, the picture.

    Args:
        image: (3, H, W) uint8, or a picture of any size.
        heat: (h, w) from 0 to 1, or whole numbers from 0 to 255.
        size: (height, width) of the images that the network sees; () where the picture is one.
        resize: the shorter side to which the picture was resized before its middle was taken; 0: as a whole.
    """
    picture = as_picture(image)
    if heat is None:
        return picture
    levels = heat * 255 if isinstance(heat, Tensor) else torch.tensor(heat)
    hot = Image.fromarray(levels.round().to(torch.uint8).cpu().numpy())
    left, top, right, bottom = _seen(picture, size, resize)
    whole = Image.new("L", picture.size, 0)
    whole.paste(hot.resize((right - left, bottom - top), Image.Resampling.BICUBIC), (left, top))
    both = Image.new("RGB", (2 * picture.width, picture.height))
    both.paste(picture, (0, 0))
    both.paste(_coloured(picture, whole), (picture.width, 0))
    return both


def _seen(picture: Image.Image, size: Sequence[int], resize: int) -> tuple[int, int, int, int]:
    """Return the corners (left, top, right, bottom) of the part of a picture that the network has seen."""
    if not resize or not size:
        return 0, 0, picture.width, picture.height
    scale = min(picture.size) / resize
    wide, tall = min(picture.width, round(size[1] * scale)), min(picture.height, round(size[0] * scale))
    left, top = (picture.width - wide) // 2, (picture.height - tall) // 2
    return left, top, left + wide, top + tall


def _coloured(picture: Image.Image, heat: Image.Image) -> Image.Image:
    """Return a picture under colours from blue over green to red; where nothing is hot it is darker."""
    warm = np.asarray(heat, dtype=np.float32)[..., None] / 255
    ramp = np.clip(1.5 - np.abs(4 * warm - np.array([3.0, 2.0, 1.0])), 0, 1)  # red, green and blue have a hill each
    mixed = (1 - OPAQUE) * np.asarray(picture, dtype=np.float32) + OPAQUE * 255 * ramp
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
