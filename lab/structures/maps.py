"""Maps that leave a network undecoded, as files on phones have them.

Letters in shapes: B images, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class MapLayout:
    """How the maps that leave a network are read where they are decoded outside of it, as on phones.

    Attributes:
        image: the name of the input.
        colours: the order of the input's channels, ``BGR`` or ``RGB``; they go from 0 to 1.
        maps: what each map holds, by its name, in order.
        decoding: the numbers that decoding needs, as JSON has them.
    """

    image: str
    colours: str
    maps: Mapping[str, str]
    decoding: Mapping[str, Any]


@runtime_checkable
class HasMaps(Protocol):
    """What a network offers beside its protocol if others decode its maps (``lab.export.ncnn``)."""

    def map_layouts(self) -> Mapping[str, MapLayout]:
        """Return the layouts of the maps, by name: ``maps`` and, where others have published files, ``published``."""
        ...

    def maps_as(self, layout: str, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of images (B, 3, H, W) in the layout's colours."""
        ...
