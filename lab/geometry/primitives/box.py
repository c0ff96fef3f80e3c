"""A box of quads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lab.geometry.primitives.patches import Patch, flat_patch
from lab.geometry.primitives.primitive import Length, Primitive, Steps


@dataclass(frozen=True, kw_only=True)
class Box(Primitive):
    """A box.

    Attributes:
        size: metres along x, y, z.
        steps: quads along x, y, z.
    """

    word: ClassVar[str] = "box"

    size: tuple[Length, Length, Length] = (1.0, 1.0, 1.0)
    steps: tuple[Steps, Steps, Steps] = (1, 1, 1)

    def num_quads(self) -> int:
        """Return how many quads the six faces have."""
        x, y, z = self.steps
        return 2 * (x * y + y * z + z * x)

    def patches(self) -> list[Patch]:
        """Return the faces: -x, +x, -y, +y, bottom, top."""
        x, y, z = np.diag(self.size)
        low = -(x + y) / 2
        sides = [(1, 2, low + y, -y, z), (1, 2, low + x, y, z), (0, 2, low, x, z), (0, 2, low + x + y, -x, z)]
        faces = [*sides, (0, 1, low + y, x, -y), (0, 1, low + z, x, y)]
        return [
            flat_patch(corner, along, across, (self.steps[u], self.steps[v]), self.extent(self.size[u], self.size[v]))
            for u, v, corner, along, across in faces
        ]
