"""How the images of a dataset are resized and normalised; pretrained weights may decide it (``data.preprocessing``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.ranges import Ge, Gt, Le, Len, OneOf


@dataclass(eq=False, init=False)  # a base that only adds fields
class Preprocessed:
    """Arguments that DataModules of images for classification share.

    Args:
        interpolation: how images are resized: ``"bilinear"`` or ``"bicubic"``.
        mean: (3) by which images are normalised, of colours from 0 to 1.
        std: (3) likewise.
    """

    _: KW_ONLY
    interpolation: Annotated[str, OneOf("bilinear", "bicubic")] = "bilinear"
    mean: Annotated[Sequence[Annotated[float, Ge(0), Le(1)]], Len(3, 3)] = IMAGENET_MEAN
    std: Annotated[Sequence[Annotated[float, Gt(0), Le(1)]], Len(3, 3)] = IMAGENET_STD
