"""What published weights need of their images, as each tag of ``@register_model(pretrained=...)`` says. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lab.errors import RegistryError, closest
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """How the images of published weights are prepared in evaluation.

    The shorter side is resized to ``image_size / crop_share`` pixels, rounded down, with antialiasing; the middle
    ``image_size`` pixels are taken; colours are normalised.

    Attributes:
        image_size: side of the square images that the network sees.
        crop_share: share of the resized shorter side that the crop takes.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
        mean: of red, green and blue, from 0 to 1.
        std: likewise; above 0.
    """

    image_size: int = 224
    crop_share: float = 0.875
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @property
    def shorter_side(self) -> int:
        """To which the shorter side is resized."""
        return int(self.image_size / self.crop_share)


KEYS = tuple(field.name for field in fields(Preprocessing))


def read_preprocessing(values: Mapping[str, Any], where: str) -> Preprocessing:
    """Return the preprocessing of a tag from its literals; what is left out is as in most of torchvision's presets.

    Args:
        values: fields of ``Preprocessing`` by name.
        where: the tag, for messages.

    Raises:
        RegistryError: a name, type or range is wrong.
    """
    for key in values:
        if key not in KEYS:
            raise RegistryError(f"weights {where!r}: unknown key {key!r}{closest(key, KEYS)}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    found = Preprocessing(**given)
    good = {
        "image_size": type(found.image_size) is int and found.image_size > 0,
        "crop_share": _is_number(found.crop_share) and 0 < found.crop_share <= 1,
        "interpolation": found.interpolation in INTERPOLATIONS,
        "mean": _are_three(found.mean),
        "std": _are_three(found.std) and min(found.std) > 0,
    }
    wrong = next((key for key, is_good in good.items() if not is_good), None)
    if wrong is not None:
        raise RegistryError(f"weights {where!r}: {wrong}={getattr(found, wrong)!r} is no {wrong} of images")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_three(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(map(_is_number, values))
